"""Calibration against scikit-learn and known cases; and the temperature that training stores."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForSequenceClassification, pipeline

from salience.eval.calibration import TEMPERATURE_BOUNDS, calibration, fit_temperature, negative_log_likelihood
from salience.eval.predictions import read_predictions
from salience.modeling import AttnPoolConfig
from salience.train import cli
from salience.train.lora import load_adapter
from tests.tiny import random_batch, tiny_model
from tests.toy import toy_texts, write_csv, write_jsonl

SINGLE, MULTI = "single_label_classification", "multi_label_classification"


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
    found = calibration(logits, labels, problem_type)
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
    assert [row["count"] for row in calibration(logits, labels, SINGLE)["reliability_equal_mass"]] == [100] * 15
    counts = [row["count"] for row in calibration(logits[:1007], labels[:1007], SINGLE)["reliability_equal_mass"]]
    assert set(counts) == {67, 68} and sum(counts) == 1007


def known_case():
    """Two classes; confidence .9 right twice, .8 wrong once and right once, .6 wrong."""
    chances = np.array([0.9, 0.9, 0.8, 0.8, 0.6])
    return np.stack([logit(chances), np.zeros(5)], 1), np.array([0, 0, 1, 0, 1])


def test_the_risk_coverage_curve_of_a_known_case():
    logits, labels = known_case()
    found = calibration(logits, labels, SINGLE)
    curve = found["risk_coverage"]
    assert curve["coverage"] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    # Of the two at .8 the wrong one is first in half of the orders.
    assert curve["risk"] == pytest.approx([0, 0, 0.5 / 3, 1 / 4, 2 / 5])
    assert curve["threshold"] == pytest.approx([0.9, 0.9, 0.8, 0.8, 0.6])
    assert found["aurc"] == pytest.approx(np.mean(curve["risk"]))
    assert found["ece_equal_width"] == pytest.approx((2 * 0.1 + 2 * 0.3 + 0.6) / 5)
    order = np.array([3, 4, 0, 2, 1])
    again = calibration(logits[order], labels[order], SINGLE)
    assert again["risk_coverage"] == curve and again["thresholds"] == found["thresholds"]
    assert again["ece_equal_mass"] == pytest.approx(found["ece_equal_mass"])


def test_thresholds_give_the_wanted_accuracy_at_the_highest_coverage():
    logits, labels = outputs(3, 2000, scale=3.0)
    chances = softmax(logits, axis=1)
    confidence, is_right = chances.max(1), chances.argmax(1) == labels
    for row in calibration(logits, labels, SINGLE)["thresholds"]:
        accepted = confidence >= row["threshold"]
        assert is_right[accepted].mean() == pytest.approx(row["accuracy"]) and row["accuracy"] >= row["wanted_accuracy"]
        assert accepted.mean() == pytest.approx(row["coverage"])
        lower = [t for t in np.unique(confidence) if t < row["threshold"]]
        assert all(is_right[confidence >= t].mean() < row["wanted_accuracy"] for t in lower)


def test_a_threshold_that_there_is_not_is_null():
    logits, labels = known_case()
    rows = calibration(logits, 1 - labels, SINGLE)["thresholds"]
    assert [row["wanted_accuracy"] for row in rows] == [0.9, 0.95, 0.99]
    assert all(row["threshold"] is row["coverage"] is row["accuracy"] is None for row in rows)


def test_long_curves_are_thinned_out():
    logits, labels = outputs(1, 5000)
    curve = calibration(logits, labels, SINGLE)["risk_coverage"]
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
    found = fit_temperature(true_temperature * logits, labels, problem_type)
    assert found == pytest.approx(true_temperature, rel=0.03)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 5), st.sampled_from([SINGLE, MULTI]))
def test_no_other_temperature_is_better(seed, num_texts, num_classes, problem_type):
    logits, labels = outputs(seed, num_texts, num_classes, problem_type=problem_type)
    found = fit_temperature(logits, labels, problem_type)
    low, high = TEMPERATURE_BOUNDS
    assert low <= found <= high
    best = negative_log_likelihood(logits / found, labels)
    is_all_right = ((logits >= 0) == labels).all() if problem_type == MULTI else (logits.argmax(1) == labels).all()
    if is_all_right:
        assert found == 1
    else:
        others = [negative_log_likelihood(logits / other, labels) for other in np.geomspace(low, high, 200)]
        assert best <= min(others) + 1e-6


def test_where_texts_say_nothing_the_temperature_is_bounded():
    logits = np.eye(3) * 5
    assert fit_temperature(logits, np.arange(3), SINGLE) == 1
    assert fit_temperature(logits - 2, np.eye(3), MULTI) == 1
    assert fit_temperature(np.zeros((4, 3)), np.array([0, 1, 2, 2]), SINGLE) == 1
    assert fit_temperature(logits, (np.arange(3) + 1) % 3, SINGLE) == pytest.approx(TEMPERATURE_BOUNDS[1], rel=1e-4)


def test_regression_is_refused():
    for function in (fit_temperature, calibration):
        with pytest.raises(ValueError, match="regression has none"):
            function(np.zeros((3, 1)), np.zeros(3), "regression")


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
    with pytest.raises(ValueError, match=f"logit_temperature = {value} must be above 0"):
        AttnPoolConfig(logit_temperature=value)


# --- in training ---

QUICK = [
    "--bf16", "false", "--report_to", "none", "--disable_tqdm", "true", "--num_train_epochs", "2",
    "--per_device_train_batch_size", "8",
]  # fmt: skip
CNN = ["--model", "cnn", "--embedding_dim", "12", "--num_filters", "8", "--learning_rate", "0.02"]


@pytest.fixture
def noisy_data(tmp_path):
    """Texts of which every fifth has a wrong label, so that a model of them can't be always right."""
    rows = toy_texts(120)
    rows = [(text, rows[number - 1][1] if number % 5 == 0 else label) for number, (text, label) in enumerate(rows)]
    return ["--train_file", str(write_csv(tmp_path / "train.csv", rows)), "--validation_size", "0.25",
            "--test_file", str(write_csv(tmp_path / "test.csv", toy_texts(12, seed=1)))]  # fmt: skip


@pytest.fixture
def train(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")

    def run(name, *flags):
        assert cli.main(["--output_dir", str(tmp_path / name), *QUICK, *flags]) == 0
        return tmp_path / name

    return run


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_training_stores_the_temperature_and_changes_no_answer(train, noisy_data):
    plain = train("plain", *noisy_data, *CNN, "--calibrate", "false")
    folder = train("calibrated", *noisy_data, *CNN)
    assert AutoConfig.from_pretrained(plain).logit_temperature == 1
    assert "eval_temperature" not in read(plain, "eval_results.json")
    temperature = AutoConfig.from_pretrained(folder).logit_temperature
    assert temperature != 1 and read(folder, "eval_results.json")["eval_temperature"] == temperature

    before, after = read_predictions(plain, "validation"), read_predictions(folder, "validation")
    assert temperature == pytest.approx(fit_temperature(before.logits, before.labels, SINGLE), rel=1e-4)
    for split in ("validation", "test"):
        raw, calibrated = read_predictions(plain, split), read_predictions(folder, split)
        np.testing.assert_allclose(calibrated.logits, raw.logits / temperature, rtol=1e-5, atol=1e-6)
        assert (calibrated.logits.argmax(1) == raw.logits.argmax(1)).all()
    assert negative_log_likelihood(after.logits, after.labels) < negative_log_likelihood(before.logits, before.labels)
    results = read(folder, "eval_results.json")
    assert results["eval_loss"] == pytest.approx(negative_log_likelihood(after.logits, after.labels), rel=1e-5)
    assert results["eval_accuracy"] == read(plain, "eval_results.json")["eval_accuracy"]
    assert results["eval_samples"] == len(after.labels) and "epoch" in results
    test = read_predictions(folder, "test")
    assert read(folder, "test_results.json")["test_loss"] == pytest.approx(
        negative_log_likelihood(test.logits, test.labels), rel=1e-5
    )

    text = "the bank raised its profit"
    classify = pipeline("text-classification", model=str(folder))
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    scores = {each["label"]: each["score"] for each in classify(text, top_k=None)}
    model.config.logit_temperature = 1.0
    with torch.no_grad():
        logits = model(**classify.tokenizer(text, return_tensors="pt")).logits[0].double().numpy()
    assert [scores[model.config.id2label[each]] for each in range(3)] == pytest.approx(
        softmax(logits / temperature), abs=1e-5
    )


def test_a_prior_correction_stays_whole(train, noisy_data):
    flags = [*noisy_data, *CNN, "--prior_correction", "1"]
    plain, folder = train("plain", *flags, "--calibrate", "false"), train("calibrated", *flags)
    before, after = read_predictions(plain, "validation"), read_predictions(folder, "validation")
    config = AutoConfig.from_pretrained(folder)
    uncorrected = before.logits + np.array(config.prior_correction)
    assert config.logit_temperature == pytest.approx(fit_temperature(uncorrected, before.labels, SINGLE), rel=1e-4)
    expected = uncorrected / config.logit_temperature - np.array(config.prior_correction)
    np.testing.assert_allclose(after.logits, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read_logits(folder, [toy_texts(12, seed=1)[3][0]])[0],
                               read_predictions(folder, "test").logits[3], rtol=1e-4, atol=1e-4)  # fmt: skip


@torch.no_grad()
def read_logits(folder, texts):
    classify = pipeline("text-classification", model=str(folder))
    return [classify.model(**classify.tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in texts]


def test_adapters_have_the_temperature_too(train, noisy_data, encoder_folder):
    folder = train("lora", *noisy_data, "--encoder", str(encoder_folder), "--lora", "true", "--learning_rate", "0.02")
    temperature = read(folder, "eval_results.json")["eval_temperature"]
    assert temperature != 1
    assert AutoConfig.from_pretrained(folder).logit_temperature == temperature
    assert load_adapter(folder / "adapter").get_base_model().config.logit_temperature == temperature
    np.testing.assert_allclose(read_logits(folder, [toy_texts(12, seed=1)[3][0]])[0],
                               read_predictions(folder, "test").logits[3], rtol=1e-4, atol=1e-4)  # fmt: skip


def test_several_labels_are_calibrated_by_sigmoid(train, tmp_path):
    topics = ("business", "culture", "sport")
    rows = [(text, [label, topics[number % 3]][: 1 + number % 2]) for number, (text, label) in enumerate(toy_texts(80))]
    flags = ["--train_file", str(write_jsonl(tmp_path / "train.jsonl", rows)), "--validation_size", "0.25", *CNN]
    plain, folder = train("plain", *flags, "--calibrate", "false"), train("calibrated", *flags)
    before, after = read_predictions(plain, "validation"), read_predictions(folder, "validation")
    temperature = read(folder, "eval_results.json")["eval_temperature"]
    assert temperature == pytest.approx(fit_temperature(before.logits, before.labels, MULTI), rel=1e-4)
    np.testing.assert_allclose(after.logits, before.logits / temperature, rtol=1e-5, atol=1e-6)


def test_what_has_no_place_for_a_temperature_is_left_as_it_is(train, noisy_data, encoder_folder, tmp_path):
    plain_head = ["--model", "sequence_classification", "--encoder", str(encoder_folder)]
    folder = train("head", *noisy_data, *plain_head)
    assert "logit_temperature" not in read(folder, "config.json")
    assert "eval_temperature" not in read(folder, "eval_results.json")
    numbers = write_csv(tmp_path / "numbers.csv", [(text, len(text) / 37) for text, _ in toy_texts(24)])
    folder = train("numbers", "--train_file", str(numbers), *CNN)
    assert read(folder, "config.json")["logit_temperature"] == 1
    assert "eval_temperature" not in read(folder, "eval_results.json")
