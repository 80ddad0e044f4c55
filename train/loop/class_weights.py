"""Class weights that a user gives by hand."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from salience.configuration.errors import UserError


def read_class_weights(words: Sequence[str], label_names: Sequence[str]) -> Tensor:
    """What `--class_weights` says.

    Args:
        words: A number for each class in the order of their ids, or NAME=NUMBER for each in any order.
        label_names: Names of the C classes.

    Returns:
        (C,) the weights.

    Raises:
        UserError: A class has no weight or two, a name is none of a class, or a weight isn't a number above 0.
    """
    classes = f"the classes are, in this order, {', '.join(label_names)}"
    pairs = [word.rpartition("=")[::2] for word in words]
    is_named = ["=" in word for word in words]
    if any(is_named) != all(is_named):
        raise UserError("--class_weights mixes numbers and NAME=NUMBER: write one or the other for all classes")
    if not all(is_named):
        pairs = list(zip(label_names, words, strict=False))
        if len(words) != len(label_names):
            raise UserError(f"--class_weights has {len(words)} numbers for {len(label_names)} classes; {classes}")
    weights: dict[str, float] = {}
    for name, number in pairs:
        if name not in label_names:
            raise UserError(f"--class_weights {name}={number} names no class; {classes}")
        if name in weights:
            raise UserError(f"--class_weights names {name} twice: give each class one weight")
        weights[name] = _weight(name, number)
    if missing := [name for name in label_names if name not in weights]:
        raise UserError(f"--class_weights lacks {', '.join(missing)}: give each class its weight")
    return torch.tensor([weights[name] for name in label_names])


def _weight(name: str, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not 1e-9 <= weight <= 1e9:
        raise UserError(f"--class_weights: {number!r}, the weight of {name}, isn't a number above 0, from 1e-9 to 1e9")
    return weight
