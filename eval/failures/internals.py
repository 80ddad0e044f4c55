"""What stands between a text and its answer: importance, filter, word vectors and cross-attention of each document.

Read by forward hooks, so that a model needs no code for it. A "word" is what the model calls one: a token as it reads
it, special tokens included; one that stands in two sentences counts in each.

Shapes
    W = words of all sentences of one text, K = those that the filter keeps, H = heads, B = texts of a batch,
    N = words of a batch, D = width of a word vector
"""

from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from salience.configuration.families import codes
from salience.eval.reading.reader import Reader
from salience.modeling.cross_attention import CrossAttention
from salience.modeling.ragged import Ragged

# Numbers that the keys of a chunk of words may fill: each word has a copy of all keys of its document.
CELLS_OF_CHUNK = 2**23


class Insides(NamedTuple):
    """What a model does inside with one text.

    Attributes:
        logits: (C,) its answer.
        importance: (W,) score of each word before it is shared out, 0 to 1; for attention pooling its pooling weight.
        position: (W,) place of each word among the text's tokens, from 0.
        kept: (W,) share of each word that the filter lets through, 0 to 1; None for models without a filter.
        mean_cosine: Cosine of two contextual word vectors, mean over all pairs; nan with less than two words.
        entropy: (K, H) of the cross-attention of each kept word over sentences, in nats; None for models without.
        num_sentences: Sentences that the cross-attention looks at; None for models without.
    """

    logits: np.ndarray
    importance: np.ndarray
    position: np.ndarray
    kept: np.ndarray | None
    mean_cosine: float
    entropy: np.ndarray | None
    num_sentences: int | None


def has_filter(model: PreTrainedModel) -> bool:
    """Whether the model filters words and attends from them to sentences."""
    return hasattr(model.base_model, "word_filter")


def has_insides(model: PreTrainedModel) -> bool:
    """Whether `read_insides` knows the model."""
    return insides_reader(model) is not None


def insides_reader(model: PreTrainedModel) -> Callable[[Reader, list[np.ndarray]], list[Insides]] | None:
    """What reads the insides of such a model, as the record of its classes says; None for nothing."""
    code = codes().get(model.config.model_type)
    return resolve_name(code.insides) if code and code.insides else None


def read_insides(reader: Reader, ids: Sequence[np.ndarray], progress: str | None = None) -> list[Insides]:
    """Look inside a model while it reads texts.

    Args:
        reader: The model, of which `has_insides` is true.
        ids: Token ids of each text, (T,).
        progress: What a progress bar says; None for no bar.

    Returns:
        One for each text, in their order. Memory grows with the number of words, not with its square.
    """
    read = insides_reader(reader.model)
    if read is None:
        raise ValueError(f"nothing is known of the insides of {reader.model.config.model_type}")
    found: dict[int, Insides] = {}
    for rows in reader.batches(ids, progress):
        found |= zip(rows, read(reader, [ids[row] for row in rows]), strict=True)
    return [found[row] for row in range(len(ids))]


def mean_cosine(vectors_ND: Tensor, documents: Ragged) -> Tensor:
    """Mean cosine of all pairs of vectors of each document, (B,); nan with less than two.

    The square of the sum of unit vectors is the sum of all their products, so no pair has to be looked at.
    """
    units_ND = F.normalize(vectors_ND.float(), dim=1)
    products_B = documents.sum(units_ND).square().sum(1) - documents.sum(units_ND.square().sum(1))
    pairs_B = documents.lengths_S * (documents.lengths_S - 1)
    return torch.where(pairs_B > 0, products_B / pairs_B, torch.nan)


def attention_entropy(
    module: CrossAttention, words_KD: Tensor, words: Ragged, vectors_SE: Tensor, sentences: Ragged
) -> Tensor:
    """Entropy of the attention of each word and head over the sentences of its document, (K, H), in nats.

    The arguments are those of `CrossAttention.forward`.
    """
    parts = [words_KD.new_zeros(0, module.num_heads, dtype=torch.float)]
    if words_KD.shape[0]:
        # `weights` has no place for a document without a sentence; neither has it words.
        filled_B = sentences.lengths_S > 0
        sentences = Ragged(sentences.lengths_S[filled_B])
        step = max(CELLS_OF_CHUNK // (int(sentences.lengths_S.max()) * words_KD.shape[1]), 1)
        for start in range(0, words_KD.shape[0], step):
            chunk = slice(start, start + step)
            layout = Ragged(words.segment_N[chunk].bincount(minlength=words.num_segments)[filled_B])
            weights_KHM = module.weights(words_KD[chunk], layout, vectors_SE, sentences)
            parts.append(torch.special.entr(weights_KHM).sum(-1))
    return torch.cat(parts)


def _by_document(values_N: Tensor, documents: Ragged) -> list[np.ndarray]:
    """Values (N, ...) of a batch, for each text."""
    values = (values_N.float() if values_N.is_floating_point() else values_N).cpu().numpy()
    return np.split(values, documents.lengths_S.cumsum(0)[:-1].cpu().numpy())


def read_hierarchical(reader: Reader, ids: list[np.ndarray]) -> list[Insides]:
    """The insides of a batch, of the hierarchical attention classifier."""
    model: Any = reader.model.base_model
    seen: dict[str, Any] = {}

    def at_filter(module: nn.Module, inputs: Any, output: Any) -> None:
        (words,) = inputs
        _, importance_N, kept_N = output
        if words.sentences.membership_N is not None:
            kept_N = kept_N * words.sentences.membership_N
        by_word = {"importance": importance_N, "position": words.position_N, "kept": kept_N}
        seen.update({name: _by_document(values_N, words.by_document) for name, values_N in by_word.items()})
        seen["mean_cosine"] = mean_cosine(words.vectors_ND, words.by_document).tolist()
        seen["num_sentences"] = words.sentences.documents.lengths_S.tolist()

    def at_cross_attention(module: nn.Module, inputs: Any, output: Any) -> None:
        seen["entropy"] = _by_document(attention_entropy(module, *inputs), inputs[1])  # type: ignore[arg-type]

    with (
        model.word_filter.register_forward_hook(at_filter),
        model.cross_attention.register_forward_hook(at_cross_attention),
    ):
        readings = reader.read_batch(ids)
    return [
        Insides(logits=reading.logits, **{name: values[row] for name, values in seen.items()})
        for row, reading in enumerate(readings)
    ]


def read_pooling(reader: Reader, ids: list[np.ndarray]) -> list[Insides]:
    """The insides of a batch, of the attention-pooling classifier."""
    model: Any = reader.model.base_model
    seen: dict[str, Any] = {}

    def at_pooler(module: nn.Module, inputs: Any, output: Any) -> None:
        hidden_PD, texts = inputs
        seen["importance"] = _by_document(output[1], texts)
        seen["mean_cosine"] = mean_cosine(hidden_PD, texts).tolist()

    with model.pooler.register_forward_hook(at_pooler):
        readings = reader.read_batch(ids)
    return [
        Insides(
            logits=reading.logits,
            importance=seen["importance"][row],
            position=np.arange(len(ids[row])),
            kept=None,
            mean_cosine=seen["mean_cosine"][row],
            entropy=None,
            num_sentences=None,
        )
        for row, reading in enumerate(readings)
    ]
