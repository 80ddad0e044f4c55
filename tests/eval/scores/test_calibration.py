"""Calibration against scikit-learn and known cases."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax
from scipy.stats import beta
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification

from salience.eval.scores.calibration import (
    TEMPERATURE_BOUNDS,
    at_threshold,
    calibration,
    fit_temperature,
    negative_log_likelihood,
)
from salience.eval.scores.guarantee import accuracy_bound, fewest_texts, lowest_threshold, rank
from salience.eval.scores.predictions import Decisions, Predictions
from salience.modeling import AttnPoolConfig
from tests.helpers.tiny import random_batch, tiny_model

SINGLE, MULTI = "single_label_classification", "multi_label_classification"


def answers(logits, labels, problem_type=SINGLE):
    return Predictions(labels, logits, problem_type, [str(each) for each in range(logits.shape[1])])


def outputs(seed, num_texts=200, num_classes=4, scale=2.0, problem_type=SINGLE):
    """Logits that are right more often than by chance, and labels; the last class may never occur."""
    random = np.random.default_rng(seed)
    logits = scale * random.normal(size=(num_texts, num_classes))
    if problem_type == MULTI:
        return logits, (random.random(logits.shape) < expit(0.7 * logits)).astype(int)
    labels = (logits[:, : max(1, num_classes - 1)] + random.gumbel(size=(num_texts, max(1, num_classes - 1)))).argmax(1)
    return logits, labels


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 60) | st.sampled_from([15, 300]),
    st.integers(2, 5),
    st.sampled_from([SINGLE, MULTI]),
)
def test_scores_are_those_of_scikit_learn(seed, num_texts, num_classes, problem_type):
    logits, labels = outputs(seed, num_texts, num_classes, problem_type=problem_type)
    found = calibration(answers(logits, labels, problem_type))
    if problem_type == SINGLE:
        chances = softmax(logits, axis=1)
        truth, confidence = np.eye(num_classes)[labels], chances.max(1)
        is_right = chances.argmax(1) == labels
        nll = log_loss(labels, chances, labels=range(num_classes))
    else:
        chances = expit(logits)
        truth, confidence = labels, np.maximum(chances, 1 - chances).ravel()
        is_right = ((chances >= 0.5) == labels).ravel()
        nll = np.mean([log_loss(labels[:, c], chances[:, c], labels=[0, 1]) for c in range(num_classes)])
    halves = 2 if problem_type == SINGLE else num_classes
    assert found["brier"] == pytest.approx(
        sum(brier_score_loss(truth[:, c], chances[:, c], pos_label=1) for c in range(num_classes)) / halves
    )
    assert found["nll"] == pytest.approx(nll)
    assert found["num_predictions"] == len(is_right)
    assert found["accuracy"] == pytest.approx(accuracy_score(np.ones(len(is_right)), is_right))
    for name, strategy in (("equal_width", "uniform"), ("equal_mass", "quantile")):
        table = found[f"reliability_{name}"]
        if strategy == "quantile" and len(is_right) % 15:
            continue  # whose edges lie between two answers, and may part them otherwise
        accuracies, confidences = calibration_curve(is_right, confidence, n_bins=15, strategy=strategy)
        assert [row["accuracy"] for row in table] == pytest.approx(accuracies)
        assert [row["confidence"] for row in table] == pytest.approx(confidences)
        counts = np.array([row["count"] for row in table])
        assert counts.sum() == len(is_right)
        expected = (np.abs(accuracies - confidences) * counts).sum() / counts.sum()
        assert found[f"ece_{name}"] == pytest.approx(expected)
        assert all(row["low"] <= row["confidence"] <= row["high"] + 1e-12 for row in table)
    json.dumps(found, allow_nan=False)


def test_bins_of_equal_mass_hold_equally_many():
    logits, labels = outputs(0, 1500)
    assert [row["count"] for row in calibration(answers(logits, labels))["reliability_equal_mass"]] == [100] * 15
    counts = [row["count"] for row in calibration(answers(logits[:1007], labels[:1007]))["reliability_equal_mass"]]
    assert set(counts) == {67, 68} and sum(counts) == 1007


def known_case():
    """Two classes; confidence .9 right twice, .8 wrong once and right once, .6 wrong."""
    chances = np.array([0.9, 0.9, 0.8, 0.8, 0.6])
    return np.stack([logit(chances), np.zeros(5)], 1), np.array([0, 0, 1, 0, 1])


def test_the_risk_coverage_curve_of_a_known_case():
    logits, labels = known_case()
    found = calibration(answers(logits, labels))
    curve = found["risk_coverage"]
    assert curve["coverage"] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    # Of the two at .8 the wrong one is first in half of the orders.
    assert curve["risk"] == pytest.approx([0, 0, 0.5 / 3, 1 / 4, 2 / 5])
    assert curve["threshold"] == pytest.approx([0.9, 0.9, 0.8, 0.8, 0.6])
    assert found["aurc"] == pytest.approx(np.mean(curve["risk"]))
    assert found["ece_equal_width"] == pytest.approx((2 * 0.1 + 2 * 0.3 + 0.6) / 5)
    order = np.array([3, 4, 0, 2, 1])
    again = calibration(answers(logits[order], labels[order]))
    assert again["risk_coverage"] == curve and again["thresholds"] == found["thresholds"]
    assert again["ece_equal_mass"] == pytest.approx(found["ece_equal_mass"])


def believable(seed, num_texts):
    """Logits whose softmax are the chances of the labels."""
    random = np.random.default_rng(seed)
    logits = 3.0 * random.normal(size=(num_texts, 4))
    return logits, (logits + random.gumbel(size=logits.shape)).argmax(1)


@pytest.mark.slow
def test_thresholds_keep_on_further_texts_what_they_promise():
    """Of 100 draws of validation texts, one in twenty may promise too much."""
    logits, labels = believable(0, 50_000)
    confidence, is_right = softmax(logits, axis=1).max(1), logits.argmax(1) == labels
    random, broken = np.random.default_rng(0), {0.9: 0, 0.95: 0}
    for _ in range(100):
        drawn = random.choice(len(labels), 1_000, replace=False)
        ranked = rank(Decisions(confidence[drawn], is_right[drawn]))
        for wanted in broken:
            threshold = lowest_threshold(wanted, ranked)["threshold"]
            assert threshold is not None or wanted > 0.9
            broken[wanted] += threshold is not None and is_right[confidence >= threshold].mean() < wanted
    assert max(broken.values()) <= 5


def test_a_threshold_leaves_little_unanswered_that_could_be():
    logits, labels = believable(3, 20_000)
    chances = softmax(logits, axis=1)
    confidence, is_right = chances.max(1), chances.argmax(1) == labels
    rows = calibration(answers(logits, labels))["thresholds"]
    assert [row["threshold"] is not None for row in rows][:2] == [True, True]
    for row in rows[:2]:
        accepted = confidence >= row["threshold"]
        assert is_right[accepted].mean() == pytest.approx(row["accuracy"]) and row["accuracy"] >= row["wanted_accuracy"]
        assert accepted.mean() == pytest.approx(row["coverage"])
        most = max(np.mean(confidence >= t) for t in np.unique(confidence)[::20]
                   if is_right[confidence >= t].mean() >= row["wanted_accuracy"])  # fmt: skip
        assert row["coverage"] > 0.9 * most


def test_errors_among_the_least_sure_hide_no_promise():
    """Of 150 texts the 121 surest are right, the others not: halving would ask 75 next, too few for a promise."""
    is_right = np.arange(150) < 121
    row = lowest_threshold(0.95, rank(Decisions(np.linspace(1, 0.3, 150), is_right)))
    assert row["coverage"] > 0.8 and row["accuracy"] >= 0.95


def test_too_few_texts_promise_nothing():
    fewest = fewest_texts(0.95, 100)
    assert 99 <= fewest <= 107
    for count, promised in ((fewest - 1, False), (fewest + 5, True)):
        row = lowest_threshold(0.95, rank(Decisions(np.linspace(1, 0.5, count), np.ones(count, dtype=bool))))
        assert (row["threshold"] is not None) == promised


def test_the_bound_is_clopper_and_pearsons():
    assert accuracy_bound(59, 0, 0.05) == pytest.approx(0.05 ** (1 / 59))
    assert accuracy_bound(100, 10, 0.05) == pytest.approx(1 - beta.ppf(0.95, 11, 90))
    assert accuracy_bound(7, 7, 0.05) == 0


def test_a_threshold_that_there_is_not_is_null():
    logits, labels = known_case()
    rows = calibration(answers(logits, 1 - labels))["thresholds"]
    assert [row["wanted_accuracy"] for row in rows] == [0.9, 0.95, 0.99]
    assert all(row["threshold"] is row["coverage"] is row["accuracy"] is None for row in rows)


def test_long_curves_are_thinned_out():
    logits, labels = outputs(1, 5000)
    curve = calibration(answers(logits, labels))["risk_coverage"]
    assert {len(values) for values in curve.values()} == {101}
    assert curve["coverage"][-1] == 1 and curve["risk"][-1] == pytest.approx((logits.argmax(1) != labels).mean())


# --- the temperature ---


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
@pytest.mark.parametrize("true_temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_labels_is_found(problem_type, true_temperature):
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(20_000, 3))
    if problem_type == MULTI:
        labels = (random.random(logits.shape) < expit(logits)).astype(int)
    else:
        labels = (logits + random.gumbel(size=logits.shape)).argmax(1)
    found = fit_temperature(answers(true_temperature * logits, labels, problem_type))
    assert found == pytest.approx(true_temperature, rel=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 5), st.sampled_from([SINGLE, MULTI]))
def test_no_other_temperature_is_better(seed, num_texts, num_classes, problem_type):
    logits, labels = outputs(seed, num_texts, num_classes, problem_type=problem_type)
    predictions = answers(logits, labels, problem_type)
    found = fit_temperature(predictions)
    low, high = TEMPERATURE_BOUNDS
    assert low <= found <= high
    best = negative_log_likelihood(predictions, found)
    is_all_right = ((logits >= 0) == labels).all() if problem_type == MULTI else (logits.argmax(1) == labels).all()
    if is_all_right:
        assert found == 1
    else:
        others = [negative_log_likelihood(predictions, other) for other in np.geomspace(low, high, 200)]
        assert best <= min(others) + 1e-6


def test_where_texts_say_nothing_the_temperature_is_bounded():
    logits = np.eye(3) * 5
    assert fit_temperature(answers(logits, np.arange(3))) == 1
    assert fit_temperature(answers(logits - 2, np.eye(3), MULTI)) == 1
    assert fit_temperature(answers(np.zeros((4, 3)), np.array([0, 1, 2, 2]))) == 1
    assert fit_temperature(answers(logits, (np.arange(3) + 1) % 3)) == pytest.approx(TEMPERATURE_BOUNDS[1], rel=1e-4)


def test_regression_is_refused():
    for function in (fit_temperature, calibration, lambda numbers: at_threshold(numbers, 0.5)):
        with pytest.raises(ValueError, match="regression has none"):
            function(answers(np.zeros((3, 1)), np.zeros(3), "regression"))


# --- in the models ---


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "cnn"])
def test_models_divide_their_logits_outside_of_training_before_the_prior_correction(name, tmp_path):
    model, batch = tiny_model(name), random_batch([7, 12])
    plain = model(**batch).logits
    model.config.logit_temperature, model.config.prior_correction = 2.5, [-1.0, 0.5, 2.0]
    expected = plain / 2.5 - torch.tensor([-1.0, 0.5, 2.0])
    assert_close(model(**batch).logits, expected)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert again.config.logit_temperature == 2.5
    assert_close(again(**batch).logits, expected)
    model.training = True  # the classifier, without dropout
    assert_close(model(**batch).logits, plain)


def test_a_temperature_makes_no_ties_in_bfloat16():
    model, batch = tiny_model("attn_pool").bfloat16(), random_batch([7] * 32)
    plain = model(**batch).logits
    model.config.logit_temperature = 3.3
    assert torch.equal(model(**batch).logits.argsort(dim=1, stable=True), plain.argsort(dim=1, stable=True))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match=f"logit_temperature = {value} must be (above 0|of the type float)"):
        AttnPoolConfig(logit_temperature=value)


# --- in training ---
