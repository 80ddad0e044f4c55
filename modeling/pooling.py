"""Attention over the tokens of a text, and the hybrid pooling that makes one vector of it (arXiv 2512.09444, eq. 3-4).

Shape suffixes
    B = texts (or blocks of texts), T = tokens, D = features, N = heads, K = width of a head's queries and keys
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Queries handled at a time, and computed anew for the gradient, so that memory grows with the block, not its square.
QUERY_CHUNK = 1024


def masked_softmax(scores_BNT: Tensor, mask_BT: Tensor) -> Tensor:
    """Softmax in float32 over the valid tokens; all zero for a text that has none."""
    valid_B1T = mask_BT[:, None]
    scores_BNT = scores_BNT.float().masked_fill(~valid_B1T, torch.finfo(torch.float32).min)
    return scores_BNT.softmax(-1) * valid_B1T


class TokenAttention(nn.Module):
    """Base of the token scorers: W_Q and W_K of width `key_dim` per head, and the scale 1/sqrt(key_dim) of eq. 3."""

    def __init__(self, hidden_size: int, key_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.key_dim = num_heads, key_dim
        self.key = nn.Linear(hidden_size, num_heads * key_dim)

    def heads(self, x_BTE: Tensor) -> Tensor:
        """(B, T, N*K) -> (B, N, T, K)."""
        return x_BTE.unflatten(-1, (self.num_heads, self.key_dim)).transpose(1, 2)

    def weigh(self, query_BN1K: Tensor, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Attention of one query per text over its tokens, (B, N, T)."""
        scores_BNT = (query_BN1K @ self.heads(self.key(hidden_BTD)).transpose(2, 3))[:, :, 0]
        return masked_softmax(scores_BNT / math.sqrt(self.key_dim), mask_BT)


class SelfQuery(TokenAttention):
    """Every token asks: a token's weight is the attention that it receives, averaged over the valid query tokens.

    A text longer than `block_size` is compared block by block, each token with the tokens of its block, so that cost
    grows with the length of the text and not with its square; a shorter one is exactly eq. 3-4.
    """

    def __init__(self, hidden_size: int, key_dim: int, num_heads: int, block_size: int | None) -> None:
        super().__init__(hidden_size, key_dim, num_heads)
        self.block_size = block_size
        self.query = nn.Linear(hidden_size, num_heads * key_dim)

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Weights (B, N, T) that sum to 1 over the valid tokens of each text."""
        batch_size, width = mask_BT.shape
        block_size = min(self.block_size or width, width)
        padding = -width % block_size
        hidden_BTD = nn.functional.pad(hidden_BTD, (0, 0, 0, padding))
        blocks_mask = nn.functional.pad(mask_BT, (0, padding)).reshape(-1, block_size)
        filled = blocks_mask.any(1).nonzero()[:, 0]
        blocks = hidden_BTD.reshape(-1, block_size, hidden_BTD.shape[-1])[filled]
        received = self.received(blocks, blocks_mask[filled])
        received_BNT = received.new_zeros(blocks_mask.shape[0], self.num_heads, block_size).index_copy(
            0, filled, received
        )
        received_BNT = received_BNT.unflatten(0, (batch_size, -1)).transpose(1, 2).flatten(2)[:, :, :width]
        return received_BNT / mask_BT.sum(1).clamp(min=1)[:, None, None]

    def received(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Attention that each token receives, summed over the valid queries of its block, (B, N, T)."""
        query_BNTK, key_BNTK = self.heads(self.query(hidden_BTD)), self.heads(self.key(hidden_BTD))
        if mask_BT.shape[1] <= QUERY_CHUNK:
            return self.received_from(query_BNTK, mask_BT, key_BNTK, mask_BT)
        total_BNT = torch.zeros(query_BNTK.shape[:3], device=hidden_BTD.device)
        for start in range(0, mask_BT.shape[1], QUERY_CHUNK):
            chunk = slice(start, start + QUERY_CHUNK)
            queries = query_BNTK[:, :, chunk], mask_BT[:, chunk]
            total_BNT = total_BNT + checkpoint(self.received_from, *queries, key_BNTK, mask_BT, use_reentrant=False)
        return total_BNT

    def received_from(self, query_BNCK: Tensor, asks_BC: Tensor, key_BNTK: Tensor, mask_BT: Tensor) -> Tensor:
        """Attention that each token receives from C of the queries, (B, N, T)."""
        scores_BNCT = query_BNCK @ key_BNTK.transpose(2, 3) / math.sqrt(self.key_dim)
        scores_BNCT = scores_BNCT.float().masked_fill(~mask_BT[:, None, None], torch.finfo(torch.float32).min)
        return (scores_BNCT.softmax(-1) * asks_BC[:, None, :, None]).sum(2)


class LearnedQuery(TokenAttention):
    """One learned question per head, asked of every text."""

    def __init__(self, hidden_size: int, key_dim: int, num_heads: int, block_size: int | None) -> None:
        super().__init__(hidden_size, key_dim, num_heads)
        self.question = nn.Parameter(torch.empty(num_heads, key_dim))

    def init_own_parameters(self) -> None:
        """Called where the model's fresh weights are set."""
        nn.init.normal_(self.question)

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Weights (B, N, T) that sum to 1 over the valid tokens of each text."""
        return self.weigh(self.question[None, :, None], hidden_BTD, mask_BT)


class ClsQuery(TokenAttention):
    """The text's first token ([CLS]) asks."""

    def __init__(self, hidden_size: int, key_dim: int, num_heads: int, block_size: int | None) -> None:
        super().__init__(hidden_size, key_dim, num_heads)
        self.query = nn.Linear(hidden_size, num_heads * key_dim)

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Weights (B, N, T) that sum to 1 over the valid tokens of each text."""
        return self.weigh(self.heads(self.query(hidden_BTD[:, :1])), hidden_BTD, mask_BT)


# Each is made of (hidden_size, key_dim, num_heads, block_size).
QUERIES: dict[str, Callable[[int, int, int, int | None], TokenAttention]] = {
    "self": SelfQuery,
    "learned": LearnedQuery,
    "cls": ClsQuery,
}


class AttentionPooling(nn.Module):
    """Hybrid pooling z = alpha * mean(h) + (1 - alpha) * sum_i beta_i h_i (arXiv 2512.09444, eq. 4).

    With several heads each one weighs its own slice of the features.

    Args:
        hidden_size: D, divisible by `num_heads`.
        query: Which question the attention answers, a key of `QUERIES`.
        key_dim: K.
        num_heads: N.
        alpha: Share of the plain mean, in [0, 1].
        learn_alpha: Train alpha (as the sigmoid of a parameter that starts at the given value).
        block_size: Longest stretch of tokens compared pairwise; None for no limit.
    """

    def __init__(
        self,
        hidden_size: int,
        query: str = "self",
        key_dim: int = 64,
        num_heads: int = 1,
        alpha: float = 0.5,
        learn_alpha: bool = False,
        block_size: int | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.initial_alpha = alpha
        self.alpha_logit = nn.Parameter(torch.empty(())) if learn_alpha else None
        # The plain mean needs no attention: its weights would get no gradient.
        needs_attention = learn_alpha or alpha < 1
        self.attention = QUERIES[query](hidden_size, key_dim, num_heads, block_size) if needs_attention else None

    def init_own_parameters(self) -> None:
        """Called where the model's fresh weights are set."""
        if self.alpha_logit is not None:
            nn.init.constant_(self.alpha_logit, math.log(self.initial_alpha / (1 - self.initial_alpha)))

    @property
    def alpha(self) -> Tensor | float:
        """Share of the plain mean."""
        return self.initial_alpha if self.alpha_logit is None else self.alpha_logit.sigmoid()

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Pool each text.

        Returns:
            The text vectors (B, D) and the weight of each token in them (B, T), averaged over heads: at least 0,
            summing to 1 over a text's tokens. Both are all zero for a text without tokens.
        """
        share_BT = mask_BT / mask_BT.sum(1, keepdim=True).clamp(min=1)
        if self.attention is None:
            weights_BNT = share_BT[:, None].expand(-1, self.num_heads, -1)
        else:
            alpha = self.alpha
            weights_BNT = alpha * share_BT[:, None] + (1 - alpha) * self.attention(hidden_BTD, mask_BT)
        slices_BTNE = hidden_BTD.unflatten(-1, (self.num_heads, -1))
        pooled_BD = torch.einsum("bnt,btne->bne", weights_BNT.to(hidden_BTD.dtype), slices_BTNE).flatten(1)
        return pooled_BD, weights_BNT.mean(1)
