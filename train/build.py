"""A model and its tokenizer, by the name that `--model` gives."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import AutoTokenizer, BertConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.arguments import model_options, one_line
from salience.modeling import (
    AttnPoolConfig,
    AttnPoolForSequenceClassification,
    BaselineConfig,
    BaselineForSequenceClassification,
    HierarchicalAttnConfig,
    HierarchicalAttnForSequenceClassification,
)
from salience.modeling.encoders import position_limit

from .encoder_loading import WINDOW_OPTIONS, check_options, encoder_path, load_plain_head, misfit, no_encoder
from .errors import UserError
from .word_tokenizer import VOCABULARIES, build_word_tokenizer, portable_tokenizer, sentence_end_ids
from .word_vectors import WordVectors, load_word_vectors, start_embeddings, word_ids

WORD_VECTOR_FLAGS = frozenset({"word_vectors", "word_vectors_vocabulary"})
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


class Request:
    """What a builder may draw on.

    Args:
        arguments: The model's flags (`ModelArguments`).
        texts: The training texts, for a vocabulary from scratch.
        labels: `id2label`, `label2id` and `problem_type`.
    """

    def __init__(self, arguments: Any, texts: Iterable[str], labels: Options) -> None:
        self.arguments, self.texts, self.labels = arguments, texts, labels

    def options(self, config_class: type[PretrainedConfig] | None, unused: frozenset[str] = frozenset()) -> Options:
        """The flags that were set, if they belong to the model.

        Args:
            config_class: Its fields are the model's flags; None for none.
            unused: Those among them that would have no effect.

        Raises:
            UserError: A flag was set that the model doesn't know.
        """
        known = set(model_options(config_class)) - unused if config_class else set()
        common = {"model", "encoder", "encoder_revision", "encoder_cache", "base_model", "min_frequency", "vocabulary"}
        common |= WORD_VECTOR_FLAGS if "embedding_dim" in known else set()
        chosen = {name: value for name, value in vars(self.arguments).items() if value is not None}
        for name in sorted(chosen.keys() - known - common):
            encoder = " with --encoder" if self.arguments.encoder else " without --encoder" if name in unused else ""
            raise UserError(f"--{name} is not an option of --model {self.arguments.model}{encoder}")
        chosen = {name: value for name, value in chosen.items() if name in known}
        for name in sorted(chosen.keys() & CONDITIONAL_OPTIONS.keys()):
            other, values = CONDITIONAL_OPTIONS[name]
            value = chosen.get(other, default_of(config_class, other))
            if not (value if values is None else value in values):
                which = "" if values is None else f" {' or '.join(values)}"
                raise UserError(f"--{name} has no effect here: it belongs to --{other}{which}")
        return chosen | self.labels

    def word_tokenizer(self, options: Options) -> PreTrainedTokenizerBase:
        """A word-level vocabulary of the training texts; `vocab_size` in the options becomes its real size."""
        size, frequency = options.get("vocab_size", 20_000), self.arguments.min_frequency
        for name, value in (("vocab_size", size), ("min_frequency", frequency)):
            if value < 1:
                raise UserError(f"--{name} {value} must be at least 1")
        vocabulary = self.arguments.vocabulary
        if vocabulary not in VOCABULARIES:
            raise UserError(f"--vocabulary {vocabulary} is unknown; choose from {', '.join(VOCABULARIES)}")
        tokenizer = build_word_tokenizer(self.texts, vocab_size=size, min_frequency=frequency, vocabulary=vocabulary)
        if len(tokenizer) == len(tokenizer.all_special_ids):
            raise UserError(f"no word stands {frequency} times in the training texts; lower --min_frequency")
        options["vocab_size"] = len(tokenizer)
        return tokenizer

    def word_vectors(self, tokenizer: PreTrainedTokenizerBase, options: Options) -> WordVectors | None:
        """Pretrained vectors of the vocabulary's words, if asked for; `embedding_dim` becomes their width."""
        path, vocabulary_path = self.arguments.word_vectors, self.arguments.word_vectors_vocabulary
        if path is None:
            if vocabulary_path is not None:
                raise UserError("--word_vectors_vocabulary belongs to --word_vectors; leave it out")
            return None
        vectors_FE, found_W = load_word_vectors(path, vocabulary_path, list(word_ids(tokenizer)))
        width = vectors_FE.shape[1]
        if options.setdefault("embedding_dim", width) != width:
            raise UserError(
                f"--embedding_dim {options['embedding_dim']} isn't {width}, the width of '{path}'; leave it out"
            )
        return vectors_FE, found_W

    def encoder_tokenizer(self) -> tuple[str, PreTrainedTokenizerBase]:
        """Where the encoder is, and its tokenizer.

        Raises:
            UserError: There is none at the place that `--encoder` names.
        """
        name = self.arguments.encoder
        if name is None:
            raise UserError(f"--model {self.arguments.model} needs --encoder: a Hub id, a folder or package:NAME")
        path = encoder_path(name)
        if self.arguments.encoder_revision and Path(path).is_dir():
            raise UserError(f"--encoder_revision belongs to a Hub id, and --encoder {name} is a folder; leave it out")
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                path, revision=self.arguments.encoder_revision, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise UserError(no_encoder(name, error)) from error
        except TypeError:  # transformers 4 looks for a vocabulary that isn't there; 5 makes an empty one
            tokenizer = None
        if tokenizer is None or set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
            raise UserError(f"--encoder {name} has no tokenizer; add its tokenizer.json")
        return path, tokenizer


def with_encoder(model_class: type[Any], request: Request, options: Options, tokens: bool) -> Built:
    """A model of ours on a pretrained encoder."""
    path, tokenizer = request.encoder_tokenizer()
    name, revision = request.arguments.encoder, request.arguments.encoder_revision
    if tokens:
        options["sentence_end_ids"] = sentence_end_ids(tokenizer)
    try:
        check_options(model_class, path, name, revision, options)
        model = model_class.from_encoder(path, tokenizer, revision=revision, **options)
    except (OSError, SafetensorError) as error:
        raise UserError(no_encoder(name, error)) from error
    except RuntimeError as error:
        raise misfit(name, error) from error
    limit = position_limit(model.encoder)
    if model.config.window_size is not None and model.config.window_size > limit:
        raise UserError(f"--window_size {model.config.window_size} is more than the encoder's {limit} positions")
    tokenizer.model_max_length = int(1e30)  # the model reads any length: pipelines shall not warn of long texts
    return model, portable_tokenizer(tokenizer)


def without_encoder(request: Request) -> None:
    """Refuse `--encoder` for a model that is trained from scratch."""
    if request.arguments.encoder is not None:
        raise UserError(f"--model {request.arguments.model} is trained from scratch; leave out --encoder")


def attn_pool(request: Request) -> Built:
    """Attention pooling on a pretrained encoder."""
    options = request.options(AttnPoolConfig)
    return with_encoder(AttnPoolForSequenceClassification, request, options, tokens=False)


def hierarchical_attn(request: Request) -> Built:
    """Hierarchical attention, from scratch or on a pretrained encoder."""
    has_encoder = request.arguments.encoder is not None
    options = request.options(HierarchicalAttnConfig, unused=SCRATCH_OPTIONS if has_encoder else WINDOW_OPTIONS)
    if has_encoder:
        return with_encoder(HierarchicalAttnForSequenceClassification, request, options, tokens=True)
    tokenizer = request.word_tokenizer(options)
    vectors = request.word_vectors(tokenizer, options)
    config = HierarchicalAttnConfig(
        pad_token_id=tokenizer.pad_token_id, sentence_end_ids=sentence_end_ids(tokenizer), **options
    )
    return start_embeddings(HierarchicalAttnForSequenceClassification(config), tokenizer, vectors), tokenizer


def baseline(request: Request) -> Built:
    """Bi-LSTM, CNN or graph attention from scratch."""
    without_encoder(request)
    options = request.options(BaselineConfig)
    tokenizer = request.word_tokenizer(options)
    vectors = request.word_vectors(tokenizer, options)
    config = BaselineConfig(architecture=request.arguments.model, pad_token_id=tokenizer.pad_token_id, **options)
    return start_embeddings(BaselineForSequenceClassification(config), tokenizer, vectors), tokenizer


def transformer(request: Request) -> Built:
    """A Transformer from scratch: the attention-pooling model on an untrained encoder, pooling by the plain mean."""
    without_encoder(request)
    options = request.options(AttnPoolConfig)
    tokenizer = request.word_tokenizer(options)
    vocabulary: Options = {"vocab_size": options.pop("vocab_size"), "pad_token_id": tokenizer.pad_token_id}
    options = {"alpha": 1.0, "window_size": TRANSFORMER_SIZES["max_position_embeddings"]} | options
    config = AttnPoolConfig(encoder_config=BertConfig(**TRANSFORMER_SIZES, **vocabulary), **options)
    return AttnPoolForSequenceClassification(config), tokenizer


def sequence_classification(request: Request) -> Built:
    """The plain classification head that transformers has for the encoder."""
    options = request.options(None)
    path, tokenizer = request.encoder_tokenizer()
    try:
        model = load_plain_head(path, request.arguments.encoder_revision, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(no_encoder(request.arguments.encoder, error)) from error
    except RuntimeError as error:
        raise misfit(request.arguments.encoder, error) from error
    model.config._name_or_path = ""  # a path on this machine says nothing to others
    # Many tokenizers name no limit, or not the model's; the plain head reads what the encoder can number.
    tokenizer.model_max_length = min(tokenizer.model_max_length, position_limit(model))
    return model, portable_tokenizer(tokenizer)


MODELS: dict[str, Callable[[Request], Built]] = {
    "attn_pool": attn_pool,
    "hierarchical_attn": hierarchical_attn,
    "lstm": baseline,
    "cnn": baseline,
    "gat": baseline,
    "transformer": transformer,
    "sequence_classification": sequence_classification,
}


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
    if arguments.model not in MODELS:
        raise UserError(f"--model {arguments.model} is unknown; choose from {', '.join(MODELS)}")
    label_names = label_names or ["value"]  # regression
    labels = {
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: index for index, name in enumerate(label_names)},
        "problem_type": problem_type,
    }
    try:
        model, tokenizer = MODELS[arguments.model](Request(arguments, texts, labels))
    except UserError:
        raise
    except ValueError as error:  # a configuration looked at its values
        raise UserError(f"--model {arguments.model}: {one_line(error)}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # decoders have none; masked positions are never read
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer
