"""Finding sentences, on the model's device and without a loop.

Shape suffixes
    B = documents, T = tokens of the longest, P = tokens of all documents, padding left out,
    S = sentences of all documents, N = words in all sentences, E = width of the token vectors
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .ragged import Ragged, counts, positions
from .windows import PackedInputs


class Sentences(NamedTuple):
    """Words grouped in sentences, and sentences in documents; a word stands in each sentence that covers it."""

    token_N: Tensor  # index into the flattened (B * T) tokens
    words: Ragged  # N words in S sentences
    documents: Ragged  # S sentences in B documents
    membership_N: Tensor | None = None  # share of the word that the sentence has, above 0; None: all of it

    @property
    def document_N(self) -> Tensor:
        """Document of each word."""
        return self.documents.segment_N[self.words.segment_N]

    @property
    def number_N(self) -> Tensor:
        """Number of each word's sentence within its document, from 0."""
        return self.words.segment_N - self.documents.offsets_S[self.document_N]


def end_marks(packed: PackedInputs, config: Any) -> Tensor:
    """Which tokens are sentence ends by `sentence_end_ids`, bool (B, T).

    Raises:
        ValueError: There are no ids to look at.
    """
    if "input_ids" not in packed.tokens:
        raise ValueError(
            f'segmentation = "{config.segmentation}" finds sentence ends by their ids: pass input_ids, too, beside '
            "inputs_embeds (sliding_window needs none)"
        )
    ends = torch.tensor(config.sentence_end_ids, device=packed.mask_BT.device, dtype=torch.long)
    return torch.isin(packed.tokens["input_ids"], ends)


class Punctuation(nn.Module):
    """A sentence ends with a run of `sentence_end_ids` (... ! ? and line breaks), or where its document ends."""

    def __init__(self, vector_size: int, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, packed: PackedInputs, vectors_PE: Tensor) -> Sentences:
        """Find the sentences; the vectors aren't looked at."""
        mask_BT, width = packed.mask_BT, packed.mask_BT.shape[1]
        ends_BT = end_marks(packed, self.config)
        starts_BT = torch.ones_like(mask_BT)
        starts_BT[:, 1:] = ends_BT[:, :-1] & ~ends_BT[:, 1:]
        starts_BT &= mask_BT
        sentence_BT = starts_BT.cumsum(1) - 1
        start_S = F.pad(positions(starts_BT.flatten()), (1, 0))
        word_BT = torch.arange(mask_BT.numel(), device=mask_BT.device) - start_S[starts_BT.flatten().cumsum(0)]
        word_BT = word_BT.unflatten(0, mask_BT.shape)
        kept_BT = (
            mask_BT
            & (sentence_BT < (self.config.max_sentences or width))
            & (word_BT < (self.config.max_words or width))
        )
        kept_starts_BT = starts_BT & kept_BT
        token_N = positions(kept_BT.flatten())
        sentence_N = kept_starts_BT.flatten()[token_N].cumsum(0) - 1
        documents = Ragged(kept_starts_BT.sum(1))
        words = Ragged(counts(sentence_N, documents.num_items), token_N.shape[0])
        return Sentences(token_N, words, documents)


class SlidingWindow(nn.Module):
    """Every `segment_stride` tokens begins a sentence of `segment_size`, until the document is covered."""

    def __init__(self, vector_size: int, config: Any) -> None:
        super().__init__()
        self.config = config

    def forward(self, packed: PackedInputs, vectors_PE: Tensor) -> Sentences:
        """Find the sentences; the vectors aren't looked at."""
        size, stride = self.config.segment_size, self.config.segment_stride
        mask_BT = packed.mask_BT
        length_B = mask_BT.sum(1)
        # A window is only needed where the one before didn't reach the document's end.
        count_B = (length_B > 0) + ((length_B - size).clamp(min=0) + stride - 1) // stride
        documents = Ragged(count_B.clamp(max=self.config.max_sentences or mask_BT.shape[1]))
        start_S = documents.position_N * stride
        words = Ragged((length_B[documents.segment_N] - start_S).clamp(max=size))
        first_S = documents.segment_N * mask_BT.shape[1] + start_S
        return Sentences(first_S[words.segment_N] + words.position_N, words, documents)


class LearnedBoundaries(nn.Module):
    """Boundaries predicted from the token vectors, with a gradient (Newsgroups paper, section 7.3).

    A token closes its sentence to the share b in 0 to 1, and the sum c of all b before a token is where it stands: at
    c = 2.3 it belongs to sentence 2 with 0.7 and to sentence 3 with 0.3. With b of 0 and 1 only, this is a hard cut; in
    between, boundaries move by gradient descent through the shares, with which words count in sentence vectors and in
    the document. They start near those of `Punctuation`. A word between two sentences is encoded in both, so that this
    costs up to twice as much, and the result jumps where a word begins to belong to a second sentence: the gradient is
    right on either side of the jump, and doesn't see it. Boundaries that have reached 0 or 1 have no gradient.
    """

    chooses_by_embeddings = True

    def __init__(self, vector_size: int, config: Any) -> None:
        super().__init__()
        self.config = config
        self.weight_E = nn.Parameter(torch.empty(vector_size))
        self.bias = nn.Parameter(torch.empty(()))
        self.end_mark_weight = nn.Parameter(torch.empty(()))

    def init_own_parameters(self) -> None:
        """Called where the model's fresh weights are set."""
        nn.init.zeros_(self.weight_E)
        nn.init.constant_(self.bias, -2.15)
        nn.init.constant_(self.end_mark_weight, 4.3)

    def boundary(self, packed: PackedInputs, vectors_PE: Tensor) -> Tensor:
        """How far each token closes its sentence, 0 to 1, (B, T); zero on padding."""
        ends_BT = end_marks(packed, self.config)
        ends_BT[:, :-1] &= ~ends_BT[:, 1:]  # the last of a run
        seen_BT = packed.grid(vectors_PE.float() @ self.weight_E.float())
        logit_BT = seen_BT + self.bias + self.end_mark_weight * ends_BT
        # Stretched, so that exact zeros and ones are within reach (hard concrete, Louizos et al. 2018).
        return ((logit_BT.sigmoid() - 0.1) / 0.8).clamp(0, 1) * packed.mask_BT

    def forward(self, packed: PackedInputs, vectors_PE: Tensor) -> Sentences:
        """Find the sentences; a word between two of them stands in both."""
        mask_BT, width = packed.mask_BT, packed.mask_BT.shape[1]
        boundary_BT = self.boundary(packed, vectors_PE).double()
        place_BT = boundary_BT.cumsum(1) - boundary_BT
        earlier_BT = place_BT.detach().floor()
        later_share_BT = place_BT - earlier_BT
        share_2BT = torch.stack([1 - later_share_BT, later_share_BT])
        number_2BT = torch.stack([earlier_BT, earlier_BT + 1]).long()
        limit = self.config.max_sentences or width + 1
        which, token_N = (mask_BT & (share_2BT > 0) & (number_2BT < limit)).flatten(1).nonzero(as_tuple=True)
        share_N, number_N = share_2BT.flatten(1)[which, token_N], number_2BT.flatten(1)[which, token_N]
        document_N = token_N // width

        # In the order of documents, sentences and tokens; a stable sort keeps the last.
        order_N = token_N.argsort(stable=True)
        order_N = order_N[(document_N * (width + 2) + number_N)[order_N].argsort(stable=True)]
        token_N, share_N, number_N, document_N = (x[order_N] for x in (token_N, share_N, number_N, document_N))
        count_B = torch.zeros_like(mask_BT[:, 0], dtype=torch.long)
        documents = Ragged(count_B.scatter_reduce(0, document_N, number_N + 1, "amax"))
        sentence_N = documents.offsets_S[document_N] + number_N
        words = Ragged(counts(sentence_N, documents.num_items), token_N.shape[0])
        read = positions(words.position_N < (self.config.max_words or width))
        words = Ragged(words.lengths_S.clamp(max=self.config.max_words or width), read.shape[0])
        return Sentences(token_N[read], words, documents, share_N[read].float())


SEGMENTATIONS: dict[str, type[Punctuation] | type[SlidingWindow] | type[LearnedBoundaries]] = {
    "punctuation": Punctuation,
    "sliding_window": SlidingWindow,
    "learned": LearnedBoundaries,
}
