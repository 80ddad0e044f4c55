"""`predict`, the pipeline and `score` answer the same, whatever a text holds, and each row stays in its place."""

import csv

import numpy as np
import pytest
from transformers import AutoTokenizer, pipeline

from salience.eval import predict_files
from salience.eval.score import command
from salience.eval.scores.predictions import class_probabilities
from tests.helpers.counting import give_evidence
from tests.helpers.predicting import read_jsonl, save_model
from tests.helpers.tiny import TINY_TOKENIZER, tiny_model
from tests.helpers.toy import FILLERS, TOPICS

ODD_WORDS = ['"', '"quoted"', ",", ";", "'", ".", "\n", "\r\n", "\t", "naïve", "中文", "\U0001f600"]
WORDS = [*FILLERS, *sum(TOPICS.values(), []), *ODD_WORDS]
NOTHING = ["", None]
LONGEST = 20_000


def save_model_from_scratch(folder):
    model = tiny_model("hierarchical")
    give_evidence(model, 5.0)  # answers that depend on words
    model.config.logit_temperature = 0.5
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY_TOKENIZER).save_pretrained(folder)
    return folder


MODELS = {"encoder": save_model, "from_scratch": save_model_from_scratch}


@pytest.fixture(scope="module", params=MODELS)
def run(request, tmp_path_factory):
    return MODELS[request.param](tmp_path_factory.mktemp("equal") / "run")


def odd_texts(count):
    """Mostly short texts, every tenth a long one, the longest of 20,000 words, and two that hold nothing."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 40, count)
    lengths[::10] = random.integers(100, 1_500, len(lengths[::10]))
    lengths[7::250] = LONGEST
    texts = ["a " + " ".join(random.choice(WORDS, length - 1)) for length in lengths]
    texts[3:5] = NOTHING
    return texts


def write_rows(path, texts, labels):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text", "topic"), *zip(range(len(texts)), texts, labels, strict=True)])


def read_rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("count", [40, pytest.param(1_000, marks=pytest.mark.slow)])
def test_labels_and_scores_of_predict_the_pipeline_and_score_are_equal(run, count, tmp_path, monkeypatch):
    texts, source, answered = odd_texts(count), tmp_path / "texts.csv", tmp_path / "answered.csv"
    write_rows(source, texts, [f"topic {row}" for row in range(count)])
    flags = {"bf16": False, "keep_empty_texts": True}
    predict_files(run, source, answered, rows_per_part=count // 3, **flags)
    rows = read_rows(answered)
    assert [(row["id"], row["text"], row["topic"]) for row in rows] == [
        (str(row), text or "", f"topic {row}") for row, text in enumerate(texts)
    ]
    labels = [row["label"] for row in rows]
    probabilities = np.array([row["probabilities"].split("|") for row in rows], float)
    assert len(set(labels)) > 1 and np.array_equal([float(row["score"]) for row in rows], probabilities.max(1))

    classify = pipeline("text-classification", model=str(run), device="cpu", trust_remote_code=True, top_k=None)
    names = [classify.model.config.id2label[index] for index in range(3)]
    for row, answer in enumerate(classify([text or "" for text in texts], batch_size=8)):
        assert answer[0]["label"] == labels[row], row
        found = {each["label"]: each["score"] for each in answer}
        assert [found[name] for name in names] == pytest.approx(probabilities[row], abs=1e-6), row

    scored, compute_scores = [], command.compute_scores
    monkeypatch.setattr(command, "compute_scores", lambda given: scored.append(given) or compute_scores(given))
    scores = command.score_model(run, test_file=answered, **flags)
    assert scores["accuracy"] == 1 and sum(each["support"] for each in scores["per_class"].values()) == count
    expected = class_probabilities(scored[0].logits.astype(np.float64), scored[0].problem_type)
    assert probabilities == pytest.approx(expected, abs=1e-6)

    predict_files(run, source, tmp_path / "known.csv", bf16=False)  # what is empty has no answer, in its place
    assert [row["label"] for row in read_rows(tmp_path / "known.csv")] == [
        label if text else "" for text, label in zip(texts, labels, strict=True)
    ]
    assert [each["row"] for each in read_jsonl(tmp_path / "known.csv.rejected.jsonl")] == [4, 5]
