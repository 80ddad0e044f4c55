"""From a batch of texts of any length to one call of a pretrained encoder, and back to one vector per token.

Shape suffixes
    B = texts, T = tokens of the longest text, W = windows of all texts, L = tokens of the longest window, D = features
"""

from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class PackedInputs(NamedTuple):
    """A batch with each text's valid tokens first, in order; `source_BT` says from which column each one came."""

    tokens: dict[str, Tensor]  # each (B, T) or (B, T, E)
    mask_BT: Tensor  # bool
    source_BT: Tensor
    width: int  # columns of the batch before packing

    def unpack(self, x_BT: Tensor) -> Tensor:
        """Put per-token values (B, T, ...) back into the caller's columns, zero where there is no token."""
        index = self.source_BT.reshape(*self.source_BT.shape, *[1] * (x_BT.dim() - 2)).expand_as(x_BT)
        filled = x_BT.new_zeros(x_BT.shape[0], max(self.width, 1), *x_BT.shape[2:]).scatter(1, index, x_BT)
        return filled[:, : self.width]


def pack_inputs(attention_mask: Tensor | None, **tokens: Tensor | None) -> PackedInputs:
    """Move padding (left, right or between) behind the text, so that nothing after it needs to know of padding sides.

    Args:
        attention_mask: (B, T), non-zero for a token; None means that every column is one.
        tokens: `input_ids` (B, T), `token_type_ids` (B, T), `inputs_embeds` (B, T, E), or None; at least one is needed.
    """
    present = {name: value for name, value in tokens.items() if value is not None}
    if not present:
        raise ValueError("Pass input_ids or inputs_embeds.")
    for name in ("input_ids", "token_type_ids"):
        if name in present:
            present[name] = present[name].long()  # a tokenizer returns an empty batch as float
    first = next(iter(present.values()))
    batch_size, width = first.shape[:2]
    if attention_mask is None:
        mask_BT = torch.ones(batch_size, width, dtype=torch.bool, device=first.device)
    else:
        mask_BT = attention_mask.to(torch.bool)
    # A batch without any column still has one row per text: give it a column of padding.
    if width == 0:
        present = {name: value.new_zeros(batch_size, 1, *value.shape[2:]) for name, value in present.items()}
        mask_BT = mask_BT.new_zeros(batch_size, 1)
    longest = max(int(mask_BT.sum(1).max()), 1) if batch_size else 1
    source_BT = (~mask_BT).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    rows_B1 = torch.arange(batch_size, device=first.device)[:, None]
    packed = {name: value[rows_B1, source_BT] for name, value in present.items()}
    return PackedInputs(packed, mask_BT[rows_B1, source_BT], source_BT, width)


class WindowPlan(NamedTuple):
    """Which token of which text stands where in the encoder's batch, and where each token's result is read."""

    token_WL: Tensor  # index into the flattened (B * T) tokens
    mask_WL: Tensor  # bool
    home_BT: Tensor  # index into the flattened (W * L) results


def plan_windows(mask_BT: Tensor, size: int | None, stride: int | None, num_prefix: int, num_suffix: int) -> WindowPlan:
    """Cover each text with windows that overlap by `size - stride` tokens.

    Every window begins with the text's own first `num_prefix` tokens ([CLS], <s>) and ends with its last `num_suffix`
    tokens ([SEP]), as the encoder was pretrained. A token seen by several windows is read from the one in whose middle
    it lies. A text that fits is one window: itself.

    Args:
        mask_BT: bool (B, T), each text's tokens first (see `pack_inputs`).
        size: Tokens of a window, special tokens included; None for no limit.
        stride: Tokens from one window's start to the next one's, at most `size - num_prefix - num_suffix`.
        num_prefix: Special tokens at the start of a text.
        num_suffix: Special tokens at its end.
    """
    batch_size, width = mask_BT.shape
    device = mask_BT.device
    length_B = mask_BT.sum(1)
    inner_size = (size or max(width, num_prefix + num_suffix + 1)) - num_prefix - num_suffix
    stride = stride or inner_size
    inner_B = (length_B - num_prefix - num_suffix).clamp(min=0)
    windows_B = 1 + ((inner_B - inner_size).clamp(min=0) + stride - 1) // stride
    first_B = windows_B.cumsum(0) - windows_B

    text_W = torch.repeat_interleave(windows_B)
    start_W = (torch.arange(text_W.shape[0], device=device) - first_B[text_W]) * stride
    inner_W = (inner_B[text_W] - start_W).clamp(max=inner_size)
    length_W = length_B[text_W].minimum(num_prefix + inner_W + num_suffix)
    local_L = torch.arange(max(int(length_W.max()), 1) if batch_size else 1, device=device)
    offset_WL = torch.where(local_L < num_prefix, 0, start_W[:, None])
    in_suffix_WL = local_L >= (num_prefix + inner_W)[:, None]
    suffix_WL = (length_B[text_W] - num_suffix - num_prefix - inner_W)[:, None]
    offset_WL = torch.where(in_suffix_WL, suffix_WL, offset_WL)
    offset_WL = torch.where((windows_B == 1)[text_W, None], 0, offset_WL)
    index_WL = (local_L + offset_WL).clamp(0, width - 1)
    # The encoder needs something to attend to in a text without tokens; nothing reads the result.
    mask_WL = local_L < length_W.clamp(min=1)[:, None]

    index_T = torch.arange(width, device=device)
    home_window_BT = (2 * (index_T - num_prefix) - (inner_size - 1) + stride).div(2 * stride, rounding_mode="floor")
    home_window_BT = home_window_BT[None].clamp(min=0).minimum(windows_B[:, None] - 1)
    is_suffix_BT = (index_T >= (length_B - num_suffix)[:, None]) & (windows_B > 1)[:, None]
    home_window_BT = torch.where(is_suffix_BT, windows_B[:, None] - 1, home_window_BT)
    home_window_BT = torch.where((index_T < num_prefix)[None], 0, home_window_BT) + first_B[:, None]
    suffix_local_BT = index_T - length_B[:, None] + num_suffix + num_prefix + inner_W[home_window_BT]
    local_BT = torch.where(is_suffix_BT, suffix_local_BT, index_T - start_W[home_window_BT])
    home_BT = home_window_BT * local_L.shape[0] + local_BT.clamp(0, local_L.shape[0] - 1)
    return WindowPlan(text_W[:, None] * width + index_WL, mask_WL, home_BT)


def encode_windows(encoder: nn.Module, packed: PackedInputs, config: Any) -> Tensor:
    """Encode every token of every text: one batch of windows in, hidden states (B, T, D) in the packed layout out.

    Args:
        encoder: A transformers model that returns `last_hidden_state`.
        packed: The texts, from `pack_inputs`.
        config: Gives `window_size`, `window_stride`, `num_prefix_tokens` and `num_suffix_tokens`.
    """
    plan = plan_windows(
        packed.mask_BT, config.window_size, config.window_stride, config.num_prefix_tokens, config.num_suffix_tokens
    )
    inputs = {name: value.flatten(0, 1)[plan.token_WL] for name, value in packed.tokens.items()}
    if "inputs_embeds" in inputs:
        inputs.pop("input_ids", None)
    if "token_type_ids" not in signature(encoder.forward).parameters:
        inputs.pop("token_type_ids", None)
    hidden_WLD = encoder(attention_mask=plan.mask_WL.long(), **inputs).last_hidden_state
    hidden_BTD = hidden_WLD.flatten(0, 1)[plan.home_BT]
    return hidden_BTD * packed.mask_BT[:, :, None].to(hidden_BTD.dtype)
