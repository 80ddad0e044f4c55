"""A model and its tokenizer, by the name that `--model` gives."""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from salience.configuration.arguments import model_options, one_line
from salience.modeling import (
    AttnPoolConfig,
    AttnPoolForSequenceClassification,
    BaselineConfig,
    BaselineForSequenceClassification,
    HierarchicalAttnConfig,
    HierarchicalAttnForSequenceClassification,
)

from .errors import UserError
from .paths import resolve_path
from .word_tokenizer import build_word_tokenizer, portable_tokenizer, sentence_end_ids

Options = dict[str, Any]
Built = tuple[PreTrainedModel, PreTrainedTokenizerBase]

# The Transformer baseline: an encoder of four small layers without any pretraining, mean over its words.
TRANSFORMER_SIZES = {
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

    def options(self, config_class: type[PretrainedConfig] | None) -> Options:
        """The flags that were set, if they belong to the model.

        Raises:
            UserError: A flag was set that the model doesn't know.
        """
        known = set(model_options(config_class)) if config_class else set()
        common = {"model", "encoder", "encoder_revision", "base_model", "min_frequency"}
        chosen = {name: value for name, value in vars(self.arguments).items() if value is not None}
        for name in chosen.keys() - known - common:
            raise UserError(f"--{name} is not an option of --model {self.arguments.model}")
        return {name: value for name, value in chosen.items() if name in known} | self.labels

    def word_tokenizer(self, options: Options) -> PreTrainedTokenizerBase:
        """A word-level vocabulary of the training texts; `vocab_size` in the options becomes its real size."""
        size = options.get("vocab_size") or 20_000
        tokenizer = build_word_tokenizer(self.texts, vocab_size=size, min_frequency=self.arguments.min_frequency)
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
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, revision=self.arguments.encoder_revision)
        except (OSError, ValueError) as error:
            raise UserError(no_encoder(name, error)) from error
        return path, tokenizer


def encoder_path(name: str) -> str:
    """What transformers shall load for `--encoder`: the folder of an installed package, or the name as it is.

    Raises:
        UserError: The package or folder holds no model.
    """
    if not name.startswith("package:") and not Path(name).is_dir():
        return name
    folder = resolve_path(name)
    if (folder / "config.json").is_file():
        return str(folder)
    found = sorted(path.parent for path in folder.rglob("config.json") if list(path.parent.glob("*.safetensors")))
    if len(found) != 1:
        what = "no model (config.json with .safetensors)" if not found else f"{len(found)} models; name one's folder"
        raise UserError(f"--encoder {name} holds {what}")
    return str(found[0])


def no_encoder(name: str, error: Exception) -> str:
    """One sentence for an encoder that can't be loaded."""
    module = name.replace("-", "_")
    if module.isidentifier() and find_spec(module):
        return f"--encoder {name} is no Hub id; for the installed package write --encoder package:{module}"
    return f"--encoder {name} can't be loaded, neither from a folder nor from the Hub: {one_line(error)}"


def with_encoder(model_class: type[Any], request: Request, options: Options, tokens: bool) -> Built:
    """A model of ours on a pretrained encoder."""
    path, tokenizer = request.encoder_tokenizer()
    if tokens:
        options["sentence_end_ids"] = sentence_end_ids(tokenizer)
    try:
        model = model_class.from_encoder(path, tokenizer, revision=request.arguments.encoder_revision, **options)
    except OSError as error:
        raise UserError(no_encoder(request.arguments.encoder, error)) from error
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
    options = request.options(HierarchicalAttnConfig)
    if request.arguments.encoder is not None:
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
    vocabulary = {"vocab_size": options.pop("vocab_size"), "pad_token_id": tokenizer.pad_token_id}
    options = {"alpha": 1.0, "window_size": TRANSFORMER_SIZES["max_position_embeddings"]} | options
    config = AttnPoolConfig(encoder_config=BertConfig(**TRANSFORMER_SIZES, **vocabulary), **options)
    return AttnPoolForSequenceClassification(config), tokenizer


def sequence_classification(request: Request) -> Built:
    """The plain classification head that transformers has for the encoder."""
    options = request.options(None)
    path, tokenizer = request.encoder_tokenizer()
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            path, revision=request.arguments.encoder_revision, dtype="float32", **options
        )
    except (OSError, ValueError) as error:
        raise UserError(no_encoder(request.arguments.encoder, error)) from error
    model.config._name_or_path = ""  # a path on this machine says nothing to others
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
