"""How the families of `salience.configuration.families` are built: the functions that their records name."""

from collections.abc import Iterable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from transformers import BertConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from salience import modeling
from salience.configuration.errors import UserError
from salience.configuration.families import Code, Family
from salience.configuration.hub import find_commit, refuse_revision_of_folder
from salience.modeling.encoders import position_limit
from salience.modeling.tokenizer_loading import PADDED_LENGTH, read_tokenizer
from salience.train.building.encoder_loading import (
    LOADING_ERRORS,
    check_options,
    encoder_path,
    load_plain_head,
    misfit,
    no_encoder,
    plain_head_config,
)
from salience.train.building.memory import refuse_beyond_memory
from salience.train.building.word_tokenizer import (
    VOCABULARIES,
    build_word_tokenizer,
    portable_tokenizer,
    sentence_end_ids,
)
from salience.train.building.word_vectors import WordVectors, load_word_vectors, start_embeddings, word_ids

Options = dict[str, Any]
Built = tuple[PreTrainedModel, PreTrainedTokenizerBase]

# The encoder of `on_untrained_encoder`: four small layers.
TRANSFORMER_SIZES: Options = {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024,
    "max_position_embeddings": 512,
}  # fmt: skip


@dataclass
class Request:
    """What a builder may draw on.

    Args:
        family: The record of the model.
        arguments: The model's flags (`ModelArguments`).
        texts: The training texts, for a vocabulary from scratch.
        options: The flags that were set for the model's configuration, with its `id2label`, `label2id` and
            `problem_type`; a builder adds what it finds out.
    """

    family: Family
    arguments: Any
    texts: Iterable[str]
    options: Options

    @property
    def code(self) -> Code:
        """The family's classes, which all but the plain head have."""
        assert self.family.code is not None
        return self.family.code

    def word_tokenizer(self) -> PreTrainedTokenizerBase:
        """A word-level vocabulary of the training texts; `vocab_size` in the options becomes its real size."""
        size = {"vocab_size": 20_000, **self.family.defaults, **self.options}["vocab_size"]
        frequency = self.arguments.min_frequency
        vocabulary = self.arguments.vocabulary
        if vocabulary not in VOCABULARIES:
            raise UserError(f"--vocabulary {vocabulary} is unknown; choose from {', '.join(VOCABULARIES)}")
        tokenizer = build_word_tokenizer(self.texts, vocab_size=size, min_frequency=frequency, vocabulary=vocabulary)
        if len(tokenizer) == len(tokenizer.all_special_ids):
            raise UserError(f"no word stands {frequency} times in the training texts; lower --min_frequency")
        self.options["vocab_size"] = len(tokenizer)
        return tokenizer

    def word_vectors(self, tokenizer: PreTrainedTokenizerBase) -> WordVectors | None:
        """Pretrained vectors of the vocabulary's words, if asked for; `embedding_dim` becomes their width."""
        path, vocabulary_path = self.arguments.word_vectors, self.arguments.word_vectors_vocabulary
        if path is None:
            return None
        vectors_FE, found_W = load_word_vectors(path, vocabulary_path, list(word_ids(tokenizer)))
        width = vectors_FE.shape[1]
        if self.options.setdefault("embedding_dim", width) != width:
            raise UserError(
                f"--embedding_dim {self.options['embedding_dim']} isn't {width}, the width of '{path}'; leave it out"
            )
        return vectors_FE, found_W

    def encoder_tokenizer(self) -> tuple[str, PreTrainedTokenizerBase]:
        """Where the encoder is, and its tokenizer; of a Hub id, the flags then name the commit.

        Raises:
            UserError: There is none at the place that `--encoder` names.
        """
        name = self.arguments.encoder
        path = encoder_path(name)
        refuse_revision_of_folder(path, self.arguments.encoder_revision, "--encoder", "--encoder_revision")
        try:
            self.arguments.encoder_revision = find_commit(path, self.arguments.encoder_revision)
            return path, read_tokenizer(path, self.arguments.encoder_revision)
        except (OSError, ValueError) as error:
            raise UserError(no_encoder(name, error)) from error


def classifier_of(code: Code) -> type[Any]:
    """The classifier among a family's classes."""
    return getattr(modeling, f"{code.stem}ForSequenceClassification")


def token_options(request: Request, tokenizer: PreTrainedTokenizerBase) -> Options:
    """The request's options, and which tokens end a sentence, for a configuration that asks for them."""
    fields = signature(request.code.config_class().__init__).parameters
    found = {"sentence_end_ids": sentence_end_ids(tokenizer)} if "sentence_end_ids" in fields else {}
    return {**request.family.defaults, **found, **request.options}


def on_encoder(request: Request) -> Built:
    """A model of ours on a pretrained encoder."""
    path, tokenizer = request.encoder_tokenizer()
    name, revision = request.arguments.encoder, request.arguments.encoder_revision
    model_class, options = classifier_of(request.code), token_options(request, tokenizer)
    try:
        check_options(model_class, path, name, revision, options)
        model = model_class.from_encoder(
            path, tokenizer, revision, attention_dropout=request.arguments.attention_dropout, **options
        )
    except LOADING_ERRORS as error:
        raise UserError(no_encoder(name, error)) from error
    except RuntimeError as error:
        raise misfit(name, error) from error
    limit = position_limit(model.encoder)
    if model.config.window_size is not None and model.config.window_size > limit:
        raise UserError(f"--window_size {model.config.window_size} is more than the encoder's {limit} positions")
    tokenizer.model_max_length = PADDED_LENGTH
    return model, portable_tokenizer(tokenizer)


def from_words(request: Request) -> Built:
    """A model of ours on word embeddings, with a vocabulary of the training texts."""
    tokenizer = request.word_tokenizer()
    vectors = request.word_vectors(tokenizer)
    config_class, model_class = request.code.config_class(), classifier_of(request.code)
    config = config_class(pad_token_id=tokenizer.pad_token_id, **token_options(request, tokenizer))
    return start_embeddings(_built(model_class, config), tokenizer, vectors), tokenizer


def on_untrained_encoder(request: Request) -> Built:
    """A model of ours on a Transformer without any pretraining, with a vocabulary of the training texts."""
    tokenizer = request.word_tokenizer()
    options = {"window_size": TRANSFORMER_SIZES["max_position_embeddings"]} | token_options(request, tokenizer)
    vocabulary: Options = {"vocab_size": options.pop("vocab_size"), "pad_token_id": tokenizer.pad_token_id}
    config_class, model_class = request.code.config_class(), classifier_of(request.code)
    config = config_class(encoder_config=BertConfig(**TRANSFORMER_SIZES, **vocabulary), **options)
    return _built(model_class, config), tokenizer


def _built(model_class: type[Any], config: PretrainedConfig) -> Any:
    with torch.device("meta"):
        refuse_beyond_memory(model_class(config))
    return model_class(config)


def plain_head(request: Request) -> Built:
    """The plain classification head that transformers has for the encoder."""
    path, tokenizer = request.encoder_tokenizer()
    try:
        revision, dropout = request.arguments.encoder_revision, request.arguments.attention_dropout
        model = load_plain_head(path, revision, plain_head_config(path, revision, dropout, **request.options))
    except (ValueError, *LOADING_ERRORS) as error:
        raise UserError(no_encoder(request.arguments.encoder, error)) from error
    except RuntimeError as error:
        raise misfit(request.arguments.encoder, error) from error
    # Many tokenizers name no limit, or not the model's; the plain head reads what the encoder can number.
    tokenizer.model_max_length = min(tokenizer.model_max_length, position_limit(model))
    return model, portable_tokenizer(tokenizer)
