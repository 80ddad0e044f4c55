"""Attention over the tokens of a text, and the hybrid pooling that makes one vector of it (arXiv 2512.09444, eq. 3-4).

Shape suffixes
    B = texts, P = tokens of all texts, padding left out, D = features, N = heads, K = width of a head's queries and
    keys, G = blocks of texts, T = tokens of the longest block, C = some of its queries
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .ragged import Ragged, is_exporting

# Queries handled at a time, and computed anew for the gradient, so that memory grows with the block, not its square.
QUERY_CHUNK = 1024
# Tokens of the blocks that are compared together, by device, others as "cuda"; memory grows with them.
CELLS_OF_GROUP = {"cpu": 1_024, "cuda": 65_536}


class TokenAttention(nn.Module):
    """Base of the token scorers: W_Q and W_K of width `key_dim` per head, and the scale 1/sqrt(key_dim) of eq. 3."""

    def __init__(self, hidden_size: int, key_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.key_dim = num_heads, key_dim
        self.key = nn.Linear(hidden_size, num_heads * key_dim)

    def heads(self, x_PE: Tensor) -> Tensor:
        """(P, N*K) -> (P, N, K)."""
        return x_PE.unflatten(-1, (self.num_heads, self.key_dim))

    def weigh(self, query_PNK: Tensor, hidden_PD: Tensor, texts: Ragged) -> Tensor:
        """Attention of one query per text, given for each of its tokens, over these tokens, (P, N)."""
        scores_PN = (query_PNK.float() * self.heads(self.key(hidden_PD)).float()).sum(2)
        return texts.softmax(scores_PN / math.sqrt(self.key_dim))


class SelfQuery(TokenAttention):
    """Every token asks: a token's weight is the attention that it receives, averaged over the text's query tokens.

    A text longer than `block_size` is compared block by block, each token with the tokens of its block, so that cost
    grows with the length of the text and not with its square; a shorter one is exactly eq. 3-4.
    """

    def __init__(self, hidden_size: int, key_dim: int, num_heads: int, block_size: int | None) -> None:
        super().__init__(hidden_size, key_dim, num_heads)
        self.block_size = block_size
        self.query = nn.Linear(hidden_size, num_heads * key_dim)

    def forward(self, hidden_PD: Tensor, texts: Ragged) -> Tensor:
        """Weights (P, N) that sum to 1 over the tokens of each text."""
        asked_PE = torch.cat([self.query(hidden_PD), self.key(hidden_PD)], dim=-1)
        received_PN = texts.cut(self.block_size).map_groups(self.received, asked_PE, CELLS_OF_GROUP)
        return received_PN / texts.lengths_S[texts.segment_N, None]

    def received(self, asked_GTE: Tensor, mask_GT: Tensor) -> Tensor:
        """Attention that each token receives, summed over the queries of its block, (G, T, N).

        Args:
            asked_GTE: Queries of all heads and keys of all heads, (G, T, 2 * N * K).
            mask_GT: Which are tokens and no padding.
        """
        query_GNTK, key_GNTK = (self.heads(each).transpose(1, 2) for each in asked_GTE.chunk(2, dim=-1))
        if is_exporting() or mask_GT.shape[1] <= QUERY_CHUNK:
            return self.received_from(query_GNTK, mask_GT, key_GNTK, mask_GT)
        total_GTN = torch.zeros(*mask_GT.shape, self.num_heads, device=mask_GT.device)
        for start in range(0, mask_GT.shape[1], QUERY_CHUNK):
            chunk = slice(start, start + QUERY_CHUNK)
            queries = query_GNTK[:, :, chunk], mask_GT[:, chunk]
            total_GTN = total_GTN + checkpoint(self.received_from, *queries, key_GNTK, mask_GT, use_reentrant=False)
        return total_GTN

    def received_from(self, query_GNCK: Tensor, asks_GC: Tensor, key_GNTK: Tensor, mask_GT: Tensor) -> Tensor:
        """Attention that each token receives from C of the queries, (G, T, N), computed in float32."""
        with torch.autocast(query_GNCK.device.type, enabled=False):
            scaled_GNCK = query_GNCK.float() / math.sqrt(self.key_dim)
            hidden_G11T = (~mask_GT[:, None, None]).float() * torch.finfo(torch.float32).min  # faster than masked_fill
            scores_GNCT = scaled_GNCK @ key_GNTK.float().transpose(2, 3) + hidden_G11T
            received_GN1T = asks_GC[:, None, None].float() @ scores_GNCT.softmax(-1)  # the sum over queries
        return received_GN1T.squeeze(2).transpose(1, 2)


class LearnedQuery(TokenAttention):
    """One learned question per head, asked of every text."""

    def __init__(self, hidden_size: int, key_dim: int, num_heads: int, block_size: int | None) -> None:
        super().__init__(hidden_size, key_dim, num_heads)
        self.question = nn.Parameter(torch.empty(num_heads, key_dim))

    def init_own_parameters(self) -> None:
        """Called where the model's fresh weights are set."""
        nn.init.normal_(self.question)

    def forward(self, hidden_PD: Tensor, texts: Ragged) -> Tensor:
        """Weights (P, N) that sum to 1 over the tokens of each text."""
        return self.weigh(self.question[None], hidden_PD, texts)


class ClsQuery(TokenAttention):
    """The text's first token ([CLS]) asks."""

    def __init__(self, hidden_size: int, key_dim: int, num_heads: int, block_size: int | None) -> None:
        super().__init__(hidden_size, key_dim, num_heads)
        self.query = nn.Linear(hidden_size, num_heads * key_dim)

    def forward(self, hidden_PD: Tensor, texts: Ragged) -> Tensor:
        """Weights (P, N) that sum to 1 over the tokens of each text."""
        has_tokens_B = texts.lengths_S > 0
        first_BD = hidden_PD[texts.offsets_S[has_tokens_B]]
        row_B = has_tokens_B.cumsum(0) - 1
        return self.weigh(self.heads(self.query(first_BD))[row_B[texts.segment_N]], hidden_PD, texts)


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

    def forward(self, hidden_PD: Tensor, texts: Ragged) -> tuple[Tensor, Tensor]:
        """Pool each text.

        Returns:
            The text vectors (B, D), zero for a text without tokens, and the weight of each token in them (P,), averaged
            over heads: at least 0, summing to 1 over a text's tokens.
        """
        share_P1 = 1 / texts.lengths_S[texts.segment_N, None].float()
        if self.attention is None:
            weights_PN = share_P1.expand(-1, self.num_heads)
        else:
            alpha = self.alpha
            weights_PN = alpha * share_P1 + (1 - alpha) * self.attention(hidden_PD, texts)
        pooled_BD = texts.weighted_sum(weights_PN, hidden_PD.float())
        return pooled_BD.to(hidden_PD.dtype), weights_PN.mean(1)
