"""From labels and answers to scores, as the `evaluate` metric that ships with the package computes them."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np

from salience.configuration.problem_types import REGRESSION
from salience.eval.scores.predictions import Predictions

if TYPE_CHECKING:
    from transformers import EvalPrediction


class ClassScores(TypedDict):
    """Scores of one class, 0 to 1, and how many texts have it."""

    precision: float
    recall: float
    f1: float
    support: int


class Scores(TypedDict, total=False):
    """What `compute_scores` gives of classes, 0 to 1, or of a regression; a score that is undefined is left out."""

    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    precision_weighted: float
    recall_weighted: float
    f1_weighted: float
    roc_auc: float
    per_class: dict[str, ClassScores]
    mse: float
    mae: float
    r2: float
    pearson: float


def compute_scores(predictions: Predictions) -> Scores:
    """Score answers against the truth; nothing needs the network.

    Args:
        predictions: Of any problem type.

    Returns:
        Plain numbers, ready for JSON: accuracy, precision_macro, recall_macro, f1_macro, the same three with _weighted,
        roc_auc and `per_class` {name: {precision, recall, f1, support}}; for regression mse, mae, r2 and pearson. A
        score that is undefined (roc_auc with one class only, pearson of a constant) is left out.
    """
    if predictions.problem_type == REGRESSION:
        columns = (predictions.logits, predictions.labels)
        outputs, references = (each.reshape(len(predictions), -1) for each in columns)
        inputs: dict[str, Any] = {"predictions": outputs, "references": references}
    else:
        inputs = {
            "predictions": predictions.probabilities,
            "references": predictions.labels,
            "answers": predictions.answers,
            "label_names": predictions.label_names,
        }
    from salience.eval.scores.salience_classification.salience_classification import score  # torch comes with it

    # Not by `evaluate.load`, which copies the script into a cache: home folders may be read-only.
    scores = score(predictions.problem_type, **inputs)
    return cast(Scores, {name: _plain(score) for name, score in scores.items() if score is not None})


def flat_scores(predictions: Predictions) -> dict[str, float]:
    """The scores of `compute_scores` without `per_class`."""
    return {name: score for name, score in compute_scores(predictions).items() if isinstance(score, float)}


def make_compute_metrics(
    problem_type: str,
    label_names: list[str],
    fit_thresholds: Callable[[Predictions], list[float]] | None = None,
) -> Callable[["EvalPrediction"], dict[str, float]]:
    """Build the `compute_metrics` of a `transformers.Trainer`.

    Args:
        problem_type: See `Predictions`.
        label_names: See `Predictions`.
        fit_thresholds: Thresholds of several labels, fitted to the predictions themselves; None for .5, by which an
            epoch that knows nothing yet can look better than one that knows what is rare.

    Returns:
        A function from an EvalPrediction (a tuple of predictions has the logits first) to its `flat_scores`.
    """

    def compute_metrics(prediction: "EvalPrediction") -> dict[str, float]:
        outputs: Any = prediction.predictions
        logits = outputs[0] if isinstance(outputs, tuple | list) else outputs
        predictions = Predictions(np.asarray(prediction.label_ids), logits, problem_type, label_names)
        if fit_thresholds is not None:
            predictions = replace(predictions, label_thresholds=fit_thresholds(predictions))
        return flat_scores(predictions)

    return compute_metrics


def _plain(score: Any) -> Any:
    if isinstance(score, dict):
        return {name: _plain(value) for name, value in score.items()}
    return score if isinstance(score, int) else float(score)
