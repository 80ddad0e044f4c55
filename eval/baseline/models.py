"""The baselines without any trained network: bags of words, and the document vectors of a frozen encoder.

Where texts have several labels, each label is a classifier of its own.
"""

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import ComplementNB
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import DataArguments
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION
from salience.eval.baseline.frozen import FROZEN_MODELS, frozen_vectors
from salience.eval.baseline.prior_correction import PriorCorrectedLogistic
from salience.train.data.encoded import labels_of
from salience.train.data.load import TextData

logger = logging.getLogger(__name__)


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
THRESHOLD_FLAGS = ("fit_thresholds", "target_precision")
"""How they give labels, as in training."""
DATA_FLAGS = {each.name for each in fields(DataArguments)}
ENCODER_FLAGS = {"encoder", "encoder_revision", "encoder_cache", "base_model", "freeze_encoder"}


def baseline_flags(name: str) -> set[str]:
    """The flags of train.py that count for a baseline, beside `seed` and `output_dir`."""
    flags = DATA_FLAGS | set(THRESHOLD_FLAGS if name in OF_SEVERAL_LABELS else ())
    return flags | ENCODER_FLAGS if name in FROZEN_MODELS else flags


def baseline_kind(name: str) -> str:
    """The kind of a baseline's run: "sparse" (TF-IDF), or "frozen" (vectors of a frozen encoder)."""
    return "sparse" if name in SPARSE_MODELS else "frozen"


class BaselineRun(NamedTuple):
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
        raise UserError(
            f"{name} needs classes; these labels are {problem_type}: if the numbers are names of classes, add "
            "--problem_type single_label_classification"
        )
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


def run_baseline(name: str, data: TextData, model_args: Any = None) -> BaselineRun:
    """Fit a baseline on the training texts, and let it classify the held-out ones.

    Args:
        name: One of `BASELINES`.
        data: Texts with one class each, or several.
        model_args: See `build_baseline`.

    Raises:
        UserError: See `build_baseline`; or the training texts hold no word.
    """
    model = build_baseline(name, data.problem_type, model_args)
    train, several = data.splits["train"], data.problem_type == MULTI_LABEL
    labels = labels_of(train).astype(int)
    if several:
        tell_constant_labels(labels, data.label_names)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Label .* is present in all training examples")  # told, with its name
            model.fit(list(train["text"]), labels)
    except ValueError as error:
        raise UserError(
            f"{name} can't be fitted on these training texts: {one_line(error)}; give texts with words"
        ) from error
    fit_seconds = time.perf_counter() - started
    logits, seconds = {}, {}
    for split in ("validation", "test"):
        if split in data.splits:
            started = time.perf_counter()
            texts = list(data.splits[split]["text"])
            logits[split] = _label_scores(model, texts, labels) if several else _class_scores(model, texts, data)
            seconds[split] = time.perf_counter() - started
    return BaselineRun(logits, fit_seconds, seconds, _num_weights(model))


def tell_constant_labels(labels: np.ndarray, names: list[str]) -> None:
    """Warn of labels that all training texts have, or none.

    Args:
        labels: (N, C) zeros and ones.
        names: Of the C labels.
    """
    constant = [one_line(name) for name, has in zip(names, labels.T, strict=True) if has.all() or not has.any()]
    if constant:
        says = "all training texts have these labels, or none, so nothing is learned of them: %s"
        logger.warning(says, ", ".join(constant))


def _num_weights(model: Pipeline) -> int:
    # Several labels have a classifier each, but for those that nothing was learned of.
    classifiers = getattr(model[-1], "estimators_", [model[-1]])
    weights = [getattr(each, "coef_", getattr(each, "feature_log_prob_", None)) for each in classifiers]
    return sum(each.size for each in weights if each is not None) + getattr(model[0], "num_weights", 0)


def _label_scores(model: Pipeline, texts: list[str], labels: np.ndarray) -> np.ndarray:
    """(N, C), above 0 where `model.predict` gives the label; `labels` are those of the training texts, (M, C)."""
    scores = np.asarray(model.decision_function(texts), float).reshape(len(texts), -1)
    extreme = np.abs(scores).max() + 1  # for labels that all of them have, or none
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
