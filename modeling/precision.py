"""Reading in bfloat16: the weights of a pretrained encoder are cast once; what lies outside of it stays as it is."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .windows import is_sharded


def hold_in_bfloat16(encoder: nn.Module | None) -> Callable[[], None]:
    """Let the pretrained encoder inside a classifier read in bfloat16; it takes and returns what it took and returned.

    Its weights need half the bytes then, no call has to cast them, and classifier, pooling and logits keep their
    digits. Buffers keep theirs too, such as the frequencies of rotary positions.

    Args:
        encoder: The encoder. None, one that several processes share, or one in another type than float32: nothing is
            done.

    Returns:
        What gives it its former weights back, which are kept until then.
    """
    wide = {} if encoder is None or is_sharded(encoder) else {weight: weight.data for weight in encoder.parameters()}
    if encoder is None or {weight.dtype for weight in wide} != {torch.float32}:
        return lambda: None
    for weight in wide:
        weight.data = weight.data.to(torch.bfloat16)
    hooks = [
        encoder.register_forward_pre_hook(_rounded_inputs, with_kwargs=True),
        encoder.register_forward_hook(_wide_outputs),
    ]

    def undo() -> None:
        for weight, values in wide.items():
            weight.data = values
        for hook in hooks:
            hook.remove()

    return undo


def _rounded_inputs(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return _cast(inputs, torch.bfloat16), {name: _cast(value, torch.bfloat16) for name, value in named.items()}


def _wide_outputs(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> Any:
    return _cast(outputs, torch.float32)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """The same tensor, tuple or output of a model, with floating numbers of another type."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):  # outputs of models too, which are built of names
        return type(value)(**{name: _cast(each, dtype) for name, each in value.items()})
    return tuple(_cast(each, dtype) for each in value) if isinstance(value, tuple) else value
