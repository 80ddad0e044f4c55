"""What a report holds: everything that is computed of one model on one set of labelled texts.

Shapes
    N = texts, C = classes
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.metrics import confusion_matrix
from tqdm import tqdm

from salience.configuration.errors import UserError
from salience.eval.explain.attention_profile import attention_profile, cross_attention_profile
from salience.eval.explain.attributions import ATTRIBUTIONS, random_importance
from salience.eval.explain.faithfulness import faithfulness
from salience.eval.explain.verdict import verdict
from salience.eval.failures.analysis import failure_analysis
from salience.eval.failures.internals import has_filter
from salience.eval.reading.reader import Document, Reader, Reading
from salience.eval.runs import Run
from salience.eval.scores.breakdown import by_class_frequency, by_length, confused_pairs, shortened, with_intervals
from salience.eval.scores.calibration import at_threshold, calibration
from salience.eval.scores.metrics import compute_scores
from salience.eval.scores.predictions import Predictions, count_words, predictions_file, read_predictions
from salience.model_cards.run_folder import STATE_FILE, read_json
from salience.train.data.load import TextData

NUM_EXAMPLES = 8
MAX_EXAMPLE_WORDS = 120
MAX_EXPLAINED_TOKENS = 128
"""Of longer texts the beginning is explained: leaving out each word in turn costs the square of the length."""
MAX_CROSS_TOKENS = 2000
"""Cross-attention has as many numbers as words times sentences times heads: longer texts are left out there."""


@dataclass(frozen=True)
class Sizes:
    """How closely a report looks.

    Attributes:
        documents: Texts whose attention and failures are looked at.
        explained: Texts on which explanations are tested.
        seed: Of all draws.
    """

    documents: int
    explained: int
    seed: int


@dataclass(frozen=True)
class Texts:
    """Labelled texts, and what the model says of them.

    Attributes:
        raw: The N texts.
        labels: (N,) class ids, or (N, C) zeros and ones.
        documents: The N texts as the model reads them.
        readings: What it answers.
        problem_type: `single_label_classification` or `multi_label_classification`.
        split: Which of a run's texts they are, "validation" or "test"; a file of its own is "test".
    """

    raw: list[str]
    labels: np.ndarray
    documents: list[Document]
    readings: list[Reading]
    problem_type: str
    split: str

    @classmethod
    def of(cls, data: TextData, split: str, reader: Reader) -> "Texts":
        """Read one split of the data."""
        raw = list(data.splits[split]["text"])
        labels = np.array(data.splits[split]["labels"])
        documents = reader.documents(raw)
        readings = reader.read([each.ids for each in documents], progress="reading texts")
        return cls(raw, labels, documents, readings, data.problem_type, split)

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def logits(self) -> np.ndarray:
        """(N, C) float32."""
        return np.array([each.logits for each in self.readings])

    def sample(self, size: int, seed: int) -> np.ndarray:
        """Row numbers of at most `size` texts, drawn at random, ascending."""
        return np.sort(np.random.default_rng(seed).permutation(len(self))[:size])


def collect(
    reader: Reader, texts: Texts, run: Run | None, ablation: Mapping[str, Any] | None, sizes: Sizes
) -> tuple[dict[str, Any], dict[str, Any]]:
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
    with tqdm(total=4, desc="report", unit="part") as bar:
        results = score(reader, texts, run)
        bar.update()
        results["attention"] = describe_attention(reader, documents, readings, texts.labels[rows], sizes.seed)
        bar.update()
        results["faithfulness"] = test_explanations(reader, documents, readings, rows, sizes)
        bar.update()
        failures = failure_analysis(
            reader, documents, texts.labels[rows], ablation, sizes.seed, num_interventions=sizes.explained
        )
        bar.update()
    for mode in (failures["modes"] or {}).values():
        if mode:  # rows of the sample become rows of the texts
            mode["examples"] = [int(rows[row]) for row in mode["examples"]]
    results["examples"] = examples(reader, texts, rows)
    return results, failures


def score(reader: Reader, texts: Texts, run: Run | None) -> dict[str, Any]:
    """What the labels and the model's answers tell."""
    labels, logits, names, kind = texts.labels, texts.logits, reader.label_names, texts.problem_type
    is_single = kind == "single_label_classification"
    counts = train_counts(run, names)
    return {
        "scores": compute_scores(logits, labels, kind, names),
        "intervals": with_intervals(labels, logits, kind),
        "confusion": confusion_matrix(labels, logits.argmax(1), labels=range(len(names))).tolist()
        if is_single
        else None,
        "confused_pairs": confused_pairs(labels, logits, texts.raw, names) if is_single else None,
        "length": by_length(labels, logits, count_words(texts.raw), kind),
        "class_frequency": by_class_frequency(labels, logits, names, kind, counts),
        "calibration": calibration(logits, labels, kind),
        "thresholds": thresholds(run if texts.split == "test" else None, Predictions(labels, logits), kind),
        "training": training_history(run),
    }


def train_counts(run: Run | None, names: list[str]) -> dict[str, int] | None:
    """Training texts of each class, from run.json; None where they are unknown."""
    if run is None:
        return None
    counts = run.record["data"]["splits"]["train"]["labels"]
    return counts if set(counts) <= set(names) else None


def training_history(run: Run | None) -> list[dict[str, float]] | None:
    """`log_history` of a run; None for other models."""
    if run is None or not (run.folder / STATE_FILE).is_file():
        return None
    return read_json(run.folder / STATE_FILE).get("log_history")


def thresholds(run: Run | None, tested: Predictions, problem_type: str) -> dict[str, Any]:
    """Confidence from which on a wanted accuracy is reached on validation texts, and what it gives on these.

    Args:
        run: Whose validation answers are known; None: it is chosen on these texts.
        tested: Answers to these texts.
        problem_type: Of the labels.
    """
    has_validation = run is not None and predictions_file(run.folder, "validation").is_file()
    chosen = read_predictions(run.folder, "validation") if run and has_validation else tested
    rows = calibration(chosen.logits, chosen.labels, problem_type)["thresholds"]
    return {
        "chosen_on": "validation" if has_validation else "same",
        "rows": [
            {"wanted_accuracy": row["wanted_accuracy"], "threshold": row["threshold"]}
            | at_threshold(tested.logits, tested.labels, problem_type, row["threshold"])
            for row in rows
        ],
    }


def describe_attention(
    reader: Reader, documents: list[Document], readings: list[Reading], labels: np.ndarray, seed: int
) -> dict[str, Any]:
    """See `salience.eval.explain.attention_profile`; with only `reason` for a model that it can't describe."""
    try:
        profile = attention_profile(reader, documents, readings, labels, seed=seed)
    except UserError as error:
        return {"reason": str(error)}
    if has_filter(reader.model):
        short = [each.ids for each in documents if len(each.ids) <= MAX_CROSS_TOKENS]
        profile["cross_attention"] = cross_attention_profile(reader.read(short, cross_attention=True))
    return profile


def test_explanations(
    reader: Reader, documents: list[Document], readings: list[Reading], rows: np.ndarray, sizes: Sizes
) -> dict[str, Any]:
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
    return tested | {"verdict": verdict(tested)}


def examples(reader: Reader, texts: Texts, rows: np.ndarray) -> list[dict[str, Any]]:
    """Some texts with their answers and weights: half of them wrong if there are so many, long ones cut.

    Args:
        reader: The model.
        texts: All texts.
        rows: Those to choose from, the first ones of which are taken.
    """
    is_right = Predictions(texts.labels, texts.logits).is_right()
    rows = rows[[texts.documents[row].num_words >= 5 for row in rows]]
    wrong = rows[~is_right[rows]][: NUM_EXAMPLES // 2]
    chosen = [*wrong, *rows[is_right[rows]][: NUM_EXAMPLES - len(wrong)]]
    return [_example(reader, texts, int(row), bool(is_right[row])) for row in chosen]


def _example(reader: Reader, texts: Texts, row: int, is_right: bool) -> dict[str, Any]:
    document, reading = texts.documents[row], texts.readings[row]
    weights = None if reading.weights is None else document.per_word(reading.weights)
    words = [shortened(word, 40) for word in document.words[:MAX_EXAMPLE_WORDS]]
    single = texts.problem_type == "single_label_classification"
    probabilities = softmax(reading.logits) if single else expit(reading.logits)
    answers = [int(reading.logits.argmax())] if single else np.flatnonzero(probabilities >= 0.5)
    truths = [int(texts.labels[row])] if single else np.flatnonzero(texts.labels[row])
    return {
        "row": row,
        "true": ", ".join(reader.label_names[each] for each in truths),
        "predicted": ", ".join(reader.label_names[each] for each in answers),
        "right": is_right,
        "confidence": float(probabilities.max() if single else np.maximum(probabilities, 1 - probabilities).min()),
        "num_words": document.num_words,
        "words": None
        if weights is None
        else [[word, float(weight)] for word, weight in zip(words, weights, strict=False)],
        "text": " ".join(words),
    }
