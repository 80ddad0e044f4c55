import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn import metrics
from transformers import EvalPrediction

from salience.configuration.errors import UserError
from salience.eval.scores.label_thresholds import fit_label_thresholds
from salience.eval.scores.metrics import compute_scores, make_compute_metrics
from salience.eval.scores.predictions import Predictions

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
cases = given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 30), classes=st.integers(2, 6))
few = settings(max_examples=20, deadline=None)


def names(count):
    return [f"class {i}" for i in range(count)]


def logits_of(rng, *shape):
    return rng.normal(size=shape).round(1).astype(np.float32)  # rounded: equal scores occur


def scikit_scores(labels, predicted):
    averages = {"zero_division": 0}
    return {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "precision_macro": metrics.precision_score(labels, predicted, average="macro", **averages),
        "recall_macro": metrics.recall_score(labels, predicted, average="macro", **averages),
        "f1_macro": metrics.f1_score(labels, predicted, average="macro", **averages),
        "precision_weighted": metrics.precision_score(labels, predicted, average="weighted", **averages),
        "recall_weighted": metrics.recall_score(labels, predicted, average="weighted", **averages),
        "f1_weighted": metrics.f1_score(labels, predicted, average="weighted", **averages),
    }


def check_per_class(scores, labels, predicted, classes):
    assert list(scores["per_class"]) == names(classes)
    report = metrics.classification_report(
        labels, predicted, labels=range(classes), target_names=names(classes), output_dict=True, zero_division=0
    )
    for name, row in scores["per_class"].items():
        expected = report[name]
        assert row["support"] == expected["support"]
        assert [row[key] for key in ("precision", "recall", "f1")] == pytest.approx(
            [expected[key] for key in ("precision", "recall", "f1-score")]
        )


def silent_scores(logits, labels, problem_type, label_names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = compute_scores(Predictions(labels, logits, problem_type, label_names))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    return scores


@few
@cases
def test_single_label_equals_scikit_learn_also_with_absent_classes(seed, rows, classes):
    rng = np.random.default_rng(seed)
    present = rng.choice(classes, size=rng.integers(1, classes + 1), replace=False)
    logits, labels = logits_of(rng, rows, classes), rng.choice(present, size=rows)
    scores = silent_scores(logits, labels, SINGLE, names(classes))

    predicted = logits.argmax(1)
    expected = scikit_scores(labels, predicted)
    assert {key: scores[key] for key in expected} == pytest.approx(expected)
    check_per_class(scores, labels, predicted, classes)

    probabilities = softmax(logits.astype(np.float64), axis=1)
    found = np.unique(labels)
    if len(found) == 1:
        assert "roc_auc" not in scores
    elif classes == 2:
        assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities[:, 1]))
    else:
        areas = [metrics.roc_auc_score(labels == c, probabilities[:, c]) for c in found]
        assert scores["roc_auc"] == pytest.approx(np.mean(areas))
        if len(found) == classes:
            assert scores["roc_auc"] == pytest.approx(
                metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
            )


@few
@cases
def test_multi_label_equals_scikit_learn_also_with_absent_classes(seed, rows, classes):
    rng = np.random.default_rng(seed)
    logits = logits_of(rng, rows, classes)
    labels = (rng.random((rows, classes)) < rng.choice([0, 0.3, 0.7, 1], size=classes)).astype(np.float32)
    scores = silent_scores(logits, labels, MULTI, names(classes))

    predicted = (logits >= 0).astype(int)
    expected = scikit_scores(labels.astype(int), predicted)
    assert {key: scores[key] for key in expected} == pytest.approx(expected)
    check_per_class(scores, labels.astype(int), predicted, classes)

    mixed = [c for c in range(classes) if 0 < labels[:, c].sum() < rows]
    if mixed:
        area = metrics.roc_auc_score(labels[:, mixed], expit(logits[:, mixed].astype(np.float64)), average="macro")
        assert scores["roc_auc"] == pytest.approx(area)
    else:
        assert "roc_auc" not in scores


@few
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 30))
def test_the_only_label_of_a_multi_label_model_is_what_is_scored(seed, rows):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(rows, 1)), rng.integers(0, 2, size=(rows, 1))
    scores = silent_scores(logits, labels, MULTI, ["tagged"])
    found = metrics.precision_recall_fscore_support(labels[:, 0], logits[:, 0] >= 0, average="binary", zero_division=0)
    for average in ("macro", "weighted"):
        assert [scores[f"{name}_{average}"] for name in ("precision", "recall", "f1")] == pytest.approx(found[:3])
    row = scores["per_class"]["tagged"]
    assert [row[name] for name in ("precision", "recall", "f1")] == pytest.approx(found[:3])
    assert row["support"] == labels.sum()


@few
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 30), targets=st.integers(1, 3))
def test_regression_equals_scikit_learn(seed, rows, targets):
    rng = np.random.default_rng(seed)
    predicted, truth = rng.normal(size=(rows, targets)), rng.normal(size=(rows, targets))
    if targets == 1:
        truth = truth[:, 0]
    scores = silent_scores(predicted, truth, REGRESSION, [])
    truth = truth.reshape(rows, -1)
    assert scores == pytest.approx(
        {
            "mse": metrics.mean_squared_error(truth, predicted),
            "mae": metrics.mean_absolute_error(truth, predicted),
            "r2": metrics.r2_score(truth, predicted),
            "pearson": np.mean([np.corrcoef(truth[:, t], predicted[:, t])[0, 1] for t in range(targets)]),
        }
    )


def test_undefined_scores_of_a_regression_are_left_out():
    assert set(silent_scores(np.ones((3, 1)), np.arange(3.0), REGRESSION, [])) == {"mse", "mae", "r2"}
    assert set(silent_scores(np.ones((1, 1)), np.ones(1), REGRESSION, [])) == {"mse", "mae"}


def test_extreme_logits_are_scored():
    logits = np.array([[1e30, -1e30, 0], [-1e30, 1e30, 0], [0, 0, 1e30]])
    assert silent_scores(logits, np.arange(3), SINGLE, names(3))["accuracy"] == 1
    assert silent_scores(logits, np.eye(3), MULTI, names(3))["recall_macro"] == 1


def test_compute_metrics_takes_the_trainers_predictions():
    logits, labels = np.eye(3), np.array([0, 1, 0])
    compute_metrics = make_compute_metrics(SINGLE, names(3))
    flat = compute_metrics(EvalPrediction(predictions=logits, label_ids=labels))
    assert flat["accuracy"] == pytest.approx(2 / 3)
    assert all(isinstance(score, float) for score in flat.values())
    assert compute_metrics(EvalPrediction(predictions=(logits, np.ones((3, 8))), label_ids=labels)) == flat


def test_in_training_rare_labels_are_scored_by_thresholds_as_they_are_fitted():
    truths = np.eye(2)[[0, 1, 1, 1]][:, :1]  # a quarter has the label
    knows, knows_nothing = np.array([[-1.0], [-3], [-3], [-3]]), np.array([[0.1], [0.1], [-0.1], [-0.1]])
    by_half, fitted = (make_compute_metrics(MULTI, ["rare"], fit) for fit in (None, fit_label_thresholds))
    f1 = {each: [each(EvalPrediction(logits, truths))["f1_macro"] for logits in (knows, knows_nothing)]
          for each in (by_half, fitted)}  # fmt: skip
    assert f1[by_half][0] < f1[by_half][1] and f1[fitted] == [1, pytest.approx(2 / 3)]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_diverged_model_is_named_as_such_in_training(broken):
    with pytest.raises(UserError, match="diverged"):
        make_compute_metrics(SINGLE, names(2))(EvalPrediction(np.full((2, 2), broken), np.array([0, 1])))


CLEAN_PROCESS = """
import socket
def refuse(*_): raise AssertionError("no network")
socket.socket.connect = socket.getaddrinfo = refuse
import json, numpy as np
from salience.eval.scores.metrics import compute_scores
from salience.eval.scores.predictions import Predictions
rng = np.random.default_rng(0)
for _ in range(20):
    logits, labels = rng.normal(size=(9, 3)), rng.integers(0, 3, 9)
    scores = compute_scores(Predictions(labels, logits, "single_label_classification", list("abc")))
print(json.dumps(scores))
"""


@pytest.mark.slow
def test_two_clean_processes_with_one_fresh_home_neither_talk_nor_disturb_each_other(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_", "XDG_"))}
    environment |= {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLEAN_PROCESS], env=environment | offline, stdout=-1, stderr=-1, text=True
        )
        for offline in ({}, {"HF_HUB_OFFLINE": "1"})
    ]
    (first, first_errors), (second, second_errors) = [process.communicate(timeout=120) for process in processes]
    assert first_errors == second_errors == ""
    assert json.loads(first) == json.loads(second)
