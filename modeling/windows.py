"""From a batch of texts of any length to windows that a pretrained encoder reads, and back to one vector per token.

Shape suffixes
    B = texts, T = tokens of the longest text, P = tokens of all texts, padding left out, W = windows of all texts,
    N = tokens of all windows, G = windows of a group, L = tokens of its longest, D = features
"""

from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .ragged import Ragged, is_compiling, is_empty, is_exporting, is_recomputed, largest, positions, recomputed
from .unpadded import NAME as UNPADDED
from .unpadded import first_position, in_one_row, learned_positions

# Cells (windows x tokens of the longest) that an encoder reads at once. On CPU the work on few stays in the cache, and
# in training each group's gradients are added to those before.
CELLS_OF_CALL = {"cpu": 4_096, "cuda": 65_536}


def cells_of_call(device_type: str) -> int:
    """Cells that an encoder reads at once on a device of this type."""
    return CELLS_OF_CALL.get(device_type, CELLS_OF_CALL["cuda"])


@dataclass
class PackedInputs:
    """A batch with each text's valid tokens first, in order; `source_BT` says from which column each one came."""

    tokens: dict[str, Tensor]  # each (B, T) or (B, T, E)
    mask_BT: Tensor  # bool
    source_BT: Tensor
    width: int  # columns of the batch before packing

    @cached_property
    def texts(self) -> Ragged:
        """P tokens in B texts."""
        return Ragged(self.mask_BT.sum(1), self.cell_P.shape[0])

    @cached_property
    def cell_P(self) -> Tensor:
        """Where each token stands in the flattened (B * T) batch."""
        return positions(self.mask_BT.flatten())

    def number_of(self, cell_N: Tensor) -> Tensor:
        """Which of the P tokens stand in these cells of the flattened (B * T) batch."""
        return self.texts.offsets_S[cell_N // self.mask_BT.shape[1]] + cell_N % self.mask_BT.shape[1]

    def grid(self, x_P: Tensor) -> Tensor:
        """Per-token values (P, ...) as (B, T, ...), zero where there is no token."""
        cells = x_P.new_zeros(self.mask_BT.numel(), *x_P.shape[1:]).index_copy(0, self.cell_P, x_P)
        return cells.unflatten(0, self.mask_BT.shape)

    def unpack(self, x_BT: Tensor) -> Tensor:
        """Put per-token values (B, T, ...) back into the caller's columns, zero where there is no token."""
        index = self.source_BT.reshape(*self.source_BT.shape, *[1] * (x_BT.dim() - 2)).expand_as(x_BT)
        filled = x_BT.new_zeros(x_BT.shape[0], max(self.width, 1), *x_BT.shape[2:]).scatter(1, index, x_BT)
        return filled[:, : self.width]


def pack_inputs(attention_mask: Tensor | None, **tokens: Tensor | None) -> PackedInputs:
    """Move padding (left, right or between) behind the text, so that nothing after it needs to know of padding sides.

    Args:
        attention_mask: (B, T), 1 or True for a token, 0 or False for padding; None means that every column is one.
        tokens: `input_ids` (B, T), `token_type_ids` (B, T), `inputs_embeds` (B, T, E), or None; ids or embeddings are
            needed.

    Raises:
        ValueError: There are none, shapes don't agree, ids are booleans, the mask has other values, or the model is
            being traced.
    """
    if torch.jit.is_tracing():
        raise ValueError(
            "torch.jit.trace keeps the layout of one batch and is wrong on the next: these models can't be traced"
        )
    present = {name: value for name, value in tokens.items() if value is not None}
    if not {"input_ids", "inputs_embeds"} & present.keys():
        raise ValueError("Pass input_ids or inputs_embeds.")
    check_shapes(present | ({} if attention_mask is None else {"attention_mask": attention_mask}))
    for name in ("input_ids", "token_type_ids"):
        if name in present:
            if present[name].dtype == torch.bool:
                raise ValueError(f"{name} holds True and False, and must hold numbers: is it the attention_mask?")
            if present[name].is_floating_point() and present[name].any():  # a tokenizer gives an empty batch so
                raise ValueError(f"{name} holds numbers with decimals, and must hold ids: is it inputs_embeds?")
            present[name] = present[name].long()
    first = next(iter(present.values()))
    batch_size, width = first.shape[:2]
    if attention_mask is None:
        mask_BT = torch.ones(batch_size, width, dtype=torch.bool, device=first.device)
    else:
        check_mask(attention_mask)
        mask_BT = attention_mask.to(torch.bool)
    # A batch without any column still has one row per text: give it a column of padding.
    if not is_exporting() and width == 0:
        present = {name: value.new_zeros(batch_size, 1, *value.shape[2:]) for name, value in present.items()}
        mask_BT = mask_BT.new_zeros(batch_size, 1)
    longest = mask_BT.shape[1] if is_compiling() else max(largest(mask_BT.sum(1)), 1)
    source_BT = (~mask_BT).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    rows_B1 = torch.arange(batch_size, device=first.device)[:, None]
    packed = {name: value[rows_B1, source_BT] for name, value in present.items()}
    return PackedInputs(packed, mask_BT[rows_B1, source_BT], source_BT, width)


def check_shapes(inputs: dict[str, Tensor]) -> None:
    """Raise ValueError unless all inputs are of the same texts and tokens."""
    expected = next(iter(inputs.values())).shape[:2]
    for name, value in inputs.items():
        what = "(texts, tokens, width)" if name == "inputs_embeds" else "(texts, tokens)"
        if value.dim() != what.count(",") + 1:
            raise ValueError(f"{name} has {value.dim()} dimensions, {tuple(value.shape)}, and must be {what}")
        if value.shape[:2] != expected:
            first = next(iter(inputs))
            raise ValueError(f"{name} is {tuple(value.shape)} and {first} {tuple(expected)}: one number for each token")


def check_mask(mask_BT: Tensor) -> None:
    """Raise ValueError if a mask isn't of 0 and 1: one that is added has 0 for tokens. Compiled, it isn't looked at."""
    if mask_BT.dtype == torch.bool or torch.compiler.is_compiling():
        return
    other_N = mask_BT[(mask_BT != 0) & (mask_BT != 1)]
    if len(other_N):
        raise ValueError(f"attention_mask has {other_N[0].item()}, and must be 1 for a token and 0 for padding")


class WindowPlan(NamedTuple):
    """Which token of which text stands where in the windows, and where each token's result is read."""

    windows: Ragged  # N tokens in W windows, one after the other
    token_N: Tensor  # index into the flattened (B * T) tokens
    home_P: Tensor  # index into the N results


def plan_windows(
    texts: Ragged, width: int, size: int | None, stride: int | None, num_prefix: int, num_suffix: int
) -> WindowPlan:
    """Cover each text with windows that overlap by `size - stride` tokens.

    Every window begins with the text's own first `num_prefix` tokens ([CLS], <s>) and ends with its last `num_suffix`
    tokens ([SEP]), as the encoder was pretrained. A token seen by several windows is read from the one in whose middle
    it lies. A text that fits is one window: itself.

    Args:
        texts: P tokens in B texts.
        width: T, columns of the batch, in which each text's tokens come first (see `pack_inputs`).
        size: Tokens of a window, special tokens included; None for no limit.
        stride: Tokens from one window's start to the next one's, at most `size - num_prefix - num_suffix`.
        num_prefix: Special tokens at the start of a text.
        num_suffix: Special tokens at its end.
    """
    length_B, device = texts.lengths_S, texts.lengths_S.device
    if not is_compiling() and (size is None or width <= size) and bool((length_B > 0).all()):  # nothing is cut
        return WindowPlan(
            texts, texts.segment_N * width + texts.position_N, torch.arange(texts.num_items, device=device)
        )
    inner_size = (size or max(width, num_prefix + num_suffix + 1)) - num_prefix - num_suffix
    stride = stride or inner_size
    inner_B = (length_B - num_prefix - num_suffix).clamp(min=0)
    windows_B = 1 + ((inner_B - inner_size).clamp(min=0) + stride - 1) // stride
    of_texts = Ragged(windows_B)
    first_B, text_W = of_texts.offsets_S, of_texts.segment_N
    start_W = of_texts.position_N * stride
    inner_W = (inner_B[text_W] - start_W).clamp(max=inner_size)
    length_W = length_B[text_W].minimum(num_prefix + inner_W + num_suffix)
    # The encoder needs something to attend to in a text without tokens; nothing reads the result.
    windows = Ragged(length_W.clamp(min=1))
    window_N, local_N = windows.segment_N, windows.position_N
    offset_N = torch.where(local_N < num_prefix, 0, start_W[window_N])
    suffix_W = length_B[text_W] - num_suffix - num_prefix - inner_W
    offset_N = torch.where(local_N >= (num_prefix + inner_W)[window_N], suffix_W[window_N], offset_N)
    offset_N = torch.where((windows_B == 1)[text_W][window_N], 0, offset_N)
    token_N = text_W[window_N] * width + (local_N + offset_N).clamp(0, width - 1)

    text_P, index_P = texts.segment_N, texts.position_N
    length_P, windows_P = length_B[text_P], windows_B[text_P]
    home_window_P = (2 * (index_P - num_prefix) - (inner_size - 1) + stride).div(2 * stride, rounding_mode="floor")
    home_window_P = home_window_P.clamp(min=0).minimum(windows_P - 1)
    is_suffix_P = (index_P >= length_P - num_suffix) & (windows_P > 1)
    home_window_P = torch.where(is_suffix_P, windows_P - 1, home_window_P)
    home_window_P = torch.where(index_P < num_prefix, 0, home_window_P) + first_B[text_P]
    suffix_local_P = index_P - length_P + num_suffix + num_prefix + inner_W[home_window_P]
    local_P = torch.where(is_suffix_P, suffix_local_P, index_P - start_W[home_window_P])
    home_P = windows.offsets_S[home_window_P] + local_P.clamp(min=0).minimum(windows.lengths_S[home_window_P] - 1)
    return WindowPlan(windows, token_N, home_P)


def encode_windows(encoder: Any, packed: PackedInputs, config: Any, keep_at_most: int | None = None) -> Tensor:
    """Encode every token of every text: windows of like length side by side, hidden states (P, D) out, text by text.

    The encoder looks up the tokens' embeddings, unless the texts come with theirs: then windows are cut from them.

    Args:
        encoder: A transformers model that returns `last_hidden_state`.
        packed: The texts, from `pack_inputs`.
        config: Gives `window_size`, `window_stride`, `num_prefix_tokens` and `num_suffix_tokens`.
        keep_at_most: Tokens whose activations may be kept for the gradient; those of more are computed again, group by
            group. None for no limit.
    """
    if is_empty(packed.texts.lengths_S):  # encoders refuse to read nothing
        return next(encoder.parameters()).new_zeros(0, encoder.config.hidden_size)
    width, special = packed.mask_BT.shape[1], (config.num_prefix_tokens, config.num_suffix_tokens)
    plan = plan_windows(packed.texts, width, config.window_size, config.window_stride, *special)
    rows = None if config.window_size else position_rows(encoder)
    if rows is not None and not is_exporting() and (longest := int(plan.windows.lengths_S.max())) > rows:
        raise ValueError(f"a text of {longest} tokens is more than the encoder's {rows} positions; set window_size")
    cells = {} if is_sharded(encoder) else CELLS_OF_CALL
    is_long = in_any_process(encoder, is_recomputed(plan.windows.num_items, keep_at_most), packed.mask_BT.device)
    if is_long:
        # What one call keeps while it is computed again is most of a long text's memory.
        cells = {device: number // 2 for device, number in cells.items()}
    groups = plan.windows.in_groups(cells)
    inputs = {
        name: groups.split(value.flatten(0, 1).index_select(0, plan.token_N))
        for name, value in encoder_inputs(encoder, packed).items()
    }
    reads = in_one_row(encoder) if encoder.config._attn_implementation == UNPADDED else encoder
    read = recomputed(reads, plan.windows.num_items, 0 if is_long else None)
    # The first output by its place: an encoder's configuration may say that it returns a tuple.
    hidden = [
        read(attention_mask=mask_GL.long(), **{name: parts[number] for name, parts in inputs.items()})[0]
        for number, mask_GL in enumerate(groups.masks)
    ]
    return groups.join(hidden, plan.home_P)


def encoder_inputs(encoder: Any, packed: PackedInputs) -> dict[str, Tensor]:
    """What an encoder reads of the texts' tokens, each (B, T) or (B, T, E)."""
    tokens = dict(packed.tokens)
    if "inputs_embeds" in tokens:
        if not takes_embeddings(encoder):
            raise ValueError(f"{type(encoder).__name__} reads token ids only, and no inputs_embeds")
        tokens.pop("input_ids", None)
    if "token_type_ids" not in signature(encoder.forward).parameters:
        tokens.pop("token_type_ids", None)
    return tokens


def is_sharded(encoder: nn.Module) -> bool:
    """Whether calls of the encoder are calls of all processes, as each holds a part of its weights (FSDP, ZeRO-3)."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    of_fsdp = any(isinstance(module, FSDPModule | FullyShardedDataParallel) for module in encoder.modules())
    return of_fsdp or any(hasattr(weight, "ds_id") for weight in encoder.parameters())


def in_any_process(encoder: nn.Module, is_so: bool, device: torch.device) -> bool:
    """Whether something is so here, or where the encoder is shared in any process: what one does then, all do.

    Activations that are computed again are calls of all processes a second time.
    """
    if not torch.is_grad_enabled() or not is_sharded(encoder):
        return is_so
    flag = torch.tensor(int(is_so), device=device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag)


def takes_embeddings(encoder: Any) -> bool:
    """Whether an encoder reads embeddings as it would their tokens (with token dropout, ESM doesn't)."""
    return "inputs_embeds" in signature(encoder.forward).parameters and not getattr(
        encoder.config, "token_dropout", False
    )


def position_rows(encoder: nn.Module) -> int | None:
    """Tokens that an encoder has learned positions for; None where positions are computed."""
    table = learned_positions(encoder)
    return None if table is None else table.num_embeddings - first_position(table)
