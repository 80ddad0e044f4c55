"""Reading in bfloat16: the weights of a pretrained encoder are cast once; what lies outside of it stays as it is."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from salience.modeling.salience_base import SaliencePreTrainedModel


def hold_in_bfloat16(model: PreTrainedModel) -> None:
    """Let the pretrained encoder of a classifier read in bfloat16; it takes and returns what it took and returned.

    Its weights need half the bytes then, and classifier, pooling and logits keep their digits. A model without a
    pretrained encoder stays as it is.

    Args:
        model: The classifier, only to be read with: its encoder's weights are rounded.
    """
    encoder = model.encoder if isinstance(model, SaliencePreTrainedModel) else model.base_model
    if encoder is None or encoder is model or encoder.dtype != torch.float32:
        return
    encoder.to(torch.bfloat16)
    encoder.register_forward_pre_hook(_rounded_inputs, with_kwargs=True)
    encoder.register_forward_hook(_wide_outputs)


def _rounded_inputs(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return cast(inputs, torch.bfloat16), {name: cast(value, torch.bfloat16) for name, value in named.items()}


def _wide_outputs(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> Any:
    return cast(outputs, torch.float32)


def cast(value: Any, dtype: torch.dtype) -> Any:
    """The same tensor, tuple or output of a model, with floating numbers of another type."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):  # outputs of models too, which are built of names
        return type(value)(**{name: cast(each, dtype) for name, each in value.items()})
    return tuple(cast(each, dtype) for each in value) if isinstance(value, tuple) else value
