"""A model and its tokenizer, by the name that `--model` gives."""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from salience.configuration.arguments import model_options, one_line
from salience.configuration.configuration_salience import SalienceConfig
from salience.modeling import (
    AttnPoolConfig,
    AttnPoolForSequenceClassification,
    BaselineConfig,
    BaselineForSequenceClassification,
    HierarchicalAttnConfig,
    HierarchicalAttnForSequenceClassification,
)
from salience.modeling.encoders import PACKAGE_PREFIX, locate_encoder, position_limit

from .errors import UserError
from .word_tokenizer import build_word_tokenizer, portable_tokenizer, sentence_end_ids

WINDOW_OPTIONS = frozenset({"window_size", "window_stride"})
SCRATCH_OPTIONS = frozenset({"vocab_size", "embedding_dim", "hidden_dim", "num_layers"})
Options = dict[str, Any]
Built = tuple[PreTrainedModel, PreTrainedTokenizerBase]

# The Transformer baseline: an encoder of four small layers without any pretraining, mean over its words.
TRANSFORMER_SIZES: Options = {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024,
    "max_position_embeddings": 512,
}  # fmt: skip


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
        common = {"model", "encoder", "encoder_revision", "base_model", "min_frequency"}
        chosen = {name: value for name, value in vars(self.arguments).items() if value is not None}
        for name in chosen.keys() - known - common:
            encoder = " with --encoder" if self.arguments.encoder else " without --encoder" if name in unused else ""
            raise UserError(f"--{name} is not an option of --model {self.arguments.model}{encoder}")
        return {name: value for name, value in chosen.items() if name in known} | self.labels

    def word_tokenizer(self, options: Options) -> PreTrainedTokenizerBase:
        """A word-level vocabulary of the training texts; `vocab_size` in the options becomes its real size."""
        size, frequency = options.get("vocab_size", 20_000), self.arguments.min_frequency
        for name, value in (("vocab_size", size), ("min_frequency", frequency)):
            if value < 1:
                raise UserError(f"--{name} {value} must be at least 1")
        tokenizer = build_word_tokenizer(self.texts, vocab_size=size, min_frequency=frequency)
        if len(tokenizer) == len(tokenizer.all_special_ids):
            raise UserError(f"no word stands {frequency} times in the training texts; lower --min_frequency")
        options["vocab_size"] = len(tokenizer)
        return tokenizer

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


def encoder_path(name: str) -> str:
    """What transformers shall load for `--encoder`.

    Raises:
        UserError: The package or folder holds no model, or there is no such folder.
    """
    path = Path(name).expanduser()
    is_hub_id = not path.is_absolute() and not name.startswith(".") and name.count("/") < 2
    if not (is_hub_id or name.startswith(PACKAGE_PREFIX) or path.is_dir()):
        raise UserError(f"--encoder {name}: there is no such folder")
    try:
        return locate_encoder(str(path))
    except ValueError as error:
        raise UserError(f"--encoder {one_line(error)}") from error


def no_encoder(name: str, error: Exception) -> str:
    """One sentence for an encoder that can't be loaded."""
    reason = one_line(error)[:300]
    if "trust_remote_code" in str(error):
        reason = "it brings its own code, which is never run; choose one that transformers knows"
    if Path(name).expanduser().is_dir() or name.startswith(PACKAGE_PREFIX):
        return f"--encoder {name} can't be loaded: {reason}"
    module = name.replace("-", "_")
    if module.isidentifier() and find_spec(module):
        return f"--encoder {name} is no Hub id; for the installed package write --encoder package:{module}"
    return f"--encoder {name} is no folder here and can't be loaded from the Hub: {reason}"


def misfit(name: str, error: RuntimeError) -> RuntimeError | UserError:
    """What to raise where weights were loaded: a sentence if their shapes are wrong, else the error as it is."""
    if "mismatch" not in str(error):
        return error
    return UserError(f"--encoder {name} can't be loaded: its weights have other shapes than its config.json says")


def with_encoder(model_class: type[Any], request: Request, options: Options, tokens: bool) -> Built:
    """A model of ours on a pretrained encoder."""
    path, tokenizer = request.encoder_tokenizer()
    if tokens:
        options["sentence_end_ids"] = sentence_end_ids(tokenizer)
    try:
        check_options(model_class, path, request, options)
        model = model_class.from_encoder(path, tokenizer, revision=request.arguments.encoder_revision, **options)
    except (OSError, SafetensorError) as error:
        raise UserError(no_encoder(request.arguments.encoder, error)) from error
    except RuntimeError as error:
        raise misfit(request.arguments.encoder, error) from error
    limit = position_limit(model.encoder)
    if model.config.window_size is not None and model.config.window_size > limit:
        raise UserError(f"--window_size {model.config.window_size} is more than the encoder's {limit} positions")
    tokenizer.model_max_length = int(1e30)  # the model reads any length: pipelines shall not warn of long texts
    return model, portable_tokenizer(tokenizer)


def check_options(model_class: type[Any], path: str, request: Request, options: Options) -> None:
    """Let the model look at the flags before gigabytes of weights are loaded.

    Raises:
        UserError: There is no encoder of texts.
        ValueError: A flag is out of its range.
    """
    name = request.arguments.encoder
    try:
        encoder_config = AutoConfig.from_pretrained(
            path, revision=request.arguments.encoder_revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise UserError(no_encoder(name, error)) from error
    if isinstance(encoder_config, SalienceConfig) or not hasattr(encoder_config, "hidden_size"):
        raise UserError(f"--encoder {name} is a {encoder_config.model_type} model and no plain encoder of texts")
    # How wide a window may be is known only with the weights.
    known = {name: options[name] for name in options.keys() - WINDOW_OPTIONS}
    with torch.device("meta"):
        model_class(model_class.config_class(encoder_config=encoder_config, **known))


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
    config = HierarchicalAttnConfig(
        pad_token_id=tokenizer.pad_token_id, sentence_end_ids=sentence_end_ids(tokenizer), **options
    )
    return HierarchicalAttnForSequenceClassification(config), tokenizer


def baseline(request: Request) -> Built:
    """Bi-LSTM, CNN or graph attention from scratch."""
    without_encoder(request)
    options = request.options(BaselineConfig)
    tokenizer = request.word_tokenizer(options)
    config = BaselineConfig(architecture=request.arguments.model, pad_token_id=tokenizer.pad_token_id, **options)
    return BaselineForSequenceClassification(config), tokenizer


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


def load_plain_head(path: str, revision: str | None, **options: Any) -> PreTrainedModel:
    """The classifier that transformers has for a pretrained encoder, in float32.

    Args:
        path: Folder or Hub id of the encoder.
        revision: Branch, tag or commit of a Hub id.
        options: `config`, or fields of it.

    Raises:
        ValueError: The checkpoint lacks weights of the encoder.
    """
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # that the classifier has fresh weights is expected
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path, revision=revision, dtype="float32", output_loading_info=True, trust_remote_code=False, **options
        )
    finally:
        transformers_logging.set_verbosity(level)
    inside = [name for name in report["missing_keys"] if name.startswith(f"{model.base_model_prefix}.")]
    if lacking := sorted(name for name in inside if ".pooler." not in name):
        raise ValueError(f"{path} lacks weights of its encoder: {', '.join(lacking[:5])}")
    return model


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
