"""The scale of a regression's labels: a network answers numbers around 0 of spread 1 with ease, and others hardly."""

import torch
from torch import nn
from transformers import PreTrainedModel

from salience.configuration.configuration_salience import SalienceConfig
from salience.configuration.problem_types import REGRESSION
from salience.train.data.encoded import labels_of
from salience.train.data.load import TextData


def label_scale(data: TextData) -> tuple[float, float] | None:
    """Mean and standard deviation of the training labels (1 where all are alike); None where they are classes."""
    if data.problem_type != REGRESSION:
        return None
    labels_N = labels_of(data.splits["train"])
    return float(labels_N.mean()), float(labels_N.std()) or 1.0


def answer_in_labels(model: PreTrainedModel, data: TextData) -> None:
    """Let a fresh output layer begin at the mean of the labels of a regression, with answers of their spread.

    Models of ours keep the scale in their configuration, so that it stands between network and answer. The plain head
    has no place for it: its first weights are made so large, unless its checkpoint had them.

    Args:
        model: As `build_model` makes it, or with a fresh output layer; is changed.
        data: What it will be trained on.
    """
    if (scale := label_scale(data)) is None:
        return
    mean, deviation = scale
    if isinstance(model.config, SalienceConfig):
        model.config.label_scale = [mean, deviation]
        return
    if not getattr(model, "has_fresh_head", False):
        return
    outputs = [part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features == 1]
    with torch.no_grad():
        for layer in outputs[-1:]:
            layer.weight.mul_(deviation)
            if layer.bias is not None:
                layer.bias.fill_(mean)
