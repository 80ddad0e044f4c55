"""eval.py baseline NAME [RECIPE.yaml] --output_dir OUT ...: a baseline without any trained network.

Bags of words, or the document vectors of a frozen encoder (`frozen_...`, with --encoder), on the splits of train.py.

OUT gets eval_results.json, test_results.json, train_results.json (the seconds to fit) and the predictions under the
names that a run of train.py uses, and last run.json.

Where texts have several labels, each is a classifier of its own, and given from a threshold on that is fitted on the
validation texts, as for models.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import ComplementNB
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.configuration.flags.parser import RecipeParser
from salience.eval.baseline.frozen import FROZEN_MODELS, frozen_vectors
from salience.eval.baseline.prior_correction import PriorCorrectedLogistic
from salience.eval.scores.label_thresholds import fit_label_thresholds
from salience.eval.scores.metrics import compute_scores
from salience.eval.scores.predictions import MULTI_LABEL, REGRESSION, Predictions, count_words, write_predictions
from salience.model_cards.run_folder import RUN_FILE, STARTED_FILE, TRAIN_RESULTS_FILE, write_json, write_results
from salience.train.building.encoder_loading import public_name
from salience.train.data.load import TextData, load_splits
from salience.train.folder.output import claimed, start
from salience.train.folder.record import changed_arguments, describe_data, make_record

HELP = """usage: eval.py baseline NAME [RECIPE.yaml ...] --output_dir OUT [--flag value ...]

NAME is one of {}.
Recipes and flags are those of train.py; only the data flags count, and --encoder for frozen_...;
what asks for a model, such as --push_to_hub, is refused."""


def _words(**options: Any) -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, **options)


def _words_and_characters() -> Pipeline:
    characters = _words(analyzer="char_wb", ngram_range=(3, 5), min_df=2)
    return make_pipeline(make_union(_words(), characters), LinearSVC(random_state=0))


# With the default tolerance of 1e-4 it stops early, and the number of threads decides 2 of AG News' 7,600 answers.
LOGISTIC: dict[str, Any] = {"C": 10, "max_iter": 10_000, "tol": 1e-6}
SPARSE_MODELS: dict[str, Callable[[], Pipeline]] = {
    "tfidf_svm": lambda: make_pipeline(_words(), LinearSVC(random_state=0)),
    "tfidf_logistic": lambda: make_pipeline(_words(), LogisticRegression(**LOGISTIC)),
    "tfidf_logistic_prior": lambda: make_pipeline(_words(), PriorCorrectedLogistic(**LOGISTIC)),
    "tfidf_complement_nb": lambda: make_pipeline(_words(ngram_range=(1, 2)), ComplementNB(alpha=0.1)),
    "tfidf_word_char_svm": _words_and_characters,
}
"""By name, an untrained pipeline from texts to classes; the same texts always give the same model.

C and alpha differ from scikit-learn's defaults where that is worth 2 points or more on the validation texts of
20 Newsgroups: a baseline that was held down proves nothing.
"""
BASELINES = (*SPARSE_MODELS, *FROZEN_MODELS)
"""What `eval.py baseline` runs."""
OF_SEVERAL_LABELS = ("tfidf_svm", "tfidf_logistic", "tfidf_word_char_svm", "frozen_logistic")
"""Those of them for texts that can have several labels."""


def baseline_kind(name: str) -> str:
    """The kind of a baseline's run: "sparse" (TF-IDF), or "frozen" (vectors of a frozen encoder)."""
    return "sparse" if name in SPARSE_MODELS else "frozen"


class SparseRun(NamedTuple):
    """What a baseline answered, and what it cost."""

    logits: dict[str, np.ndarray]  # split -> (N, C)
    fit_seconds: float
    predict_seconds: dict[str, float]  # split -> seconds
    num_weights: int


def build_baseline(name: str, problem_type: str, model_args: Any = None) -> Pipeline:
    """An untrained pipeline from texts to classes.

    Args:
        name: One of `BASELINES`.
        problem_type: Of the labels, see `Predictions`.
        model_args: `ModelArguments` that name the encoder of `FROZEN_MODELS`.

    Raises:
        UserError: It isn't for such labels, there is no encoder, or a package is missing.
    """
    if problem_type == REGRESSION:
        raise UserError(f"{name} needs classes; these labels are {problem_type}")
    if problem_type != MULTI_LABEL:
        return _of_one_label(name, model_args)
    if name not in OF_SEVERAL_LABELS:
        raise UserError(
            f"{name} needs exactly one class for each text; for several take one of {', '.join(OF_SEVERAL_LABELS)}"
        )
    model = _of_one_label(name, model_args)
    return make_pipeline(*(step for _, step in model.steps[:-1]), OneVsRestClassifier(model[-1]))


def _of_one_label(name: str, model_args: Any) -> Pipeline:
    """See `build_baseline`."""
    if name in SPARSE_MODELS:
        return SPARSE_MODELS[name]()
    if model_args is None or model_args.encoder is None:
        raise UserError(f"{name} needs --encoder: a Hub id, a folder or package:NAME")
    return FROZEN_MODELS[name](
        frozen_vectors(model_args.encoder, model_args.encoder_revision, model_args.encoder_cache)
    )


def run_sparse(name: str, data: TextData, model_args: Any = None) -> SparseRun:
    """Fit a baseline on the training texts, and let it classify the held-out ones.

    Args:
        name: One of `BASELINES`.
        data: Texts with one class each, or several.
        model_args: See `build_baseline`.

    Raises:
        UserError: See `build_baseline`; or the training texts hold no word.
    """
    model = build_baseline(name, data.problem_type, model_args)
    train = data.splits["train"]
    labels = np.asarray(train["labels"], int)
    started = time.perf_counter()
    try:
        model.fit(list(train["text"]), labels)
    except ValueError as error:
        raise UserError(f"{name} can't be fitted on these training texts: {error}") from error
    fit_seconds = time.perf_counter() - started
    logits, seconds = {}, {}
    for split in ("validation", "test"):
        if split in data.splits:
            started = time.perf_counter()
            texts = list(data.splits[split]["text"])
            several = data.problem_type == MULTI_LABEL
            logits[split] = _label_scores(model, texts, labels) if several else _class_scores(model, texts, data)
            seconds[split] = time.perf_counter() - started
    return SparseRun(logits, fit_seconds, seconds, _num_weights(model))


def _num_weights(model: Pipeline) -> int:
    classifiers = getattr(model[-1], "estimators_", [model[-1]])
    weights = [getattr(each, "coef_", getattr(each, "feature_log_prob_", None)) for each in classifiers]
    return sum(each.size for each in weights if each is not None) + getattr(model[0], "num_weights", 0)


def _label_scores(model: Pipeline, texts: list[str], labels: np.ndarray) -> np.ndarray:
    """(N, C), above 0 where `model.predict` gives the label; `labels` are those of the training texts, (M, C)."""
    scores = np.asarray(model.decision_function(texts), float).reshape(len(texts), -1)
    extreme = np.abs(scores).max() + 1  # for labels that all of them have, or none, which nothing was learned of
    return np.where(labels.all(0), extreme, np.where(labels.any(0), scores, -extreme))


def _class_scores(model: Pipeline, texts: list[str], data: TextData) -> np.ndarray:
    """(N, C), highest where `model.predict` says; classes that no training text had come last."""
    has_margin = hasattr(model, "decision_function")
    scores = np.asarray(model.decision_function(texts) if has_margin else model.predict_log_proba(texts))
    if scores.ndim == 1:  # two classes, one margin
        scores = np.stack([-scores, scores], 1) / 2
    all_scores = np.full((len(scores), len(data.label_names)), scores.min() - 1)
    all_scores[:, model.classes_] = scores
    return all_scores


def main(argv: list[str]) -> None:
    """`eval.py baseline`: see the module.

    Raises:
        UserError: There is no such baseline, a flag or the data is wrong, or the folder holds a finished run.
    """
    if not argv or {"-h", "--help"} & set(argv):
        print(HELP.format(", ".join(BASELINES)))
        return
    name = argv[0]
    if name not in BASELINES:
        raise UserError(f'"{name}" is no baseline; choose from {", ".join(BASELINES)}')
    model_args, data_args, _, training = RecipeParser(program="eval.py baseline").parse(argv[1:])
    for flag in ("push_to_hub", "resume_from_checkpoint"):
        if getattr(training, flag):
            raise UserError(f"--{flag} is for models, and {name} leaves no model; leave it out")
    folder = Path(training.output_dir)
    started = datetime.now(timezone.utc)
    command = ["eval.py", "baseline", *argv]
    with claimed(folder, baseline_kind(name)):
        data = load_splits(data_args)
        make_sparse_run(name, data, folder, command, training.seed, data_args, started, model_args)


def make_sparse_run(
    name: str,
    data: TextData,
    folder: Path,
    command: list[str],
    seed: int,
    data_args: DataArguments,
    started: datetime | None = None,
    model_args: Any = None,
) -> None:
    """Fit a baseline, and leave in a folder what a run of train.py would.

    Args:
        name: One of `BASELINES`.
        data: See `run_sparse`.
        folder: Is `claimed`.
        command: The words that make this run again.
        seed: For the record; these baselines draw nothing from it.
        data_args: What the data was loaded by, for the record.
        started: When the work began; None for now.
        model_args: See `build_baseline`.

    Raises:
        UserError: See `run_sparse`.
    """
    started = started or datetime.now(timezone.utc)
    run = run_sparse(name, data, model_args)
    encoder = model_args.base_model or public_name(model_args.encoder) if name in FROZEN_MODELS else None
    start(folder, {"kind": baseline_kind(name), "family": name})
    write_json(folder / TRAIN_RESULTS_FILE, {"train_runtime": round(run.fit_seconds, 4)})
    for split, predictions in predictions_of(run, data).items():
        seconds = run.predict_seconds[split]
        costs = {
            "runtime": round(seconds, 4),
            "samples_per_second": round(len(predictions) / seconds, 3),
            "samples": len(predictions),
        }
        write_results(folder, split, {**compute_scores(predictions), **costs})
        write_predictions(folder, split, np.arange(len(predictions)), predictions)
    record = make_record(
        kind=baseline_kind(name),
        command=command,
        arguments=changed_arguments((data_args,)),
        data=describe_data(data),
        model={"family": name, "class": name, "encoder": encoder, "parameters": run.num_weights},
        precision="fp64",
        seed=seed,
        started=started,
    )
    write_json(folder / RUN_FILE, record)  # where it is, the run is finished
    (folder / STARTED_FILE).unlink()


def predictions_of(run: SparseRun, data: TextData) -> dict[str, Predictions]:
    """A baseline's answers to each held-out split, with several labels by thresholds fitted on validation.

    Args:
        run: What `run_sparse` gave.
        data: Its data.
    """
    found = {}
    for split, logits in run.logits.items():
        labels, num_words = np.asarray(data.splits[split]["labels"]), count_words(data.splits[split]["text"])
        logits = logits.astype(np.float32)  # as they are kept, so that their scores can be counted again
        found[split] = Predictions(labels, logits, data.problem_type, data.label_names, num_words)
    if data.problem_type == MULTI_LABEL and "validation" in found:
        thresholds = fit_label_thresholds(found["validation"])
        found = {split: replace(each, label_thresholds=thresholds) for split, each in found.items()}
    return found
