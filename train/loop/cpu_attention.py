"""Attention of short windows in float32, in training on CPUs: the kernel's backward pass is slow in bfloat16.

Measured on two cores with AMX, torch 2.13, MiniLM: a step on 2,048 tokens takes half to two thirds of the time in
windows of 64 or 128 tokens, as long in windows of 256, and longer in windows of 512.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from salience.modeling.encoders import pretrained_encoder

NAME = "sdpa_float32"
LONGEST = 256  # tokens of a window, up to which float32 is the faster one


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


def speed_up_attention(model: PreTrainedModel) -> None:
    """Let the pretrained encoder of a classifier, where there is one, attend so; one without sdpa stays as it is.

    Args:
        model: To be trained on a CPU in bfloat16.
    """
    encoder = pretrained_encoder(model)
    if encoder is not None and encoder.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, float32_attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        encoder.set_attn_implementation(NAME)
