"""Scores of a text classifier or regressor as one `evaluate` metric, computed by scikit-learn.

`evaluate.load("eval/scores/salience_classification", "multi_label_classification")` needs no network.
"""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import (
    accuracy_score,
    mean_absolute_error,
    mean_squared_error,
    precision_recall_fscore_support,
    r2_score,
    roc_auc_score,
)

PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
_DESCRIPTION = """
One configuration per problem type of transformers:

- single_label_classification: macro averages run over the classes that occur among the references or the answers, as
  scikit-learn does by default.
- multi_label_classification: accuracy is subset accuracy (all labels of a text right). Macro averages run over all
  classes, as scikit-learn does for label indicators.
- regression: errors, R2 and Pearson correlation, averaged over the targets.

Precision, recall and F1 without a denominator count as 0. ROC-AUC is one-vs-rest, averaged over the classes that have
both positive and negative references; without such a class it is None, and so are R2 and Pearson where undefined.
"""

_INPUTS = """
Args:
    predictions: (N, C) probabilities; for regression (N, T) predicted values.
    references: N class ids; for multi-label (N, C) zeros and ones; for regression (N, T) true values.
    answers: (N, C) which classes are the answer: none is decided here. Not for regression.
    label_names: C names for the keys of `per_class`; by default the class ids as strings.
Returns:
    accuracy, precision_macro, recall_macro, f1_macro, the same three _weighted, roc_auc and
    per_class {name: {precision, recall, f1, support}} with every class, absent ones included;
    for regression mse, mae, r2, pearson.
"""


def _averages(references: np.ndarray, predictions: np.ndarray, classes: Sequence[int] | None) -> dict[str, float]:
    averages = {"accuracy": accuracy_score(references, predictions)}
    for average in ("macro", "weighted"):
        scores = precision_recall_fscore_support(
            references, predictions, labels=classes, average=average, zero_division=0
        )
        averages |= zip((f"{name}_{average}" for name in ("precision", "recall", "f1")), scores, strict=False)
    return averages


def _per_class(
    references: np.ndarray, predictions: np.ndarray, classes: Sequence[int], names: list[str]
) -> dict[str, dict[str, float]]:
    columns = precision_recall_fscore_support(references, predictions, labels=classes, average=None, zero_division=0)
    return {
        name: {"precision": p, "recall": r, "f1": f, "support": int(s)}
        for name, p, r, f, s in zip(names, *columns, strict=True)
    }


def _roc_auc(indicators: np.ndarray, scores: np.ndarray) -> float | None:
    """Mean over the columns of (N, C) that hold both a 0 and a 1; None when there is no such column."""
    defined = indicators.any(axis=0) & ~indicators.all(axis=0)
    areas = [roc_auc_score(indicators[:, c], scores[:, c]) for c in np.flatnonzero(defined)]
    return np.mean(areas) if areas else None


def _pearson(references: np.ndarray, predictions: np.ndarray) -> float | None:
    """Mean over the targets; None when a target or its prediction is constant."""
    if (np.ptp(references, axis=0) == 0).any() or (np.ptp(predictions, axis=0) == 0).any():
        return None
    targets = range(references.shape[1])
    return np.mean([np.corrcoef(references[:, t], predictions[:, t])[0, 1] for t in targets])


def score(
    problem_type: str, predictions: Any, references: Any, answers: Any = None, label_names: list[str] | None = None
) -> dict[str, Any]:
    """What the metric computes, without the files that `evaluate` keeps for one.

    Args:
        problem_type: The metric's configuration.
        predictions: As the metric takes them; so are the others.
        references: One row for each prediction.
        answers: Not for regression.
        label_names: Names of the classes.
    """
    if problem_type not in PROBLEM_TYPES:
        raise ValueError(f"Unknown configuration {problem_type!r}; use one of {', '.join(PROBLEM_TYPES)}.")
    scores, references = np.asarray(predictions, float), np.asarray(references)
    if problem_type == "regression":
        return _regression(scores, references)
    references = references.astype(int)
    answers, names = np.asarray(answers, int), label_names or [str(i) for i in range(scores.shape[1])]
    classes: Sequence[int] = range(len(names))
    averaged: Sequence[int] | None = None  # those that occur
    if problem_type == "multi_label_classification":
        if len(names) == 1:  # scikit-learn takes a single column for two classes, no and yes
            averaged = classes = [1]
        predicted, indicators, ranked = answers, references, scores
    else:
        predicted, indicators, ranked = answers.argmax(axis=1), np.eye(len(names), dtype=int)[references], scores
        if len(names) == 2:  # the two columns mirror each other; scikit-learn ranks by the second
            indicators, ranked = indicators[:, 1:], scores[:, 1:]
    return {
        **_averages(references, predicted, averaged),
        "roc_auc": _roc_auc(indicators, ranked),
        "per_class": _per_class(references, predicted, classes, names),
    }


def _regression(predictions: np.ndarray, references: np.ndarray) -> dict[str, float | None]:
    return {
        "mse": mean_squared_error(references, predictions),
        "mae": mean_absolute_error(references, predictions),
        "r2": r2_score(references, predictions) if np.ptp(references, axis=0).all() else None,
        "pearson": _pearson(references, predictions),
    }


class SalienceClassification(evaluate.Metric):
    """The scores that Salience prints, saves and publishes."""

    def _info(self) -> evaluate.MetricInfo:
        number, integer = datasets.Value("float64"), datasets.Value("int64")
        reference = {
            "single_label_classification": integer,
            "multi_label_classification": datasets.Sequence(integer),
            "regression": datasets.Sequence(number),
        }
        if self.config_name not in reference:
            raise ValueError(f"Unknown configuration {self.config_name!r}; use one of {', '.join(PROBLEM_TYPES)}.")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Sequence(number), "references": reference[self.config_name]}
            ),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
        )

    def _compute(
        self, predictions: Any, references: Any, answers: Any = None, label_names: list[str] | None = None
    ) -> dict[str, Any]:
        return score(self.config_name, predictions, references, answers, label_names)
