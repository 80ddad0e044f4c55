"""Confident learning on labels of which some were swapped."""

import numpy as np
import pytest

from salience.eval.scores.doubtful_labels import confident_learning, doubtful_labels, with_swapped
from salience.eval.scores.predictions import Predictions


def answers_to_swapped_labels(num_texts=600, num_classes=3, share=0.1, seed=0):
    """Given labels, logits of a good model, and which labels were swapped."""
    random = np.random.default_rng(seed)
    true = random.integers(0, num_classes, num_texts)
    logits = random.normal(0, 1, (num_texts, num_classes)) + 4 * np.eye(num_classes)[true]
    is_swapped = random.random(num_texts) < share
    given = np.where(is_swapped, (true + random.integers(1, num_classes, num_texts)) % num_classes, true)
    return given, logits, is_swapped


def single(labels, logits):
    names = [f"class {each}" for each in range(logits.shape[1])]
    return Predictions(labels, logits, "single_label_classification", names)


def test_swapped_labels_are_found_and_counted():
    given, logits, is_swapped = answers_to_swapped_labels()
    found = doubtful_labels(single(given, logits), [f"text {row}" for row in range(600)])
    rows = [each["row"] for each in found["texts"]]
    assert is_swapped[rows].mean() > 0.9 and is_swapped[rows].sum() > 0.85 * is_swapped.sum()
    assert found["estimate"] == pytest.approx(is_swapped.sum(), rel=0.25)
    first = found["texts"][0]
    assert first["text"] == f"text {first['row']}" and first["given"] == f"class {given[first['row']]}"
    assert first["predicted"] == f"class {logits[first['row']].argmax()}" != first["given"]
    scores = [each["score"] for each in found["texts"]]
    assert scores == sorted(scores) and scores[0] < 0.01


def test_right_labels_are_left_alone():
    labels = np.arange(60) % 3
    found = doubtful_labels(single(labels, 8.0 * np.eye(3)[labels]), ["text"] * 60)
    assert (found["estimate"], found["texts"]) == (0, [])


def test_swapped_labels_are_so_many_of_another_class():
    labels = np.arange(100) % 3
    swapped = with_swapped(labels, 4, 30, np.random.default_rng(0))
    assert (swapped != labels).sum() == 30 and set(swapped[swapped != labels]) == {0, 1, 2, 3}
    assert (labels == np.arange(100) % 3).all()


def test_a_control_says_how_well_wrong_labels_would_be_found():
    labels = np.arange(60) % 3
    (every,) = controls(labels, 8.0 * np.eye(3)[labels])
    assert every == {"swapped": 3, "draws": 20, "recall": {"mean": 1, "sd": 0}, "precision": {"mean": 1, "sd": 0}}
    (worthless,) = controls(labels, np.zeros((60, 3)))  # it always answers the first class
    assert worthless["recall"]["mean"] > 0.5 and worthless["precision"]["mean"] < 0.1
    (nothing,) = controls(np.arange(2), 8.0 * np.eye(2))  # either swap leaves one class alone
    assert (nothing["recall"]["mean"], nothing["precision"]["mean"]) == (0, None)

    given, logits, is_swapped = answers_to_swapped_labels(share=0.1)
    found, again, other = controls(given, logits, seeds=(0, 0, 1))
    assert found == again != other
    assert found["swapped"] == 30 and found["recall"]["mean"] > 0.85 and 0 < found["recall"]["sd"] < 0.1
    # The labels that were wrong before are found as well.
    assert found["precision"]["mean"] == pytest.approx(30 / (30 + is_swapped.sum()), abs=0.05)


def controls(labels, logits, seeds=(0,)):
    texts = ["text"] * len(labels)
    return [doubtful_labels(single(labels, logits), texts, seed)["control"] for seed in seeds]


def test_a_class_that_no_text_has_is_no_answer_to_a_label():
    labels = np.zeros(4, int)
    probabilities = np.array([[0.2, 0.8], [0.9, 0.1], [0.9, 0.1], [0.8, 0.2]])
    found = confident_learning(labels, probabilities, probabilities.argmax(1))
    assert found.rows.tolist() == [] and found.estimate == 0


def test_a_label_is_worked_out_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 1])
    yes = np.array([0.1, 0.2, 0.9, 0.8, 0.9, 0.1])
    found = confident_learning(labels, np.stack([1 - yes, yes], 1), (yes > 0.5).astype(int))
    # Thresholds 0.6 and 0.6: one text of each label counts for the other class, so one in three is wrong, twice.
    assert found.rows.tolist() == [2, 5] and found.estimate == pytest.approx(2)


def test_several_labels_are_questions_of_their_own():
    columns = [answers_to_swapped_labels(300, 2, seed=seed) for seed in (1, 2)]
    labels = np.stack([given for given, _, _ in columns], 1)
    logits = np.stack([logits[:, 1] - logits[:, 0] for _, logits, _ in columns], 1)
    found = doubtful_labels(Predictions(labels, logits, "multi_label_classification", ["a", "b"]), ["text"] * 300)
    assert {each["given"] for each in found["texts"]} == {"a", "b", "not a", "not b"} and found["control"] is None
    for each in found["texts"]:
        column = "ab".index(each["given"][-1])
        assert bool(labels[each["row"], column]) == (each["given"] == "ab"[column])
    swapped = sum(is_swapped.sum() for _, _, is_swapped in columns)
    assert found["estimate"] == pytest.approx(swapped, rel=0.25)


def test_a_label_that_the_models_threshold_gives_is_not_doubtful():
    labels, logits = np.array([[0], [1], [0], [1], [1]]), np.log([[1 / 9], [4.0], [1 / 9], [1 / 9], [4.0]])
    plain = Predictions(labels, logits, "multi_label_classification", ["a"])
    assert [(each["row"], each["predicted"]) for each in doubtful_labels(plain, ["text"] * 5)["texts"]] == [
        (3, "not a")
    ]
    lower = Predictions(labels, logits, "multi_label_classification", ["a"], label_thresholds=[0.05])
    assert 3 not in [each["row"] for each in doubtful_labels(lower, ["text"] * 5)["texts"]]


def test_cleanlab_finds_the_same_labels():
    filter_module = pytest.importorskip("cleanlab.filter", reason="pip install cleanlab")
    for seed, num_classes in ((0, 2), (1, 3), (2, 5)):
        given, logits, _ = answers_to_swapped_labels(500, num_classes, seed=seed)
        probabilities = single(given, logits).probabilities
        theirs = filter_module.find_label_issues(
            given, probabilities, filter_by="confident_learning", return_indices_ranked_by="self_confidence", n_jobs=1
        )
        found = confident_learning(given, probabilities, probabilities.argmax(1))
        assert found.rows.tolist() == theirs.tolist()
