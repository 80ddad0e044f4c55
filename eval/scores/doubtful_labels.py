"""Labels that the model's answers contradict: confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068).

The answers must be to texts that the model was not trained on. Where a text can have several labels, each class is a
question of its own, answered by yes or no.

Shapes
    N = texts, C = classes
"""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from salience.eval.scores.breakdown import TEXT_LENGTH, shortened
from salience.eval.scores.predictions import Predictions

SWAPPED_SHARE, NUM_DRAWS = 0.05, 20
"""Of a control: how many labels are swapped at a time, and how many times."""


class Doubt(TypedDict):
    """A label that is doubtful, and what the model says."""

    row: int
    text: str
    given: str
    predicted: str
    score: float  # probability of the given label


class OverDraws(TypedDict):
    """A share over the draws of a control; of none, both are null."""

    mean: float | None
    sd: float | None


class Control(TypedDict):
    """How well wrong labels would be found: what happens to labels that were swapped at random."""

    swapped: int  # labels of each draw
    draws: int
    recall: OverDraws  # how many of the swapped labels are listed
    precision: OverDraws  # how many of the listed labels were swapped, in draws that list any


class DoubtfulLabels(TypedDict):
    """What `doubtful_labels` gives."""

    estimate: float
    texts: list[Doubt]
    control: Control | None  # where a text has one label


class Found(NamedTuple):
    """What confident learning says of one label for each text."""

    estimate: float  # how many labels are wrong
    rows: np.ndarray  # those that are contradicted with confidence, the least likely label first


def doubtful_labels(predictions: Predictions, texts: Sequence[str], seed: int = 0) -> DoubtfulLabels:
    """The labels that are contradicted with confidence, the least likely one first, and how many are wrong by estimate.

    Args:
        predictions: Answers to texts that the model was not trained on.
        texts: (N,) these texts.
        seed: Of the labels that the control swaps.
    """
    names, probabilities_NC, answers_NC = predictions.label_names, predictions.probabilities, predictions.answers
    doubts: list[Doubt] = []
    estimate = 0.0
    if predictions.is_multi_label:
        questions = [
            (given_N, np.stack([1 - yes_N, yes_N], 1), answers_N.astype(int), [f"not {name}", name])
            for given_N, yes_N, answers_N, name in zip(
                predictions.labels.T, probabilities_NC.T, answers_NC.T, names, strict=True
            )
        ]
    else:
        questions = [(predictions.labels, probabilities_NC, answers_NC.argmax(1), names)]
    for labels_N, of_question_NC, answers_N, choices in questions:
        found = confident_learning(labels_N, of_question_NC, answers_N)
        estimate += found.estimate
        for row in found.rows.tolist():
            given = int(labels_N[row])
            doubts.append(
                {
                    "row": row,
                    "text": shortened(texts[row], TEXT_LENGTH),
                    "given": choices[given],
                    "predicted": choices[int(answers_N[row])],
                    "score": float(of_question_NC[row, given]),
                }
            )
    return {
        "estimate": estimate,
        "texts": sorted(doubts, key=lambda each: each["score"]),
        "control": None if predictions.is_multi_label else control(*questions[0][:3], seed),
    }


def confident_learning(labels_N: np.ndarray, probabilities_NC: np.ndarray, answers_N: np.ndarray) -> Found:
    """Labels that are contradicted with confidence.

    A text counts for the class of highest probability among those that it reaches with confidence: with the mean
    probability that the class has in the texts of its label. How many texts of each label count for each class, scaled
    to all texts of the label, is the confident joint; what lies off its diagonal are wrong labels, as far as the
    model's answers contradict so many.

    Args:
        labels_N: Given class ids.
        probabilities_NC: Of each class.
        answers_N: Class ids that the model answers.
    """
    num_classes = probabilities_NC.shape[1]
    given_NC = labels_N[:, None] == np.arange(num_classes)
    num_given_C = given_NC.sum(0)
    own_C = np.where(given_NC, probabilities_NC, 0).sum(0)
    threshold_C = np.where(num_given_C > 0, own_C / np.maximum(num_given_C, 1), np.inf)
    reached_NC = np.where(probabilities_NC >= threshold_C, probabilities_NC, -1)
    counts_N, class_N = reached_NC.max(1) >= 0, reached_NC.argmax(1)
    joint_CC = np.zeros((num_classes, num_classes))
    np.add.at(joint_CC, (labels_N[counts_N], class_N[counts_N]), 1)
    share_wrong_C = 1 - np.diag(joint_CC) / np.maximum(joint_CC.sum(1), 1)
    estimate = (num_given_C * np.where(joint_CC.sum(1) > 0, share_wrong_C, 0)).sum()
    estimate = min(estimate, (answers_N != labels_N).sum())  # of a class of few texts, confidence says little
    is_doubtful_N = counts_N & (class_N != labels_N) & (answers_N != labels_N)
    rows = np.flatnonzero(is_doubtful_N)
    likelihood_N = probabilities_NC[np.arange(len(labels_N)), labels_N]
    return Found(float(estimate), rows[np.argsort(likelihood_N[rows], kind="stable")])


def control(labels_N: np.ndarray, probabilities_NC: np.ndarray, answers_N: np.ndarray, seed: int) -> Control:
    """How well wrong labels would be found: some labels are swapped, and looked for among all.

    The precision is a lower bound: labels that are wrong already count against it.

    Args:
        labels_N: Given class ids.
        probabilities_NC: Of each class.
        answers_N: Class ids that the model answers.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    count = max(round(SWAPPED_SHARE * len(labels_N)), 1)
    recalls, precisions = [], []
    for _ in range(NUM_DRAWS):
        swapped_N = with_swapped(labels_N, probabilities_NC.shape[1], count, random)
        rows = confident_learning(swapped_N, probabilities_NC, answers_N).rows
        hits = int((swapped_N != labels_N)[rows].sum())
        recalls.append(hits / count)
        if len(rows):
            precisions.append(hits / len(rows))
    return {
        "swapped": count,
        "draws": NUM_DRAWS,
        "recall": _over_draws(recalls),
        "precision": _over_draws(precisions),
    }


def with_swapped(labels_N: np.ndarray, num_classes: int, count: int, random: np.random.Generator) -> np.ndarray:
    """The labels, so many of which are another class, both drawn at random.

    Args:
        labels_N: Class ids.
        num_classes: At least 2.
        count: How many are swapped.
        random: Draws.
    """
    swapped_N = labels_N.copy()
    rows = random.choice(len(labels_N), count, replace=False)
    swapped_N[rows] = (labels_N[rows] + random.integers(1, num_classes, count)) % num_classes
    return swapped_N


def _over_draws(shares: list[float]) -> OverDraws:
    return {"mean": float(np.mean(shares)), "sd": float(np.std(shares))} if shares else {"mean": None, "sd": None}
