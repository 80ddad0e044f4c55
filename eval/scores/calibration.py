"""Whether a classifier's scores may be believed as probabilities, and from which score on it is right often enough.

`calibration` gives, ready for JSON (shares and scores from 0 to 1):

    num_predictions         answers that were counted: texts, or texts times classes where a text can have several
    accuracy, mean_confidence
    ece_equal_width, ece_equal_mass
                            expected calibration error: mean distance of accuracy and confidence over the bins below,
                            weighted by their counts (Guo et al. 2017; Nixon et al. 2019)
    brier                   mean squared error of the probabilities, from 0 to 1: half the sum over the classes
    nll                     negative log-likelihood in nats, 0 or more
    reliability_equal_width, reliability_equal_mass
                            a list of bins that have answers: low, high (above low, up to high), confidence and accuracy
                            (means), count
    risk_coverage           coverage, risk and threshold, three lists of at most 101 values: answering only the share
                            `coverage` of which the model is surest (confidence of at least `threshold`), the share
                            `risk` of the answers is wrong (Geifman and El-Yaniv 2017)
    aurc                    mean risk over all coverages; lower is better
    thresholds              a list with wanted_accuracy, and a low confidence threshold from which on it can be promised
                            of further texts, see `salience.eval.scores.guarantee`; the coverage and the accuracy
                            there, of texts as in `at_threshold`; all three null where there is none

An answer's confidence is the highest probability of a text's classes; where a text can have several, each class of each
text is an answer, yes from the class's threshold on (0.5 unless another was fitted), with confidence p, or no, with
confidence 1 - p. Equal confidences are never parted: nothing depends on the order of texts.

Shapes
    N = texts, C = classes, K = decisions
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from salience.eval.scores.guarantee import Ranked, ThresholdRow, lowest_threshold, rank, rank_texts
from salience.eval.scores.predictions import Decisions, Predictions

NUM_BINS = 15
NUM_CURVE_POINTS = 101
WANTED_ACCURACIES = (0.90, 0.95, 0.99)
# What a few validation texts say must not make scores of 0 and 1, nor all the same.
TEMPERATURE_BOUNDS = (0.05, 20.0)


class Bin(TypedDict):
    """Answers whose confidence lies above `low` (from 0 on: at it), up to `high`."""

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


class Curve(TypedDict):
    """Risk by coverage."""

    coverage: list[float]
    risk: list[float]
    threshold: list[float]


class CalibrationResult(TypedDict):
    """What `calibration` gives; see the module."""

    num_predictions: int
    accuracy: float
    mean_confidence: float
    ece_equal_width: float
    ece_equal_mass: float
    brier: float
    nll: float
    reliability_equal_width: list[Bin]
    reliability_equal_mass: list[Bin]
    risk_coverage: Curve
    aurc: float
    thresholds: list[ThresholdRow]


class Answered(TypedDict):
    """What answering only from a confidence on gives; null where there is nothing to give."""

    coverage: float | None
    accuracy: float | None


def fit_temperature(predictions: Predictions) -> float:
    """The temperature by which logits are divided for the lowest negative log-likelihood (Guo et al. 2017).

    Args:
        predictions: For texts that the model was not trained on: the validation split.

    Returns:
        Within `TEMPERATURE_BOUNDS`: at the upper one where the model is no better than chance. 1 where every answer is
        right: the likelihood then rises without end as scores sharpen, so the texts don't tell how sure is too sure.

    Raises:
        ValueError: It is regression.
    """
    if (_true_margins(predictions) >= 0).all():
        return 1.0
    low, high = np.log(TEMPERATURE_BOUNDS)
    # Convex in 1 / T, so there is one minimum.
    fitted = minimize_scalar(
        lambda log_temperature: negative_log_likelihood(predictions, np.exp(log_temperature)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(fitted.x))


def calibration(predictions: Predictions) -> CalibrationResult:
    """How far a classifier's scores are probabilities.

    Compute it on the test split to report it, on the validation split to choose a threshold for use.

    Args:
        predictions: Of the model as it is used, its temperature included.

    Returns:
        See the module.

    Raises:
        ValueError: It is regression.
    """
    decisions = predictions.decisions()
    by_width = reliability(decisions, np.linspace(0, 1, NUM_BINS + 1))
    by_mass = reliability(decisions, equal_mass_edges(decisions.confidence))
    ranked = rank(decisions)
    curve, aurc = _risk_coverage(ranked)
    return {
        "num_predictions": len(decisions.is_right),
        "accuracy": float(decisions.is_right.mean()),
        "mean_confidence": float(decisions.confidence.mean()),
        "ece_equal_width": expected_error(by_width),
        "ece_equal_mass": expected_error(by_mass),
        "brier": brier(predictions),
        "nll": negative_log_likelihood(predictions),
        "reliability_equal_width": by_width,
        "reliability_equal_mass": by_mass,
        "risk_coverage": curve,
        "aurc": aurc,
        "thresholds": [lowest_threshold(wanted, rank_texts(predictions)) for wanted in WANTED_ACCURACIES],
    }


def at_threshold(predictions: Predictions, threshold: float | None) -> Answered:
    """What answering only from a confidence on gives on texts that it wasn't chosen on.

    Args:
        predictions: Of a classifier.
        threshold: Lowest confidence, 0 to 1; None for none.

    Returns:
        coverage, and the accuracy of the texts that are answered (with several labels, all must be right): null where
        none is; both null without a threshold.

    Raises:
        ValueError: It is regression.
    """
    if threshold is None:
        return {"coverage": None, "accuracy": None}
    is_answered = predictions.confidence >= threshold
    accuracy = float(predictions.is_right()[is_answered].mean()) if is_answered.any() else None
    return {"coverage": float(is_answered.mean()), "accuracy": accuracy}


def negative_log_likelihood(predictions: Predictions, temperature: float = 1.0) -> float:
    """Mean over texts of -log p(truth), in nats, by softmax; over texts and classes, by sigmoid, with several labels.

    Args:
        predictions: Of a classifier.
        temperature: Divides the logits.
    """
    logits = predictions.logits / temperature
    if predictions.is_multi_label:
        return float(np.logaddexp(0, np.where(predictions.truths, -logits, logits)).mean())
    return float(-log_softmax(logits, axis=1)[predictions.truths].mean())


def brier(predictions: Predictions) -> float:
    """Mean over texts of half the squared errors of all classes; or mean squared error over texts and classes.

    That of two classes is the familiar one of a single probability.

    Args:
        predictions: Of a classifier.
    """
    squared = (predictions.probabilities - predictions.truths) ** 2
    return float(squared.mean() if predictions.is_multi_label else squared.sum(1).mean() / 2)


def reliability(decisions: Decisions, edges: np.ndarray) -> list[Bin]:
    """Confidence against accuracy, bin by bin.

    Args:
        decisions: Of a classifier.
        edges: (bins + 1,) rising, from below the lowest confidence to the highest or above.

    Returns:
        For each bin that has answers low, high, confidence, accuracy and count.
    """
    edges = np.unique(edges)
    bins = np.searchsorted(edges[1:-1], decisions.confidence)
    size = len(edges) - 1
    counts = np.bincount(bins, minlength=size)
    confidences = np.bincount(bins, weights=decisions.confidence, minlength=size)
    rights = np.bincount(bins, weights=decisions.is_right, minlength=size)
    return [
        {
            "low": float(edges[each]),
            "high": float(edges[each + 1]),
            "confidence": float(confidences[each] / counts[each]),
            "accuracy": float(rights[each] / counts[each]),
            "count": int(counts[each]),
        }
        for each in np.flatnonzero(counts)
    ]


def equal_mass_edges(confidence: np.ndarray) -> np.ndarray:
    """Edges (bins + 1,) from 0, between which equally many of the values (K,) lie, or one more."""
    ranked, size = np.sort(confidence), len(confidence)
    lasts = -(-np.arange(1, NUM_BINS + 1) * size // NUM_BINS) - 1
    return np.r_[0, ranked[lasts]]


def expected_error(table: Sequence[Bin]) -> float:
    """Expected calibration error of a table of `reliability`, 0 to 1."""
    counts = [row["count"] for row in table]
    return float(np.average([abs(row["accuracy"] - row["confidence"]) for row in table], weights=counts))


def _true_margins(predictions: Predictions) -> np.ndarray:
    """How far the truth is ahead of what competes with it: below 0 for wrong answers."""
    logits, truths = predictions.logits, predictions.truths
    return np.where(truths, logits, -logits) if predictions.is_multi_label else logits[truths] - logits.max(1)


def _risk_coverage(ranked: Ranked) -> tuple[Curve, float]:
    """`risk_coverage` and `aurc`; within equal confidences, errors come as often as on the average of all orders."""
    total = int(ranked.counts[-1])
    accepted = np.arange(1, total + 1)
    risks = np.interp(accepted, np.r_[0, ranked.counts], np.r_[0, ranked.errors]) / accepted
    shown = np.unique(np.linspace(0, total - 1, NUM_CURVE_POINTS).round().astype(int))
    thresholds = ranked.confidence[np.searchsorted(ranked.counts, accepted[shown])]
    curve: Curve = {
        "coverage": (accepted[shown] / total).tolist(),
        "risk": risks[shown].tolist(),
        "threshold": thresholds.tolist(),
    }
    return curve, float(risks.mean())
