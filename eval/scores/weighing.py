"""How much two witnesses count, by the likelihood of validation texts: a network, and evidence learned beside it.

Shapes
    N = texts, C = classes
"""

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
    """Logits are (network + weight * evidence) / temperature."""

    weight: float
    temperature: float
    gain: float  # of the log-likelihood of all texts, against the network alone


def weigh(network: Predictions, evidence_NC: np.ndarray, calibrates: bool = True) -> Weighed:
    """Weight of the evidence and temperature of the sum, fitted together.

    The likelihood has one text more, of no known class: it bounds both where they would make every answer right.

    Args:
        network: Of texts that neither was trained on: the validation split.
        evidence_NC: What the evidence says of the same texts.
        calibrates: Fit the temperature, too; else it is 1.

    Returns:
        A weight of 0 where the evidence doesn't help by `LEAST_GAIN`; the temperature then isn't fitted.
    """
    scale = max(float(evidence_NC.std()), 1e-9)
    low, high = TEMPERATURE_BOUNDS
    sharpness = (1 / high, 1 / low) if calibrates else (1.0, 1.0)
    alone = _fit(network, evidence_NC / scale, sharpness, 0.0)
    both = _fit(network, evidence_NC / scale, sharpness, LARGEST_WEIGHT * scale / high)
    gain = alone.fun - both.fun
    if gain < LEAST_GAIN:
        return Weighed(0.0, 1.0, gain)
    return Weighed(float(both.x[1] / scale / both.x[0]), float(1 / both.x[0]), gain)


def share_of(part_NC: np.ndarray, other_NC: np.ndarray) -> float:
    """How much of what sets classes apart one of two summands of logits says, 0 to 1: by standard deviations.

    Args:
        part_NC: That summand.
        other_NC: The other one.
    """
    ours, theirs = part_NC.std(1).mean(), other_NC.std(1).mean()
    return float(ours / (ours + theirs)) if ours else 0.0


def _fit(network: Predictions, evidence_NC: np.ndarray, sharpness: tuple[float, float], most: float) -> OptimizeResult:
    """The least loss over how much network and evidence count, which is convex in both."""
    num_texts, num_classes = network.logits.shape
    doubt = 1 / (num_texts + 1)
    is_multi_label = network.is_multi_label
    truths_NC = (1 - doubt) * network.truths + doubt * (0.5 if is_multi_label else 1 / num_classes)

    def loss(counts: np.ndarray) -> tuple[float, np.ndarray]:
        logits_NC = counts[0] * network.logits + counts[1] * evidence_NC
        if is_multi_label:
            value = -(truths_NC * log_expit(logits_NC) + (1 - truths_NC) * log_expit(-logits_NC)).sum()
            slope_NC = expit(logits_NC) - truths_NC
        else:
            value = -(truths_NC * log_softmax(logits_NC, axis=1)).sum()
            slope_NC = softmax(logits_NC, axis=1) - truths_NC
        return value, np.array([(slope_NC * network.logits).sum(), (slope_NC * evidence_NC).sum()])

    start = np.array([np.clip(1.0, *sharpness), 0.0])
    return minimize(loss, start, jac=True, bounds=[sharpness, (0.0, most)], method="L-BFGS-B")
