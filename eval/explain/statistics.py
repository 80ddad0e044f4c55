"""Statistics that may be undefined: None then, null in JSON."""

from typing import TypedDict

import numpy as np
from scipy.stats import mannwhitneyu, spearmanr

from salience.eval.scores.paired import bootstrap


class MeanInterval(TypedDict):
    """A mean over texts with its interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: np.ndarray) -> MeanInterval:
    """The mean of some values, one for each text, with its 95 % interval by bootstrap."""
    found = bootstrap([values])
    return {"mean": found["difference"], "low": found["low"], "high": found["high"]}


def rank_correlation(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float] | None:
    """Spearman's correlation and its p-value; None where either side is constant, or there are fewer than 3 values.

    Args:
        ours: (n,).
        theirs: (n,).
    """
    if len(ours) < 3 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return None
    found = spearmanr(ours, theirs)
    return float(found.statistic), float(found.pvalue)


def mean_or_none(values: np.ndarray) -> float | None:
    """The mean; None of nothing."""
    return float(values.mean()) if len(values) else None


def mann_whitney(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """P-value of Mann-Whitney's U test; None where either side is empty."""
    return float(mannwhitneyu(ours, theirs).pvalue) if len(ours) and len(theirs) else None
