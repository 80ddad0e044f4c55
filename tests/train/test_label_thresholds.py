"""Thresholds of labels: fitted on validation, kept in the model, and the same wherever it answers."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from transformers import AutoConfig

from salience.eval import Predictor, export_model, predict_files, score_model
from salience.eval.cli import main as evaluate
from salience.eval.scores.label_thresholds import fit_label_thresholds
from salience.eval.scores.metrics import compute_scores
from salience.eval.scores.prediction_files import read_predictions
from salience.train.cli import main
from tests.helpers.blocks import usage_blocks
from tests.helpers.run_folders import read
from tests.helpers.toy import clean_environment, texts_with_several_labels, toy_texts, write_csv, write_jsonl

QUICK = [
    "--bf16", "false", "--report_to", "none", "--disable_tqdm", "true", "--num_train_epochs", "2",
    "--explained_texts", "0", "--ngram_evidence", "false",
    "--per_device_train_batch_size", "8", "--model", "cnn", "--embedding_dim", "12", "--num_filters", "8",
    "--learning_rate", "0.01", "--validation_size", "0.25",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Texts with none, one or both of two labels; every fourth has lost its last one."""
    folder = tmp_path_factory.mktemp("thresholds")
    rows = [
        (text, labels[: len(labels) - (number % 4 == 0)])
        for number, (text, labels) in enumerate(texts_with_several_labels(240))
    ]
    write_jsonl(folder / "train.jsonl", rows[60:])
    write_jsonl(folder / "test.jsonl", rows[:60])
    return folder


def train(data, name, *flags, test="test.jsonl"):
    files = ["--train_file", str(data / "train.jsonl"), "--test_file", str(data / test)]
    assert main(["--output_dir", str(data / name), *QUICK, *files, *flags]) == 0
    return data / name


@pytest.fixture(scope="module")
def run(data):
    return train(data, "run")


def names_of(run):
    config = AutoConfig.from_pretrained(run)
    return [config.id2label[index] for index in range(config.num_labels)]


def test_they_are_fitted_on_validation_alone(run, data, capsys):
    thresholds = AutoConfig.from_pretrained(run).label_thresholds
    validation = read_predictions(run, "validation")
    assert validation.label_thresholds == thresholds == fit_label_thresholds(validation)
    assert len(thresholds) == 3 and any(each != 0.5 for each in thresholds)
    results, scores = read(run, "eval_results.json"), compute_scores(validation)
    for name in ("f1_macro", "accuracy"):
        assert results[f"eval_{name}"] == pytest.approx(scores[name])
    write_jsonl(data / "other.jsonl", [(text, labels[:1]) for text, labels in texts_with_several_labels(9)])
    again = train(data, "other_test", test="other.jsonl")
    assert AutoConfig.from_pretrained(again).label_thresholds == thresholds
    assert "each given from a probability of its own on" in capsys.readouterr().out


def test_epochs_are_compared_by_them(run, data):
    scores = {}
    for fit in ("true", "false"):
        folder = run if fit == "true" else train(data, "not_fitted", "--fit_thresholds", fit)
        history = read(folder, "trainer_state.json")["log_history"]
        scores[fit] = [each["eval_f1_macro"] for each in history if "eval_f1_macro" in each][:2]
    assert all(fitted > at_half for fitted, at_half in zip(scores["true"], scores["false"], strict=True))


def test_scores_predict_and_score_decide_by_them(run, data):
    thresholds, names = AutoConfig.from_pretrained(run).label_thresholds, names_of(run)
    test = pd.read_json(data / "test.jsonl", lines=True)
    found = Predictor(run, bf16=False)({"text": list(test["text"])})
    for labels, scores, probabilities in zip(found["label"], found["score"], found["probabilities"], strict=True):
        given = np.array(probabilities) >= thresholds
        assert labels == [name for name, each in zip(names, given, strict=True) if each]
        assert scores == [each for each, is_given in zip(probabilities, given, strict=True) if is_given]
    written = predict_files(run, data / "test.jsonl", data / "answers.jsonl", prefix="my_", bf16=False)
    answers = pd.read_json(written.output, lines=True)
    assert answers["my_label"].tolist() == found["label"].tolist()
    scored, tested = score_model(run, test_file=str(data / "test.jsonl"), bf16=False), read(run, "test_results.json")
    right = [set(mine) == set(true) for mine, true in zip(found["label"], test["label"], strict=True)]
    assert scored["accuracy"] == tested["test_accuracy"] == pytest.approx(np.mean(right))
    assert scored["per_class"] == tested["test_per_class"]
    at_half = compute_scores(replace(read_predictions(run, "test"), label_thresholds=None))
    assert at_half["per_class"] != scored["per_class"]


def test_card_and_report_tell_them(run, data, monkeypatch):
    card, thresholds = (run / "README.md").read_text(), AutoConfig.from_pretrained(run).label_thresholds
    assert f"({min(thresholds):.3f} to {max(thresholds):.3f}), chosen for the best F1 on the validation texts" in card
    monkeypatch.chdir(data)  # the record has only the names of files elsewhere
    flags = ["--output_dir", str(data / "report"), "--num_documents", "10", "--num_explained", "2"]
    files = ["--train_file", "train.jsonl", "--test_file", "test.jsonl"]
    assert evaluate(["report", "--model", str(run), *files, *flags]) == 0
    report = read(data / "report", "report.json")
    assert report["label_thresholds"] == dict(zip(names_of(run), thresholds, strict=True))
    assert report["scores"]["accuracy"] == read(run, "test_results.json")["test_accuracy"]
    page = (data / "report" / "report.html").read_text()
    assert "given from" in page and f"{max(thresholds):.3f}" in page


STRANGER = """
import sys
sys.modules["salience"] = None
from transformers import AutoConfig
print(AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=True).label_thresholds)
"""


@pytest.mark.slow
def test_a_process_without_the_package_has_them_and_the_cards_code_decides_by_them(run, tmp_path):
    blocks = usage_blocks((run / "README.md").read_text())
    (block,) = [each for each in blocks if "outputs.logits.sigmoid()" in each]
    text = toy_texts(1)[0][0]
    code = f'REPO, REVISION = {str(run)!r}, "main"\n' + block.replace("The text that you want to classify.", text)
    process = subprocess.run(
        [sys.executable, "-c", STRANGER + code, str(run)],
        env=clean_environment(tmp_path), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    told, *answers = process.stdout.splitlines()
    assert json.loads(told) == AutoConfig.from_pretrained(run).label_thresholds
    texts = [text, "Another one."]
    expected = Predictor(run, bf16=False)({"text": texts})["label"]
    assert answers == [f"{text} {labels}" for text, labels in zip(texts, expected, strict=True)]


@pytest.mark.slow
def test_an_exported_model_decides_by_them(run, data, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    export_model(run, tmp_path / "onnx", test_file=str(data / "test.jsonl"))
    texts = [text for text, _ in toy_texts(12, seed=4)]
    process = subprocess.run(
        [sys.executable, str(tmp_path / "onnx" / "predict.py"), *texts], capture_output=True, text=True, timeout=120
    )
    answers = [json.loads(line)["label"] for line in process.stdout.splitlines()]
    assert answers == Predictor(run, bf16=False)({"text": texts})["label"].tolist()


def test_a_wanted_precision_is_reached_on_validation(data):
    folder = train(data, "precise", "--target_precision", "0.8")
    validation = read_predictions(folder, "validation")
    assert validation.label_thresholds == fit_label_thresholds(validation, 0.8)
    scores = compute_scores(validation)["per_class"].values()
    assert all(each["precision"] >= 0.8 or each["precision"] == each["recall"] == 0 for each in scores)
    assert "chosen for a precision of 0.8 on the validation texts" in (folder / "README.md").read_text()


def test_a_threshold_of_review_is_fitted_to_what_was_decided(data):
    folder = train(data, "reviewed", "--target_accuracy", "0.9")
    validation, config = read_predictions(folder, "validation"), AutoConfig.from_pretrained(folder)
    is_sure = validation.confidence >= config.review_threshold
    assert not is_sure.any() or validation.is_right()[is_sure].mean() >= 0.9
    found = Predictor(folder, bf16=False)({"text": [text for text, _ in toy_texts(12, seed=5)]})
    for probabilities, action in zip(found["probabilities"], found["action"], strict=True):
        given = np.array(probabilities) >= config.label_thresholds
        sureness = np.where(given, probabilities, 1 - np.array(probabilities)).min()
        assert action == ("predict" if sureness >= config.review_threshold else "review")


def test_nothing_is_fitted_where_nobody_wants_it(data):
    folder = train(data, "plain", "--fit_thresholds", "false")
    assert AutoConfig.from_pretrained(folder).label_thresholds is None
    assert read_predictions(folder, "test").label_thresholds is None
    card = (folder / "README.md").read_text()
    assert "probability of its own" not in card and "if score >= 0.5" in card


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--target_precision", "90"], "--target_precision 90.0 must lie above 0, and be at most 1"),
        (["--target_precision", "0.9"], "for texts that can have several labels, and these have one class each"),
        (["--target_precision", "0.9", "--problem_type", "regression"], "several labels, and these have numbers"),
        (["--target_precision", "0.9", "--fit_thresholds", "false"], "belongs to --fit_thresholds true; leave it out"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, capsys, flags, said):
    numbers = "regression" in flags
    rows = [(text, str(number / 7) if numbers else label) for number, (text, label) in enumerate(toy_texts(20))]
    files = ["--train_file", str(write_csv(tmp_path / "train.csv", rows))]
    assert main(["--output_dir", str(tmp_path / "run"), *QUICK, *files, *flags]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()
