"""Whether a model weighs a word alike in texts that are alike."""

from typing import Any, TypedDict

import numpy as np
from sklearn.neighbors import NearestNeighbors

from salience.eval.explain.statistics import mann_whitney, mean_or_none, rank_correlation
from salience.eval.explain.word_weights import WordWeights

NUM_PAIRS = 500
MIN_SHARED_WORDS = 5


class Consistency(TypedDict):
    """Correlation of shared words' weights, in texts that are alike and in any two."""

    similar: float | None
    random: float | None
    p_value: float | None
    num_similar: int
    num_random: int


def similar_documents(words: WordWeights, seed: int) -> Consistency:
    """Do texts that are alike weigh the words that they share alike? More so than any two texts?

    Args:
        words: Texts with their weights.
        seed: Of the texts that are asked, and of the random pairs.
    """
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
        "similar": mean_or_none(alike),
        "random": mean_or_none(at_random),
        "p_value": mann_whitney(alike, at_random),
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
