"""From which probability on each label is given, where a text can have several: chosen on validation texts.

Shapes
    N = texts, C = labels, P = distinct probabilities of a label
"""

import logging

import numpy as np

from salience.eval.scores.predictions import THRESHOLD, Predictions

logger = logging.getLogger(__name__)
NEVER = 1.0
"""Threshold of a label that reaches the wanted precision nowhere: only what is certain is answered."""


def fit_label_thresholds(predictions: Predictions, target_precision: float | None = None) -> list[float]:
    """The threshold of each label, in their order.

    Args:
        predictions: Of the validation texts, by the model as it is used; with several labels.
        target_precision: The lowest threshold is taken from which on so large a share of the texts that get a label
            have it, and `NEVER` where there is none; None: that of the best F1, the nearest to 0.5 of equal ones.

    Returns:
        0.5 for a label that no text has, or that all have with the same probability.
    """
    columns = zip(predictions.probabilities.T, predictions.truths.T, strict=True)
    return [_threshold(probability_N, is_true_N, target_precision) for probability_N, is_true_N in columns]


def tell_label_thresholds(predictions: Predictions, thresholds: list[float], target_precision: float | None) -> None:
    """Warn of labels whose threshold isn't what was asked for.

    Args:
        predictions: They were fitted to.
        thresholds: As `fit_label_thresholds` gives them.
        target_precision: Its argument.
    """
    names, seen = predictions.label_names, {int(each) for each in predictions.truths.nonzero()[1]}
    if unseen := [name for number, name in enumerate(names) if number not in seen]:
        logger.warning("no validation text has these labels, which keep the threshold 0.5: %s", ", ".join(unseen))
    pairs = zip(names, thresholds, strict=True)
    if target_precision is not None and (never := [name for name, each in pairs if each == NEVER]):
        says = "no threshold gives these labels a precision of %s on the validation texts, so they are never given: %s"
        logger.warning(says, target_precision, ", ".join(never))


def _threshold(probability_N: np.ndarray, is_true_N: np.ndarray, target_precision: float | None) -> float:
    """See `fit_label_thresholds`, for one label."""
    if not is_true_N.any() or np.ptp(probability_N) == 0:
        return THRESHOLD
    falling_P, of_N = np.unique(-probability_N, return_inverse=True)
    given_P = np.bincount(of_N).cumsum()  # texts that get the label, if these probabilities and all above give it
    hits_P = np.bincount(of_N, weights=is_true_N).cumsum()
    between_P = _between(-falling_P)
    if target_precision is not None:
        reached = np.flatnonzero(hits_P / given_P >= target_precision)
        return float(between_P[reached[-1]]) if len(reached) else NEVER
    f1_P = 2 * hits_P / (given_P + is_true_N.sum())
    best_P = between_P[np.isclose(f1_P, f1_P.max(), rtol=0, atol=1e-12)]
    return float(best_P[np.abs(best_P - THRESHOLD).argmin()])


def _between(falling_P: np.ndarray) -> np.ndarray:
    """For each probability a threshold that it reaches and the next lower one doesn't: 0.5 or the middle, (P,).

    None lies at a probability itself, which a model on another device reaches or misses by its last digit.
    """
    next_P = np.append(falling_P[1:], 0.0)
    return np.where((next_P < THRESHOLD) & (falling_P >= THRESHOLD), THRESHOLD, (falling_P + next_P) / 2)
