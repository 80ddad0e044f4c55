"""Operations on ragged batches: a flat tensor of items and each segment's length, so that no work is done on padding.

Shape suffixes
    N = items in total (tokens, words), S = segments (sentences, documents), D = features,
    G = segments in a group of like length, L = longest segment of that group
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Segments at most this long share one group: below it, one padded call costs less than several exact ones.
SMALLEST_GROUP_LENGTH = 16


class Ragged:
    """The layout of N items in S consecutive segments.

    Args:
        lengths_S: int64 number of items of each segment, zero allowed; items lie in the order of their segments.
    """

    def __init__(self, lengths_S: Tensor) -> None:
        self.lengths_S = lengths_S
        self.offsets_S = lengths_S.cumsum(0) - lengths_S
        self.segment_N = torch.repeat_interleave(lengths_S)
        self.num_segments = lengths_S.shape[0]
        self._groups: list[tuple[Tensor, Tensor, Tensor]] | None = None

    def groups(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Non-empty segments in groups of like length (powers of two): (segments_G, items_GL, mask_GL) for each.

        `items_GL` indexes the flat items; where `mask_GL` is False it repeats an item of the segment.
        """
        if self._groups is None:
            buckets_S = (self.lengths_S.clamp(min=SMALLEST_GROUP_LENGTH) - 1).log2().floor()
            buckets_S = buckets_S.masked_fill(self.lengths_S == 0, -1)
            rows = [(buckets_S == bucket).nonzero()[:, 0] for bucket in buckets_S.unique().tolist() if bucket >= 0]
            self._groups = [(segments_G, *self.grid(segments_G)) for segments_G in rows]
        return self._groups

    def grid(self, segments_G: Tensor) -> tuple[Tensor, Tensor]:
        """Index and validity of the padded layout of some segments: (items_GL, mask_GL)."""
        lengths_G1 = self.lengths_S[segments_G, None]
        position_1L = torch.arange(int(lengths_G1.max()), device=lengths_G1.device)[None]
        items_GL = self.offsets_S[segments_G, None] + position_1L.minimum((lengths_G1 - 1).clamp(min=0))
        return items_GL, position_1L < lengths_G1

    def map_groups(self, function: Callable[[Tensor, Tensor], Tensor], x_ND: Tensor) -> Tensor:
        """Apply `function(x_GLD, mask_GL) -> y_GLE` to each group and return the valid items as y_NE."""
        if x_ND.shape[0] == 0:
            # One item of padding tells the width of what the function returns.
            return function(x_ND.new_zeros(1, 1, x_ND.shape[1]), self.lengths_S.new_ones(1, 1).bool())[0, :0]
        results, items = [], []
        for _, items_GL, mask_GL in self.groups():
            results.append(function(x_ND[items_GL], mask_GL)[mask_GL])
            items.append(items_GL[mask_GL])
        return torch.cat(results)[torch.cat(items).argsort()]

    def sum(self, x_ND: Tensor) -> Tensor:
        """Sum over each segment, (S, D); zero for an empty one."""
        return x_ND.new_zeros(self.num_segments, *x_ND.shape[1:]).index_add(0, self.segment_N, x_ND)

    def mean(self, x_ND: Tensor) -> Tensor:
        """Mean over each segment, (S, D); zero for an empty one."""
        return self.sum(x_ND) / self.lengths_S.clamp(min=1).to(x_ND.dtype)[:, None]

    def max(self, x_ND: Tensor) -> Tensor:
        """Maximum over each segment, (S, D); zero for an empty one."""
        index_ND = self.segment_N[:, None].expand_as(x_ND)
        zeros_SD = x_ND.new_zeros(self.num_segments, x_ND.shape[1])
        return zeros_SD.scatter_reduce(0, index_ND, x_ND, "amax", include_self=False)

    def softmax(self, scores_N: Tensor) -> Tensor:
        """Softmax over each segment's items, (N,), computed in float32."""
        scores_N = scores_N.float()
        shifted_N = scores_N - self.max(scores_N.detach()[:, None])[self.segment_N, 0]
        exponentials_N = shifted_N.exp()
        return exponentials_N / self.sum(exponentials_N)[self.segment_N]

    def rank(self, scores_N: Tensor) -> Tensor:
        """Rank of each item within its segment, int64 (N,): 0 has the highest score, of equal ones the earlier item."""
        by_score_N = scores_N.argsort(descending=True, stable=True)
        order_N = by_score_N[self.segment_N[by_score_N].argsort(stable=True)]
        in_order_N = torch.arange(scores_N.shape[0], device=scores_N.device) - self.offsets_S[self.segment_N]
        return torch.empty_like(order_N).scatter_(0, order_N, in_order_N)
