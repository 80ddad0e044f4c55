"""When a classifier had better not answer: a threshold of confidence, chosen on validation texts."""

from logging import getLogger

from salience.eval.scores.calibration import Answered, at_threshold
from salience.eval.scores.guarantee import fewest_texts, lowest_threshold, rank_texts
from salience.eval.scores.predictions import Predictions, least_confidence

logger = getLogger(__name__)


class Review(Answered):
    """What leaving less confident answers to people gives: coverage and accuracy of what isn't left to them."""

    target_accuracy: float
    threshold: float


def fit_review(predictions: Predictions, target_accuracy: float) -> Review:
    """A confidence from which on so large a share of texts is answered right; see `guarantee.lowest_threshold`.

    Args:
        predictions: Of the validation texts, by the model as it is used.
        target_accuracy: Between 0 and 1.

    Returns:
        A threshold of 1, where none can be promised: everything is left to people.
    """
    threshold = lowest_threshold(target_accuracy, rank_texts(predictions))["threshold"]
    return reviewed(predictions, target_accuracy, 1.0 if threshold is None else threshold)


def tell_review(review: Review, num_texts: int) -> None:
    """Warn where nothing can be promised.

    Args:
        review: From `fit_review`.
        num_texts: Validation texts that it was fitted to.
    """
    if review["threshold"] == 1:
        logger.warning(
            "--target_accuracy %s can't be promised by %s validation texts, so all answers are for review: it takes "
            "%s of the surest without an error, or more",
            review["target_accuracy"], f"{num_texts:,}", f"{fewest_texts(review['target_accuracy'], num_texts):,}",
        )  # fmt: skip


def reviewed(predictions: Predictions, target_accuracy: float, threshold: float) -> Review:
    """What a threshold gives.

    Args:
        predictions: Of a classifier.
        target_accuracy: What it was chosen for.
        threshold: Lowest confidence of an answer that isn't left to people.
    """
    least = least_confidence(threshold)
    return Review(target_accuracy=target_accuracy, threshold=threshold, **at_threshold(predictions, least))
