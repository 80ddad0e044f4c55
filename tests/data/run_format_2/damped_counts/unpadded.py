"""Windows that a pretrained encoder reads one behind the other, as one row without padding: the way of GPUs.

Shape suffixes
    G = windows of a group, L = tokens of its longest, N = tokens of all its windows, H = heads, K = features of a head,
    D = features of a token
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from .ragged import Ragged

NAME = "unpadded"
HALF = (torch.float16, torch.bfloat16)


def unpadded_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention within each window of a row; arguments and result are those of transformers' attention functions.

    In half precision on GPUs by torch's `varlen_attn` (flash attention, linear in memory). Elsewhere by one product
    with a mask over all pairs of tokens, which is the same and slow: nothing but the check of it reads so.

    Args:
        module: The layer.
        query: (1, H, N, K), as key and value.
        key: See query.
        value: See query.
        attention_mask: None: there is no padding.
        scaling: Of the products; None for 1 / sqrt(K).
        cu_seq_lens_q: int32, where each window begins, and N.
        max_length_q: Tokens of the longest window.
        options: What an encoder also gives; it drops no attention weights.
    """
    assert cu_seq_lens_q is not None and attention_mask is None
    if query.is_cuda and query.dtype in HALF:
        from torch.nn.attention.varlen import varlen_attn

        query_NHK, key_NHK, value_NHK = (each[0].transpose(0, 1) for each in (query, key, value))
        starts: tuple[Any, ...] = (cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q)
        out_NHK: Any = varlen_attn(query_NHK, key_NHK, value_NHK, *starts, scale=scaling)
        return out_NHK[None], None
    numbers = torch.arange(query.shape[2], device=query.device)
    window_N = torch.searchsorted(cu_seq_lens_q, numbers, right=True)
    same_NN = window_N[:, None] == window_N
    return F.scaled_dot_product_attention(query, key, value, same_NN, scale=scaling).transpose(1, 2), None


def in_one_row(encoder: Any) -> Callable[..., tuple[Tensor]]:
    """An encoder that attends by `unpadded_attention`, as a function of padded windows like any other one.

    Returns:
        A function of `attention_mask` (G, L) and inputs (G, L, ...), whose first output is (G, L, D), zero at padding.
    """
    table = learned_positions(encoder)
    assert table is not None
    first = first_position(table)

    def read(attention_mask: Tensor, **inputs: Tensor) -> tuple[Tensor]:
        mask_GL = attention_mask.bool()
        windows = Ragged(mask_GL.sum(1))
        starts = F.pad(windows.lengths_S.cumsum(0), (1, 0)).int()
        ((hidden_ND,), *_) = encoder(
            **{name: value[mask_GL][None] for name, value in inputs.items()},
            position_ids=windows.position_N[None] + first,
            cu_seq_lens_q=starts,
            max_length_q=mask_GL.shape[1],
            return_dict=False,
        )
        cells = hidden_ND.new_zeros(mask_GL.numel(), hidden_ND.shape[1])
        cells = cells.index_copy(0, mask_GL.flatten().nonzero()[:, 0], hidden_ND)
        return (cells.unflatten(0, mask_GL.shape),)

    return read


def learned_positions(encoder: nn.Module) -> nn.Embedding | None:
    """An encoder's table of positions; None where positions are computed."""
    for name, module in encoder.named_modules():
        if name.endswith(("position_embeddings", "wpe")) and isinstance(module, nn.Embedding):
            return module
    return None


def first_position(table: nn.Embedding) -> int:
    """The row of a window's first token in a table of positions: with a padding row, the one behind it (RoBERTa)."""
    return 0 if table.padding_idx is None else table.padding_idx + 1


AttentionInterface.register(NAME, unpadded_attention)
AttentionMaskInterface.register(NAME, lambda *arguments, **options: None)  # there is no padding
