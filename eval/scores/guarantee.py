"""From which confidence on a classifier is right so often that it can be promised of further texts, too.

Shapes
    D = distinct confidences
"""

import math
from typing import NamedTuple, TypedDict

import numpy as np
from scipy.stats import binomtest

from salience.eval.scores.predictions import Decisions, Predictions

CHANCE_OF_LESS = 0.05
"""That the validation texts misled: on texts like them, the accuracy is less than was promised."""


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


def rank_texts(predictions: Predictions) -> Ranked:
    """Texts by confidence; with several labels, an answer is right if all are."""
    return rank(Decisions(predictions.confidence, predictions.is_right()))


def lowest_threshold(wanted: float, ranked: Ranked) -> ThresholdRow:
    """A low confidence from which on the accuracy on texts like these is at least so high, with 95 % confidence.

    Selective guaranteed risk (Geifman and El-Yaniv 2017, arXiv 1705.08500, algorithm 1): the confidences are halved,
    and at each half the exact binomial bound is asked (Clopper and Pearson 1934), with its share of the 5 %. The lowest
    confidence, with which all is answered, is asked before them; answers so few that the bound isn't met even if all
    are right, not at all. Two things are taken as given: the accuracy falls as more is answered, and what else was
    fitted to these texts (weights, a temperature) hardly suits them better than others.

    Args:
        wanted: Accuracy, between 0 and 1.
        ranked: Of texts that the model wasn't trained on.

    Returns:
        Nulls where the texts are too few, or the answers too often wrong, to promise it.
    """
    num_places = len(ranked.counts)
    chance = chance_of_look(num_places)
    surest = int(np.searchsorted(ranked.counts, fewest_texts(wanted, num_places)))
    least, place, found = num_places, num_places - 1, None
    while surest <= place < least:
        if accuracy_bound(ranked.counts[place], ranked.errors[place], chance) >= wanted:
            found, surest = place, place + 1
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
    test = binomtest(int(count - errors), int(count), alternative="greater")
    return float(test.proportion_ci(1 - chance, method="exact").low)


def chance_of_look(num_places: int) -> float:
    """The share of `CHANCE_OF_LESS` for each look at so many distinct confidences: at the last, and at each half."""
    return CHANCE_OF_LESS / (1 + math.ceil(math.log2(num_places)))


def fewest_texts(wanted: float, num_places: int) -> int:
    """So many answers, all right, promise the accuracy, where the confidences of so many places are asked."""
    return math.ceil(math.log(chance_of_look(num_places)) / math.log(wanted))
