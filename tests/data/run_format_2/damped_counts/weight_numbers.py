"""Kinds of numbers in the files of weights: transformers casts any to the model's own, whole numbers too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers.utils import cached_file
from transformers.utils.hub import get_checkpoint_shard_files

# In the order in which transformers looks for them: one file, or the index of several.
FILES = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


def check_numbers(model: nn.Module, name_or_path: str | Path, revision: str | None) -> None:
    """Raise ValueError if a weight is no float in its file and one in the model: it was quantised by hand, or damaged.

    Args:
        model: As it was loaded.
        name_or_path: Folder or Hub id.
        revision: Branch, tag or commit of a Hub id.
    """
    if getattr(model.config, "quantization_config", None):  # its library knows what the numbers stand for
        return
    floats = [name for name, weight in model.state_dict().items() if weight.is_floating_point()]
    for file in weight_files(name_or_path, revision):
        for name, kind in kinds_of(file):
            if any(name == each or name.endswith(f".{each}") or each.endswith(f".{name}") for each in floats):
                raise ValueError(
                    f"{name_or_path} has weights of the type {kind} where the model has floats ({name}): save them as "
                    "float32 or bfloat16"
                )


def weight_files(name_or_path: str | Path, revision: str | None) -> list[str]:
    """The files that hold a model's weights; empty where they have other names.

    Args:
        name_or_path: Folder or Hub id.
        revision: Branch, tag or commit of a Hub id.
    """
    options: dict[str, Any] = {"revision": revision, "_raise_exceptions_for_missing_entries": False}
    for single, index in FILES:
        if file := cached_file(str(name_or_path), single, **options):
            return [file]
        if file := cached_file(str(name_or_path), index, **options):
            return list(get_checkpoint_shard_files(str(name_or_path), file, revision=revision)[0])
    return []


def kinds_of(file: str) -> Iterator[tuple[str, str]]:
    """Name and type of each weight in a file that is no float."""
    if file.endswith(".safetensors"):
        with safe_open(file, framework="pt") as weights:
            kinds = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
        yield from ((name, kind) for name, kind in kinds.items() if not kind.startswith(("F", "BF")))
        return
    for name, weight in torch.load(file, map_location="meta", weights_only=True).items():
        if isinstance(weight, torch.Tensor) and not weight.is_floating_point():
            yield name, str(weight.dtype).removeprefix("torch.")
