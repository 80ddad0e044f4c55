"""Breakdowns by length, class and pair, and intervals: against scikit-learn, and where the answer is known."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, classification_report, f1_score, precision_recall_fscore_support

from salience.eval.scores.breakdown import (
    by_class_frequency,
    by_length,
    confused_pairs,
    shortened,
)
from salience.eval.scores.intervals import _average_scores, with_intervals
from salience.eval.scores.predictions import Predictions
from tests.helpers.slow import others_slow

SINGLE, MULTI = "single_label_classification", "multi_label_classification"
kinds = st.sampled_from([SINGLE, MULTI])


def predictions(labels, logits, problem_type=SINGLE, names=None, num_words=None):
    names = names or [f"class {each}" for each in range(logits.shape[1])]
    return Predictions(labels, logits, problem_type, list(names), num_words)


def outputs(seed, num_texts, num_classes, problem_type, num_seen=None):
    """Labels and logits; of the classes, only the first `num_seen` are ever true."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(num_texts, num_classes))
    if problem_type == MULTI:
        labels = (random.random(logits.shape) < 0.3).astype(np.float32)
        labels[:, num_seen or num_classes :] = 0
        return labels, logits
    labels = random.integers(num_seen or num_classes, size=num_texts)
    logits[np.arange(num_texts), labels] += 1
    return labels, logits


def answers_of(logits, problem_type):
    return (logits >= 0).astype(int) if problem_type == MULTI else logits.argmax(1)


sizes = given(st.integers(0, 10**6), st.integers(1, 60), st.integers(2, 6), kinds, st.integers(1, 6))


def scikit_averages(labels, answers):
    found = {"accuracy": accuracy_score(labels, answers)}
    for average in ("macro", "weighted"):
        scores = precision_recall_fscore_support(labels, answers, average=average, zero_division=0)
        found |= {f"{name}_{average}": each for name, each in zip(("precision", "recall", "f1"), scores, strict=False)}
    return found


@settings(max_examples=25, deadline=None)
@sizes
def test_scores_are_those_of_scikit_learn(seed, num_texts, num_classes, problem_type, num_seen):
    num_seen = min(num_seen, num_classes)
    labels, logits = outputs(seed, num_texts, num_classes, problem_type, num_seen)
    answers = answers_of(logits, problem_type)
    found = with_intervals(predictions(labels, logits, problem_type), num_resamples=20)
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(labels, answers))
    assert {name: each["value"] for name, each in found.items()} == pytest.approx(scikit_averages(labels, answers))

    names = [f"class {each}" for each in range(num_classes)]
    expected = classification_report(
        labels, answers, labels=range(num_classes), target_names=names, output_dict=True, zero_division=0
    )
    for row in by_class_frequency(predictions(labels, logits, problem_type))["classes"]:
        report = expected[row["name"]]
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(
            [report["precision"], report["recall"], report["f1-score"], report["support"]]
        )
        assert row["frequency"] == row["support"]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 5), kinds)
def test_each_resample_is_scored_as_scikit_learn_scores_its_texts(seed, num_texts, num_classes, problem_type):
    if problem_type == MULTI:
        num_classes = max(2, num_classes)  # scikit-learn takes a single column for two classes
    labels, logits = outputs(seed, num_texts, num_classes, problem_type)
    answers = answers_of(logits, problem_type)
    as_columns = (
        (labels, answers) if problem_type == MULTI else (np.eye(num_classes)[labels], np.eye(num_classes)[answers])
    )
    draws = np.random.default_rng(seed).multinomial(num_texts, np.full(num_texts, 1 / num_texts), size=3)
    found = _average_scores(draws, *as_columns, problem_type == MULTI)
    for number, drawn in enumerate(draws):
        texts = np.repeat(np.arange(num_texts), drawn)
        truth, answer = labels[texts], answers[texts]
        expected = scikit_averages(truth, answer)
        assert {name: each[number] for name, each in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("problem_type", others_slow([SINGLE, MULTI], SINGLE))
def test_intervals_are_those_of_drawing_texts(problem_type):
    labels, logits = outputs(1, 400, 3, problem_type)
    found = with_intervals(predictions(labels, logits, problem_type), num_resamples=4000)
    answers = answers_of(logits, problem_type)
    random = np.random.default_rng(5)
    texts = random.integers(400, size=(4000, 400))
    is_right = (labels == answers).all(1) if problem_type == MULTI else labels == answers
    expected = {"accuracy": is_right[texts].mean(1)}
    expected["f1_macro"] = [f1_score(labels[rows], answers[rows], average="macro") for rows in texts[:1000]]
    for name, values in expected.items():
        low, high = np.percentile(values, [2.5, 97.5])
        assert found[name]["low"] == pytest.approx(low, abs=0.01)
        assert found[name]["high"] == pytest.approx(high, abs=0.01)
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]


def test_intervals_are_the_same_for_the_same_seed_and_in_blocks(monkeypatch):
    labels, logits = outputs(2, 50, 3, MULTI)
    found = with_intervals(predictions(labels, logits, MULTI))
    monkeypatch.setattr("salience.eval.scores.intervals.BLOCK_SIZE", 300)
    assert with_intervals(predictions(labels, logits, MULTI)) == found
    assert with_intervals(predictions(labels, logits, MULTI), seed=1) != found


# --- length ---


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
def test_bins_of_length(problem_type):
    labels, logits = outputs(3, 300, 4, problem_type)
    answers = answers_of(logits, problem_type)
    num_words = np.random.default_rng(0).permutation(300) + 80  # 80 to 379
    num_words[:4] = 99, 100, 500, 501
    found = by_length(predictions(labels, logits, problem_type, num_words=num_words))
    bins = {row["name"]: row for row in found["bins"]}
    assert list(bins) == ["<100", "100-500", ">500"]
    assert bins["<100"]["max_words"] == 99 and bins["100-500"]["min_words"] == 100
    assert bins["100-500"]["max_words"] == 500 and bins[">500"]["min_words"] == 501 and bins[">500"]["texts"] == 1
    inside = num_words < 100
    assert bins["<100"]["texts"] == inside.sum()
    assert bins["<100"]["accuracy"] == pytest.approx(accuracy_score(labels[inside], answers[inside]))
    present = range(4) if problem_type == MULTI else np.unique(labels[inside])
    expected = f1_score(labels[inside], answers[inside], labels=present, average="macro", zero_division=0)
    assert bins["<100"]["f1_macro"] == pytest.approx(expected)
    assert [row["texts"] for row in found["quintiles"]] == pytest.approx([60] * 5, abs=2)
    assert all(
        a["max_words"] < b["min_words"] for a, b in zip(found["quintiles"], found["quintiles"][1:], strict=False)
    )
    json.dumps(found, allow_nan=False)


def test_macro_f1_of_a_bin_runs_over_the_classes_that_it_has():
    labels, logits = np.array([0, 0, 1]), np.eye(3)[[0, 2, 1]]
    row = by_length(predictions(labels, logits, num_words=[10, 20, 700]))["bins"][0]
    assert row["accuracy"] == 0.5 and row["f1_macro"] == pytest.approx(2 / 3)


def test_bins_without_a_text_and_texts_of_one_length():
    labels, logits = outputs(4, 20, 3, SINGLE)
    found = by_length(predictions(labels, logits, num_words=np.full(20, 7)))
    assert found["bins"][1] == {
        "name": "100-500", "min_words": None, "max_words": None, "texts": 0, "accuracy": None, "f1_macro": None,
    }  # fmt: skip
    assert [row["texts"] for row in found["quintiles"]] == [20]
    nothing_is_true = by_length(predictions(np.zeros((2, 3)), np.ones((2, 3)), MULTI, num_words=[1, 2]))["bins"][0]
    assert nothing_is_true["f1_macro"] is None and nothing_is_true["accuracy"] == 0


# --- frequency ---


def test_minority_and_majority_apart():
    labels = np.array([0] * 6 + [1] * 6 + [2] * 2)
    answers = np.array([0] * 5 + [1] + [1] * 6 + [2, 0])
    given = predictions(labels, np.eye(4)[answers], names="abcd")
    found = by_class_frequency(given, {"a": 600, "b": 500, "c": 100})
    assert found["frequency_of"] == "train"
    assert [(row["name"], row["frequency"]) for row in found["classes"]] == [
        ("a", 600),
        ("b", 500),
        ("c", 100),
        ("d", 0),
    ]
    assert found["minority"]["classes"] == ["c", "d"] and found["minority"]["texts"] == 2
    # d has no test text: no part of the means.
    assert found["minority"]["recall"] == 0.5 and found["minority"]["precision"] == 1
    assert found["majority"]["recall"] == pytest.approx((5 / 6 + 1) / 2) and found["majority"]["texts"] == 12
    by_test = by_class_frequency(given)
    assert by_test["frequency_of"] == "test" and by_test["minority"]["classes"] == ["d"]


def test_balanced_classes_have_no_minority():
    labels, logits = np.arange(6) % 3, np.eye(3)[np.arange(6) % 3]
    given = predictions(labels, logits, names="abc")
    found = by_class_frequency(given, minority_share=1)
    assert found["minority"] == {"classes": [], "texts": 0, "precision": None, "recall": None, "f1": None}
    doubled = by_class_frequency(given, {"a": 2, "b": 2, "c": 1}, minority_share=1)
    assert doubled["minority"]["classes"] == ["c"]


@pytest.mark.parametrize("num_classes", [1, 3])
def test_a_single_class(num_classes):
    given = predictions(np.zeros(5, int), np.eye(num_classes)[[0] * 5])
    row = by_class_frequency(given)["classes"][0]
    assert (row["precision"], row["recall"], row["f1"], row["support"]) == (1, 1, 1, 5)
    assert with_intervals(given)["f1_macro"] == {"value": 1, "low": 1, "high": 1}
    labels, logits = np.array([[1], [1], [0]]), np.array([[1.0], [-1.0], [1.0]])
    row = by_class_frequency(predictions(labels, logits, MULTI))["classes"][0]
    assert (row["precision"], row["recall"], row["support"]) == (0.5, 0.5, 2)


# --- pairs ---


def test_confused_pairs_with_the_surest_examples():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    answers = np.array([1, 1, 1, 0, 2, 1, 2, 0])
    logits = np.eye(3)[answers] * np.array([1, 3, 2, 1, 1, 1, 1, 1])[:, None]
    texts = [f"text {each}" for each in range(8)]
    given = predictions(labels, logits, names="abc")
    found = confused_pairs(given, texts, num_examples=2)
    assert [(row["true"], row["predicted"], row["count"], row["share"]) for row in found] == [
        ("a", "b", 3, 0.75), ("b", "c", 1, 0.5), ("c", "a", 1, 0.5),
    ]  # fmt: skip
    assert [example["row"] for example in found[0]["examples"]] == [1, 2]
    assert found[0]["examples"][0]["text"] == "text 1"
    assert found[0]["examples"][0]["confidence"] == pytest.approx(np.exp(3) / (np.exp(3) + 2))
    assert len(confused_pairs(given, texts, num_pairs=1)) == 1
    assert confused_pairs(predictions(answers, logits), texts) == []
    json.dumps(found, allow_nan=False)


def test_hostile_texts_are_short_and_on_one_line():
    for text in ("x" * 1_000_000, "a\nb " * 1000, "\x00\u202e\x1b[31m" * 500, "🙂" * 500, " " * 5000 + "end"):
        line = shortened(text)
        assert len(line) <= 300 and line.endswith("…") and "\n" not in line
        assert line.isprintable()
    assert shortened("two\nlines") == "two lines" and shortened("y" * 300) == "y" * 300


def test_what_does_not_fit_is_refused():
    given = predictions(*outputs(0, 5, 3, SINGLE), names="abc")
    numbers = predictions(np.zeros(5), np.zeros((5, 1)), "regression", num_words=np.ones(5))
    for function in (with_intervals, by_length, by_class_frequency):
        with pytest.raises(ValueError, match="regression"):
            function(numbers)
    with pytest.raises(ValueError, match="4 texts and 5 labels"):
        confused_pairs(given, ["a"] * 4)
    for several in (predictions(np.eye(3), np.eye(3), MULTI), numbers):
        with pytest.raises(ValueError, match="single_label"):
            confused_pairs(several, ["a"] * len(several))
    with pytest.raises(ValueError, match="num_words"):
        by_length(given)
    with pytest.raises(ValueError, match="'z', which is none of the 3"):
        by_class_frequency(given, {"a": 1, "z": 3})
