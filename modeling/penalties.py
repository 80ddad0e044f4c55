"""Penalties on how importance is spread over a document's words (Newsgroups paper, failure modes 1 and 3).

The paper's formulas depend on a document's length, and for diversity have the sign that rewards concentration; these
lie between 0 and 1 for documents of any length, and do what the Newsgroups paper says that they are for.

Shape suffixes
    B = documents, N = words of all documents
"""

import torch
from torch import Tensor

from .ragged import Ragged


def entropy(share_N: Tensor, documents: Ragged) -> Tensor:
    """Entropy of each document's shares over log n, the highest: 1 for even ones, 0 for a single word, (B,)."""
    share_N = share_N.clamp(min=torch.finfo(share_N.dtype).tiny)  # at 0 the logarithm has no gradient
    return documents.sum(-share_N * share_N.log()) / log_length(documents)


def concentration(share_N: Tensor, documents: Ragged) -> Tensor:
    """Log(n times the sum of squared shares) over log n: 0 for even shares, 1 for a single word, (B,)."""
    lengths_B = documents.lengths_S.clamp(min=1).to(share_N.dtype)
    # No less than even shares have; a document in which no word has any counts as even.
    squared_B = documents.sum(share_N.square()).maximum(1 / lengths_B)
    return (lengths_B * squared_B).log() / log_length(documents)


def log_length(documents: Ragged) -> Tensor:
    """Log n of each document, and 1 where that is 0, (B,)."""
    return documents.lengths_S.clamp(min=2).float().log()
