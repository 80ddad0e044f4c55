"""What a model's attention looks like: where it lies, how even it is, and what goes with it (report, section 4).

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
from typing import Any

import numpy as np
from scipy.special import entr
from scipy.stats import mannwhitneyu, spearmanr
from sklearn.neighbors import NearestNeighbors

from salience.eval.explain.attributions import class_probabilities
from salience.eval.explain.word_weights import KINDS, WordWeights, word_weights
from salience.eval.reading.reader import Document, Reader, Reading
from salience.eval.scores.predictions import Predictions

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
WEIGHT_EDGES = (0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
"""Of the histogram of weights over even ones; what is above lies in the last bin."""
ENTROPY_EDGES = np.linspace(0, 1, 21)
NUM_PAIRS = 500
MIN_SHARED_WORDS = 5
NUM_HEAVIEST = 20
MIN_DOCUMENTS = 3
LONGEST_WORD = 40


def attention_profile(
    reader: Reader,
    documents: Sequence[Document],
    readings: Sequence[Reading],
    labels: np.ndarray,
    seed: int = 0,
) -> dict[str, Any]:
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
    is_right = Predictions(np.asarray(labels)[words.rows], logits).is_right()
    probabilities = class_probabilities(reader.model, logits)
    entropy = words.entropy()
    return {
        "num_documents": len(words.rows),
        "num_left_out": len(documents) - len(words.rows),
        "special_tokens": float(words.special_mass_N.mean()),
        "weights": _histogram(words.lift_M.clip(max=WEIGHT_EDGES[-1]), WEIGHT_EDGES),
        "heaviest_tenth": _distribution(words.top_mass(0.1)),
        "entropy": _distribution(entropy)
        | {
            "edges": ENTROPY_EDGES.tolist(),
            "right": _histogram(entropy[is_right], ENTROPY_EDGES)["counts"],
            "wrong": _histogram(entropy[~is_right], ENTROPY_EDGES)["counts"],
        },
        "tf_idf": _tf_idf_correlation(words),
        "kinds": {name: words.mean_shares(words.kind_M == number) for number, name in enumerate(KINDS)},
        "ends": {ends: words.mean_shares(words.at_ends(ends)) for ends in ("first", "last", "both")},
        "similar_documents": _consistency(words, seed),
        "confidence": _confidence(entropy, probabilities.max(1)),
        "right_and_wrong": _right_and_wrong(words, is_right),
        "heaviest_words": _heaviest_words(words, logits.argmax(1), reader.label_names),
        "cross_attention": cross_attention_profile(readings),
    }


def _histogram(values: np.ndarray, edges: Sequence[float] | np.ndarray) -> dict[str, list[Any]]:
    # Rounding may carry an entropy of 1 just over it.
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return {"edges": np.asarray(edges, float).tolist(), "counts": counts.tolist()}


def _distribution(values: np.ndarray) -> dict[str, Any]:
    quantiles = np.quantile(values, QUANTILES).tolist()
    return {"mean": float(values.mean()), "quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=True))}


def rank_correlation(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float] | None:
    """Spearman's correlation and its p-value; None where either side is constant, or there are fewer than 3 values.

    Args:
        ours: (n,).
        theirs: (n,).
    """
    if len(ours) < 3 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return None
    found = spearmanr(ours, theirs)
    return float(found.statistic), float(found.pvalue)


def _tf_idf_correlation(words: WordWeights) -> dict[str, Any]:
    found, even = (
        _correlations_by_text(words, values_M, words.tf_idf_M) for values_M in (words.weight_M, words.even_M)
    )
    return {"mean": _mean(found), "num_documents": len(found), "even_mean": _mean(even)}


def _correlations_by_text(words: WordWeights, our_M: np.ndarray, their_M: np.ndarray) -> np.ndarray:
    """Rank correlation of two values of words in each text where it is defined."""
    ends = words.lengths_N.cumsum()[:-1]
    pairs = zip(np.split(our_M, ends), np.split(their_M, ends), strict=True)
    return np.array([each[0] for each in (rank_correlation(*pair) for pair in pairs) if each is not None])


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _consistency(words: WordWeights, seed: int) -> dict[str, Any]:
    """Do texts that are alike weigh the words that they share alike? More so than any two texts?"""
    num_texts = len(words.rows)
    if num_texts < 3:
        return {"similar": None, "random": None, "p_value": None, "num_similar": 0, "num_random": 0}
    generator = np.random.default_rng(seed)
    asked = np.sort(generator.permutation(num_texts)[:NUM_PAIRS])
    neighbours = NearestNeighbors(n_neighbors=2, metric="cosine", algorithm="brute").fit(words.tf_idf_NV)
    nearest = neighbours.kneighbors(words.tf_idf_NV[asked], return_distance=False)
    # The nearest is the text itself, unless another one is equal.
    similar = np.where(nearest[:, 0] == asked, nearest[:, 1], nearest[:, 0])
    others = (asked + generator.integers(1, num_texts, len(asked))) % num_texts
    alike, at_random = (_shared_correlations(words, asked, each) for each in (similar, others))
    return {
        "similar": _mean(alike),
        "random": _mean(at_random),
        "p_value": _mann_whitney(alike, at_random),
        "num_similar": len(alike),
        "num_random": len(at_random),
    }


def _shared_correlations(words: WordWeights, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Rank correlation of the shared words' weights for each pair of texts that shares enough of them.

    Two texts that are each other's nearest are one pair.
    """
    weights_NV = words.mean_lift_NV
    found = []
    for our, their in np.unique(np.sort(np.stack([ours, theirs], 1), 1), axis=0):
        (our_types, our_weights), (their_types, their_weights) = (_row(weights_NV, text) for text in (our, their))
        _, in_ours, in_theirs = np.intersect1d(our_types, their_types, assume_unique=True, return_indices=True)
        if len(in_ours) >= MIN_SHARED_WORDS:
            found.append(rank_correlation(our_weights[in_ours], their_weights[in_theirs]))
    return np.array([each[0] for each in found if each is not None])


def _row(matrix: Any, row: int) -> tuple[np.ndarray, np.ndarray]:
    stretch = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return matrix.indices[stretch], matrix.data[stretch]


def _mann_whitney(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    return float(mannwhitneyu(ours, theirs).pvalue) if len(ours) and len(theirs) else None


def _confidence(entropy: np.ndarray, confidence: np.ndarray) -> dict[str, float | None]:
    correlation, p_value = rank_correlation(entropy, confidence) or (None, None)
    return {"correlation": correlation, "p_value": p_value}


def _right_and_wrong(words: WordWeights, is_right: np.ndarray) -> dict[str, dict[str, float | None]]:
    measures = {
        "entropy": words.entropy(),
        "heaviest_tenth": words.top_mass(0.1),
        "ends": words.mass(words.at_ends()),
        **{name: words.mass(words.kind_M == number) for number, name in enumerate(KINDS)},
    }
    return {
        name: {
            "right": _mean(values[is_right]),
            "wrong": _mean(values[~is_right]),
            "p_value": _mann_whitney(values[is_right], values[~is_right]),
        }
        for name, values in measures.items()
    }


def _heaviest_words(words: WordWeights, predicted: np.ndarray, label_names: Sequence[str]) -> list[dict[str, Any]]:
    """The types of highest mean lift in the texts of each predicted class, of those that stand in several."""
    found = []
    for number, label in enumerate(label_names):
        weights_NV = words.mean_lift_NV[np.flatnonzero(predicted == number)]
        count_V = np.bincount(weights_NV.indices, minlength=len(words.types))
        sum_V = np.bincount(weights_NV.indices, weights=weights_NV.data, minlength=len(words.types))
        mean_V = np.where(count_V >= min(MIN_DOCUMENTS, max(weights_NV.shape[0], 1)), sum_V, 0) / count_V.clip(1)
        best = np.argsort(-mean_V, kind="stable")[:NUM_HEAVIEST]
        listed = [
            {"word": words.types[row][:LONGEST_WORD], "weight": float(mean_V[row]), "num_documents": int(count_V[row])}
            for row in best
            if mean_V[row] > 0
        ]
        found.append({"label": label, "words": listed})
    return found


def cross_attention_profile(readings: Sequence[Reading]) -> list[dict[str, float]] | None:
    """How each head spreads a word's attention over the sentences, over texts of two sentences or more.

    Args:
        readings: What a hierarchical model says of texts, read with `cross_attention=True`.

    Returns:
        For each head the means of its entropy in nats, of the same over log of the sentences, and of the attention to
        the word's own sentence, beside what that would be by chance; None where nothing was read.
    """
    measures = [_text_measures(reading) for reading in readings if reading.cross_attention is not None]
    kept = [each for each in measures if each.shape[2]]
    if not kept:
        return None
    names = ("entropy", "normalized_entropy", "own_sentence", "own_sentence_by_chance")
    # (H, measures), over the kept words K of all texts.
    means = np.concatenate(kept, axis=2).mean(2)
    return [dict(zip(names, map(float, head), strict=True)) for head in means]


def _text_measures(reading: Reading) -> np.ndarray:
    """Measures of each head for each kept word of a text, (H, 4, K)."""
    assert reading.cross_attention is not None and reading.sentence_of is not None  # a hierarchical model has both
    is_kept = reading.cross_attention.any((0, 2))
    # A token of two sentences has the number of the first; beyond the text's last sentence there is no attention.
    numbers = [*reading.sentence_of, *np.flatnonzero(reading.cross_attention.any((0, 1)))]
    num_sentences = int(max(numbers, default=-1)) + 1
    if num_sentences < 2 or not is_kept.any():
        return np.zeros((len(reading.cross_attention), 4, 0))
    attention_HKS = reading.cross_attention[:, is_kept]
    entropy_HK = entr(attention_HKS).sum(2)
    own_HK = np.take_along_axis(attention_HKS, reading.sentence_of[is_kept][None, :, None], axis=2)[:, :, 0]
    chance_HK = np.full_like(own_HK, 1 / num_sentences)
    return np.stack([entropy_HK, entropy_HK / np.log(num_sentences), own_HK, chance_HK], 1)
