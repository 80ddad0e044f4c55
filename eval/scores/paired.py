"""Two classifiers on the same texts: is the difference more than chance?"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from scipy.stats import binomtest, norm, t

from salience.eval.scores.predictions import Predictions

NUM_RESAMPLES = 10_000
# Means that would be 0 but for rounding are.
ROUNDING = 1e-12


class McNemar(TypedDict):
    """Texts that only one of two classifiers gets right, and the two-sided p-value."""

    only_this_right: int
    only_other_right: int
    p_value: float


class Difference(TypedDict):
    """A mean difference with its 95 % interval, and the two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def exact_mcnemar(ours: Predictions, theirs: Predictions) -> McNemar:
    """McNemar's exact test: texts that only we and that only they get right, and the two-sided p-value."""
    our, their = ours.is_right(), theirs.is_right()
    only_ours, only_theirs = int((our & ~their).sum()), int((their & ~our).sum())
    discordant = only_ours + only_theirs
    p_value = float(binomtest(only_ours, discordant).pvalue) if discordant else 1.0
    return {"only_this_right": only_ours, "only_other_right": only_theirs, "p_value": p_value}


def bootstrap(strata: Sequence[np.ndarray], seed: int = 0) -> Difference:
    """Paired bootstrap of a mean difference, drawn within each stratum, the strata weighing the same.

    Means of few texts that are drawn again vary less than means of new texts would: percentiles and p-value are widened
    as a t interval is against a normal one (Hesterberg 2015, section 5.3, the expanded percentile interval): with 8
    texts 1.3 times, with thousands by nothing that could be seen. Of fewer than five it stays too narrow, as a mean
    can't leave the range of the texts; the p-value holds.

    Args:
        strata: Each (N,), for each text the difference of two classifiers.
        seed: Of the draws.

    Returns:
        difference, low, high (of 95 %) and p_value (two-sided, at least 2 / (draws + 1), and at least what a sign test
        gives where all of these texts differ in one direction: 3 texts can't show more than 0.25).
    """
    random = np.random.default_rng(seed)
    means = np.zeros(NUM_RESAMPLES)
    for differences in strata:
        # Few values, each many times: how often each is drawn is multinomial, so texts needn't be drawn one by one.
        values, counts = np.unique(differences, return_counts=True)
        draws = random.multinomial(len(differences), counts / len(differences), size=NUM_RESAMPLES)
        means += draws @ values / len(differences) / len(strata)
    num_texts = sum(map(len, strata))
    freedom = max(num_texts - len(strata), 1)
    wider = np.sqrt(num_texts / freedom)
    outside = norm.sf(wider * t.isf(0.025, freedom))
    low, high = np.percentile(means, [100 * outside, 100 * (1 - outside)])
    tail = min((means <= ROUNDING).sum(), (means >= -ROUNDING).sum())
    p_value = 2 * float(t.sf(norm.isf((tail + 1) / (NUM_RESAMPLES + 1)) / wider, freedom))
    num_different = sum(int(np.count_nonzero(each)) for each in strata)
    return {
        "difference": float(np.mean([np.mean(each) for each in strata])),
        "low": float(low),
        "high": float(high),
        "p_value": min(1.0, max(p_value, 2.0 ** (1 - num_different))),
    }
