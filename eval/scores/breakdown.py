"""Where a classifier is good and where it fails: by length, by class frequency, by pair of classes; and how sure it is.

All shares and scores lie from 0 to 1 and follow scikit-learn, with 0 where precision, recall or F1 has no denominator.
Every result is ready for JSON.

Shapes
    N = texts, C = classes, P = distinct answers, R = resamples
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from salience.configuration.errors import one_line
from salience.eval.scores.metrics import check_outputs

NUM_RESAMPLES = 1000
# Numbers in one block of resamples, so that memory stays small however many texts there are.
BLOCK_SIZE = 4_000_000
SHORT, LONG = 100, 500  # words; the bins of the report, section 6
TEXT_LENGTH = 300  # characters of an example


def with_intervals(
    labels: np.ndarray, logits: np.ndarray, problem_type: str, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Accuracy, precision, recall and F1 with 95 % intervals, by bootstrap over the texts (percentiles).

    What is drawn is how often each distinct pair of truth and answer occurs, which is the same as drawing texts.

    Args:
        labels: (N,) class ids, or (N, C) zeros and ones.
        logits: (N, C).
        problem_type: `single_label_classification` or `multi_label_classification`; with several labels, accuracy is
            the share of texts with all of them right.
        num_resamples: How many times N texts are drawn.
        seed: Of the draws.

    Returns:
        accuracy, precision_macro, recall_macro, f1_macro, and the same three with _weighted: {value, low, high}. Macro
        averages run, in each resample, over the classes that scikit-learn averages: those among its truths or answers,
        with several labels all.

    Raises:
        ValueError: It is regression, or logits and labels don't belong together.
        UserError: The logits hold NaN or infinity.
    """
    truths, answers = _indicators(labels, logits, problem_type)
    patterns, counts = np.unique(np.hstack([truths, answers]), axis=0, return_counts=True)
    truths, answers = np.hsplit(patterns.astype(float), 2)
    measured = _average_scores(counts[None], truths, answers, problem_type)
    random = np.random.default_rng(seed)
    block = max(1, BLOCK_SIZE // len(counts))
    blocks = []
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        draws = random.multinomial(counts.sum(), counts / counts.sum(), size=size)
        blocks.append(_average_scores(draws, truths, answers, problem_type))
    resampled = {name: np.concatenate([each[name] for each in blocks]) for name in measured}
    return {name: _interval(value[0], resampled[name]) for name, value in measured.items()}


def by_length(
    labels: np.ndarray, logits: np.ndarray, num_words: Sequence[int] | np.ndarray, problem_type: str
) -> dict[str, list[dict[str, Any]]]:
    """Accuracy and macro F1 for short and long texts.

    Args:
        labels: (N,) class ids, or (N, C) zeros and ones.
        logits: (N, C).
        num_words: (N,) words of each text.
        problem_type: `single_label_classification` or `multi_label_classification`.

    Returns:
        `bins` (fewer than 100 words, 100 to 500, more than 500; report, section 6) and `quintiles` (as equal as whole
        numbers of words allow; fewer where many texts are equally long). Of each bin min_words and max_words (of its
        texts), texts, accuracy and f1_macro, over the classes that its texts have; null where it has no text. `bins`
        also have a `name`.

    Raises:
        ValueError: It is regression, or the arrays don't belong together.
        UserError: The logits hold NaN or infinity.
    """
    truths, answers = _indicators(labels, logits, problem_type)
    num_words = np.asarray(num_words)
    if num_words.shape != (len(truths),):
        raise ValueError(f"num_words has the shape {num_words.shape}, and there are {len(truths)} texts.")
    fixed = np.digitize(num_words, (SHORT, LONG + 1))
    names = (f"<{SHORT}", f"{SHORT}-{LONG}", f">{LONG}")
    quintiles = np.searchsorted(np.unique(np.quantile(num_words, [0.2, 0.4, 0.6, 0.8])), num_words)

    def row(inside: np.ndarray) -> dict[str, Any]:
        return _length_row(truths[inside], answers[inside], num_words[inside])

    return {
        "bins": [{"name": name} | row(fixed == each) for each, name in enumerate(names)],
        "quintiles": [row(quintiles == each) for each in np.unique(quintiles)],
    }


def by_class_frequency(
    labels: np.ndarray,
    logits: np.ndarray,
    label_names: Sequence[str],
    problem_type: str,
    train_counts: Mapping[str, int] | None = None,
    minority_share: float = 0.5,
) -> dict[str, Any]:
    """Precision, recall and F1 of each class beside its frequency; minority and majority classes apart.

    Args:
        labels: (N,) class ids, or (N, C) zeros and ones.
        logits: (N, C).
        label_names: The C class names in the order of the logits.
        problem_type: `single_label_classification` or `multi_label_classification`.
        train_counts: Training texts of each class by name (`data.splits.train.labels` of run.json), 0 for a class that
            isn't in it; None: the texts of each class among `labels` count instead.
        minority_share: A class is in the minority with at most this share of the mean class's texts. The default finds
            classes from 1:3 on; 1 finds all below the mean.

    Returns:
        frequency_of (`train` or `test`); classes, a list with name, frequency, precision, recall, f1, support and
        is_minority, from the most frequent; and minority and majority, each with classes (names), texts (of these
        labels), and precision, recall and f1 as means over those of its classes that the labels have, null without any.

    Raises:
        ValueError: It is regression, the arrays don't belong together, or `train_counts` has names of other classes.
        UserError: The logits hold NaN or infinity.
    """
    truths, answers = _indicators(labels, logits, problem_type, label_names)
    columns = _per_class(truths, answers)
    unknown = sorted(set(train_counts or ()) - set(label_names))
    if unknown:
        raise ValueError(f"train_counts has {unknown[0]!r}, which is none of the {len(label_names)} classes.")
    if train_counts is None:
        frequencies = np.asarray(columns[3])
    else:
        frequencies = np.array([train_counts.get(name, 0) for name in label_names])
    # All alike is balanced, whatever the share.
    is_minority = (frequencies <= minority_share * frequencies.mean()) & (frequencies < frequencies.max())
    rows = [
        {
            "name": name, "frequency": int(frequency), "precision": float(precision), "recall": float(recall),
            "f1": float(f1), "support": int(support), "is_minority": bool(minor),
        }
        for name, frequency, precision, recall, f1, support, minor in zip(
            label_names, frequencies, *columns, is_minority, strict=True
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
    labels: np.ndarray,
    logits: np.ndarray,
    texts: Sequence[str],
    label_names: Sequence[str],
    num_pairs: int = 10,
    num_examples: int = 3,
) -> list[dict[str, Any]]:
    """The most frequent confusions of one class with another, each with the examples of which the model was surest.

    Args:
        labels: (N,) class ids; texts have one class each.
        logits: (N, C).
        texts: The N texts.
        label_names: The C class names in the order of the logits.
        num_pairs: How many pairs at most.
        num_examples: How many examples of each at most.

    Returns:
        From the most frequent, at the same count in the order of the classes: true, predicted, count, share (of the
        texts of the true class) and examples {row (in `labels`), confidence, text (one line, at most 300 characters)}.
        Texts and names are as untrusted as they came.

    Raises:
        ValueError: Texts can have several classes, or the arguments don't belong together.
        UserError: The logits hold NaN or infinity.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    check_outputs(logits, labels, "single_label_classification", list(label_names))
    if len(texts) != len(labels):
        raise ValueError(f"There are {len(texts)} texts and {len(labels)} labels.")
    answers, confidences = logits.argmax(1), softmax(logits, axis=1).max(1)
    counts = confusion_matrix(labels, answers, labels=range(len(label_names)))
    support = counts.sum(1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:num_pairs]
    pairs = []
    for true, predicted in zip(*np.unravel_index(order, counts.shape), strict=True):
        if not counts[true, predicted]:
            break
        rows = np.flatnonzero((labels == true) & (answers == predicted))
        surest = rows[np.argsort(-confidences[rows], kind="stable")[:num_examples]]
        pairs.append(
            {
                "true": label_names[true],
                "predicted": label_names[predicted],
                "count": int(counts[true, predicted]),
                "share": float(counts[true, predicted] / support[true]),
                "examples": [
                    {"row": int(row), "confidence": float(confidences[row]), "text": shortened(texts[row])}
                    for row in surest
                ],
            }
        )
    return pairs


def shortened(text: str, limit: int = TEXT_LENGTH) -> str:
    """The beginning of a text on one line, without control characters; `limit` characters at most, … if it is cut."""
    line = one_line(text[: 10 * limit])
    return line if len(line) <= limit and len(text) <= 10 * limit else f"{line[: limit - 1]}…"


def _indicators(
    labels: np.ndarray, logits: np.ndarray, problem_type: str, label_names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Truths and answers, both (N, C) zeros and ones."""
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if problem_type == "regression":
        raise ValueError("Only answers that are classes can be broken down by class, not numbers (regression).")
    num_classes = logits.shape[-1]
    names = [str(each) for each in range(num_classes)] if label_names is None else list(label_names)
    check_outputs(logits, labels, problem_type, names)
    if problem_type == "multi_label_classification":
        return labels.astype(np.int8), (logits >= 0).astype(np.int8)
    classes = np.eye(num_classes, dtype=np.int8)
    return classes[labels], classes[logits.argmax(1)]


def _per_class(truths: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, ...]:
    """Precision, recall, F1 and support, each (C,)."""
    # scikit-learn takes a single column for two classes, no and yes.
    wanted = [1] if truths.shape[1] == 1 else None
    return precision_recall_fscore_support(truths, answers, labels=wanted, average=None, zero_division=0)


def _average_scores(
    draws: np.ndarray, truths: np.ndarray, answers: np.ndarray, problem_type: str
) -> dict[str, np.ndarray]:
    """Scores (R,) of resamples given as how often each distinct answer was drawn: (R, P) of (P, C)."""
    hits, support, predicted = draws @ (truths * answers), draws @ truths, draws @ answers
    averaged = support + predicted > 0
    if problem_type == "multi_label_classification":
        averaged = np.ones_like(averaged)
    scores = {
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(support + predicted, 1),
    }
    return {
        "accuracy": draws @ (truths == answers).all(1) / draws.sum(1),
        **{f"{name}_macro": each.sum(1) / averaged.sum(1) for name, each in scores.items()},
        **{
            f"{name}_weighted": (each * support).sum(1) / np.maximum(support.sum(1), 1) for name, each in scores.items()
        },
    }


def _interval(value: float, resampled: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"value": float(value), "low": float(low), "high": float(high)}


def _length_row(truths: np.ndarray, answers: np.ndarray, num_words: np.ndarray) -> dict[str, Any]:
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


def _group(rows: list[dict[str, Any]]) -> dict[str, Any]:
    present = [row for row in rows if row["support"]]
    scores = ("precision", "recall", "f1")
    means = {name: float(np.mean([row[name] for row in present])) if present else None for name in scores}
    return {"classes": [row["name"] for row in rows], "texts": sum(row["support"] for row in rows), **means}
