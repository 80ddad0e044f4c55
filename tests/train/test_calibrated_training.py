"""The temperature that training fits on validation and stores."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from transformers import AutoConfig, AutoModelForSequenceClassification, pipeline

from salience.eval.scores.calibration import fit_temperature, negative_log_likelihood
from salience.eval.scores.prediction_files import read_predictions
from salience.train import cli
from salience.train.building.lora import load_adapter
from tests.helpers.toy import toy_texts, write_csv, write_jsonl
from tests.helpers.training import QUIET

QUICK = [
    "--ngram_evidence", "false",
    *QUIET, "--num_train_epochs", "2",
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
    assert temperature == pytest.approx(fit_temperature(before), rel=1e-4)
    for split in ("validation", "test"):
        raw, calibrated = read_predictions(plain, split), read_predictions(folder, split)
        np.testing.assert_allclose(calibrated.logits, raw.logits / temperature, rtol=1e-5, atol=1e-6)
        assert (calibrated.logits.argmax(1) == raw.logits.argmax(1)).all()
    assert negative_log_likelihood(after) < negative_log_likelihood(before)
    results = read(folder, "eval_results.json")
    assert results["eval_loss"] == pytest.approx(negative_log_likelihood(after), rel=1e-5)
    assert results["eval_accuracy"] == read(plain, "eval_results.json")["eval_accuracy"]
    assert results["eval_samples"] == len(after.labels) and "epoch" in results
    test = read_predictions(folder, "test")
    assert read(folder, "test_results.json")["test_loss"] == pytest.approx(negative_log_likelihood(test), rel=1e-5)

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
    assert config.logit_temperature == pytest.approx(fit_temperature(replace(before, logits=uncorrected)), rel=1e-4)
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
    assert before.problem_type == "multi_label_classification"
    assert temperature == pytest.approx(fit_temperature(before), rel=1e-4)
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
