"""Where a classifier is good and where it fails: by length, by class frequency, by pair of classes.

All shares and scores lie from 0 to 1 and follow scikit-learn, with 0 where precision, recall or F1 has no denominator.
Every result is ready for JSON.

Shapes
    N = texts, C = classes
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from salience.configuration.errors import one_line
from salience.configuration.problem_types import SINGLE_LABEL
from salience.eval.scores.metrics import ClassScores
from salience.eval.scores.predictions import Predictions

SHORT, LONG = 100, 500  # words; the bins of the Newsgroups paper, section 6
TEXT_LENGTH = 300  # characters of an example


class LengthScores(TypedDict):
    """Scores of the texts of some lengths; null where there are none."""

    min_words: int | None
    max_words: int | None
    texts: int
    accuracy: float | None
    f1_macro: float | None


class NamedLengthScores(LengthScores):
    """The same for lengths that have a name."""

    name: str


class Lengths(TypedDict):
    """What `by_length` gives."""

    bins: list[NamedLengthScores]
    quintiles: list[LengthScores]


class ClassRow(ClassScores):
    """A class beside its frequency."""

    name: str
    frequency: int
    is_minority: bool


class ClassGroup(TypedDict):
    """Means over classes, null without any."""

    classes: list[str]
    texts: int
    precision: float | None
    recall: float | None
    f1: float | None


class ClassFrequency(TypedDict):
    """What `by_class_frequency` gives."""

    frequency_of: str
    classes: list[ClassRow]
    minority: ClassGroup
    majority: ClassGroup


class PairExample(TypedDict):
    """A text that got the wrong class."""

    row: int
    confidence: float
    text: str


class ConfusedPair(TypedDict):
    """How often one class was taken for another."""

    true: str
    predicted: str
    count: int
    share: float
    examples: list[PairExample]


def by_length(predictions: Predictions) -> Lengths:
    """Accuracy and macro F1 for short and long texts.

    Args:
        predictions: Of a classifier, with `num_words`.

    Returns:
        `bins` (fewer than 100 words, 100 to 500, more; Newsgroups paper, section 6) and `quintiles` (as equal as whole
        numbers of words allow; fewer where many texts are equally long). Of each bin min_words and max_words (of its
        texts), texts, accuracy and f1_macro, over the classes that its texts have; null where it has no text. `bins`
        also have a `name`.

    Raises:
        ValueError: It is regression, or nobody knows how long the texts are.
    """
    truths, answers = _indicators(predictions)
    num_words = predictions.num_words
    if num_words is None:
        raise ValueError("These predictions don't say how long their texts are: num_words is None.")
    fixed = np.digitize(num_words, (SHORT, LONG + 1))
    names = (f"<{SHORT}", f"{SHORT}-{LONG}", f">{LONG}")
    quintiles = np.searchsorted(np.unique(np.quantile(num_words, [0.2, 0.4, 0.6, 0.8])), num_words)

    def row(inside: np.ndarray) -> LengthScores:
        return _length_row(truths[inside], answers[inside], num_words[inside])

    return {
        "bins": [{"name": name, **row(fixed == each)} for each, name in enumerate(names)],
        "quintiles": [row(quintiles == each) for each in np.unique(quintiles)],
    }


def by_class_frequency(
    predictions: Predictions, train_counts: Mapping[str, int] | None = None, minority_share: float = 0.5
) -> ClassFrequency:
    """Precision, recall and F1 of each class beside its frequency; minority and majority classes apart.

    Args:
        predictions: Of a classifier.
        train_counts: Training texts of each class by name (`data.splits.train.labels` of run.json), 0 for a class that
            isn't in it; None: the texts of each class among the labels count instead.
        minority_share: A class is in the minority with at most this share of the mean class's texts. The default finds
            classes from 1:3 on; 1 finds all below the mean.

    Returns:
        frequency_of (`train` or `test`); classes, a list with name, frequency, precision, recall, f1, support and
        is_minority, from the most frequent; and minority and majority, each with classes (names), texts (of these
        labels), and precision, recall and f1 as means over those of its classes that the labels have, null without any.

    Raises:
        ValueError: It is regression, or `train_counts` has names of other classes.
    """
    columns, names = _per_class(*_indicators(predictions)), predictions.label_names
    unknown = sorted(set(train_counts or ()) - set(names))
    if unknown:
        raise ValueError(f"train_counts has {unknown[0]!r}, which is none of the {len(names)} classes.")
    if train_counts is None:
        frequencies = np.asarray(columns[3])
    else:
        frequencies = np.array([train_counts.get(name, 0) for name in names])
    # All alike is balanced, whatever the share.
    is_minority = (frequencies <= minority_share * frequencies.mean()) & (frequencies < frequencies.max())
    rows: list[ClassRow] = [
        {
            "name": name, "frequency": int(frequency), "precision": float(precision), "recall": float(recall),
            "f1": float(f1), "support": int(support), "is_minority": bool(minor),
        }
        for name, frequency, precision, recall, f1, support, minor in zip(
            names, frequencies, *columns, is_minority, strict=True
        )
    ]  # fmt: skip
    rows.sort(key=lambda row: -row["frequency"])
    return {
        "frequency_of": "test" if train_counts is None else "train",
        "classes": rows,
        "minority": _group([row for row in rows if row["is_minority"]]),
        "majority": _group([row for row in rows if not row["is_minority"]]),
    }


def confused_pairs(
    predictions: Predictions, texts: Sequence[str], num_pairs: int = 10, num_examples: int = 3
) -> list[ConfusedPair]:
    """The most frequent confusions of one class with another, each with the examples of which the model was surest.

    Args:
        predictions: For texts of one class each.
        texts: The N texts.
        num_pairs: How many pairs at most.
        num_examples: How many examples of each at most.

    Returns:
        From the most frequent, at the same count in the order of the classes: true, predicted, count, share (of the
        texts of the true class) and examples {row (in `texts`), confidence, text (one line, at most 300 characters)}.
        Texts and names are as untrusted as they came.

    Raises:
        ValueError: Texts don't have one class each, or there are more or fewer of them.
    """
    if predictions.problem_type != SINGLE_LABEL:
        raise ValueError(f"Classes are confused in {SINGLE_LABEL}, and this is {predictions.problem_type}.")
    if len(texts) != len(predictions):
        raise ValueError(f"There are {len(texts)} texts and {len(predictions)} labels.")
    names, labels, answers = predictions.label_names, predictions.labels, predictions.answers.argmax(1)
    counts = confusion_matrix(labels, answers, labels=range(len(names)))
    support = counts.sum(1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:num_pairs]
    pairs: list[ConfusedPair] = []
    for true, predicted in zip(*np.unravel_index(order, counts.shape), strict=True):
        if not counts[true, predicted]:
            break
        rows = np.flatnonzero((labels == true) & (answers == predicted))
        surest = rows[np.argsort(-predictions.confidence[rows], kind="stable")[:num_examples]]
        pairs.append(
            {
                "true": names[true],
                "predicted": names[predicted],
                "count": int(counts[true, predicted]),
                "share": float(counts[true, predicted] / support[true]),
                "examples": [
                    {"row": int(row), "confidence": float(predictions.confidence[row]), "text": shortened(texts[row])}
                    for row in surest
                ],
            }
        )
    return pairs


def shortened(text: str, limit: int = TEXT_LENGTH) -> str:
    """The beginning of a text on one line, without control characters; `limit` characters at most, … if it is cut."""
    line = one_line(text[: 10 * limit])
    return line if len(line) <= limit and len(text) <= 10 * limit else f"{line[: limit - 1]}…"


def _indicators(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Truths and answers, both (N, C) zeros and ones."""
    return predictions.truths.astype(np.int8), predictions.answers.astype(np.int8)


def _per_class(truths: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, ...]:
    """Precision, recall, F1 and support, each (C,)."""
    # scikit-learn takes a single column for two classes, no and yes.
    wanted = [1] if truths.shape[1] == 1 else None
    return precision_recall_fscore_support(truths, answers, labels=wanted, average=None, zero_division=0)


def _length_row(truths: np.ndarray, answers: np.ndarray, num_words: np.ndarray) -> LengthScores:
    if len(truths) == 0:
        return {"min_words": None, "max_words": None, "texts": 0, "accuracy": None, "f1_macro": None}
    present = np.flatnonzero(truths.any(0))
    f1 = _per_class(truths, answers)[2][present].mean() if len(present) else None
    return {
        "min_words": int(num_words.min()),
        "max_words": int(num_words.max()),
        "texts": len(truths),
        "accuracy": float(accuracy_score(truths, answers)),
        "f1_macro": None if f1 is None else float(f1),
    }


def _group(rows: Sequence[ClassRow]) -> ClassGroup:
    present = [row for row in rows if row["support"]]
    columns = zip(*[(row["precision"], row["recall"], row["f1"]) for row in present], strict=True)
    precision, recall, f1 = [float(np.mean(column)) for column in columns] if present else (None, None, None)
    return {
        "classes": [row["name"] for row in rows],
        "texts": sum(row["support"] for row in rows),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }
