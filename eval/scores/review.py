"""When a classifier had better not answer: a threshold of confidence, chosen on validation texts."""

from typing import TypedDict

from salience.eval.scores.guarantee import lowest_threshold, rank
from salience.eval.scores.predictions import Decisions, Predictions


class Review(TypedDict):
    """What leaving less confident answers to people gives."""

    target_accuracy: float
    threshold: float
    coverage: float
    accuracy: float | None  # of what isn't left to people; null where all is


def fit_review(predictions: Predictions, target_accuracy: float) -> Review:
    """A low confidence from which on so large a share of texts is answered right; of several labels, all are.

    See `guarantee.lowest_threshold`: it is promised of further texts like these.

    Args:
        predictions: Of the validation texts, by the model as it is used.
        target_accuracy: Above 0, up to 1.

    Returns:
        A threshold of 1, where none can be promised: only what is certain isn't left to people.
    """
    ranked = rank(Decisions(predictions.confidence, predictions.is_right()))
    threshold = lowest_threshold(target_accuracy, ranked)["threshold"]
    return reviewed(predictions, target_accuracy, 1.0 if threshold is None else threshold)


def reviewed(predictions: Predictions, target_accuracy: float, threshold: float) -> Review:
    """What a threshold gives.

    Args:
        predictions: Of a classifier.
        target_accuracy: What it was chosen for.
        threshold: Lowest confidence of an answer that isn't left to people.
    """
    is_answered = predictions.confidence >= threshold
    return {
        "target_accuracy": target_accuracy,
        "threshold": threshold,
        "coverage": float(is_answered.mean()),
        "accuracy": float(predictions.is_right()[is_answered].mean()) if is_answered.any() else None,
    }
