"""Texts of several columns: what stands between them for an encoder, and where the model's users find it."""

from typing import Any

from tokenizers.processors import TemplateProcessing
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

    A text in which they stand gets the same ids as the pair of texts: some tokenizers need a space behind them.
    """
    ids: list[int] = tokenizer("a", "a")["input_ids"]
    is_special = [index in tokenizer.all_special_ids for index in ids]
    if False not in is_special:
        return None
    begin = is_special.index(False)
    end = len(ids) - 1 - is_special[::-1].index(False)
    between = [index for index, special in zip(ids[begin:end], is_special[begin:end], strict=True) if special]
    separator = "".join(tokenizer.convert_ids_to_tokens(between))
    spelled = [each for each in (separator, f"{separator} ") if tokenizer(f"a{each}a")["input_ids"] == ids]
    return next(iter(spelled), separator) or None


def remember_columns(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, data_args: FileArguments) -> None:
    """Let a model know its columns, and read a pair of texts as it reads two columns joined.

    A tokenizer that gives the second text of a pair another token type no longer gives any: a joined text has one.

    Args:
        config: The model's, gets their names and what stands between their texts; nothing where no flag names one.
        tokenizer: The model's.
        data_args: The columns.
    """
    if len(data_args.text_column) == 1:
        if data_args.text_column != FileArguments().text_column:
            config.update({"text_columns": list(data_args.text_column)})
        return
    config.update({"text_columns": data_args.text_column, "text_separator": data_args.joining_text})
    names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    if tokenizer.is_fast and not tokenizer.num_special_tokens_to_add(pair=True):
        ids: list[int] = tokenizer(data_args.joining_text)["input_ids"]
        between = {"id": "between", "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)}
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="$A", pair="$A between $B" if ids else "$A $B", special_tokens=[between] if ids else []
        )
