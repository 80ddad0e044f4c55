"""What is written down of a run: what a resumed one must share with it, and what run.json says of it."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from transformers import PreTrainedModel

from salience.configuration.arguments import Arguments
from salience.configuration.training_arguments import SalienceTrainingArguments
from salience.configuration.tuning_arguments import TuningArguments
from salience.train.building.encoder_loading import public_name
from salience.train.data.load import TextData


def run_plan(
    model: PreTrainedModel, data: TextData, tuning: TuningArguments, training: SalienceTrainingArguments
) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was stopped."""
    return {
        "training texts": data.fingerprint("train")["sha256"],
        "model": sha256(model.config.to_json_string().encode()).hexdigest(),
        "tuning flags": vars(tuning),
        "seed": training.seed,
        "batch of a step": training.train_batch_size * training.gradient_accumulation_steps * training.world_size,
        "learning rate": training.learning_rate,
    }


def describe_run(arguments: Arguments, command: list[str], data: TextData) -> dict[str, Any]:
    """Of `record_run`'s arguments those that are known before training: command, flags, data, precision and seed."""
    training = arguments[3]
    return {
        "command": command,
        "arguments": changed_arguments(arguments),
        "data": {
            "name": data.name,
            "source": data.source,
            "splits": {name: data.fingerprint(name) for name in data.splits},
        },
        "precision": "bf16" if training.bf16 else "fp16" if training.fp16 else "fp32",
        "seed": training.seed,
    }


def changed_arguments(arguments: Sequence[Any]) -> dict[str, Any]:
    """Every flag that differs from its default."""
    changed = {}
    for group in arguments:
        for name, each in type(group).__dataclass_fields__.items():
            value = getattr(group, name)
            default = each.default_factory() if callable(each.default_factory) else each.default
            if each.init and value != default and isinstance(value, str | int | float | bool | list | dict):
                changed[name] = value
    return changed


def num_weights(model: PreTrainedModel) -> int:
    """All weights of a model: those that are trained or frozen, and the counts of n-grams, which are neither."""
    ngrams = getattr(model, "ngrams", None)
    return model.num_parameters() + (0 if ngrams is None else ngrams.weight_GC.numel())


def describe_model(model_args: Any, model: PreTrainedModel, num_trainable: int) -> dict[str, Any]:
    """What run.json says of the model."""
    found = getattr(model, "word_vectors_found", None)
    return {
        "family": model_args.model,
        "class": type(model).__name__,
        "encoder": model_args.base_model or public_name(model_args.encoder),
        "parameters": num_weights(model),
        "trainable_parameters": num_trainable,
        **({} if found is None else {"word_vectors_found": found}),
    }
