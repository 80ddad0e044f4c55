"""How sure a classifier's scores are: intervals by bootstrap over the texts.

Shapes
    C = classes, P = distinct answers, R = resamples
"""

from typing import TypedDict

import numpy as np

from salience.eval.scores.predictions import Predictions

NUM_RESAMPLES = 1000
# Numbers in one block of resamples, so that memory stays small however many texts there are.
BLOCK_SIZE = 4_000_000


class Interval(TypedDict):
    """A score with its 95 % interval."""

    value: float
    low: float
    high: float


def with_intervals(predictions: Predictions, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> dict[str, Interval]:
    """Accuracy, precision, recall and F1 with 95 % intervals, by bootstrap over the texts (percentiles).

    What is drawn is how often each distinct pair of truth and answer occurs, which is the same as drawing texts.

    Args:
        predictions: Of a classifier; with several labels, accuracy is the share of texts with all of them right.
        num_resamples: How many times N texts are drawn.
        seed: Of the draws.

    Returns:
        accuracy, precision_macro, recall_macro, f1_macro, and the same three with _weighted. In each resample, macro
        averages run over the classes that scikit-learn averages: those among its truths or answers, with several labels
        all.

    Raises:
        ValueError: It is regression.
    """
    patterns, counts = np.unique(np.hstack([predictions.truths, predictions.answers]), axis=0, return_counts=True)
    truths, answers = np.hsplit(patterns.astype(float), 2)
    measured = _average_scores(counts[None], truths, answers, predictions.is_multi_label)
    random = np.random.default_rng(seed)
    block = max(1, BLOCK_SIZE // len(counts))
    blocks = []
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        draws = random.multinomial(counts.sum(), counts / counts.sum(), size=size)
        blocks.append(_average_scores(draws, truths, answers, predictions.is_multi_label))
    resampled = {name: np.concatenate([each[name] for each in blocks]) for name in measured}
    return {name: _interval(value[0], resampled[name]) for name, value in measured.items()}


def _average_scores(
    draws: np.ndarray, truths: np.ndarray, answers: np.ndarray, is_multi_label: bool
) -> dict[str, np.ndarray]:
    """Scores (R,) of resamples given as how often each distinct answer was drawn: (R, P) of (P, C)."""
    hits, support, predicted = draws @ (truths * answers), draws @ truths, draws @ answers
    averaged = support + predicted > 0
    if is_multi_label:
        averaged = np.ones_like(averaged)
    scores = {
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(support + predicted, 1),
    }
    return {
        "accuracy": draws @ (truths == answers).all(1) / draws.sum(1),
        **{f"{name}_macro": each.sum(1) / averaged.sum(1) for name, each in scores.items()},
        **{
            f"{name}_weighted": (each * support).sum(1) / np.maximum(support.sum(1), 1) for name, each in scores.items()
        },
    }


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return {"value": float(value), "low": float(low), "high": float(high)}
