"""What a model's attention looks like: where it lies, how even it is, what goes with it (Newsgroups paper, section 4).

`attention_profile` returns, for texts of two words or more, where weights are shares of what a text's words have
together, and entropies are divided by their highest value (1: even, 0: one word):

    num_documents, num_left_out
    special_tokens              mean share of the weight on special tokens, beside the words' 1
    weights                     {edges, counts}: histogram of a word's weight over its even weight
    heaviest_tenth              {mean, quantiles}: weight of the heaviest 10 % of words; `quantiles` by name (0.05, ...)
    entropy                     {mean, quantiles, edges, right, wrong}: with histograms over texts by answer
    tf_idf                      {mean, num_documents, even_mean}: Spearman correlation of weight and TF-IDF within a
                                text, -1 to 1; even_mean with even weights
    kinds.KIND                  {weight, even_weight, words}: mean share of weight, of even weights, and of words, on
                                stop words (English), punctuation, and content words
    ends.{first,last,both}      the same for the first and last 3 words
    similar_documents           {similar, random, p_value, num_similar, num_random}: Spearman correlation of the weights
                                (over even ones) of shared words between nearest neighbours by TF-IDF, and between
                                random texts
    confidence                  {correlation, p_value}: Spearman correlation of entropy and highest probability
    right_and_wrong.MEASURE     {right, wrong, p_value}: means, and Mann-Whitney's U test
    heaviest_words              [{label, words: [{word, weight, num_documents}]}] by predicted class; the mean
                                of weight over even weight
    cross_attention             null without, else [{entropy, normalized_entropy, own_sentence, own_sentence_by_chance}]
                                by head, means over kept words; `entropy` in nats

Even weights are the same for each token: long and rare words have several, so that much is no merit of attention.
A correlation or p-value that is undefined is null.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from salience.eval.explain.attributions import checked_probabilities
from salience.eval.explain.consistency import Consistency, similar_documents
from salience.eval.explain.cross_attention import Head, cross_attention_profile
from salience.eval.explain.statistics import mann_whitney, mean_or_none, rank_correlation
from salience.eval.explain.word_weights import KINDS, Shares, WordWeights, word_weights
from salience.eval.reading.reader import Reader, Reading
from salience.modeling.documents import Document

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
WEIGHT_EDGES = (0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
"""Of the histogram of weights over even ones; what is above lies in the last bin."""
ENTROPY_EDGES = np.linspace(0, 1, 21)
NUM_HEAVIEST = 20
MIN_DOCUMENTS = 3
LONGEST_WORD = 40


class Histogram(TypedDict):
    """How many values lie between each two edges."""

    edges: list[float]
    counts: list[int]


class Spread(TypedDict):
    """A measure over texts; quantiles by their names."""

    mean: float
    quantiles: dict[str, float]


class EntropySpread(Spread):
    """The same with counts of texts between the edges, by answer."""

    edges: list[float]
    right: list[int]
    wrong: list[int]


class TfIdf(TypedDict):
    """Correlation of weight and TF-IDF."""

    mean: float | None
    num_documents: int
    even_mean: float | None


class Correlation(TypedDict):
    """A rank correlation, null where it is undefined."""

    correlation: float | None
    p_value: float | None


class RightAndWrong(TypedDict):
    """Means of a measure by answer."""

    right: float | None
    wrong: float | None
    p_value: float | None


class HeavyWord(TypedDict):
    """A word with its mean weight over the even one."""

    word: str
    weight: float
    num_documents: int


class HeaviestWords(TypedDict):
    """Of one predicted class."""

    label: str
    words: list[HeavyWord]


class AttentionProfile(TypedDict):
    """What `attention_profile` gives; see the module."""

    num_documents: int
    num_left_out: int
    special_tokens: float
    weights: Histogram
    heaviest_tenth: Spread
    entropy: EntropySpread
    tf_idf: TfIdf
    kinds: dict[str, Shares]
    ends: dict[str, Shares]
    similar_documents: Consistency
    confidence: Correlation
    right_and_wrong: dict[str, RightAndWrong]
    heaviest_words: list[HeaviestWords]
    cross_attention: list[Head] | None


def attention_profile(
    reader: Reader,
    documents: Sequence[Document],
    readings: Sequence[Reading],
    labels: np.ndarray,
    seed: int = 0,
) -> AttentionProfile:
    """Describe the attention of a model with pooling weights.

    Args:
        reader: The classifier.
        documents: N texts.
        readings: What it says of them, with `cross_attention` where that is to be described.
        labels: (N,) class ids, or (N, C) zeros and ones.
        seed: Of the random pairs.

    Returns:
        What the module's documentation lists.

    Raises:
        UserError: The model has no pooling weights or no classes, or no text has two words.
    """
    words = word_weights(documents, readings)
    logits = np.array([readings[row].logits for row in words.rows])
    probabilities = checked_probabilities(reader, logits)
    is_right = reader.predictions(np.asarray(labels)[words.rows], logits).is_right()
    entropy = words.entropy()
    return {
        "num_documents": len(words.rows),
        "num_left_out": len(documents) - len(words.rows),
        "special_tokens": float(words.special_mass_N.mean()),
        "weights": _histogram(words.lift_M.clip(max=WEIGHT_EDGES[-1]), WEIGHT_EDGES),
        "heaviest_tenth": _distribution(words.top_mass(0.1)),
        "entropy": {
            **_distribution(entropy),
            "edges": ENTROPY_EDGES.tolist(),
            "right": _histogram(entropy[is_right], ENTROPY_EDGES)["counts"],
            "wrong": _histogram(entropy[~is_right], ENTROPY_EDGES)["counts"],
        },
        "tf_idf": _tf_idf_correlation(words),
        "kinds": {name: words.mean_shares(words.kind_M == number) for number, name in enumerate(KINDS)},
        "ends": {ends: words.mean_shares(words.at_ends(ends)) for ends in ("first", "last", "both")},
        "similar_documents": similar_documents(words, seed),
        "confidence": _confidence(entropy, probabilities.max(1)),
        "right_and_wrong": _right_and_wrong(words, is_right),
        "heaviest_words": _heaviest_words(words, logits.argmax(1), reader.label_names),
        "cross_attention": cross_attention_profile(readings),
    }


def _histogram(values: np.ndarray, edges: Sequence[float] | np.ndarray) -> Histogram:
    # Rounding may carry an entropy of 1 just over it.
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return {"edges": np.asarray(edges, float).tolist(), "counts": counts.tolist()}


def _distribution(values: np.ndarray) -> Spread:
    quantiles = np.quantile(values, QUANTILES).tolist()
    return {"mean": float(values.mean()), "quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=True))}


def _tf_idf_correlation(words: WordWeights) -> TfIdf:
    found, even = (
        _correlations_by_text(words, values_M, words.tf_idf_M) for values_M in (words.weight_M, words.even_M)
    )
    return {"mean": mean_or_none(found), "num_documents": len(found), "even_mean": mean_or_none(even)}


def _correlations_by_text(words: WordWeights, our_M: np.ndarray, their_M: np.ndarray) -> np.ndarray:
    """Rank correlation of two values of words in each text where it is defined."""
    ends = words.lengths_N.cumsum()[:-1]
    pairs = zip(np.split(our_M, ends), np.split(their_M, ends), strict=True)
    return np.array([each[0] for each in (rank_correlation(*pair) for pair in pairs) if each is not None])


def _confidence(entropy: np.ndarray, confidence: np.ndarray) -> Correlation:
    correlation, p_value = rank_correlation(entropy, confidence) or (None, None)
    return {"correlation": correlation, "p_value": p_value}


def _right_and_wrong(words: WordWeights, is_right: np.ndarray) -> dict[str, RightAndWrong]:
    measures = {
        "entropy": words.entropy(),
        "heaviest_tenth": words.top_mass(0.1),
        "ends": words.mass(words.at_ends()),
        **{name: words.mass(words.kind_M == number) for number, name in enumerate(KINDS)},
    }
    return {
        name: {
            "right": mean_or_none(values[is_right]),
            "wrong": mean_or_none(values[~is_right]),
            "p_value": mann_whitney(values[is_right], values[~is_right]),
        }
        for name, values in measures.items()
    }


def _heaviest_words(words: WordWeights, predicted: np.ndarray, label_names: Sequence[str]) -> list[HeaviestWords]:
    """The types of highest mean lift in the texts of each predicted class, of those that stand in several."""
    found: list[HeaviestWords] = []
    for number, label in enumerate(label_names):
        weights_NV = words.mean_lift_NV[np.flatnonzero(predicted == number)]
        count_V = np.bincount(weights_NV.indices, minlength=len(words.types))
        sum_V = np.bincount(weights_NV.indices, weights=weights_NV.data, minlength=len(words.types))
        mean_V = np.where(count_V >= min(MIN_DOCUMENTS, max(weights_NV.shape[0], 1)), sum_V, 0) / count_V.clip(1)
        best = np.argsort(-mean_V, kind="stable")[:NUM_HEAVIEST]
        listed: list[HeavyWord] = [
            {"word": words.types[row][:LONGEST_WORD], "weight": float(mean_V[row]), "num_documents": int(count_V[row])}
            for row in best
            if mean_V[row] > 0
        ]
        found.append({"label": label, "words": listed})
    return found
