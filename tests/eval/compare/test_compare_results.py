"""What runs are called in a comparison, and how sure their scores are."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from salience.eval.compare.page import shorten
from salience.eval.compare.results import distinct_names, intervals
from salience.eval.scores.predictions import Predictions


def test_names_are_what_tells_folders_apart(tmp_path):
    def names(*folders):
        return distinct_names([tmp_path / folder for folder in folders])

    assert names("a", "b/c") == ["a", "c"]
    assert names("a/final", "b/final") == ["a", "b"]
    assert names("x/lstm/seed_0", "x/gat/seed_0") == ["lstm", "gat"]
    assert names("x/lstm/seed_0", "x/gat/seed_1") == ["lstm/seed_0", "gat/seed_1"]
    assert names("lstm/seed_0") == ["lstm/seed_0"]
    assert names("x/a", "y/a", "y/b") == ["x/a", "y/a", "y/b"]
    assert names("a\x1b", "a\x07") == ["a (1)", "a (2)"]
    assert shorten("a" * 99 + "b") == "a" * 19 + "…" + "a" * 19 + "b"


def test_intervals_are_those_of_texts_drawn_one_by_one():
    random = np.random.default_rng(5)
    labels = np.append(random.integers(0, 3, 199), 4)  # class 3 never occurs, class 4 not in every draw
    answers = np.where(random.random(200) < 0.7, labels, random.integers(0, 3, 200))
    found = intervals(Predictions(labels, np.eye(5)[answers], "single_label_classification", list("abcde")))
    draws = [random.integers(0, 200, 200) for _ in range(1000)]
    for score, name in ((accuracy_score, "accuracy"), (lambda *both: f1_score(*both, average="macro"), "f1_macro")):
        expected = np.percentile([score(labels[draw], answers[draw]) for draw in draws], [2.5, 97.5])
        assert found[name] == pytest.approx(expected, abs=0.015)
