"""How often a failure mode occurs among right and wrong predictions, and from which score on it tells them apart.

Shapes
    N = texts
"""

from typing import NamedTuple, TypedDict

import numpy as np
from scipy.stats import fisher_exact

NUM_RESAMPLES = 1000
# Numbers that are drawn at a time, so that memory doesn't grow with the texts.
MOST_COUNTS = 1_000_000
# Wrong and right predictions, each, that a half must have: from fewer, no threshold can be learned.
FEWEST = 5


class Flagged(TypedDict):
    """How many predictions there are, and how many of their texts show a failure; `share` is null without any."""

    documents: int
    flagged: int
    share: float | None


class Occurrence(TypedDict):
    """What `occurrence` gives."""

    documents: int
    share: float | None
    right: Flagged
    wrong: Flagged
    odds_ratio: float | None
    p_value: float


class Limits(TypedDict):
    """A `Band` as JSON, null where there is no limit."""

    low: float | None
    high: float | None


class Auc(TypedDict):
    """ROC-AUC with its interval."""

    auc: float
    low: float
    high: float


class Calibrated(Occurrence, Limits):
    """What `calibrate` gives."""

    chosen_on: int
    youden_j: float
    auc: Auc


class Band(NamedTuple):
    """Scores within it, limits included, are no failure; an infinite limit is none."""

    low: float = -np.inf
    high: float = np.inf

    def outside(self, scores: np.ndarray) -> np.ndarray:
        """Which scores (N,) show the failure, bool (N,); never nan."""
        return (scores < self.low) | (scores > self.high)

    def badness(self, scores: np.ndarray, tails: str) -> np.ndarray:
        """How far scores (N,) lie towards the failure, (N,); see `best_band` for `tails`."""
        if tails == "low":
            return -scores
        return scores if tails == "high" else np.maximum(self.low - scores, scores - self.high)

    def as_json(self) -> Limits:
        """`low` and `high`, null where there is no limit."""
        low, high = (float(limit) if np.isfinite(limit) else None for limit in self)
        return {"low": low, "high": high}

    @classmethod
    def from_json(cls, limits: Limits) -> "Band":
        """The band whose `as_json` is among `limits`."""
        low, high = limits["low"], limits["high"]
        return cls(-np.inf if low is None else low, np.inf if high is None else high)


def occurrence(flagged: np.ndarray, is_wrong: np.ndarray) -> Occurrence:
    """How often a failure occurs among right and wrong predictions.

    Args:
        flagged: bool (N,), texts that show it.
        is_wrong: bool (N,), texts whose prediction is wrong.

    Returns:
        documents, share (flagged, of all; null without any), right and wrong, each {documents, flagged, share}, and the
        odds_ratio of being wrong (null where a count is 0) with the two-sided p_value of Fisher's exact test.
    """
    right, wrong = _count(flagged, ~is_wrong), _count(flagged, is_wrong)
    table = np.array([[each["flagged"], each["documents"] - each["flagged"]] for each in (wrong, right)])
    odds_ratio, p_value = fisher_exact(table)
    return {
        "documents": len(flagged),
        "share": float(flagged.mean()) if len(flagged) else None,
        "right": right,
        "wrong": wrong,
        "odds_ratio": float(odds_ratio) if table.all() else None,
        "p_value": float(p_value),
    }


def _count(flagged: np.ndarray, group: np.ndarray) -> Flagged:
    documents, found = int(group.sum()), int((flagged & group).sum())
    return {"documents": documents, "flagged": found, "share": found / documents if documents else None}


def best_band(scores: np.ndarray, is_wrong: np.ndarray, tails: str) -> Band:
    """The band that best separates wrong predictions, outside, from right ones, inside: the largest Youden's J.

    J (Youden 1950) is the share of wrong predictions outside minus that of right ones. It is what a stretch of sorted
    scores holds of the right minus what it holds of the wrong, so that the best stretch is found in one pass.

    Args:
        scores: (N,) without nan.
        is_wrong: bool (N,), with both values.
        tails: Where failures lie: "low", "high" or "both".

    Returns:
        The band; without limits where none is better than calling everything right.
    """
    values, place = np.unique(scores, return_inverse=True)
    gains = np.where(is_wrong, -1 / is_wrong.sum(), 1 / (~is_wrong).sum())
    summed = np.concatenate([[0.0], np.bincount(place, weights=gains).cumsum().round(12)])
    summed[-1] = 0  # all of the right minus all of the wrong
    before = np.zeros_like(summed) if tails == "high" else np.minimum.accumulate(summed)
    stretch = summed - before
    end = len(values) if tails == "low" else len(values) - int(stretch[::-1].argmax())
    start = int((summed[: end + 1] == before[end]).argmax())
    low = values[start] if start else -np.inf
    return Band(float(low), float(values[end - 1]) if end < len(values) else np.inf)


def auc_of_wrong(badness: np.ndarray, is_wrong: np.ndarray, random: np.random.Generator) -> Auc:
    """ROC-AUC of a score for "the prediction is wrong", with its bootstrap interval.

    Args:
        badness: (N,) without nan.
        is_wrong: bool (N,), with both values.
        random: Draws wrong and right predictions, each with replacement.

    Returns:
        auc, low and high (2.5 and 97.5 % percentile).
    """
    _, place = np.unique(badness, return_inverse=True)
    wrong, right = (np.bincount(place[group], minlength=place.max() + 1) for group in (is_wrong, ~is_wrong))
    drawn = []
    at_a_time = max(1, MOST_COUNTS // len(wrong))
    for start in range(0, NUM_RESAMPLES, at_a_time):
        size = min(at_a_time, NUM_RESAMPLES - start)
        # How often each value is drawn is multinomial, so texts needn't be drawn one by one.
        drawn.append(_auc(*(random.multinomial(each.sum(), each / each.sum(), size) for each in (wrong, right))))
    low, high = np.percentile(np.concatenate(drawn), [2.5, 97.5])
    return {"auc": float(_auc(wrong, right)), "low": float(low), "high": float(high)}


def _auc(wrong: np.ndarray, right: np.ndarray) -> np.ndarray:
    """AUC from how many wrong and right ones (..., V) have each of V ascending values; ties count half."""
    beaten = right.cumsum(-1) - right / 2
    return (wrong * beaten).sum(-1) / (wrong.sum(-1) * right.sum(-1))


def first_half(is_wrong: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A random half of the texts, with half of the wrong and of the right ones: bool (N,)."""
    order = random.permutation(len(is_wrong))
    order = order[np.argsort(is_wrong[order], kind="stable")]
    first = np.zeros(len(is_wrong), dtype=bool)
    first[order[::2]] = True
    return first


def calibrate(scores: np.ndarray, is_wrong: np.ndarray, tails: str, random: np.random.Generator) -> Calibrated | None:
    """Choose the band on one half of the texts, and see on the other half what it is worth.

    Args:
        scores: (N,) without nan.
        is_wrong: bool (N,).
        tails: See `best_band`.
        random: Draws the half and the resamples.

    Returns:
        low and high of the band, chosen_on (texts), what `occurrence` says of the other half, its youden_j, and its
        auc {auc, low, high}. None if a half has less than `FEWEST` wrong or right predictions.
    """
    first = first_half(is_wrong, random)
    counts = [np.bincount(is_wrong[half], minlength=2).min() for half in (first, ~first)]
    if min(counts) < FEWEST:
        return None
    band = best_band(scores[first], is_wrong[first], tails)
    rest, rest_wrong = scores[~first], is_wrong[~first]
    flagged = band.outside(rest)
    return {
        **band.as_json(),
        "chosen_on": int(first.sum()),
        **occurrence(flagged, rest_wrong),
        "youden_j": float(flagged[rest_wrong].mean() - flagged[~rest_wrong].mean()),
        "auc": auc_of_wrong(band.badness(rest, tails), rest_wrong, random),
    }
