"""From which confidence on a classifier is right so often that it can be promised of further texts, too.

Shapes
    D = distinct confidences
"""

import math
from typing import NamedTuple, TypedDict

import numpy as np
from scipy.stats import beta

from salience.eval.scores.predictions import Decisions

CHANCE_OF_LESS = 0.05
"""That further texts of the same kind are answered right less often than was promised."""


class ThresholdRow(TypedDict):
    """The threshold for a wanted accuracy, null where none can be promised to give it."""

    wanted_accuracy: float
    threshold: float | None
    coverage: float | None
    accuracy: float | None


class Ranked(NamedTuple):
    """The distinct confidences (D,), falling, and how many answers are at least so sure, and wrong of them."""

    counts: np.ndarray
    errors: np.ndarray
    confidence: np.ndarray


def rank(decisions: Decisions) -> Ranked:
    """Answers by confidence; equal ones are never parted."""
    confidence, of = np.unique(-decisions.confidence, return_inverse=True)
    counts = np.bincount(of).cumsum()
    errors = np.bincount(of, weights=~decisions.is_right).cumsum()
    return Ranked(counts, errors, -confidence)


def lowest_threshold(wanted: float, ranked: Ranked) -> ThresholdRow:
    """A low confidence from which on further texts like these are answered right so often, with a chance of 95 %.

    Selective guaranteed risk (Geifman and El-Yaniv 2017, arXiv 1705.08500, algorithm 1): the confidences are halved,
    and at each half the exact binomial bound is asked (Clopper and Pearson 1934), with its share of the 5 %. The
    lowest confidence, with which all is answered, is asked before them.

    Args:
        wanted: Accuracy, above 0, up to 1.
        ranked: Of texts that the model wasn't trained on.

    Returns:
        Nulls where the texts are too few, or the answers too often wrong, to promise it.
    """
    surest, least = 0, len(ranked.counts)
    looks = 1 + math.ceil(math.log2(least))
    place, found = least - 1, None
    for _ in range(looks):
        if accuracy_bound(ranked.counts[place], ranked.errors[place], CHANCE_OF_LESS / looks) >= wanted:
            found = surest = place
        else:
            least = place
        place = (surest + least) // 2
    if found is None:
        return {"wanted_accuracy": wanted, "threshold": None, "coverage": None, "accuracy": None}
    return {
        "wanted_accuracy": wanted,
        "threshold": float(ranked.confidence[found]),
        "coverage": float(ranked.counts[found] / ranked.counts[-1]),
        "accuracy": float(1 - ranked.errors[found] / ranked.counts[found]),
    }


def accuracy_bound(count: float, errors: float, chance: float) -> float:
    """What the accuracy lies above, but for this chance, where so many of so many answers were wrong."""
    return 0.0 if errors == count else float(1 - beta.ppf(1 - chance, errors + 1, count - errors))
