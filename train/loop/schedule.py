"""How long and how fast to train, where the flags leave it open."""

import math

from transformers import PreTrainedModel

from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.modeling.encoders import pretrained_encoder

STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 150, 3, 20
"""Few texts need many passes, until there were about as many steps; many texts need few."""
NEW_RATE = 1e-3
TUNING_RATE, ITS_WIDTH = 1e-4, 384
"""Of all-MiniLM-L6-v2. In inverse proportion to the width, base models (768) get the 5e-5 of the BERT paper."""


def choose_schedule(
    training: SalienceTrainingArguments,
    model: PreTrainedModel,
    num_texts: int,
    scratch_rate: float | None,
    lora: bool,
) -> list[str]:
    """Set the epochs and the learning rate that aren't given.

    Args:
        training: Of the run; gets both.
        model: As it will be trained, but without adapters.
        num_texts: Training texts.
        scratch_rate: That of the family; None for a model with an encoder that was trained before.
        lora: Whether the encoder gets adapters and stays as it is.

    Returns:
        What was chosen, as flags.
    """
    chosen = []
    if training.num_train_epochs is None:
        training.num_train_epochs = float(epochs_for(num_texts, training.texts_of_step))
        if training.max_steps <= 0:
            chosen.append(f"--num_train_epochs {training.num_train_epochs:g}")
    if training.learning_rate is None:
        training.learning_rate = scratch_rate or (NEW_RATE if lora else rate_for(model))
        chosen.append(f"--learning_rate {training.learning_rate:g}")
    return chosen


def epochs_for(num_texts: int, texts_of_step: int) -> int:
    """Whole epochs that make `STEPS`, within their limits."""
    steps_of_epoch = math.ceil(num_texts / texts_of_step)
    return min(max(math.ceil(STEPS / steps_of_epoch), FEWEST_EPOCHS), MOST_EPOCHS)


def rate_for(model: PreTrainedModel) -> float:
    """Learning rate of a model that was trained before: for its encoder, unless that is frozen."""
    encoder = pretrained_encoder(model)
    if encoder is not None and not any(weight.requires_grad for weight in encoder.parameters()):
        return NEW_RATE
    return TUNING_RATE * ITS_WIDTH / encoder.config.hidden_size if encoder is not None else NEW_RATE
