"""Document-level cross-attention (Newsgroups paper, component 4), and how its result joins the words.

Shape suffixes
    K = words that the filter keeps, S = sentences of all documents, D = hidden width, E = width of a sentence vector,
    H = heads, X = width of a head, B = documents, M = most sentences of a document
"""

from typing import Any

import torch
from torch import Tensor, nn

from .attention import ATTENTIONS
from .ragged import Ragged, is_empty
from .salience_base import registered


class ResidualFusion(nn.Module):
    """Word plus what it read in the sentences."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, words_KD: Tensor, attended_KD: Tensor) -> Tensor:
        """(K, D), (K, D) -> (K, D)."""
        return words_KD + attended_KD


class GatedFusion(nn.Module):
    """A learned balance of word and what it read in the sentences, by feature (Newsgroups paper, failure mode 5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * width, width)

    def forward(self, words_KD: Tensor, attended_KD: Tensor) -> Tensor:
        """(K, D), (K, D) -> (K, D)."""
        gate_KD = self.gate(torch.cat([words_KD, attended_KD], dim=1)).sigmoid()
        return gate_KD * words_KD + (1 - gate_KD) * attended_KD


FUSIONS: dict[str, type[ResidualFusion] | type[GatedFusion]] = {"residual": ResidualFusion, "gated": GatedFusion}


class ZeroStartLinear(nn.Linear):
    """The last layer of a residual branch, which begins at zero.

    A word is then at first just itself: what sentences say is much alike in all documents before anything is learned,
    and would drown it.
    """

    def init_own_parameters(self) -> None:
        """Called where the model's fresh weights are set."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class CrossAttention(nn.Module):
    """Kept words ask, their document's sentences answer; fusion, feed-forward and norms."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(3 * width, width)
        self.value = nn.Linear(3 * width, width)
        self.output = ZeroStartLinear(width, width)
        kernel = registered(ATTENTIONS, config.attention_kernel, "attention_kernel")
        self.attention = kernel(width // config.num_heads, config)
        self.fusion = registered(FUSIONS, config.fusion, "fusion")(width)
        self.attention_norm = nn.LayerNorm(width)
        inner_width = config.feed_forward_dim or 2 * width
        self.feed_forward = nn.Sequential(
            nn.Linear(width, inner_width),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            ZeroStartLinear(inner_width, width),
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def heads(self, x_KD: Tensor) -> Tensor:
        """(K, D) -> (K, H, X)."""
        return x_KD.unflatten(-1, (self.num_heads, -1))

    def forward(self, words_KD: Tensor, words: Ragged, vectors_SE: Tensor, sentences: Ragged) -> Tensor:
        """(K, D) -> (K, D); `words` and `sentences` are the layouts by document."""
        if is_empty(words_KD):
            return words_KD
        query_KHX = self.heads(self.query(words_KD))
        key_SHX, value_SHX = self.heads(self.key(vectors_SE)), self.heads(self.value(vectors_SE))
        attended_KD = self.output(self.attention(query_KHX, key_SHX, value_SHX, words, sentences).flatten(1))
        words_KD = self.attention_norm(self.fusion(words_KD, self.dropout(attended_KD)))
        return self.feed_forward_norm(words_KD + self.dropout(self.feed_forward(words_KD)))

    def weights(self, words_KD: Tensor, words: Ragged, vectors_SE: Tensor, sentences: Ragged) -> Tensor:
        """The softmax attention, (K, H, M) with M the most sentences of a document: quadratic, for looking at it."""
        query_KHX = self.heads(self.query(words_KD))
        sentences_BM, mask_BM = sentences.grid(torch.arange(sentences.num_segments, device=words_KD.device))
        key_BMHX = self.heads(self.key(vectors_SE))[sentences_BM]
        document_K = words.segment_N
        scores_KHM = torch.einsum("khx,kmhx->khm", query_KHX, key_BMHX[document_K]) / query_KHX.shape[-1] ** 0.5
        return scores_KHM.float().masked_fill(~mask_BM[document_K, None], float("-inf")).softmax(-1)
