"""How often failure modes occur, and limits that tell right answers from wrong ones."""

import numpy as np
import pytest
from scipy.stats import fisher_exact
from sklearn.metrics import roc_auc_score, roc_curve

from salience.eval.failures.rates import Band, auc_of_wrong, best_band, calibrate, first_half, occurrence


def test_occurrence_counts_right_and_wrong_apart():
    flagged = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], dtype=bool)
    is_wrong = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    found = occurrence(flagged, is_wrong)
    assert found["wrong"] == {"documents": 4, "flagged": 3, "share": 0.75}
    assert found["right"] == {"documents": 6, "flagged": 1, "share": pytest.approx(1 / 6)}
    assert (found["odds_ratio"], found["p_value"]) == pytest.approx((15.0, fisher_exact([[3, 1], [1, 5]]).pvalue))
    assert found["share"] == 0.4
    never = occurrence(np.zeros(10, dtype=bool), is_wrong)
    assert (never["share"], never["odds_ratio"], never["p_value"]) == (0.0, None, 1.0)
    assert occurrence(flagged[:0], is_wrong[:0])["share"] is None


@pytest.mark.parametrize("seed", range(5))
def test_the_best_band_has_the_largest_j(seed):
    random = np.random.default_rng(seed)
    scores, is_wrong = random.integers(0, 12, 80).astype(float), random.random(80) < 0.4

    def j_of(band):
        outside = band.outside(scores)
        return outside[is_wrong].mean() - outside[~is_wrong].mean()

    for tails, sign in (("high", 1), ("low", -1)):
        false_rate, true_rate, _ = roc_curve(is_wrong, sign * scores, drop_intermediate=False)
        band = best_band(scores, is_wrong, tails)
        assert np.isinf(band.low if tails == "high" else band.high)
        assert j_of(band) == pytest.approx((true_rate - false_rate).max())
    limits = [*np.unique(scores), np.inf]
    best = max(j_of(Band(low, high)) for low in [-np.inf, *limits] for high in limits)
    assert j_of(best_band(scores, is_wrong, "both")) == pytest.approx(best)


def test_there_are_no_limits_where_none_helps():
    is_wrong = np.array([True, False] * 10)
    for tails in ("low", "high", "both"):
        assert best_band(np.ones(20), is_wrong, tails) == Band()
    assert best_band(np.where(is_wrong, 0.0, 1.0), is_wrong, "high") == Band()
    assert best_band(np.where(is_wrong, 0.0, 1.0), is_wrong, "low") == Band(low=1.0)


def test_auc_is_scikit_learns_and_lies_in_its_interval():
    random = np.random.default_rng(0)
    is_wrong = random.random(300) < 0.3
    badness = (random.normal(size=300) + is_wrong).round(1)
    found = auc_of_wrong(badness, is_wrong, random)
    assert found["auc"] == pytest.approx(roc_auc_score(is_wrong, badness))
    assert found["auc"] - 0.1 < found["low"] < found["auc"] < found["high"] < found["auc"] + 0.1
    assert auc_of_wrong(np.zeros(300), is_wrong, random) == {"auc": 0.5, "low": 0.5, "high": 0.5}


def test_limits_are_chosen_on_one_half_and_judged_on_the_other():
    random = np.random.default_rng(0)
    scores = random.uniform(0, 1, 400)
    is_wrong = (scores < 0.2) | (scores > 0.7)
    found = calibrate(scores, is_wrong, "both", random)
    assert (found["low"], found["high"]) == pytest.approx((0.2, 0.7), abs=0.03)
    assert found["chosen_on"] == found["documents"] == 200
    assert found["youden_j"] > 0.9
    assert found["auc"]["low"] > 0.99
    shuffled = calibrate(scores, random.permutation(is_wrong), "both", random)
    assert shuffled["auc"]["low"] < 0.5 < shuffled["auc"]["high"]
    assert calibrate(scores, np.arange(400) < 9, "both", random) is None


def test_halves_share_wrong_and_right_evenly():
    is_wrong = np.arange(100) < 30
    first = first_half(is_wrong, np.random.default_rng(0))
    assert (first.sum(), (first & is_wrong).sum()) == (50, 15)
    assert not np.array_equal(first, first_half(is_wrong, np.random.default_rng(1)))
