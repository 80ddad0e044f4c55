"""How much each witness counts, by the likelihood of validation texts: a network, and evidence learned beside it.

Shapes
    N = texts, C = classes, K = kinds of evidence
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit, log_expit, log_softmax, softmax

from salience.eval.scores.calibration import TEMPERATURE_BOUNDS
from salience.eval.scores.predictions import Predictions

# Evidence that raises the log-likelihood of all validation texts by less is left out: chance alone raises it by one for
# a number that is fitted (Akaike 1974), and by another for the choice among some kinds of evidence.
LEAST_GAIN = 2.0
# Of evidence, before the temperature.
LARGEST_WEIGHT = 1e4


class Weighed(NamedTuple):
    """Logits are (network + the sum of weights * evidence) / temperature."""

    weights: np.ndarray  # (K,), 0 or above
    temperature: float
    gain: float  # of the log-likelihood of all texts, against the network alone


def choose(network: Predictions, evidences: Sequence[np.ndarray], calibrates: bool = True) -> Weighed | None:
    """Weights of all the evidence that helps: what raises the likelihood most is added, as long as something does.

    Args:
        network: Of texts that neither was trained on: the validation split.
        evidences: K of (N, C), what each says of the same texts.
        calibrates: See `weigh`.

    Returns:
        A weight of 0 for what doesn't raise the likelihood by `LEAST_GAIN` beside the others; None where nothing does.
    """
    chosen: list[int] = []
    best = None
    while len(chosen) < len(evidences):
        further = [chosen + [index] for index in range(len(evidences)) if index not in chosen]
        tried = [(weigh(network, [evidences[index] for index in each], calibrates), each) for each in further]
        found, added = max(tried, key=lambda each: each[0].gain)
        if found.gain - (best.gain if best else 0.0) < LEAST_GAIN:
            break
        best, chosen = found, added
    if best is None:
        return None
    weights = np.zeros(len(evidences))
    weights[chosen] = best.weights
    return best._replace(weights=weights)


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
    alone = _fit(network, [], sharpness, np.zeros(0))
    together = _fit(network, scaled, sharpness, LARGEST_WEIGHT * scale_K / high)
    weights_K = together.x[1:] / scale_K / together.x[0]
    return Weighed(weights_K, float(1 / together.x[0]), alone.fun - together.fun)


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
