"""What a run's JSON files may hold: what was edited by hand is told where it is read, before anything is made of it."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from salience.configuration.errors import UserError

MAKE_ANEW = "restore the file, or make this run again"
KINDS = ("model", "sparse", "frozen")
"""Of runs: a trained model, a TF-IDF baseline, and one on the vectors of a frozen encoder."""


class Rule(NamedTuple):
    """What a value must be, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _is_number(value: Any, low: float = 0, high: float = math.inf) -> bool:
    largest = sys.float_info.max  # a whole number may be larger
    return type(value) in (int, float) and max(low, -largest) <= value <= min(high, largest)


TEXT = Rule("text", lambda value: isinstance(value, str))
COUNT = Rule("a whole number of at least 0", lambda value: type(value) is int and value >= 0)
NUMBER = Rule("a finite number", lambda value: _is_number(value, low=-math.inf))
AMOUNT = Rule("a finite number of at least 0", lambda value: _is_number(value))
SHARE = Rule("a number from 0 to 1", lambda value: _is_number(value, high=1))
FLAG = Rule("true or false", lambda value: isinstance(value, bool))
KIND = Rule(f"one of {', '.join(KINDS)}", lambda value: isinstance(value, str) and value in KINDS)

EVERY = "*"
"""Key of the rule for all values of an object that have none of their own."""
Shape = dict[str, Any]
"""What an object holds, by key: a `Rule`, or a `Shape` again. A key with `?` behind it may be missing."""

NGRAMS: Shape = {"kind": TEXT, "weight": AMOUNT, "damping?": SHARE, "num_ngrams": COUNT, "share": SHARE}
REVIEW: Shape = {"target_accuracy": SHARE, "threshold": SHARE, "coverage": SHARE}
START: Shape = {"name": TEXT, "sha256": TEXT, "split_otherwise?": FLAG}
SPLIT: Shape = {"rows": COUNT, "sha256": TEXT, "labels?": {EVERY: COUNT}, "also_in_training?": COUNT}
RECORD: Shape = {
    "kind": KIND,
    "seed": COUNT,
    "arguments": {},
    "data": {"name": TEXT, "source": TEXT, "splits": {"train": SPLIT, EVERY: SPLIT}},
    "model": {"family": TEXT, "parameters?": COUNT, "ngrams?": NGRAMS, "start?": START},
}
"""Of run.json."""
_SHARES = (
    "accuracy",
    "network_accuracy",
    "roc_auc",
    *(f"{score}_{mean}" for score in ("precision", "recall", "f1") for mean in ("macro", "weighted")),
)
_CLASS: Shape = {"precision": SHARE, "recall": SHARE, "f1": SHARE, "support": COUNT}
RESULTS: Shape = {
    **{f"{name}?": SHARE for name in _SHARES},
    **{f"{name}?": AMOUNT for name in ("runtime", "samples_per_second", "steps_per_second", "samples")},
    "per_class?": {EVERY: _CLASS},
    "ngrams?": NGRAMS,
    "review?": REVIEW,
}
"""Of the results of a split, and of training, without the prefix of their names."""


def checked(file: Path, content: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """The content of a run's file, if it is what a run writes.

    Args:
        file: Where it is from.
        content: What it holds.
        shape: What it must hold.

    Raises:
        UserError: It holds something else.
    """
    if found := fault(content, shape):
        raise UserError(f"{file}: {found}: {MAKE_ANEW}")
    return content


def fault(value: Any, shape: Shape | Rule, where: str = "") -> str | None:
    """What is wrong with a value, in words; None if nothing is.

    Args:
        value: From a JSON file.
        shape: What it must be.
        where: How the words call it: the keys on the way to it.
    """
    if isinstance(shape, Rule):
        return None if shape.holds(value) else f"{where} is {str(value)[:100]!r}, and must be {shape.words}"
    if not isinstance(value, dict):
        return f"{where} is {str(value)[:100]!r}, and must be an object"
    named = {key.removesuffix("?"): rule for key, rule in shape.items() if key != EVERY}
    if missing := next((key for key in shape if key in named and key not in value), None):
        return f"{where}.{missing}".lstrip(".") + " is missing"
    for key, each in value.items():
        rule = named.get(key, shape.get(EVERY))
        if rule is not None and (found := fault(each, rule, f"{where}.{key}".lstrip("."))):
            return found
    return None
