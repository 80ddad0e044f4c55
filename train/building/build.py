"""A model and its tokenizer, by the name that `--model` gives."""

from collections.abc import Iterable
from typing import Any

from salience.configuration.errors import UserError, one_line
from salience.configuration.families import FAMILIES
from salience.configuration.flags.model_arguments import chosen_options
from salience.train.building.builders import Built, Request


def build_model(arguments: Any, texts: Iterable[str], label_names: list[str], problem_type: str) -> Built:
    """A fresh model and its tokenizer.

    Args:
        arguments: `ModelArguments`.
        texts: Training texts, read only where a vocabulary is made of them.
        label_names: Names of the classes (or of the values, for regression), in the order of their ids.
        problem_type: As in `PretrainedConfig`.

    Raises:
        UserError: A flag doesn't fit the model, is out of range, or there is no such encoder.
    """
    options = chosen_options(arguments)
    label_names = label_names or ["value"]  # regression
    labels = {
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: index for index, name in enumerate(label_names)},
        "problem_type": problem_type,
    }
    family = FAMILIES[arguments.model]
    build = family.builder(arguments.encoder is not None)
    try:
        model, tokenizer = build(Request(family, arguments, texts, options | labels))
    except UserError:
        raise
    except ValueError as error:  # a configuration looked at its values
        raise UserError(f"--model {arguments.model}: {one_line(error)}") from error
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer
