"""What a model answered to labelled texts: the currency of evaluation, kept beside a run's results, never published.

Shapes
    N = texts, C = classes, T = targets of a regression, K = decisions
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit, softmax

from salience.configuration.errors import UserError
from salience.configuration.problem_types import MULTI_LABEL, PROBLEM_TYPES, REGRESSION

THRESHOLD = 0.5
"""Lowest probability of a class that is answered, where a text can have several and nothing was fitted."""


def class_probabilities(logits: np.ndarray, problem_type: str) -> np.ndarray:
    """Probabilities of classes, (..., C): softmax, or the sigmoid of each where a text may have several.

    Args:
        logits: (..., C).
        problem_type: One of `PROBLEM_TYPES`.

    Raises:
        ValueError: It is regression.
    """
    _check_has_classes(problem_type)
    return expit(logits) if problem_type == MULTI_LABEL else softmax(logits, axis=-1)


def decide(logits: np.ndarray, problem_type: str, label_thresholds: Sequence[float] | None = None) -> np.ndarray:
    """Which classes are the answer, bool (N, C). Nothing else decides.

    Args:
        logits: (N, C).
        problem_type: One of `PROBLEM_TYPES`.
        label_thresholds: (C,) lowest probability of each class that is answered, where a text can have several; None
            for `THRESHOLD`.

    Raises:
        ValueError: It is regression.
    """
    _check_has_classes(problem_type)
    if problem_type == MULTI_LABEL:
        return logits >= logit_thresholds(label_thresholds, logits.shape[1])
    return _one_hot(logits.argmax(1), logits.shape[1])


def logit_thresholds(label_thresholds: Sequence[float] | None, num_classes: int) -> np.ndarray:
    """The logit from which on each class is answered, finite (C,).

    Args:
        label_thresholds: See `decide`.
        num_classes: C.
    """
    probabilities_C = np.full(num_classes, THRESHOLD) if label_thresholds is None else np.asarray(label_thresholds)
    return np.nan_to_num(logit(probabilities_C))


def confidence(probabilities: np.ndarray, answers: np.ndarray, problem_type: str) -> np.ndarray:
    """How sure each answer is, (N,): see `Predictions.confidence`.

    Args:
        probabilities: (N, C).
        answers: bool (N, C), see `decide`.
        problem_type: One of `PROBLEM_TYPES`, not regression.
    """
    if problem_type == MULTI_LABEL:
        return np.where(answers, probabilities, 1 - probabilities).min(1)
    return probabilities.max(1)


def least_confidence(threshold: float) -> float:
    """What an answer's confidence must reach by a threshold; nothing reaches 1, to which a score may be rounded."""
    return threshold if threshold < 1 else np.inf


class Decisions(NamedTuple):
    """Single decisions of a classifier."""

    confidence: np.ndarray  # (K,) 0 to 1
    is_right: np.ndarray  # (K,) bool


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers to labelled texts, and what was true; checked when it is made.

    Args:
        labels: (N,) class ids; for several labels (N, C) zeros and ones; for regression (N, T) or (N,) true values.
        logits: (N, C) raw outputs; for regression (N, T) or (N,) predicted values.
        problem_type: One of `PROBLEM_TYPES`.
        label_names: The C class names in the order of the logits; not used for regression.
        num_words: (N,) words of each text; None where that is unknown.
        label_thresholds: See `decide`.

    Attributes:
        labels: The same as an array, of integers unless it is regression.
        logits: The same as an array, float64.

    Raises:
        UserError: The logits hold NaN or infinity, so the model has diverged.
        ValueError: There are no rows, shapes don't fit, or a label is not one of the C classes.
    """

    labels: np.ndarray
    logits: np.ndarray
    problem_type: str
    label_names: list[str]
    num_words: np.ndarray | None = None
    label_thresholds: Sequence[float] | None = None

    def __post_init__(self) -> None:
        labels, logits = np.asarray(self.labels), np.asarray(self.logits, np.float64)
        _check(labels, logits, self.problem_type, self.label_names)
        object.__setattr__(self, "labels", labels if self.problem_type == REGRESSION else labels.astype(np.int64))
        object.__setattr__(self, "logits", logits)
        if self.label_thresholds is not None:
            shape = np.asarray(self.label_thresholds, float).shape
            if not self.is_multi_label or shape != logits.shape[1:]:
                raise ValueError(
                    f"{shape} label_thresholds don't fit {self.problem_type} of {logits.shape[1:]} classes."
                )
        if self.num_words is not None:
            num_words = np.asarray(self.num_words)
            if num_words.shape != (len(labels),):
                raise ValueError(f"num_words has the shape {num_words.shape}, and there are {len(labels)} texts.")
            object.__setattr__(self, "num_words", num_words)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_multi_label(self) -> bool:
        """Whether a text can have several labels, or none."""
        return self.problem_type == MULTI_LABEL

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Of each class, (N, C); ValueError for regression, as of all that follows."""
        return class_probabilities(self.logits, self.problem_type)

    @cached_property
    def answers(self) -> np.ndarray:
        """Which classes are the answer, bool (N, C)."""
        return decide(self.logits, self.problem_type, self.label_thresholds)

    @cached_property
    def truths(self) -> np.ndarray:
        """Which classes are true, bool (N, C)."""
        _check_has_classes(self.problem_type)
        return self.labels > 0 if self.is_multi_label else _one_hot(self.labels, self.logits.shape[1])

    def is_right(self) -> np.ndarray:
        """Whether the answer is right, with several labels: all of them, bool (N,)."""
        return (self.answers == self.truths).all(1)

    @cached_property
    def confidence(self) -> np.ndarray:
        """How sure each answer is, (N,): the probability of its class; with several labels, of the least sure one."""
        return confidence(self.probabilities, self.answers, self.problem_type)

    def decisions(self) -> Decisions:
        """Each answer; where a text can have several labels, each class of each text is one: yes or no."""
        if self.is_multi_label:
            sureness = expit(np.where(self.answers, self.logits, -self.logits))
            return Decisions(sureness.ravel(), (self.answers == self.truths).ravel())
        return Decisions(self.confidence, self.is_right())


def _one_hot(ids: np.ndarray, num_classes: int) -> np.ndarray:
    return np.eye(num_classes, dtype=bool)[ids]


def _check_has_classes(problem_type: str) -> None:
    if problem_type == REGRESSION:
        raise ValueError("Answers that are right, probabilities and confidence are for classes; regression has none.")


def _check(labels: np.ndarray, logits: np.ndarray, problem_type: str, label_names: list[str]) -> None:
    """Refuse what doesn't belong together; see `Predictions` for arguments and errors."""
    if problem_type not in PROBLEM_TYPES:
        raise ValueError(f"{problem_type!r} is no problem type; use one of {', '.join(PROBLEM_TYPES)}.")
    if len(labels) == 0 or len(labels) != len(logits):
        raise ValueError(f"Scores need at least one row and as many labels as logits, not {len(labels)}/{len(logits)}.")
    if not np.isfinite(logits).all():
        raise UserError(
            "The model answered with NaN or infinity, so no score can be computed: training has diverged, "
            "try a lower --learning_rate or --max_grad_norm, or fp32."
        )
    if problem_type == REGRESSION:
        return
    if logits.ndim != 2 or logits.shape[1] != len(label_names) or len(set(label_names)) != len(label_names):
        raise ValueError(f"Logits of shape {logits.shape} don't fit {len(label_names)} distinct label names.")
    if problem_type == MULTI_LABEL:
        valid = labels.shape == logits.shape and np.isin(labels, (0, 1)).all()
    else:
        valid = labels.ndim == 1 and np.isin(labels, np.arange(len(label_names))).all()
    if not valid:
        raise ValueError(f"The labels aren't {problem_type} labels for {len(label_names)} classes.")


def count_words(texts: Iterable[str]) -> np.ndarray:
    """Words of each text, as white space parts them, (N,)."""
    return np.array([len(text.split()) for text in texts], int)
