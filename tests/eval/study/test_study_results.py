"""Rows of a study that have other seeds than each other, as after a cell that failed."""

import json

from salience.eval.study.results import best_of, mirrored
from salience.eval.study.table import OTHER_SEEDS, render
from tests.helpers.paths import ROOT


def of(*accuracies):
    return {seed: {"validation_accuracy": accuracy} for seed, accuracy in enumerate(accuracies)}


def test_the_best_sparse_row_is_the_best_over_the_seeds_that_all_have():
    scores = {"svm": of(0.9, 0.1), "bayes": of(0.8), "untried": {}, "network": of(1.0)}
    assert best_of(["bayes", "svm", "untried"], scores) == "svm"
    assert best_of(["untried"], scores) is None
    assert best_of(["svm"], {"svm": of(None)}) is None


def test_a_comparison_is_the_same_from_the_other_side():
    found = {"difference": 0.02, "low": -0.01, "high": 0.05, "p_value": 0.2,
             "mcnemar": {"0": {"only_this_right": 5, "only_other_right": 3, "p_value": 0.7}}}  # fmt: skip
    other = mirrored(found)
    assert (other["difference"], other["low"], other["high"], other["p_value"]) == (-0.02, -0.05, 0.01, 0.2)
    assert other["mcnemar"]["0"] == {"only_this_right": 3, "only_other_right": 5, "p_value": 0.7}
    assert mirrored(other) == found


def test_other_seeds_are_told_below_the_table():
    study = json.loads((ROOT / "model_cards/results/ag_news_pooling/study.json").read_text(encoding="utf-8"))
    assert OTHER_SEEDS not in render(study)
    study["rows"]["hybrid"]["seeds"].popitem()
    assert OTHER_SEEDS in render(study)
