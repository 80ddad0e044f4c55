"""Changing the weights with which a model joins words, while it reads: shuffled, or all equal.

Shape suffixes
    P = tokens of all texts, N = heads of the pooling, or words of all sentences; M = words' tokens of all texts, in
    order, K = values of each that change together
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from salience.eval.reading.reader import Reader
from salience.modeling.encoders import count_special_tokens
from salience.modeling.pooling import TokenAttention
from salience.modeling.ragged import Ragged
from salience.modeling.word_filter import WordFilter, Words

Change = Callable[[Tensor, Ragged], Tensor]
"""From values (M, K) and the layout of the M tokens in texts to the values in their place, (M, K)."""


def uniform(values_MK: Tensor, texts: Ragged) -> Tensor:
    """Give each word of a text the mean of its words (Wiegreffe & Pinter 2019, section 3.2, without training again)."""
    return texts.mean(values_MK)[texts.segment_N]


def shuffled(seed: int) -> Change:
    """Deal the weights of a text's words out among them anew (Jain & Wallace 2019, section 4.2.1).

    Args:
        seed: Of the draws; the same texts in the same batches are shuffled the same.
    """
    generator = torch.Generator().manual_seed(seed)

    def change(values_MK: Tensor, texts: Ragged) -> Tensor:
        scores_M = torch.rand(values_MK.shape[0], generator=generator).to(values_MK.device)
        return values_MK[texts.offsets_S[texts.segment_N] + texts.rank(scores_M)]

    return change


def _change_attention(
    module: TokenAttention, inputs: tuple[Any, Ragged], weights_PN: Tensor, change: Change, special: tuple[int, int]
) -> Tensor:
    """Attention pooling: all heads of a token change together. The plain mean, mixed in later, is even anyway."""
    texts = inputs[1]
    place_P, length_P = texts.position_N, texts.lengths_S[texts.segment_N]
    is_word_P = (place_P >= special[0]) & (place_P < length_P - special[1])
    words = Ragged(texts.segment_N[is_word_P].bincount(minlength=texts.num_segments))
    return weights_PN.index_put((is_word_P,), change(weights_PN[is_word_P], words))


def _change_filter(
    module: WordFilter,
    inputs: tuple[Words],
    output: tuple[Tensor, Tensor, Tensor],
    change: Change,
    special: tuple[int, int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Hierarchical attention: what is kept changes together with its importance, after the filter has chosen."""
    features_ND, importance_N, kept_N = output
    (words,) = inputs
    documents = words.by_document
    last_N = documents.max(words.position_N[:, None])[documents.segment_N, 0]
    is_word_N = (words.position_N >= special[0]) & (words.position_N <= last_N - special[1])
    texts = Ragged(documents.segment_N[is_word_N].bincount(minlength=documents.num_segments))
    values_N2 = torch.stack([importance_N * kept_N, kept_N], 1)
    values_N2[is_word_N] = change(values_N2[is_word_N], texts)
    weight_N, kept_N = values_N2.unbind(1)
    importance_N = weight_N / kept_N.clamp(min=torch.finfo(kept_N.dtype).tiny)
    # A filter keeps some word whole; of words that are all alike it does so with all.
    return features_ND, importance_N, kept_N / documents.max(kept_N[:, None])[documents.segment_N, 0]


CHANGES: dict[type[nn.Module], Callable[..., Any]] = {
    TokenAttention: _change_attention,
    WordFilter: _change_filter,
}
"""By the class of the module whose output is changed; a new family is a function and a line here."""


@contextmanager
def changed_weights(reader: Reader, change: Change) -> Iterator[None]:
    """While this is open, the model pools words by changed weights; those of special tokens stay.

    A model that pools by a plain mean has no weights to change, and one without pooling weights none at all: both
    answer as ever.

    Args:
        reader: The classifier.
        change: Gives the weights in the place of the model's own.
    """
    special = count_special_tokens(reader.tokenizer)
    with ExitStack() as hooks:
        for module in reader.model.modules():
            for family, hook in CHANGES.items():
                if isinstance(module, family):
                    hooks.enter_context(module.register_forward_hook(partial(hook, change=change, special=special)))
        yield
