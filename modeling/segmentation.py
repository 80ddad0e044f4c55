"""Finding sentences in token ids, on the model's device and without a loop.

Shape suffixes
    B = documents, T = tokens of the longest, S = sentences of all documents, N = words in all sentences
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .ragged import Ragged


class Sentences(NamedTuple):
    """Words grouped in sentences, and sentences in documents; a word stands in each sentence that covers it."""

    token_N: Tensor  # index into the flattened (B * T) tokens
    words: Ragged  # N words in S sentences
    documents: Ragged  # S sentences in B documents

    @property
    def document_N(self) -> Tensor:
        """Document of each word."""
        return self.documents.segment_N[self.words.segment_N]

    @property
    def number_N(self) -> Tensor:
        """Number of each word's sentence within its document, from 0."""
        return self.words.segment_N - self.documents.offsets_S[self.document_N]


class Segmentation(Protocol):
    """What a segmentation is: a function of the packed batch (each document's tokens first) and the configuration."""

    def __call__(self, input_ids_BT: Tensor | None, mask_BT: Tensor, config: Any) -> Sentences:
        """Find the sentences."""


def by_punctuation(input_ids_BT: Tensor | None, mask_BT: Tensor, config: Any) -> Sentences:
    """A sentence ends with a run of `sentence_end_ids` (... ! ? and line breaks), or where its document ends."""
    if input_ids_BT is None:
        raise ValueError('segmentation = "punctuation" needs input_ids, also beside inputs_embeds')
    width = mask_BT.shape[1]
    index_T = torch.arange(width, device=mask_BT.device)
    ends_BT = torch.isin(input_ids_BT, torch.tensor(config.sentence_end_ids, device=mask_BT.device, dtype=torch.long))
    starts_BT = torch.ones_like(mask_BT)
    starts_BT[:, 1:] = ends_BT[:, :-1] & ~ends_BT[:, 1:]
    starts_BT &= mask_BT
    sentence_BT = starts_BT.cumsum(1) - 1
    word_BT = index_T - torch.where(starts_BT, index_T, 0).cummax(1).values
    kept_BT = mask_BT & (sentence_BT < (config.max_sentences or width)) & (word_BT < (config.max_words or width))
    kept_starts_BT = starts_BT & kept_BT
    token_N = kept_BT.flatten().nonzero()[:, 0]
    sentence_N = kept_starts_BT.flatten()[token_N].cumsum(0) - 1
    documents = Ragged(kept_starts_BT.sum(1))
    return Sentences(token_N, Ragged(sentence_N.bincount(minlength=int(kept_starts_BT.sum()))), documents)


def by_sliding_window(input_ids_BT: Tensor | None, mask_BT: Tensor, config: Any) -> Sentences:
    """Every `segment_stride` tokens begins a sentence of `segment_size`, until the document is covered."""
    length_B = mask_BT.sum(1)
    # A window is only needed where the one before didn't reach the document's end.
    beyond_B = (length_B - config.segment_size).clamp(min=0)
    count_B = (length_B > 0) + (beyond_B + config.segment_stride - 1) // config.segment_stride
    documents = Ragged(count_B.clamp(max=config.max_sentences or int(count_B.max())))
    number_S = torch.arange(documents.segment_N.shape[0], device=mask_BT.device)
    start_S = (number_S - documents.offsets_S[documents.segment_N]) * config.segment_stride
    words = Ragged((length_B[documents.segment_N] - start_S).clamp(max=config.segment_size))
    position_N = torch.arange(words.segment_N.shape[0], device=mask_BT.device) - words.offsets_S[words.segment_N]
    first_S = documents.segment_N * mask_BT.shape[1] + start_S
    return Sentences(first_S[words.segment_N] + position_N, words, documents)


SEGMENTATIONS: dict[str, Segmentation] = {"punctuation": by_punctuation, "sliding_window": by_sliding_window}
