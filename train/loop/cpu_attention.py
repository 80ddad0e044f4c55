"""Attention of short windows in float32, in training on CPUs: the kernel's backward pass is slow in bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from salience.modeling.encoders import pretrained_encoder

NAME = "sdpa_float32"
LONGEST = 256  # tokens of a window, up to which float32 is the faster one on CPUs with AMX, by torch 2.13


def float32_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Torch's `scaled_dot_product_attention`; arguments and result are those of transformers' attention functions."""
    if not module.training or key.shape[2] > LONGEST:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    with torch.autocast(query.device.type, enabled=False):
        wide = (query.float(), key.float(), value.float())
        return sdpa_attention_forward(module, *wide, attention_mask, **options)[0].to(query.dtype), None


@contextmanager
def faster_attention(model: PreTrainedModel) -> Iterator[None]:
    """Let the pretrained encoder of a classifier, where there is one, attend so; one without sdpa stays as it is.

    Afterwards it attends as before: a model that is pickled can be read where nothing of this is known.

    Args:
        model: Trained on a CPU in bfloat16 meanwhile.
    """
    encoder = pretrained_encoder(model)
    if encoder is None or encoder.config._attn_implementation != "sdpa":
        yield
        return
    AttentionInterface.register(NAME, float32_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    encoder.set_attn_implementation(NAME)
    try:
        yield
    finally:
        encoder.set_attn_implementation("sdpa")
