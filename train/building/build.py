"""A model and its tokenizer, by the name that `--model` gives."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import BertConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.arguments import model_options
from salience.configuration.errors import UserError, one_line
from salience.configuration.hub import find_commit
from salience.modeling import (
    AttnPoolConfig,
    AttnPoolForSequenceClassification,
    BaselineConfig,
    BaselineForSequenceClassification,
    HierarchicalAttnConfig,
    HierarchicalAttnForSequenceClassification,
)
from salience.modeling.encoders import position_limit
from salience.modeling.tokenizer_loading import read_tokenizer
from salience.train.building.encoder_loading import (
    LOADING_ERRORS,
    WINDOW_OPTIONS,
    check_options,
    encoder_path,
    load_plain_head,
    misfit,
    no_encoder,
)
from salience.train.building.word_tokenizer import (
    VOCABULARIES,
    build_word_tokenizer,
    portable_tokenizer,
    sentence_end_ids,
)
from salience.train.building.word_vectors import WordVectors, load_word_vectors, start_embeddings, word_ids

WORD_VECTOR_FLAGS = frozenset({"word_vectors", "word_vectors_vocabulary"})
COMMON_FLAGS = frozenset(
    {"model", "encoder", "encoder_revision", "encoder_cache", "base_model", "min_frequency", "vocabulary"}
)
SCRATCH_OPTIONS = frozenset({"vocab_size", "embedding_dim", "hidden_dim", "num_layers", "embedding_skip"})
# Flags that only count where another one has one of these values, or (None) is set at all.
CONDITIONAL_OPTIONS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "linear_features": ("attention_kernel", ("linear",)),
    "filter_ratio": ("filter", ("top_k", "random", "idf")),
    "segment_size": ("segmentation", ("sliding_window",)),
    "segment_stride": ("segmentation", ("sliding_window",)),
    "max_words": ("segmentation", ("punctuation", "learned")),
    "ngram_size": ("ngram_weight", None),
    "max_ngrams": ("ngram_weight", None),
}
Options = dict[str, Any]
Built = tuple[PreTrainedModel, PreTrainedTokenizerBase]

# The Transformer baseline: an encoder of four small layers without any pretraining, mean over its words.
TRANSFORMER_SIZES: Options = {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024,
    "max_position_embeddings": 512,
}  # fmt: skip


def default_of(config_class: type[PretrainedConfig] | None, name: str) -> Any:
    """What a configuration has where the flag isn't set."""
    return model_options(config_class)[name].default if config_class else None


@dataclass
class Request:
    """What a builder may draw on.

    Args:
        arguments: The model's flags (`ModelArguments`).
        texts: The training texts, for a vocabulary from scratch.
        options: The flags that were set for the model's configuration, with its `id2label`, `label2id` and
            `problem_type`; a builder adds what it finds out.
    """

    arguments: Any
    texts: Iterable[str]
    options: Options

    def word_tokenizer(self) -> PreTrainedTokenizerBase:
        """A word-level vocabulary of the training texts; `vocab_size` in the options becomes its real size."""
        size, frequency = self.options.get("vocab_size", 20_000), self.arguments.min_frequency
        for name, value in (("vocab_size", size), ("min_frequency", frequency)):
            if value < 1:
                raise UserError(f"--{name} {value} must be at least 1")
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
        if self.arguments.encoder_revision and Path(path).is_dir():
            raise UserError(f"--encoder_revision belongs to a Hub id, and --encoder {name} is a folder; leave it out")
        try:
            if not Path(path).is_dir():
                self.arguments.encoder_revision = find_commit(path, self.arguments.encoder_revision)
            return path, read_tokenizer(path, self.arguments.encoder_revision)
        except (OSError, ValueError) as error:
            raise UserError(no_encoder(name, error)) from error


def with_encoder(model_class: type[Any], request: Request, tokens: bool) -> Built:
    """A model of ours on a pretrained encoder."""
    path, tokenizer = request.encoder_tokenizer()
    name, revision, options = request.arguments.encoder, request.arguments.encoder_revision, request.options
    if tokens:
        options["sentence_end_ids"] = sentence_end_ids(tokenizer)
    try:
        check_options(model_class, path, name, revision, options)
        model = model_class.from_encoder(path, tokenizer, revision=revision, **options)
    except LOADING_ERRORS as error:
        raise UserError(no_encoder(name, error)) from error
    except RuntimeError as error:
        raise misfit(name, error) from error
    limit = position_limit(model.encoder)
    if model.config.window_size is not None and model.config.window_size > limit:
        raise UserError(f"--window_size {model.config.window_size} is more than the encoder's {limit} positions")
    tokenizer.model_max_length = int(1e30)  # the model reads any length: pipelines shall not warn of long texts
    return model, portable_tokenizer(tokenizer)


def attn_pool(request: Request) -> Built:
    """Attention pooling on a pretrained encoder."""
    return with_encoder(AttnPoolForSequenceClassification, request, tokens=False)


def hierarchical_attn(request: Request) -> Built:
    """Hierarchical attention, from scratch or on a pretrained encoder."""
    if request.arguments.encoder is not None:
        return with_encoder(HierarchicalAttnForSequenceClassification, request, tokens=True)
    tokenizer = request.word_tokenizer()
    vectors = request.word_vectors(tokenizer)
    config = HierarchicalAttnConfig(
        pad_token_id=tokenizer.pad_token_id, sentence_end_ids=sentence_end_ids(tokenizer), **request.options
    )
    return start_embeddings(HierarchicalAttnForSequenceClassification(config), tokenizer, vectors), tokenizer


def baseline(request: Request) -> Built:
    """Bi-LSTM, CNN or graph attention from scratch."""
    tokenizer = request.word_tokenizer()
    vectors = request.word_vectors(tokenizer)
    architecture = request.arguments.model
    config = BaselineConfig(architecture=architecture, pad_token_id=tokenizer.pad_token_id, **request.options)
    return start_embeddings(BaselineForSequenceClassification(config), tokenizer, vectors), tokenizer


def transformer(request: Request) -> Built:
    """A Transformer from scratch: the attention-pooling model on an untrained encoder, pooling by the plain mean."""
    tokenizer = request.word_tokenizer()
    options = {"alpha": 1.0, "window_size": TRANSFORMER_SIZES["max_position_embeddings"]} | request.options
    vocabulary: Options = {"vocab_size": options.pop("vocab_size"), "pad_token_id": tokenizer.pad_token_id}
    config = AttnPoolConfig(encoder_config=BertConfig(**TRANSFORMER_SIZES, **vocabulary), **options)
    return AttnPoolForSequenceClassification(config), tokenizer


def sequence_classification(request: Request) -> Built:
    """The plain classification head that transformers has for the encoder."""
    path, tokenizer = request.encoder_tokenizer()
    try:
        model = load_plain_head(path, request.arguments.encoder_revision, **request.options)
    except (ValueError, *LOADING_ERRORS) as error:
        raise UserError(no_encoder(request.arguments.encoder, error)) from error
    except RuntimeError as error:
        raise misfit(request.arguments.encoder, error) from error
    # Many tokenizers name no limit, or not the model's; the plain head reads what the encoder can number.
    tokenizer.model_max_length = min(tokenizer.model_max_length, position_limit(model))
    return model, portable_tokenizer(tokenizer)


@dataclass(frozen=True)
class Family:
    """One value of `--model`.

    Args:
        build: Makes the model and its tokenizer.
        config: Its fields are the model's flags; None for none.
        encoder: Whether `--encoder` is "needed", "possible" or "refused" (trained from scratch).
    """

    build: Callable[[Request], Built]
    config: type[PretrainedConfig] | None
    encoder: Literal["needed", "possible", "refused"]


MODELS = {
    "attn_pool": Family(attn_pool, AttnPoolConfig, "needed"),
    "hierarchical_attn": Family(hierarchical_attn, HierarchicalAttnConfig, "possible"),
    "lstm": Family(baseline, BaselineConfig, "refused"),
    "cnn": Family(baseline, BaselineConfig, "refused"),
    "gat": Family(baseline, BaselineConfig, "refused"),
    "transformer": Family(transformer, AttnPoolConfig, "refused"),
    "sequence_classification": Family(sequence_classification, None, "needed"),
}


def chosen_options(arguments: Any) -> Options:
    """The flags that were set for the model's configuration.

    Args:
        arguments: `ModelArguments`.

    Raises:
        UserError: The model is unknown, or a flag was set that it doesn't know or that would have no effect.
    """
    if arguments.model not in MODELS:
        raise UserError(f"--model {arguments.model} is unknown; choose from {', '.join(MODELS)}")
    family, has_encoder = MODELS[arguments.model], arguments.encoder is not None
    if has_encoder and family.encoder == "refused":
        raise UserError(f"--model {arguments.model} is trained from scratch; leave out --encoder")
    if not has_encoder and family.encoder == "needed":
        raise UserError(f"--model {arguments.model} needs --encoder: a Hub id, a folder or package:NAME")
    unused = (SCRATCH_OPTIONS if has_encoder else WINDOW_OPTIONS) if family.encoder == "possible" else frozenset()
    known = set(model_options(family.config)) - unused if family.config else set()
    common = COMMON_FLAGS | (WORD_VECTOR_FLAGS if "embedding_dim" in known else set())
    chosen = {name: value for name, value in vars(arguments).items() if value is not None}
    for name in sorted(chosen.keys() - known - common):
        encoder = " with --encoder" if has_encoder else " without --encoder" if name in unused else ""
        raise UserError(f"--{name} is not an option of --model {arguments.model}{encoder}")
    if arguments.word_vectors is None and arguments.word_vectors_vocabulary is not None:
        raise UserError("--word_vectors_vocabulary belongs to --word_vectors; leave it out")
    chosen = {name: value for name, value in chosen.items() if name in known}
    for name in sorted(chosen.keys() & CONDITIONAL_OPTIONS.keys()):
        other, values = CONDITIONAL_OPTIONS[name]
        value = chosen.get(other, default_of(family.config, other))
        if not (value if values is None else value in values):
            which = "" if values is None else f" {' or '.join(values)}"
            raise UserError(f"--{name} has no effect here: it belongs to --{other}{which}")
    return chosen


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
    try:
        model, tokenizer = MODELS[arguments.model].build(Request(arguments, texts, options | labels))
    except UserError:
        raise
    except ValueError as error:  # a configuration looked at its values
        raise UserError(f"--model {arguments.model}: {one_line(error)}") from error
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer
