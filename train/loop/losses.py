"""Losses for balanced and unbalanced classes, for every model alike: they see logits, labels and class counts.

Each is a mean over the labels of the whole accumulated batch, on all processes, so that gradient accumulation and data
parallelism change nothing. Class weights are scaled to average 1 over the training set, which keeps the learning rate's
meaning.

Shape suffixes
    B = texts, C = classes, I = items: (B,) for one label per text, (B, C) for several
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from salience.configuration.errors import UserError
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.configuration.problem_types import MULTI_LABEL
from salience.modeling.classifier import auxiliary_mean
from salience.train.loop.class_weights import read_class_weights


class LabelStatistics:
    """What a loss may know of the training set.

    Args:
        counts_C: Texts of each class.
        num_texts: Texts in all.
        problem_type: As in `PretrainedConfig`.
        label_names: Names of the classes, for weights that are given by name.
    """

    def __init__(self, counts_C: Tensor, num_texts: int, problem_type: str, label_names: Sequence[str] = ()) -> None:
        self.counts_C = counts_C.float().clamp(min=1)  # a class without any text has no place in a fraction
        self.seen_C = counts_C.float()
        self.weights_C = 1 / self.counts_C  # of `--loss weighted`, until others are given
        self.num_texts = num_texts
        self.label_names = label_names
        self.is_multi_label = problem_type == MULTI_LABEL

    @property
    def log_prior_C(self) -> Tensor:
        """Log P(class), or its log-odds where a text can have several: what the prior adds to a logit."""
        prior_C = (self.counts_C / self.num_texts).clamp(max=1 - 1e-6)
        return prior_C.logit() if self.is_multi_label else prior_C.log()

    def normalized(self, weights_C: Tensor) -> Tensor:
        """Class weights scaled so that they average 1 over the training set's labels."""
        return weights_C * self.seen_C.sum() / (weights_C * self.seen_C).sum()


Loss = Callable[[Tensor, Tensor, LabelStatistics, TuningArguments, float], Tensor]


def base_loss(logits_BC: Tensor, labels: Tensor, statistics: LabelStatistics, smoothing: float) -> Tensor:
    """Cross-entropy (B,) or binary cross-entropy (B, C), item by item."""
    if statistics.is_multi_label:
        smoothed_BC = labels.float() * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(logits_BC, smoothed_BC, reduction="none")
    return F.cross_entropy(logits_BC, labels, reduction="none", label_smoothing=smoothing)


def item_weights(weights_C: Tensor, labels: Tensor, is_multi_label: bool) -> Tensor:
    """A class's weight for its own texts: (B,), or (B, C) with 1 where a text lacks the label."""
    return torch.where(labels > 0, weights_C, 1.0) if is_multi_label else weights_C[labels]


def cross_entropy(
    logits_BC: Tensor, labels: Tensor, statistics: LabelStatistics, options: TuningArguments, smoothing: float
) -> Tensor:
    """Plain cross-entropy."""
    return base_loss(logits_BC, labels, statistics, smoothing)


def weighted(
    logits_BC: Tensor, labels: Tensor, statistics: LabelStatistics, options: TuningArguments, smoothing: float
) -> Tensor:
    """Weights inverse to class frequency, or those that are given by hand."""
    weights_C = statistics.normalized(statistics.weights_C).to(logits_BC.device)
    weights = item_weights(weights_C, labels, statistics.is_multi_label)
    return weights * base_loss(logits_BC, labels, statistics, smoothing)


def class_balanced(
    logits_BC: Tensor, labels: Tensor, statistics: LabelStatistics, options: TuningArguments, smoothing: float
) -> Tensor:
    """Weights inverse to the effective number of texts, (1 - beta^n) / (1 - beta) (Cui et al. 2019)."""
    effective_C = -torch.expm1(statistics.counts_C * math.log(options.class_balanced_beta))
    weights_C = statistics.normalized(1 / effective_C).to(logits_BC.device)
    weights = item_weights(weights_C, labels, statistics.is_multi_label)
    return weights * base_loss(logits_BC, labels, statistics, smoothing)


def focal(
    logits_BC: Tensor, labels: Tensor, statistics: LabelStatistics, options: TuningArguments, smoothing: float
) -> Tensor:
    """Cross-entropy times (1 - p)^gamma: easy texts count less (Lin et al. 2017)."""
    hard_loss = base_loss(logits_BC, labels, statistics, 0.0)
    # Not quite 0, where a gamma below 1 has no gradient.
    modulation = (-torch.expm1(-hard_loss)).clamp(min=1e-7) ** options.focal_gamma
    return modulation * base_loss(logits_BC, labels, statistics, smoothing)


def logit_adjusted(
    logits_BC: Tensor, labels: Tensor, statistics: LabelStatistics, options: TuningArguments, smoothing: float
) -> Tensor:
    """Cross-entropy of logits + tau * log prior: the logits themselves learn to be unbiased (Menon et al. 2021)."""
    shift_C = options.logit_adjustment_tau * statistics.log_prior_C.to(logits_BC.device)
    return base_loss(logits_BC + shift_C, labels, statistics, smoothing)


def ldam(
    logits_BC: Tensor, labels: Tensor, statistics: LabelStatistics, options: TuningArguments, smoothing: float
) -> Tensor:
    """Cross-entropy with a margin for the right class, proportional to n^(-1/4) (Cao et al. 2019).

    The paper's logits are scaled cosines; ours aren't bounded, so the margin is subtracted without a scale.
    """
    margins_C = statistics.counts_C**-0.25
    margins_C = (options.ldam_max_margin * margins_C / margins_C.max()).to(logits_BC.device)
    is_right_BC = labels.float() if statistics.is_multi_label else F.one_hot(labels, logits_BC.shape[1])
    return base_loss(logits_BC - margins_C * is_right_BC, labels, statistics, smoothing)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "weighted": weighted,
    "focal": focal,
    "class_balanced": class_balanced,
    "logit_adjusted": logit_adjusted,
    "ldam": ldam,
}


BALANCING_LOSSES = ("weighted", "class_balanced", "logit_adjusted", "ldam")
"""Those that make up for rare classes themselves."""


def balancing_flag(tuning: TuningArguments) -> str | None:
    """The flag by which training makes up for rare classes, None without one."""
    if tuning.balanced_sampling:
        return "--balanced_sampling"
    return f"--loss {tuning.loss}" if tuning.loss in BALANCING_LOSSES else None


class TrainingLoss:
    """The chosen loss, as `Trainer(compute_loss_func=...)` calls it.

    Args:
        options: Names the loss and its parameters.
        problem_type: As in `PretrainedConfig`; regression knows the squared error only.
        statistics: Of the training set; None for regression.
        label_smoothing: 0 to 1.
        deviation: Unit of a regression's errors: the standard deviation of its labels, by which the loss doesn't depend
            on whether they are metres or feet.

    Raises:
        UserError: The loss is unknown, or needs classes where there are none.
    """

    def __init__(
        self,
        options: TuningArguments,
        problem_type: str,
        statistics: LabelStatistics | None,
        label_smoothing: float = 0.0,
        deviation: float = 1.0,
    ) -> None:
        if options.loss not in LOSSES:
            raise UserError(f"--loss {options.loss} is unknown; choose from {', '.join(LOSSES)}")
        if statistics is None and options.loss != "cross_entropy":
            raise UserError(f"--loss {options.loss} needs classes; regression is trained on the squared error")
        if statistics is None and label_smoothing:
            raise UserError("--label_smoothing_factor needs classes, and the labels are numbers; leave it out")
        if statistics is not None and options.class_weights:
            statistics.weights_C = read_class_weights(options.class_weights, statistics.label_names)
        self.loss, self.options, self.problem_type = LOSSES[options.loss], options, problem_type
        self.statistics, self.label_smoothing, self.deviation = statistics, label_smoothing, deviation

    def __call__(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """Mean loss over `num_items_in_batch` labels, or over this batch's if that is None."""
        logits_BC = outputs["logits"].float()
        if self.statistics is None:
            errors_BC = (logits_BC - labels.float().view_as(logits_BC)) / self.deviation
            items = errors_BC.square()
        else:
            items = self.loss(logits_BC, labels, self.statistics, self.options, self.label_smoothing)
        loss = items.mean() if num_items_in_batch is None else items.sum() / num_items_in_batch
        auxiliary_B = outputs.get("auxiliary_loss")
        return loss if auxiliary_B is None else loss + auxiliary_mean(auxiliary_B, labels, num_items_in_batch)


def correct_prior(model: PreTrainedModel, tau: float, statistics: LabelStatistics) -> None:
    """Store the post-hoc correction tau * log prior in the configuration (Menon et al. 2021)."""
    model.config.prior_correction = (tau * statistics.log_prior_C).tolist()
