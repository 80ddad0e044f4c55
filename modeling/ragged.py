"""Operations on ragged batches: a flat tensor of items and each segment's length, so that no work is done on padding.

Shape suffixes
    N = items in total (tokens, words), S = segments (sentences, documents), D = features,
    G = segments in a group of like length, L = longest segment of that group
"""

import ctypes
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

# Cells (segments x longest) of a group. On CPU small groups of like length are faster: they need hardly any padding,
# and their results are small enough for the allocator to reuse, where large ones come from the system page by page.
CELLS_OF_GROUP = {"cpu": 512, "cuda": 65_536}


def is_compiling() -> bool:
    """Whether torch.export or torch.compile looks at the model: what it does depends then on no numbers of a batch.

    torch.compile would make graphs anew for each number of segments, and of groups.
    """
    return torch.compiler.is_compiling()


def is_exporting() -> bool:
    """Whether torch.export looks at the model: not even what is refused may then depend on numbers of a batch."""
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


def is_empty(x_ND: Tensor) -> bool:
    """Whether there are no items, where that may decide what is computed."""
    return not is_exporting() and x_ND.shape[0] == 0


class Groups:
    """Segments of a layout in groups, each padded to its longest.

    Args:
        layout: The layout.
        segments: Segments of each group.
    """

    def __init__(self, layout: "Ragged", segments: list[Tensor]) -> None:
        grids = [layout.grid(segments_G) for segments_G in segments]
        empty = layout.lengths_S[:0]
        self.segments = segments
        self.masks = [mask_GL for _, mask_GL in grids]
        self.sizes = [mask_GL.numel() for mask_GL in self.masks]
        # Cells C: one after the other, those of all groups. One gather for all of them, whose gradient is one too; a
        # gather for each group would have a gradient as large as all items for each group.
        self.item_C = torch.cat([empty, *(items_GL.flatten() for items_GL, _ in grids)])
        cell_N = positions(torch.cat([empty.bool(), *(mask_GL.flatten() for mask_GL in self.masks)]))
        self.cell_N = cell_N.new_zeros(layout.num_items).scatter_(0, self.item_C[cell_N], cell_N)

    def split(self, x_ND: Tensor) -> list[Tensor]:
        """Items (N, ...) as (G, L, ...) for each group; padding repeats an item."""
        if is_compiling() or not x_ND.shape[0]:  # without any item, the padding has something to repeat
            x_ND = torch.cat([x_ND, x_ND.new_zeros(1, *x_ND.shape[1:])])
        cells = x_ND.index_select(0, self.item_C)
        parts = [cells] if len(self.sizes) == 1 else cells.split(self.sizes)
        return [part.unflatten(0, mask_GL.shape) for part, mask_GL in zip(parts, self.masks, strict=True)]

    def join(self, results: list[Tensor], items: Tensor | None = None) -> Tensor:
        """Results (G, L, ...) of each group as items (N, ...), in the items' order; or of these items only."""
        cells = self.cell_N if items is None else self.cell_N[items]
        parts = [each.flatten(0, 1) for each in results]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).index_select(0, cells)


def like_lengths(lengths: list[int], limit: int) -> Iterator[slice]:
    """Neighbours that have at most `limit` cells (segments x longest) together; one that has more is alone.

    Args:
        lengths: Ascending, none of them 0.
        limit: Cells.
    """
    start = 0
    while start < len(lengths):

        def cells(end: int, start: int = start) -> int:
            return (end - start) * lengths[end - 1]

        fit = max(bisect_right(range(start + 1, len(lengths) + 1), limit, key=cells), 1)
        yield slice(start, start + fit)
        start += fit


def is_recomputed(num_items: int, keep_at_most: int | None) -> bool:
    """Whether these are more items than those whose inner results may be kept for the gradient; None for no limit."""
    return keep_at_most is not None and num_items > keep_at_most and torch.is_grad_enabled()


def recomputed(function: Callable[..., Any], num_items: int, keep_at_most: int | None) -> Callable[..., Any]:
    """The same function; for more items than may be kept, what it computes is computed again for the gradient.

    Args:
        function: What is done, with all items or group by group.
        num_items: In all.
        keep_at_most: Items whose inner results may be kept; None for no limit.
    """
    if not is_recomputed(num_items, keep_at_most):
        return function

    def tidy(*inputs: Any, **named: Any) -> Any:
        first = (*inputs, *named.values())[0]
        if (first[0] if isinstance(first, tuple) else first).device.type == "cpu":
            give_back_free_memory()
        return function(*inputs, **named)

    return partial(checkpoint, tidy, use_reentrant=False)


def give_back_free_memory() -> None:
    """Let the system have what is free, where the C library is glibc.

    By itself it doesn't: what is small and stays, as the nodes of a graph, comes to lie between large blocks, which
    don't fit next time where they were freed. Most of the memory of a long text would be held so, and what batches of
    different lengths take would grow from one to the next.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def largest(lengths: Tensor, at_least: int = 0) -> int:
    """The largest of some lengths, or this if there are none."""
    # No int() of it: that would make the example's length a part of an exported model.
    found: Any = torch.cat([lengths.flatten(), lengths.new_full((1,), at_least)]).max().item()
    torch._check(found >= at_least)
    return found  # type: ignore[no-any-return]


def positions(mask_C: Tensor) -> Tensor:
    """Where a mask (C,) is true, ascending."""
    return mask_C.nonzero()[:, 0]


def counts(segment_N: Tensor, num_segments: int) -> Tensor:
    """Items of each segment, (S,)."""
    return segment_N.new_zeros(num_segments).index_add(0, segment_N, torch.ones_like(segment_N))


class Ragged:
    """The layout of N items in S consecutive segments.

    Args:
        lengths_S: int64 number of items of each segment, zero allowed; items lie in the order of their segments.
        num_items: N, where it is known.
    """

    def __init__(self, lengths_S: Tensor, num_items: int | None = None) -> None:
        self.lengths_S = lengths_S
        self.offsets_S = lengths_S.cumsum(0) - lengths_S
        self.segment_N = torch.repeat_interleave(lengths_S, output_size=num_items)
        self.num_items, self.num_segments = self.segment_N.shape[0], lengths_S.shape[0]

    @property
    def position_N(self) -> Tensor:
        """Place of each item in its segment, from 0."""
        return torch.arange(self.segment_N.shape[0], device=self.segment_N.device) - self.offsets_S[self.segment_N]

    def cut(self, size: int | None) -> "Ragged":
        """The layout of the same items where each segment is cut into pieces of `size` and a rest; None: not at all."""
        if size is None:
            return self
        pieces = Ragged((self.lengths_S + size - 1) // size)
        return Ragged((self.lengths_S[pieces.segment_N] - pieces.position_N * size).clamp(max=size), self.num_items)

    @cached_property
    def groups(self) -> Groups:
        """Non-empty segments in groups of `CELLS_OF_GROUP`."""
        return self.in_groups(CELLS_OF_GROUP)

    def in_groups(self, cells: dict[str, int]) -> Groups:
        """Non-empty segments in groups of like length, the shortest first.

        Args:
            cells: How many cells of a group a type of device is given, "cuda" for others; empty for one group, as it is
                compiled.
        """
        if is_compiling():
            return Groups(self, [torch.arange(self.num_segments, device=self.lengths_S.device)])
        limit = cells.get(self.lengths_S.device.type, cells.get("cuda", sys.maxsize))
        order_S = self.lengths_S.argsort(stable=True)
        lengths = self.lengths_S[order_S].tolist()
        num_empty = bisect_right(lengths, 0)
        return Groups(self, [order_S[num_empty:][part] for part in like_lengths(lengths[num_empty:], limit)])

    def grid(self, segments_G: Tensor) -> tuple[Tensor, Tensor]:
        """Index and validity of the padded layout of some segments: (items_GL, mask_GL)."""
        lengths_G1 = self.lengths_S[segments_G, None]
        longest = largest(lengths_G1, 2 if is_compiling() else 0)
        position_1L = torch.arange(longest, device=lengths_G1.device)[None]
        items_GL = self.offsets_S[segments_G, None] + position_1L.minimum((lengths_G1 - 1).clamp(min=0))
        items_GL = items_GL.clamp(max=self.num_items - 1).clamp(
            min=0
        )  # behind the last item, for an empty last segment
        return items_GL, position_1L < lengths_G1

    def map_groups(
        self, function: Callable[[Tensor, Tensor], Tensor], x_ND: Tensor, cells: dict[str, int] | None = None
    ) -> Tensor:
        """Apply `function(x_GLD, mask_GL) -> y_GLE` to each group and return the valid items as y_NE.

        Args:
            function: What is done.
            x_ND: All items.
            cells: See `in_groups`; None for `groups`.
        """
        if is_empty(x_ND):
            # One item of padding tells the width of what the function returns.
            return function(x_ND.new_zeros(1, 1, x_ND.shape[1]), self.lengths_S.new_ones(1, 1).bool())[0, :0]
        groups = self.groups if cells is None else self.in_groups(cells)
        inputs = zip(groups.split(x_ND), groups.masks, strict=True)
        return groups.join([function(x_GLD, mask_GL) for x_GLD, mask_GL in inputs])

    def sum(self, x_ND: Tensor) -> Tensor:
        """Sum over each segment, (S, D); zero for an empty one."""
        return x_ND.new_zeros(self.num_segments, *x_ND.shape[1:]).index_add(0, self.segment_N, x_ND)

    def weighted_sum(self, weights_NH: Tensor, x_ND: Tensor) -> Tensor:
        """Sum of weighted items over each segment, (S, D), without all products at once; zero for an empty one.

        Args:
            weights_NH: Of each item for each of H equal slices of the features, in the items' type.
            x_ND: Items.
        """
        num_slices = weights_NH.shape[1]
        slice_H = torch.arange(num_slices, device=x_ND.device)
        # Rows C are slices of items; in the order of bags, those of one segment's one slice stand side by side.
        row_C = (self.segment_N[:, None] * num_slices + slice_H).flatten().argsort(stable=True)
        start_SH = self.offsets_S[:, None] * num_slices + self.lengths_S[:, None] * slice_H
        # Of all features no view is made: to a view's gradient nothing is added in place.
        rows = x_ND if num_slices == 1 else x_ND.reshape(-1, x_ND.shape[1] // num_slices)
        summed = F.embedding_bag(
            row_C,
            rows,
            start_SH.flatten(),
            mode="sum",
            per_sample_weights=weights_NH.flatten()[row_C],
        )
        return summed.view(self.num_segments, x_ND.shape[1])

    def mean(self, x_ND: Tensor) -> Tensor:
        """Mean over each segment, (S, D); zero for an empty one."""
        # In half precision, long sums lose their digits, and 65,504 may be fewer than the items.
        wide_ND = x_ND.to(torch.promote_types(x_ND.dtype, torch.float32))
        return (self.sum(wide_ND) / self.lengths_S.clamp(min=1)[:, None]).to(x_ND.dtype)

    def max(self, x_ND: Tensor) -> Tensor:
        """Maximum over each segment, (S, D); zero for an empty one."""
        index_ND = self.segment_N[:, None].expand_as(x_ND)
        zeros_SD = x_ND.new_zeros(self.num_segments, x_ND.shape[1])
        return zeros_SD.scatter_reduce(0, index_ND, x_ND, "amax", include_self=False)

    def softmax(self, scores_ND: Tensor) -> Tensor:
        """Softmax over each segment's items, for each column, (N, D), computed in float32."""
        scores_ND = scores_ND.float()
        exponentials_ND = (scores_ND - self.max(scores_ND.detach())[self.segment_N]).exp()
        return exponentials_ND / self.sum(exponentials_ND)[self.segment_N]

    def rank(self, scores_N: Tensor) -> Tensor:
        """Rank of each item within its segment, int64 (N,): 0 has the highest score, of equal ones the earlier item."""
        by_score_N = scores_N.argsort(descending=True, stable=True)
        order_N = by_score_N[self.segment_N[by_score_N].argsort(stable=True)]
        return torch.empty_like(order_N).scatter_(0, order_N, self.position_N)
