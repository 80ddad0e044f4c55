"""How much each witness counts, by the likelihood of validation texts: a network, and evidence learned beside it.

Shapes
    N = texts, C = classes, K = kinds of evidence
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor
from torch.nn import functional as F

from salience.eval.scores.calibration import TEMPERATURE_BOUNDS
from salience.eval.scores.predictions import Predictions
from salience.modeling.ngram_evidence import damped

# Evidence that raises the log-likelihood of all validation texts by less is left out. Words tell something of most
# classes, and of some dozens of texts the likelihood says little: one kind must raise it by what chance does on average
# for a number that is fitted. A further kind must by what such a number costs (Akaike 1974), and about as much again
# for the choice among some kinds, and damping.
LEAST_GAIN, FURTHER_GAIN = 0.5, 2.0
# Of evidence of each kind, in its standard deviations.
LARGEST_WEIGHT = 1e4
# As little stands for none: at 0 the fit would see no slope.
LEAST_WEIGHT = 1e-6
# At 1 the strength of a text's evidence would say nothing any more.
LARGEST_DAMPING = 0.8
# The likelihood can have several peaks.
FIRST_DAMPINGS = (0.1, 0.5, 0.8)


class Weighed(NamedTuple):
    """Logits are (network + W * damped(the sum of weights * evidence / W)) / temperature, W the sum of the weights."""

    weights: np.ndarray  # (K,), 0 or above
    damping: float  # 0 without evidence
    temperature: float
    loss: float  # negative log-likelihood of all texts


def choose(network: Predictions, evidences: Sequence[np.ndarray], calibrates: bool = True) -> Weighed:
    """The evidence that helps, with its weights: of all combinations the likeliest, each kind at a cost.

    Args:
        network: Of texts that neither was trained on: the validation split.
        evidences: K of (N, C), what each says of the same texts.
        calibrates: See `weigh`.

    Returns:
        A weight of 0 for each kind that doesn't raise the likelihood enough; see `least_gain`.
    """
    kinds = range(len(evidences))
    subsets = [subset for size in range(len(evidences) + 1) for subset in combinations(kinds, size)]
    tried = {subset: weigh(network, [evidences[kind] for kind in subset], calibrates) for subset in subsets}
    best = min(subsets, key=lambda subset: tried[subset].loss + least_gain(len(subset)))
    weights_K = np.zeros(len(evidences))
    weights_K[list(best)] = tried[best].weights
    return tried[best]._replace(weights=weights_K)


def least_gain(num_kinds: int) -> float:
    """By how much so many kinds of evidence must raise the log-likelihood."""
    return LEAST_GAIN + FURTHER_GAIN * (num_kinds - 1) if num_kinds else 0.0


def weigh(network: Predictions, evidences: Sequence[np.ndarray], calibrates: bool = True) -> Weighed:
    """Weights of the evidence, their damping, and temperature of the sum, fitted together.

    The likelihood has one text more, of no known class: it bounds them where they would make every answer right.

    Args:
        network: See `choose`.
        evidences: K of (N, C).
        calibrates: Fit the temperature, too; else it is 1.
    """
    scale_K = np.array([max(float(each.std()), 1e-9) for each in evidences])
    low, high = TEMPERATURE_BOUNDS
    sharpness = (1 / high, 1 / low) if calibrates else (1.0, 1.0)
    scaled = [each / scale for each, scale in zip(evidences, scale_K, strict=True)]
    firsts = FIRST_DAMPINGS if evidences else FIRST_DAMPINGS[:1]  # without evidence there is nothing to dampen
    found = min((_fit(network, scaled, sharpness, first) for first in firsts), key=lambda each: each.fun)
    sharpness_found, damping, counts_K = found.x[0], found.x[1], np.where(found.x[2:] > LEAST_WEIGHT, found.x[2:], 0.0)
    if not counts_K.any():
        return Weighed(np.zeros(len(evidences)), 0.0, float(1 / sharpness_found), float(found.fun))
    weights_K = counts_K / scale_K
    # A mean of unscaled evidence is a constant times that of scaled; damped, it is a power of the constant.
    weights_K *= (counts_K.sum() / weights_K.sum()) ** damping / sharpness_found
    return Weighed(weights_K, float(damping), float(1 / sharpness_found), float(found.fun))


def share_of(part_NC: np.ndarray, other_NC: np.ndarray) -> float:
    """How much of what sets classes apart one of two summands of logits says, 0 to 1: by standard deviations.

    Args:
        part_NC: That summand.
        other_NC: The other one.
    """
    ours, theirs = part_NC.std(1).mean(), other_NC.std(1).mean()
    return float(ours / (ours + theirs)) if ours else 0.0


def _fit(
    network: Predictions, evidences: Sequence[np.ndarray], sharpness: tuple[float, float], first_damping: float
) -> OptimizeResult:
    """A least loss over how much the network counts, the damping, and how much each kind of evidence does."""
    num_texts, num_classes = network.logits.shape
    doubt = 1 / (num_texts + 1)
    is_multi_label = network.is_multi_label
    truths_NC = torch.from_numpy((1 - doubt) * network.truths + doubt * (0.5 if is_multi_label else 1 / num_classes))
    network_NC = torch.from_numpy(network.logits.astype(np.float64))
    evidence_KNC = torch.from_numpy(np.array(evidences, dtype=np.float64).reshape(-1, num_texts, num_classes))

    def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        found = torch.from_numpy(numbers).requires_grad_()
        counts_K, total = found[2:], found[2:].sum()
        mean_NC = torch.tensordot(counts_K / total, evidence_KNC, 1)
        logits_NC = found[0] * network_NC + total * damped(mean_NC, found[1])
        value = _negative_log_likelihood(logits_NC, truths_NC, is_multi_label)
        (slope,) = torch.autograd.grad(value, found)
        return value.item(), slope.numpy()

    start = np.array([np.clip(1.0, *sharpness), first_damping, *np.ones(len(evidences))])
    bounds = [sharpness, (0.0, LARGEST_DAMPING), *((LEAST_WEIGHT, LARGEST_WEIGHT) for _ in evidences)]
    return minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")


def _negative_log_likelihood(logits_NC: Tensor, truths_NC: Tensor, is_multi_label: bool) -> Tensor:
    if is_multi_label:
        return F.binary_cross_entropy_with_logits(logits_NC, truths_NC, reduction="sum")
    return F.cross_entropy(logits_NC, truths_NC, reduction="sum")
