"""Texts of several columns: what stands between them for an encoder, and where the model's users find it."""

from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import FileArguments
from salience.modeling.tokenizer_loading import read_tokenizer
from salience.train.building.encoder_loading import encoder_path, no_encoder


def choose_separator(data_args: FileArguments, model_args: Any) -> None:
    """Set `text_separator` to that of the encoder's tokenizer, where there are several columns and no flag says it.

    Args:
        data_args: Is changed.
        model_args: `encoder` and its revision.

    Raises:
        UserError: The encoder has no tokenizer.
    """
    if len(data_args.text_column) == 1 or data_args.text_separator is not None or not model_args.encoder:
        return
    name, revision = model_args.encoder, model_args.encoder_revision
    try:
        data_args.text_separator = separator_of(read_tokenizer(encoder_path(name), revision))
    except (OSError, ValueError) as error:
        raise error if isinstance(error, UserError) else UserError(no_encoder(name, error)) from error


def separator_of(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The special tokens that a tokenizer puts between two texts, as they are written; None if it has none.

    A text in which they stand gets the same ids as the pair of texts.
    """
    ids: list[int] = tokenizer("a", "a")["input_ids"]
    is_special = [index in tokenizer.all_special_ids for index in ids]
    if False not in is_special:
        return None
    begin = is_special.index(False)
    end = len(ids) - 1 - is_special[::-1].index(False)
    between = [index for index, special in zip(ids[begin:end], is_special[begin:end], strict=True) if special]
    return "".join(tokenizer.convert_ids_to_tokens(between)) or None


def remember_columns(config: PretrainedConfig, data_args: FileArguments) -> None:
    """Keep the names of several columns, and what stands between their texts, in a model's configuration."""
    if len(data_args.text_column) > 1:
        config.update({"text_columns": data_args.text_column, "text_separator": data_args.joining_text})
