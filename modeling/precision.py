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


def bfloat16_fault(encoder: Any, autocast: bool, held: bool) -> str | None:
    """Why an encoder can't read in bfloat16, as its own code mixes up types; None where it can.

    Args:
        encoder: Reads a text of two tokens; None reads nothing.
        autocast: Under `torch.autocast`, as in training.
        held: In bfloat16 as `hold_in_bfloat16` makes it.
    """
    if encoder is None or is_sharded(encoder):
        return None
    device, was_training = next(encoder.parameters()).device, encoder.training
    padding = getattr(encoder.config, "pad_token_id", None)
    text_1T = torch.tensor([[token for token in (1, 2, 3) if token != padding][:2]], device=device)
    undo = hold_in_bfloat16(encoder if held else None)
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            # Its class's forward: what an encoder cache has put before it would keep this text.
            type(encoder).forward(encoder.eval(), input_ids=text_1T, attention_mask=torch.ones_like(text_1T))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        return str(error).strip().partition("\n")[0]
    except (ValueError, TypeError):
        return None  # it wants more than a text, which says nothing of types
    finally:
        undo()
        encoder.train(was_training)
    return None


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
