"""`salience export`: what a folder holds, how it answers where there is no torch, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline

from salience.configuration.problem_types import MULTI_LABEL, REGRESSION
from salience.eval import Predictor, UserError, export_model
from salience.eval.export import command, measuring
from salience.eval.export.graph import Answers
from salience.eval.export.measuring import compared, table
from salience.eval.reading.load import load_classifier
from salience.eval.reading.reader import Reader
from tests.helpers.counting import give_evidence, pack
from tests.helpers.graphs import LENGTHS, largest_difference, predict_of
from tests.helpers.paths import ROOT
from tests.helpers.predicting import NUMBERS, TEXTS, save_model
from tests.helpers.run_folders import read
from tests.helpers.tiny import random_batch, tiny_model
from tests.helpers.toy import toy_csv, toy_texts, write_csv
from tests.helpers.training import COUNTS, train

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

GIVEN = [text for text in TEXTS if text is not None]
READABLE = [text for text in GIVEN if text]  # `predict` gives no answer to an empty one
NAMES = {"business": "economy", "culture": "science", "sport": "sports"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model with all that corrects logits."""
    folder = save_model(
        tmp_path_factory.mktemp("run"), prior_correction=[0.1, 0.2, -0.3], review_threshold=0.5, text_separator=" | "
    )
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    give_evidence(model, 0.7)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def test_file(tmp_path_factory):
    rows = [(text * (1 + row % 4), NAMES[label]) for row, (text, label) in enumerate(toy_texts(24))]
    return write_csv(tmp_path_factory.mktemp("data") / "test.csv", rows)


@pytest.fixture(scope="module")
def exported(run, test_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    export_model(run, folder, test_file=test_file, int8=True, max_texts=20)
    return folder


@pytest.mark.parametrize("side", ["right", "left"])
def test_graph_answers_as_the_model_at_any_size(exported, run, side):
    session, model = onnxruntime.InferenceSession(str(exported / "model.onnx")), load_classifier(run)[0].eval()
    for lengths in LENGTHS:
        batch = random_batch(lengths, side)
        assert model.ngrams(pack(batch)).abs().max() > 0.01 or lengths == [0]
        assert largest_difference(model, session, lengths, side) < 1e-5, lengths


def test_what_is_lost_comes_with_its_interval():
    """Of 100 texts, ten were right and are wrong, and two the other way round."""

    class Deciding:
        problem_type = "single_label_classification"
        decide = staticmethod(lambda logits: np.eye(2, dtype=bool)[logits.argmax(1)])

    right, wrong = np.eye(2)[np.zeros(100, int)], np.eye(2)[np.ones(100, int)]
    before, after = right.copy(), right.copy()
    after[:10], before[10:12] = wrong[:10], wrong[10:12]
    found = compared("model_int8.onnx", 1, (after, 1.0), before, np.zeros(100, int), Deciding)
    assert found["lost"] == pytest.approx(0.08)
    within = 1.96 * np.sqrt(13 - 8**2 / 102) / 102
    assert (found["lost_low"], found["lost_high"]) == pytest.approx((8 / 102 - within, 8 / 102 + within))
    same = compared("model.onnx", 1, (before, 1.0), before, np.zeros(100, int), Deciding)
    assert -0.03 < same["lost_low"] < same["lost"] == 0 < same["lost_high"] < 0.03
    assert "8.00 (1.08 to 14.60)" in table([{**found, "file": "torch", "lost": None}, found])


def answers_of_graph(run):
    """What is exported of a model answers to `READABLE`, by torch."""
    model, tokenizer = load_classifier(run)
    answers = Answers(model.eval())
    outputs = answers(**tokenizer(READABLE, return_tensors="pt", padding=True))
    return dict(zip(answers.outputs, [each.numpy() for each in outputs], strict=True))


def own_logits(run, texts):
    reader = Reader(*load_classifier(run))
    return reader.logits(reader.token_ids(texts))


def test_folder_holds_all_that_is_needed_and_what_was_measured(exported, run):
    files = {path.name for path in exported.iterdir()}
    graphs = {"model.onnx", "model_int8.onnx"}
    assert files == graphs | {"tokenizer.json", "predict.py", "export_results.json"}
    results = read(exported, "export_results.json")
    assert results["texts"] == 20 and results["longest"] > 16  # several windows
    torch_figures, *others = results["measured"]
    assert torch_figures["file"] == "torch" and [each["file"] for each in others] == ["model.onnx", "model_int8.onnx"]
    assert others[0]["largest_difference"] < 1e-5 and others[0]["equal_answers"] == 1
    assert others[0]["accuracy"] == torch_figures["accuracy"]
    assert torch_figures["lost"] is torch_figures["lost_low"] is None and others[0]["lost"] == 0
    assert others[1]["lost"] == pytest.approx(torch_figures["accuracy"] - others[1]["accuracy"])
    assert 1e-5 < others[1]["largest_difference"] < 0.2
    assert all(each["texts_per_second"] > 0 and each["megabytes"] > 0 for each in results["measured"])
    assert str(ROOT).encode() not in (exported / "model.onnx").read_bytes()


@pytest.mark.parametrize("graph", ["model.onnx", "model_int8.onnx"])
def test_predict_answers_without_torch_as_the_model(exported, run, graph):
    script = ROOT / "tests" / "helpers" / "process_without_torch.py"
    process = subprocess.run(
        [sys.executable, str(script), str(exported), graph], input=json.dumps(GIVEN), capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    logits = own_logits(run, GIVEN).astype(np.float64)
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    tolerance = 1e-5 if graph == "model.onnx" else 0.05
    for answer, row in zip(json.loads(process.stdout), scores, strict=True):
        assert answer["score"] == pytest.approx(row.max(), abs=tolerance)
        assert answer["action"] == ("predict" if answer["score"] >= 0.5 else "review")
        if graph == "model.onnx":
            assert answer["label"] == ["economy", "science", "sports"][row.argmax()]


def test_predict_reads_texts_as_they_come_in_batches_of_bounded_size(exported):
    series = pd.Series(["a goal", "the bank raised its rates", "a film"]).iloc[[2, 0, 1]]
    classifier = predict_of(exported).Classifier()
    assert classifier(series) == [classifier([text])[0] for text in series] and classifier([]) == []
    assert classifier([["a goal", "the bank"]]) == classifier(["a goal | the bank"]) != classifier(["a goal the bank"])
    texts = ["goal"] * 1_000 + ["the bank " * 900] + [""] * 50
    batches = [batch for batch, _ in classifier.read(texts)]
    assert sorted(sum(batches, [])) == list(range(len(texts))) and batches[0][0] == 1_000
    assert all(len(batch) * max(len(texts[row]) for row in batch) <= 16_384 for batch in batches)


def test_predict_is_a_program(exported):
    process = subprocess.run(
        [sys.executable, str(exported / "predict.py"), "a goal", "the bank"], capture_output=True, text=True
    )
    answers = [json.loads(line) for line in process.stdout.splitlines()]
    assert len(answers) == 2 and set(answers[0]) == {"label", "score", "action"}


@pytest.mark.slow
def test_an_environment_of_three_packages_gives_the_labels_of_the_pipeline(exported, run, tmp_path):
    def python(*words):
        command = [tmp_path / "environment" / "bin" / "python", "-I", *words]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)

    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "environment")], check=True)
    needed = ["--constraint", ROOT / "constraints.txt", "onnxruntime", "tokenizers", "numpy"]
    installed = python("-m", "pip", "install", "--quiet", "--retries", 1, "--timeout", 10, *needed)
    if installed.returncode and "connection broken" in installed.stderr:
        pytest.skip("pip reaches no registry of packages")
    assert installed.returncode == 0, installed.stderr
    for package in ("torch", "transformers", "salience"):
        assert f"No module named '{package}'" in python("-c", f"import {package}").stderr

    answered = python(exported / "predict.py", *GIVEN)
    assert answered.returncode == 0, answered.stderr
    answers = [json.loads(line) for line in answered.stdout.splitlines()]
    expected = pipeline("text-classification", model=str(run))(GIVEN)
    assert [each["label"] for each in answers] == [each["label"] for each in expected]
    assert [each["score"] for each in answers] == pytest.approx([each["score"] for each in expected], abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", [None, MULTI_LABEL, REGRESSION])
def test_a_graph_answers_as_predict_does(kind, tmp_path):
    thresholds = {"label_thresholds": [0.5, 0.4, 0.9]} if kind == MULTI_LABEL else {}
    run = save_model(tmp_path, problem_type=kind, **thresholds)
    found, expected = answers_of_graph(run), Predictor(run, bf16=False)({"text": READABLE})
    assert "is_sure" not in found and "action" not in expected
    names = np.array(["economy", "science", "sports"])
    for row, chosen in enumerate(found["chosen"]):
        assert found["scores"][row][chosen] == pytest.approx(expected["score"][row], abs=1e-5)
        assert kind == REGRESSION or names[chosen].tolist() == expected["label"][row]


@torch.no_grad()
@pytest.mark.parametrize(("kind", "threshold"), [(None, 0.6), (MULTI_LABEL, 0.62)])
def test_answers_below_the_models_threshold_are_for_review(kind, threshold, tmp_path):
    run = save_model(tmp_path, problem_type=kind, review_threshold=threshold)
    expected = Predictor(run, bf16=False)({"text": READABLE})["action"].tolist()
    assert np.where(answers_of_graph(run)["is_sure"], "predict", "review").tolist() == expected
    assert set(expected) == {"review", "predict"}


@torch.no_grad()
def test_a_single_number_is_a_number(tmp_path):
    run = save_model(tmp_path, **NUMBERS)
    found, expected = answers_of_graph(run), Predictor(run, bf16=False)({"text": READABLE})["score"]
    assert found["scores"][range(len(READABLE)), found["chosen"]] == pytest.approx(expected, abs=1e-5)


def test_a_graph_that_differs_from_its_model_is_refused(run, exported, monkeypatch):
    monkeypatch.setattr(measuring, "TOLERANCE", 0.0)
    with pytest.raises(UserError, match="differs from the model by"):
        command.measure(Reader(*load_classifier(run)), ["model.onnx"], GIVEN, np.zeros(len(GIVEN), int), exported)


@pytest.mark.parametrize(
    ("scale", "logits", "expected"),
    [(None, [9.0], 1e-4), ([1, 1e-5], [1], 4.8e-7), ([0, 9], [1], 9e-4), ([0, 1], [3e5], 0.125)],
)
def test_numbers_may_differ_by_their_spread_and_rounding(scale, logits, expected):
    reader = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(label_scale=scale)))
    assert measuring.tolerance(reader, np.array([logits], np.float32)) == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
def test_a_run_is_measured_on_the_texts_that_it_was_tested_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a run's record has no folders of absolute paths
    data = ["--train_file", toy_csv(Path(), 40)[1], "--test_size", "0.25"]
    folder = train(tmp_path / "run", "--model", "bag_of_words", *data, *COUNTS, "--num_train_epochs", 2)
    results = export_model(folder, tmp_path / "exported")
    assert results["texts"] == read(folder, "test_results.json")["test_samples"]
    assert results["measured"][1]["file"] == "model.onnx" and results["measured"][1]["lost"] == 0
    with pytest.raises(UserError, match="--test_file is missing"):  # what else says how it is read
        export_model(folder, tmp_path / "other", text_column="title")


def test_refusals_leave_nothing_behind(run, test_file, exported, tmp_path, monkeypatch):
    def failure(model=run, output=tmp_path / "new", **flags):
        with pytest.raises(UserError) as error:
            export_model(model, output, **{"test_file": test_file, **flags})
        assert list(tmp_path.iterdir()) in ([], [tmp_path / "scratch"])
        return str(error.value)

    assert "exists; choose another folder" in failure(output=exported)
    assert "can't be loaded" in failure(model=tmp_path / "none")
    assert "--test_file is missing" in failure(test_file=None)
    tiny_model("cnn").save_pretrained(tmp_path / "scratch")
    load_classifier(run)[1].save_pretrained(tmp_path / "scratch")
    assert "has none; leave it out" in failure(model=tmp_path / "scratch", int8=True)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "onnxscript" in (told := failure()) and "run: pip install -c constraints.txt -e '.[export]'" in told
