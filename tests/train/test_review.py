"""The confidence below which answers are left to people: fitted on validation, kept in the model, used by predict."""

import json
from dataclasses import replace

import numpy as np
import pytest
from transformers import AutoConfig

from salience.eval import Predictor
from salience.eval.cli import main as evaluate
from salience.eval.scores.guarantee import CHANCE_OF_LESS, accuracy_bound
from salience.eval.scores.prediction_files import read_predictions
from salience.eval.scores.review import fit_review, reviewed, tell_review
from salience.train.cli import main
from tests.helpers.predicting import save_model
from tests.helpers.toy import toy_texts, write_csv, write_jsonl

WANTED = 0.6
QUICK = [
    "--bf16", "false", "--report_to", "none", "--disable_tqdm", "true", "--num_train_epochs", "2",
    "--explained_texts", "0",
    "--per_device_train_batch_size", "8", "--model", "cnn", "--embedding_dim", "12", "--num_filters", "8",
    "--learning_rate", "0.02", "--validation_size", "0.25",
]  # fmt: skip


def read(folder, name):
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Every fifth label is wrong, so that a model can't be always right."""
    folder = tmp_path_factory.mktemp("review")
    rows = toy_texts(160)
    rows = [(text, rows[number - 1][1] if number % 5 == 0 else label) for number, (text, label) in enumerate(rows)]
    test = write_csv(folder / "test.csv", rows[:40])
    data = ["--train_file", str(write_csv(folder / "train.csv", rows[40:])), "--test_file", str(test)]
    assert main(["--output_dir", str(folder / "run"), *QUICK, *data, "--target_accuracy", str(WANTED)]) == 0
    return folder / "run"


def test_it_is_what_validation_promises(run):
    threshold = AutoConfig.from_pretrained(run).review_threshold
    validation, test = (read_predictions(run, split) for split in ("validation", "test"))
    sure = validation.confidence >= threshold
    assert 0 < sure.mean() <= 1
    assert accuracy_bound(sure.sum(), (~validation.is_right()[sure]).sum(), CHANCE_OF_LESS) >= WANTED
    assert read(run, "eval_results.json")["eval_review"] == fit_review(validation, WANTED)
    assert read(run, "test_results.json")["test_review"] == reviewed(test, WANTED, threshold)


def test_predict_marks_less_confident_answers_for_review(run):
    threshold = AutoConfig.from_pretrained(run).review_threshold
    texts = [text for text, _ in toy_texts(30, seed=3)] + ["nothing of this was ever read", None]
    found = Predictor(run, bf16=False)({"text": texts})
    assert found["action"][-1] is None
    for score, action in zip(found["score"][:-1], found["action"][:-1], strict=True):
        assert action == ("predict" if score >= np.float32(threshold) else "review")


def test_report_and_card_tell_what_it_brought(run, tmp_path, monkeypatch):
    assert "for a person to look at" in (run / "README.md").read_text()
    monkeypatch.chdir(run.parent)  # the record has only the names of files elsewhere
    flags = ["--output_dir", str(tmp_path / "report"), "--num_documents", "10"]
    data = ["--train_file", "train.csv", "--test_file", "test.csv"]
    assert evaluate(["report", "--model", str(run), *data, *flags]) == 0
    rows = read(tmp_path / "report", "report.json")["thresholds"]["rows"]
    assert [row["wanted_accuracy"] for row in rows] == [WANTED, 0.9, 0.95, 0.99]
    given = read(run, "test_results.json")["test_review"]
    assert {name: rows[0][name] for name in ("threshold", "coverage", "accuracy")} == {
        name: given[name] for name in ("threshold", "coverage", "accuracy")
    }


def test_of_several_labels_an_answer_is_as_sure_as_its_least_sure_label(tmp_path):
    rows = [(text, [label, "all"]) for text, label in toy_texts(80)]
    data = ["--train_file", str(write_jsonl(tmp_path / "train.jsonl", rows))]
    assert main(["--output_dir", str(tmp_path / "run"), *QUICK, *data, "--target_accuracy", "0.9"]) == 0
    threshold = AutoConfig.from_pretrained(tmp_path / "run").review_threshold
    texts = [text for text, _ in toy_texts(12, seed=5)]
    found = Predictor(tmp_path / "run", bf16=False)({"text": texts})
    for probabilities, action in zip(found["probabilities"], found["action"], strict=True):
        confidence = min(max(each, 1 - each) for each in probabilities)
        assert action == ("predict" if np.float32(confidence) >= np.float32(threshold) else "review")


def test_where_none_can_be_promised_all_answers_are_for_people(run):
    validation = read_predictions(run, "validation")
    wrong = type(validation)(
        (validation.logits.argmax(1) + 1) % validation.logits.shape[1], validation.logits, validation.problem_type,
        validation.label_names,
    )  # fmt: skip
    assert fit_review(wrong, 0.9) == {"target_accuracy": 0.9, "threshold": 1.0, "coverage": 0.0, "accuracy": None}
    certain = replace(wrong, logits=1e3 * wrong.logits)  # scores of 1
    assert certain.confidence.max() == 1 and reviewed(certain, 0.9, 1.0)["coverage"] == 0


def test_nothing_is_sure_enough_for_a_threshold_of_one(tmp_path):
    run = save_model(tmp_path, review_threshold=1.0)
    config = read(run, "config.json") | {"logit_temperature": 1e-3}
    (run / "config.json").write_text(json.dumps(config))
    found = Predictor(run, bf16=False)({"text": ["a goal", "the bank raised its rates"]})
    assert found["score"].max() == 1 and list(found["action"]) == ["review"] * 2


def test_what_cannot_be_promised_is_told(run, caplog):
    validation = read_predictions(run, "validation")
    tell_review(fit_review(validation, 0.99), len(validation.confidence))
    assert "0.99 can't be promised by 30 validation texts, so all answers are for review: it takes " in caplog.text
    tell_review(fit_review(validation, WANTED), 30)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--target_accuracy", "0"], "--target_accuracy 0.0 must lie between 0 and 1"),
        (["--target_accuracy", "95"], "--target_accuracy 95.0 must lie between 0 and 1"),
        (["--target_accuracy", "0.9", "--problem_type", "regression"], "--target_accuracy needs classes"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, capsys, flags, said):
    rows = [(text, str(number / 7)) for number, (text, _) in enumerate(toy_texts(20))]
    data = ["--train_file", str(write_csv(tmp_path / "train.csv", rows))]
    assert main(["--output_dir", str(tmp_path / "run"), *QUICK, *data, *flags]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()
