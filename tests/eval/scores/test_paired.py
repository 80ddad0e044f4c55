import json
from functools import reduce

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from scipy.stats import bootstrap as scipy_bootstrap

from salience.configuration.errors import UserError
from salience.eval.scores.paired import bootstrap, exact_mcnemar
from salience.eval.scores.prediction_files import write_predictions
from salience.eval.scores.predictions import Predictions
from salience.eval.study.results import compare


def predictions(is_right, labels=None, names="ab"):
    """Answers for texts of class 0 of two."""
    is_right = np.array(is_right, bool)
    labels = np.zeros(len(is_right), int) if labels is None else labels
    return Predictions(labels, np.stack([is_right, ~is_right], 1), "single_label_classification", list(names))


def run_folder(folder, is_right, test_set="a", labels=None, names="ab", rows=None):
    folder.mkdir()
    write_predictions(folder, "test", np.arange(len(is_right)), predictions(is_right, labels, names))
    split = {"rows": len(is_right) if rows is None else rows, "sha256": test_set}
    data = {"name": "News", "source": "news.csv", "splits": {"train": split, "test": split}}
    record = {"seed": 0, "model": {"family": "lstm"}, "data": data}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_mcnemar_counts_discordant_texts():
    ours = predictions([1] * 9 + [0] * 2 + [1] * 20 + [0] * 5)
    theirs = predictions([0] * 9 + [1] * 2 + [1] * 20 + [0] * 5)
    found = exact_mcnemar(ours, theirs)
    assert (found["only_this_right"], found["only_other_right"]) == (9, 2)
    assert found["p_value"] == pytest.approx(2 * binom.cdf(2, 11, 0.5))
    assert exact_mcnemar(ours, ours)["p_value"] == 1


def test_bootstrap_interval_is_that_of_scipy():
    differences = np.array([1] * 90 + [-1] * 40 + [0] * 370)
    found = bootstrap([differences])
    expected = scipy_bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", random_state=1
    ).confidence_interval
    assert found["difference"] == 0.1
    assert found["low"] == pytest.approx(expected.low, abs=0.004)
    assert found["high"] == pytest.approx(expected.high, abs=0.004)
    assert found["p_value"] < 0.001


def test_bootstrap_p_value_is_twice_the_smaller_tail():
    differences = np.array([1] * 12 + [-1] * 8 + [0] * 180)
    found = bootstrap([differences])
    deviation = differences.std() / np.sqrt(200)
    sums = reduce(np.convolve, [[0.04, 0.9, 0.06]] * 200)  # chance of each sum of 200 draws, from -200 to 200
    assert found["p_value"] == pytest.approx(2 * sums[:201].sum(), abs=0.02)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * deviation, rel=0.05)
    assert bootstrap([-differences])["p_value"] == pytest.approx(found["p_value"], abs=0.02)
    assert bootstrap([np.zeros(50, int)]) == {"difference": 0, "low": 0, "high": 0, "p_value": 1}


@pytest.mark.parametrize("number", [1, 2, 3, 8])
def test_few_texts_show_no_more_than_their_signs(number):
    differences = np.concatenate([np.full(number, 0.5), np.zeros(20)])[:, None]
    least = binomtest(number, number).pvalue
    assert least <= bootstrap([differences[:number, 0]])["p_value"] < 1.5 * least
    assert bootstrap([differences[:, 0]])["p_value"] >= least


def test_few_texts_find_a_difference_where_there_is_none_in_one_of_twenty_samples():
    samples = np.random.default_rng(0).normal(size=(200, 8))
    found = [bootstrap([each]) for each in samples]
    assert np.mean([each["p_value"] < 0.05 for each in found]) == pytest.approx(0.05, abs=0.04)
    assert np.mean([each["low"] <= 0 <= each["high"] for each in found]) == pytest.approx(0.95, abs=0.04)


def test_means_that_rounding_keeps_from_zero_are_ties():
    whole = np.array([3, 2, -1, -1, 4, -3, 1, -2, 2, -1])
    exact, rounded = bootstrap([whole]), bootstrap([whole * 0.1 + 0.3 - 0.3])
    assert rounded["p_value"] == exact["p_value"]


def test_seeds_with_test_texts_of_their_own_weigh_the_same():
    few, many = np.array([1, 1, 0, 0]), np.zeros(100, int)
    assert bootstrap([few, many])["difference"] == 0.25


def test_texts_that_all_seeds_share_count_once(tmp_path):
    ours, theirs = [1] * 30 + [0] * 70, [0] * 10 + [1] * 10 + [0] * 80
    folders = {
        (seed, test_set, who): run_folder(tmp_path / f"{who}_{seed}_{test_set}", right, test_set)
        for who, right in (("ours", ours), ("theirs", theirs))
        for seed in (0, 1)
        for test_set in ("a", "b")
    }
    shared = compare(*({seed: folders[seed, "a", who] for seed in (0, 1)} for who in ("ours", "theirs")))
    own = compare(*({0: folders[0, "a", who], 1: folders[1, "b", who]} for who in ("ours", "theirs")))
    assert shared["difference"] == pytest.approx(0.2)
    assert own["difference"] == pytest.approx(0.2)
    assert shared["high"] - shared["low"] == pytest.approx(2**0.5 * (own["high"] - own["low"]), rel=0.06)
    assert shared["mcnemar"]["1"]["only_this_right"] == 20
    assert compare({0: folders[0, "a", "ours"]}, {1: folders[1, "a", "theirs"]}) is None


@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 0]])
def test_different_test_texts_are_refused(tmp_path, labels):
    ours = run_folder(tmp_path / "ours", [1, 0, 1])
    theirs = run_folder(tmp_path / "theirs", [1, 0, 1][: len(labels)], labels=labels)
    with pytest.raises(UserError, match="different texts"):
        compare({0: ours}, {0: theirs})


def test_other_texts_with_the_same_labels_are_refused(tmp_path):
    ours, theirs = (run_folder(tmp_path / name, [1, 0, 1], test_set=name) for name in ("ours", "theirs"))
    with pytest.raises(UserError, match="different texts"):
        compare({0: ours}, {0: theirs})


def test_answers_for_classes_of_other_names_or_to_other_texts_than_recorded_are_refused(tmp_path):
    ours = run_folder(tmp_path / "ours", [1, 0, 1])
    for names, difference in (("ba", "the same classes in another order"), ("xy", "other classes")):
        with pytest.raises(UserError, match=f"ours and .* have {difference}"):
            compare({0: ours}, {0: run_folder(tmp_path / names, [1, 0, 1], names=names)})
    with pytest.raises(
        UserError, match="test_predictions.parquet holds answers to 3 texts, and the run was tested on 9"
    ):
        compare({0: ours}, {0: run_folder(tmp_path / "cut", [1, 0, 1], rows=9)})
