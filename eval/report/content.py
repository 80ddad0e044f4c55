"""What a report holds: everything that is computed of one model on one set of labelled texts.

Shapes
    N = texts, C = classes
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypedDict

import numpy as np
from sklearn.metrics import confusion_matrix
from tqdm import tqdm

from salience.configuration.errors import UserError
from salience.configuration.problem_types import SINGLE_LABEL
from salience.eval.explain.attention_profile import AttentionProfile, attention_profile
from salience.eval.explain.attributions import ATTRIBUTIONS, random_importance
from salience.eval.explain.cross_attention import cross_attention_profile
from salience.eval.explain.faithfulness import Faithfulness, faithfulness
from salience.eval.explain.verdict import verdict
from salience.eval.failures.analysis import FailureAnalysis, failure_analysis
from salience.eval.failures.internals import has_filter
from salience.eval.reading.reader import Reader, Reading
from salience.eval.report.history import training_history
from salience.eval.report.texts import Sizes, Texts
from salience.eval.runs import Run
from salience.eval.scores.breakdown import (
    ClassFrequency,
    ConfusedPair,
    Lengths,
    by_class_frequency,
    by_length,
    confused_pairs,
    shortened,
)
from salience.eval.scores.calibration import Answered, CalibrationResult, at_threshold, calibration
from salience.eval.scores.doubtful_labels import DoubtfulLabels, doubtful_labels
from salience.eval.scores.intervals import Interval, with_intervals
from salience.eval.scores.metrics import Scores, compute_scores
from salience.eval.scores.prediction_files import predictions_file, read_predictions
from salience.eval.scores.predictions import Predictions
from salience.model_cards.run_folder import read_results
from salience.modeling.documents import Document

NUM_EXAMPLES = 8
MAX_EXAMPLE_WORDS = 120
MAX_EXPLAINED_TOKENS = 128
"""Of longer texts the beginning is explained: leaving out each word in turn costs the square of the length."""
MAX_CROSS_TOKENS = 2000
"""Cross-attention has as many numbers as words times sentences times heads: longer texts are left out there."""


class ChosenThreshold(Answered):
    """A threshold of confidence, what it shall give, and what it gives on the report's texts."""

    wanted_accuracy: float
    threshold: float | None


class Thresholds(TypedDict):
    """What `thresholds` gives."""

    chosen_on: str
    rows: list[ChosenThreshold]


class Undescribed(TypedDict):
    """Why attention can't be described."""

    reason: str


class Untested(Undescribed):
    """Why explanations can't be tested, and what follows."""

    verdict: str


class Judged(Faithfulness):
    """What the tests of explanations say, in numbers and in words."""

    verdict: str


class Example(TypedDict):
    """A text with its answer and the weights of its words, null for a model without."""

    row: int
    true: str
    predicted: str
    right: bool
    confidence: float
    num_words: int
    words: list[list[str | float]] | None
    text: str


class AnswerFindings(TypedDict):
    """What `score` gives."""

    scores: Scores
    intervals: dict[str, Interval]
    confusion: list[list[int]] | None
    confused_pairs: list[ConfusedPair] | None
    length: Lengths
    class_frequency: ClassFrequency
    calibration: CalibrationResult
    thresholds: Thresholds
    label_thresholds: dict[str, float] | None
    doubtful_labels: DoubtfulLabels
    training: list[dict[str, float]] | None


class Findings(AnswerFindings):
    """The content of report.json but for model, data and made."""

    attention: AttentionProfile | Undescribed
    faithfulness: Judged | Untested
    examples: list[Example]


def collect(
    reader: Reader, texts: Texts, run: Run | None, ablation: Mapping[str, Any] | None, sizes: Sizes
) -> tuple[Findings, FailureAnalysis]:
    """The content of report.json but for model, data and made, and that of failure_analysis.json.

    Args:
        reader: The model.
        texts: What it is tested on.
        run: The run of train.py that made it, if one is known.
        ablation: Content of a study.json; see `failure_analysis`.
        sizes: How many texts are looked at closely.

    Returns:
        See `salience.eval.report.command` and `salience.eval.failures.analysis`.

    Raises:
        UserError: The model's answers are no numbers, or the study isn't one.
    """
    rows = texts.sample(sizes.documents, sizes.seed)
    documents, readings = [texts.documents[row] for row in rows], [texts.readings[row] for row in rows]
    labels = texts.predictions.labels[rows]
    mixed = np.random.default_rng(sizes.seed).permutation(rows)  # a file may go class by class
    with tqdm(total=4, desc="report", unit="part") as bar:
        answers = score(texts, run, sizes.seed)
        bar.update()
        attention = describe_attention(reader, documents, readings, labels, sizes.seed)
        bar.update()
        tested = judge_explanations(reader, documents, readings, rows, sizes)
        bar.update()
        failures = failure_analysis(reader, documents, labels, ablation, sizes.seed, num_interventions=sizes.explained)
        bar.update()
    for mode in (failures["modes"] or {}).values():
        if mode:  # rows of the sample become rows of the texts
            mode["examples"] = [int(rows[row]) for row in mode["examples"]]
    found: Findings = {**answers, "attention": attention, "faithfulness": tested, "examples": examples(texts, mixed)}
    return found, failures


def score(texts: Texts, run: Run | None, seed: int) -> AnswerFindings:
    """What the labels and the model's answers tell; `seed` is that of draws."""
    predictions = texts.predictions
    names, is_single = predictions.label_names, predictions.problem_type == SINGLE_LABEL
    of_labels = predictions.label_thresholds
    return {
        "scores": compute_scores(predictions),
        "intervals": with_intervals(predictions),
        "confusion": confusion(predictions) if is_single else None,
        "confused_pairs": confused_pairs(predictions, texts.raw) if is_single else None,
        "length": by_length(predictions),
        "class_frequency": by_class_frequency(predictions, train_counts(run, names)),
        "calibration": calibration(predictions),
        "thresholds": thresholds(run if texts.split == "test" else None, predictions),
        "label_thresholds": None if of_labels is None else dict(zip(names, of_labels, strict=True)),
        "doubtful_labels": doubtful_labels(predictions, texts.raw, seed),
        "training": training_history(run),
    }


def confusion(predictions: Predictions) -> list[list[int]]:
    """Texts by true class (row) and answer (column)."""
    answers = predictions.answers.argmax(1)
    return confusion_matrix(predictions.labels, answers, labels=range(len(predictions.label_names))).tolist()


def train_counts(run: Run | None, names: list[str]) -> dict[str, int] | None:
    """Training texts of each class, from run.json; None where they are unknown."""
    if run is None:
        return None
    counts = run.record["data"]["splits"]["train"].get("labels", {})
    return counts if counts and set(counts) <= set(names) else None


def thresholds(run: Run | None, tested: Predictions) -> Thresholds:
    """Confidence from which on validation texts promise a wanted accuracy, and what it gives on these.

    Args:
        run: Whose validation answers are known; None: it is chosen on these texts.
        tested: Answers to these texts.
    """
    has_validation = run is not None and predictions_file(run.folder, "validation").is_file()
    chosen = read_predictions(run.folder, "validation") if run and has_validation else tested
    rows: dict[float, Any] = {
        row["wanted_accuracy"]: {
            "wanted_accuracy": row["wanted_accuracy"],
            "threshold": row["threshold"],
            **at_threshold(tested, row["threshold"]),
        }
        for row in calibration(chosen)["thresholds"]
    }
    own = read_results(run.folder, "validation").get("review") if run else None
    if own:  # what --target_accuracy has put into the model
        wanted, threshold = own["target_accuracy"], own["threshold"] if own["threshold"] < 1 else None
        rows[wanted] = {"wanted_accuracy": wanted, "threshold": threshold, **at_threshold(tested, threshold)}
    return {"chosen_on": "validation" if has_validation else "same", "rows": [rows[each] for each in sorted(rows)]}


def describe_attention(
    reader: Reader, documents: list[Document], readings: list[Reading], labels: np.ndarray, seed: int
) -> AttentionProfile | Undescribed:
    """See `salience.eval.explain.attention_profile`; with only `reason` for a model that it can't describe."""
    try:
        profile = attention_profile(reader, documents, readings, labels, seed=seed)
    except UserError as error:
        return {"reason": str(error)}
    if has_filter(reader.model):
        short = [each.ids for each in documents if len(each.ids) <= MAX_CROSS_TOKENS]
        profile["cross_attention"] = cross_attention_profile(reader.read(short, cross_attention=True))
    return profile


def judge_explanations(
    reader: Reader, documents: list[Document], readings: list[Reading], rows: np.ndarray, sizes: Sizes
) -> Judged | Untested:
    """See `salience.eval.explain.faithfulness`, with a verdict; only `reason` and verdict where nothing can be tested.

    Args:
        reader: The model.
        documents: N texts.
        readings: What it says of them.
        rows: (N,) their row numbers.
        sizes: How many are tested.
    """
    methods = ATTRIBUTIONS | {"random": partial(random_importance, seed=sizes.seed)}
    try:
        tested = faithfulness(reader, documents, readings, methods, sizes.explained, MAX_EXPLAINED_TOKENS, sizes.seed)
    except UserError as error:
        return {"reason": str(error), "verdict": f"Nobody knows, so it may not: nothing could be tested ({error})."}
    tested["rows"] = [int(rows[row]) for row in tested["rows"]]
    return {**tested, "verdict": verdict(tested)}


def examples(texts: Texts, rows: np.ndarray) -> list[Example]:
    """Some texts with their answers and weights: half of them wrong if there are so many, long ones cut.

    Args:
        texts: All texts.
        rows: Those to choose from, in the order in which they are taken.
    """
    is_right = texts.predictions.is_right()
    rows = rows[[texts.documents[row].num_words >= 5 for row in rows]]
    wrong = rows[~is_right[rows]][: NUM_EXAMPLES // 2]
    chosen = [*wrong, *rows[is_right[rows]][: NUM_EXAMPLES - len(wrong)]]
    return [_example(texts, int(row)) for row in chosen]


def _example(texts: Texts, row: int) -> Example:
    document, reading, predictions = texts.documents[row], texts.readings[row], texts.predictions
    weights = None if reading.weights is None else document.per_word(reading.weights)
    words = [shortened(word, 40) for word in document.words[:MAX_EXAMPLE_WORDS]]
    true, predicted = (
        ", ".join(predictions.label_names[each] for each in np.flatnonzero(chosen[row]))
        for chosen in (predictions.truths, predictions.answers)
    )
    return {
        "row": row,
        "true": true,
        "predicted": predicted,
        "right": bool(predictions.is_right()[row]),
        "confidence": float(predictions.confidence[row]),
        "num_words": document.num_words,
        "words": None
        if weights is None
        else [[word, float(weight)] for word, weight in zip(words, weights, strict=False)],
        "text": " ".join(words),
    }
