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
    thresholds              a list with wanted_accuracy, and the lowest confidence threshold that gives it, the coverage
                            and the accuracy there; all three null where no threshold gives it

An answer's confidence is the highest probability of a text's classes; where a text can have several, each class of each
text is an answer, yes from a probability of 0.5 on, with confidence max(p, 1 - p). Equal confidences are never parted:
nothing depends on the order of texts.

Shapes
    N = texts, C = classes, K = answers
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

from salience.eval.scores.metrics import check_outputs

NUM_BINS = 15
NUM_CURVE_POINTS = 101
WANTED_ACCURACIES = (0.90, 0.95, 0.99)
# What a few validation texts say must not make scores of 0 and 1, nor all the same.
TEMPERATURE_BOUNDS = (0.05, 20.0)


class Answers(NamedTuple):
    """Single decisions of a classifier."""

    confidence: np.ndarray  # (K,) 0 to 1
    is_right: np.ndarray  # (K,) bool


def fit_temperature(logits: np.ndarray, labels: np.ndarray, problem_type: str) -> float:
    """The temperature by which logits are divided for the lowest negative log-likelihood (Guo et al. 2017).

    Args:
        logits: (N, C), of texts that the model was not trained on: the validation split.
        labels: (N,) class ids, or (N, C) zeros and ones.
        problem_type: `single_label_classification` (softmax) or `multi_label_classification` (sigmoid).

    Returns:
        Within `TEMPERATURE_BOUNDS`: at the upper one where the model is no better than chance. 1 where every answer is
        right: the likelihood then rises without end as scores sharpen, so the texts don't tell how sure is too sure.

    Raises:
        ValueError: It is regression, or logits and labels don't belong together.
        UserError: The logits hold NaN or infinity.
    """
    logits, labels = _checked(logits, labels, problem_type)
    if (_true_margins(logits, labels) >= 0).all():
        return 1.0
    low, high = np.log(TEMPERATURE_BOUNDS)
    # Convex in 1 / T, so there is one minimum.
    fitted = minimize_scalar(
        lambda log_temperature: negative_log_likelihood(logits / np.exp(log_temperature), labels),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(fitted.x))


def calibration(logits: np.ndarray, labels: np.ndarray, problem_type: str) -> dict[str, Any]:
    """How far a classifier's scores are probabilities.

    Compute it on the test split to report it, on the validation split to choose a threshold for use: one chosen on the
    test split would promise too much.

    Args:
        logits: (N, C), of the model as it is used, its temperature included.
        labels: (N,) class ids, or (N, C) zeros and ones.
        problem_type: `single_label_classification` or `multi_label_classification`.

    Returns:
        See the module.

    Raises:
        ValueError: It is regression, or logits and labels don't belong together.
        UserError: The logits hold NaN or infinity.
    """
    logits, labels = _checked(logits, labels, problem_type)
    answers = _answers(logits, labels)
    tables = {
        "equal_width": reliability(answers, np.linspace(0, 1, NUM_BINS + 1)),
        "equal_mass": reliability(answers, equal_mass_edges(answers.confidence)),
    }
    ranked = _by_confidence(answers)
    return {
        "num_predictions": len(answers.is_right),
        "accuracy": float(answers.is_right.mean()),
        "mean_confidence": float(answers.confidence.mean()),
        **{f"ece_{name}": expected_error(table) for name, table in tables.items()},
        "brier": brier(logits, labels),
        "nll": negative_log_likelihood(logits, labels),
        **{f"reliability_{name}": table for name, table in tables.items()},
        **_risk_coverage(*ranked),
        "thresholds": [_threshold(wanted, *ranked) for wanted in WANTED_ACCURACIES],
    }


def at_threshold(
    logits: np.ndarray, labels: np.ndarray, problem_type: str, threshold: float | None
) -> dict[str, float | None]:
    """What answering only from a confidence on gives on texts that it wasn't chosen on.

    Args:
        logits: (N, C).
        labels: (N,) class ids, or (N, C) zeros and ones.
        problem_type: `single_label_classification` or `multi_label_classification`.
        threshold: Lowest confidence, 0 to 1; None for none.

    Returns:
        coverage, and the accuracy of what is answered: null where nothing is; both null without a threshold.

    Raises:
        ValueError: It is regression, or logits and labels don't belong together.
        UserError: The logits hold NaN or infinity.
    """
    if threshold is None:
        return {"coverage": None, "accuracy": None}
    answers = _answers(*_checked(logits, labels, problem_type))
    is_answered = answers.confidence >= threshold
    accuracy = float(answers.is_right[is_answered].mean()) if is_answered.any() else None
    return {"coverage": float(is_answered.mean()), "accuracy": accuracy}


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over texts, or over texts and classes, of -log p(truth), in nats.

    Args:
        logits: (N, C).
        labels: (N,) class ids, then by softmax; or (N, C) zeros and ones, then by sigmoid.
    """
    if labels.ndim == 2:
        return float(np.logaddexp(0, np.where(labels > 0, -logits, logits)).mean())
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def brier(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over texts of half the squared errors of all classes; or mean squared error over texts and classes.

    That of two classes is the familiar one of a single probability.

    Args:
        logits: (N, C).
        labels: (N,) class ids, or (N, C) zeros and ones.
    """
    if labels.ndim == 2:
        return float(((expit(logits) - labels) ** 2).mean())
    errors = softmax(logits, axis=1)
    errors[np.arange(len(labels)), labels] -= 1
    return float((errors**2).sum(1).mean() / 2)


def reliability(answers: Answers, edges: np.ndarray) -> list[dict[str, Any]]:
    """Confidence against accuracy, bin by bin.

    Args:
        answers: Of a classifier.
        edges: (bins + 1,) rising, from below the lowest confidence to the highest or above.

    Returns:
        For each bin that has answers low, high, confidence, accuracy and count.
    """
    edges = np.unique(edges)
    bins = np.searchsorted(edges[1:-1], answers.confidence)
    size = len(edges) - 1
    counts = np.bincount(bins, minlength=size)
    confidences = np.bincount(bins, weights=answers.confidence, minlength=size)
    rights = np.bincount(bins, weights=answers.is_right, minlength=size)
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


def expected_error(table: list[dict[str, Any]]) -> float:
    """Expected calibration error of a table of `reliability`, 0 to 1."""
    counts = [row["count"] for row in table]
    return float(np.average([abs(row["accuracy"] - row["confidence"]) for row in table], weights=counts))


def _checked(logits: np.ndarray, labels: np.ndarray, problem_type: str) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, logits (N, C) float64, labels int."""
    if problem_type not in ("single_label_classification", "multi_label_classification"):
        raise ValueError(f"Calibration is about the probabilities of classes, and {problem_type} has none.")
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    check_outputs(logits, labels, problem_type, [str(each) for each in range(logits.shape[-1])])
    return logits, labels.astype(int)


def _true_margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far the truth is ahead of what competes with it: below 0 for wrong answers."""
    if labels.ndim == 2:
        return np.where(labels > 0, logits, -logits)
    return logits[np.arange(len(labels)), labels] - logits.max(1)


def _answers(logits: np.ndarray, labels: np.ndarray) -> Answers:
    if labels.ndim == 2:
        return Answers(expit(np.abs(logits)).ravel(), ((logits >= 0) == (labels > 0)).ravel())
    return Answers(softmax(logits, axis=1).max(1), logits.argmax(1) == labels)


def _by_confidence(answers: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each distinct confidence (last, falling); how many answers are at least so sure (first), and wrong of them."""
    confidence, of = np.unique(-answers.confidence, return_inverse=True)
    counts = np.bincount(of).cumsum()
    errors = np.bincount(of, weights=~answers.is_right).cumsum()
    return counts, errors, -confidence


def _risk_coverage(counts: np.ndarray, errors: np.ndarray, threshold: np.ndarray) -> dict[str, Any]:
    """`risk_coverage` and `aurc`; within equal confidences, errors come as often as on the average of all orders."""
    total = int(counts[-1])
    accepted = np.arange(1, total + 1)
    risks = np.interp(accepted, np.r_[0, counts], np.r_[0, errors]) / accepted
    shown = np.unique(np.linspace(0, total - 1, NUM_CURVE_POINTS).round().astype(int))
    curve = {
        "coverage": accepted[shown] / total,
        "risk": risks[shown],
        "threshold": threshold[np.searchsorted(counts, accepted[shown])],
    }
    return {"risk_coverage": {name: values.tolist() for name, values in curve.items()}, "aurc": float(risks.mean())}


def _threshold(wanted: float, counts: np.ndarray, errors: np.ndarray, threshold: np.ndarray) -> dict[str, Any]:
    """The row of `thresholds` for a wanted accuracy."""
    accuracies = (counts - errors) / counts
    reached = np.flatnonzero(accuracies >= wanted)
    names = ("threshold", "coverage", "accuracy")
    if len(reached) == 0:
        return {"wanted_accuracy": wanted} | dict.fromkeys(names)
    last = reached[-1]
    values = (threshold[last], counts[last] / counts[-1], accuracies[last])
    return {"wanted_accuracy": wanted} | {name: float(value) for name, value in zip(names, values, strict=True)}
