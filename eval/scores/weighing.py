"""How much each witness counts, by the likelihood of validation texts: a network, and evidence learned beside it.

Shapes
    N = texts, C = classes, K = kinds of evidence
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit, log_expit, log_softmax, softmax

from salience.eval.scores.calibration import TEMPERATURE_BOUNDS
from salience.eval.scores.predictions import Predictions

# A kind of evidence that raises the log-likelihood of all validation texts by less is left out: chance alone raises it
# by one for a number that is fitted (Akaike 1974), and by another for the choice among some kinds.
LEAST_GAIN = 2.0
# Of evidence, before the temperature.
LARGEST_WEIGHT = 1e4


class Weighed(NamedTuple):
    """Logits are (network + the sum of weights * evidence) / temperature."""

    weights: np.ndarray  # (K,), 0 or above
    temperature: float
    loss: float  # negative log-likelihood of all texts


def choose(network: Predictions, evidences: Sequence[np.ndarray], calibrates: bool = True) -> Weighed:
    """The evidence that helps, with its weights: of all combinations the likeliest, each kind at a cost.

    Args:
        network: Of texts that neither was trained on: the validation split.
        evidences: K of (N, C), what each says of the same texts.
        calibrates: See `weigh`.

    Returns:
        A weight of 0 for each kind that doesn't raise the likelihood by `LEAST_GAIN` beside the others.
    """
    kinds = range(len(evidences))
    subsets = [subset for size in range(len(evidences) + 1) for subset in combinations(kinds, size)]
    tried = {subset: weigh(network, [evidences[kind] for kind in subset], calibrates) for subset in subsets}
    best = min(subsets, key=lambda subset: tried[subset].loss + LEAST_GAIN * len(subset))
    weights_K = np.zeros(len(evidences))
    weights_K[list(best)] = tried[best].weights
    return tried[best]._replace(weights=weights_K)


def weigh(network: Predictions, evidences: Sequence[np.ndarray], calibrates: bool = True) -> Weighed:
    """Weights of the evidence and temperature of the sum, fitted together.

    The likelihood has one text more, of no known class: it bounds both where they would make every answer right.

    Args:
        network: See `choose`.
        evidences: K of (N, C).
        calibrates: Fit the temperature, too; else it is 1.
    """
    scale_K = np.array([max(float(each.std()), 1e-9) for each in evidences])
    low, high = TEMPERATURE_BOUNDS
    sharpness = (1 / high, 1 / low) if calibrates else (1.0, 1.0)
    scaled = [each / scale for each, scale in zip(evidences, scale_K, strict=True)]
    found = _fit(network, scaled, sharpness, LARGEST_WEIGHT * scale_K / high)
    return Weighed(found.x[1:] / scale_K / found.x[0], float(1 / found.x[0]), float(found.fun))


def share_of(part_NC: np.ndarray, other_NC: np.ndarray) -> float:
    """How much of what sets classes apart one of two summands of logits says, 0 to 1: by standard deviations.

    Args:
        part_NC: That summand.
        other_NC: The other one.
    """
    ours, theirs = part_NC.std(1).mean(), other_NC.std(1).mean()
    return float(ours / (ours + theirs)) if ours else 0.0


def _fit(
    network: Predictions, evidences: Sequence[np.ndarray], sharpness: tuple[float, float], most_K: np.ndarray
) -> OptimizeResult:
    """The least loss over how much network and evidence count, which is convex in all."""
    num_texts, num_classes = network.logits.shape
    doubt = 1 / (num_texts + 1)
    is_multi_label = network.is_multi_label
    truths_NC = (1 - doubt) * network.truths + doubt * (0.5 if is_multi_label else 1 / num_classes)
    parts = [network.logits, *evidences]

    def loss(counts: np.ndarray) -> tuple[float, np.ndarray]:
        logits_NC = sum(count * part for count, part in zip(counts, parts, strict=True))
        if is_multi_label:
            value = -(truths_NC * log_expit(logits_NC) + (1 - truths_NC) * log_expit(-logits_NC)).sum()
            slope_NC = expit(logits_NC) - truths_NC
        else:
            value = -(truths_NC * log_softmax(logits_NC, axis=1)).sum()
            slope_NC = softmax(logits_NC, axis=1) - truths_NC
        return value, np.array([(slope_NC * part).sum() for part in parts])

    start = np.array([np.clip(1.0, *sharpness), *np.zeros(len(evidences))])
    bounds = [sharpness, *((0.0, most) for most in most_K)]
    return minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
