"""From logits and labels to scores, through the `evaluate` module that ships with the package."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
from scipy.special import expit, softmax
from transformers import EvalPrediction

from salience.configuration.errors import UserError

METRIC_FOLDER = Path(__file__).parent / "salience_classification"


def compute_scores(
    logits: np.ndarray, labels: np.ndarray, problem_type: str, label_names: list[str]
) -> dict[str, float | dict[str, dict[str, float]]]:
    """Score a model's outputs against the truth; nothing needs the network.

    Args:
        logits: (N, C) raw outputs; for regression (N, T) or (N,) predicted values.
        labels: (N,) class ids; for multi-label (N, C) zeros and ones; for regression (N, T) or (N,) true values.
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`.
        label_names: the C class names in the order of the logits; not used for regression.

    Returns:
        Plain numbers, ready for JSON: accuracy, precision_macro, recall_macro, f1_macro, the same three with _weighted,
        roc_auc and `per_class` {name: {precision, recall, f1, support}}; for regression mse, mae, r2 and pearson. A
        score that is undefined (roc_auc with one class only, pearson of a constant) is left out.

    Raises:
        UserError: the logits hold NaN or infinity, so the model has diverged.
        ValueError: there are no rows, shapes don't fit, or a label is not one of the C classes.
    """
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    check_outputs(logits, labels, problem_type, label_names)
    if problem_type == "regression":
        rows = len(labels)
        inputs: dict[str, Any] = {"predictions": logits.reshape(rows, -1), "references": labels.reshape(rows, -1)}
    elif problem_type == "multi_label_classification":
        inputs = {"predictions": expit(logits), "references": labels.astype(int), "label_names": label_names}
    else:
        inputs = {"predictions": softmax(logits, axis=-1), "references": labels, "label_names": label_names}
    scores = _metric(problem_type).compute(**inputs)
    return {name: _plain(score) for name, score in scores.items() if score is not None}


def make_compute_metrics(problem_type: str, label_names: list[str]) -> Callable[[EvalPrediction], dict[str, float]]:
    """Build the `compute_metrics` of a `transformers.Trainer`.

    Args:
        problem_type: see `compute_scores`.
        label_names: see `compute_scores`.

    Returns:
        A function from an EvalPrediction (a tuple of predictions has the logits first) to the flat scores of
        `compute_scores`, without `per_class`.
    """

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        outputs: Any = prediction.predictions
        logits = outputs[0] if isinstance(outputs, tuple | list) else outputs
        scores = compute_scores(logits, np.asarray(prediction.label_ids), problem_type, label_names)
        return {name: score for name, score in scores.items() if not isinstance(score, dict)}

    return compute_metrics


def check_outputs(logits: np.ndarray, labels: np.ndarray, problem_type: str, label_names: list[str]) -> None:
    """Refuse outputs and labels that don't belong together; see `compute_scores` for arguments and errors."""
    if len(labels) == 0 or len(labels) != len(logits):
        raise ValueError(f"Scores need at least one row and as many labels as logits, not {len(labels)}/{len(logits)}.")
    if not np.isfinite(logits).all():
        raise UserError(
            "The model answered with NaN or infinity, so no score can be computed: training has diverged, "
            "try a lower --learning_rate or --max_grad_norm, or fp32."
        )
    if problem_type == "regression":
        return
    if logits.ndim != 2 or logits.shape[1] != len(label_names) or len(set(label_names)) != len(label_names):
        raise ValueError(f"Logits of shape {logits.shape} don't fit {len(label_names)} distinct label names.")
    if problem_type == "multi_label_classification":
        valid = labels.shape == logits.shape and np.isin(labels, (0, 1)).all()
    else:
        valid = labels.ndim == 1 and ((labels >= 0) & (labels < len(label_names))).all()
    if not valid:
        raise ValueError(f"The labels aren't {problem_type} labels for {len(label_names)} classes.")


def _metric(problem_type: str) -> evaluate.EvaluationModule:
    # A metric object holds the rows of the call in progress, so each call gets its own: loading takes milliseconds,
    # the script itself is imported once. In memory and with an id of its own, processes can't meet on disk.
    experiment = f"{os.getpid()}-{uuid.uuid4().hex}"
    return evaluate.load(str(METRIC_FOLDER), problem_type, experiment_id=experiment, keep_in_memory=True)


def _plain(score: Any) -> Any:
    if isinstance(score, dict):
        return {name: _plain(value) for name, value in score.items()}
    return score if isinstance(score, int) else float(score)
