"""Pretrained encoders: how they are loaded, and the base of the models that hold one."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

# A modeling file must itself import each file of ours that it needs: transformers 4 loads no others from a folder.
from .encoder_checks import attend_fully, check_reading, model_classes, takes_a_mask
from .salience_base import SaliencePreTrainedModel, check_finite
from .unpadded import NAME as UNPADDED
from .unpadded import learned_positions
from .weight_numbers import check_numbers
from .windows import position_rows

# A file beside an encoder of sentence-transformers that says how many tokens it was trained on, which may be less than
# it has positions for.
TRAINED_FILE = "sentence_bert_config.json"
# Positions of an encoder that numbers any.
NO_LIMIT = 1_000_000
# What configurations of transformers call the dropout of attention weights.
ATTENTION_DROPOUTS = ("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop")


class EncoderPreTrainedModel(SaliencePreTrainedModel):
    """Base of the models that can hold a pretrained encoder."""

    config_class: type[Any]  # an `EncoderConfig`

    @classmethod
    def from_encoder(
        cls,
        name_or_path: str | Path,
        tokenizer: PreTrainedTokenizerBase | None = None,
        revision: str | None = None,
        attention_dropout: float | None = None,
        **options: Any,
    ) -> "EncoderPreTrainedModel":
        """A new model on a pretrained encoder; everything but the encoder has fresh weights.

        Args:
            name_or_path: Hub id or folder of the encoder.
            tokenizer: The encoder's tokenizer; None loads it from the same place. It tells how many special tokens
                surround a text, and together with the encoder's positions, and what it was trained on if it says so
                (`TRAINED_FILE`), how much is read at once.
            revision: Branch, tag or commit of a Hub id.
            attention_dropout: See `set_attention_dropout`.
            options: Fields of our configuration (`alpha`, `num_labels`, `id2label`, `window_stride`, ...).

        Raises:
            ValueError: The encoder is an encoder-decoder, takes no mask or can't be read (`check_reading`), its
                checkpoint lacks weights, or an option is out of range.
            OSError: There is no such encoder.
        """
        trusted: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
        encoder_config = AutoConfig.from_pretrained(name_or_path, **trusted)
        if getattr(encoder_config, "rope_parameters", None):
            encoder_config = cls.config_class.read_encoder_config(encoder_config.to_dict())
        if encoder_config.is_encoder_decoder:
            raise ValueError(f"{name_or_path} is an encoder-decoder; give an encoder or a decoder")
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(name_or_path, **trusted)
        classes = model_classes(encoder_config)
        if not takes_a_mask(classes):
            raise ValueError(
                f"{name_or_path} takes no attention_mask, and padding might change its answers; give another"
            )
        set_attention_dropout(encoder_config, classes, attention_dropout)
        attend_fully(encoder_config)
        encoder = load_encoder(name_or_path, encoder_config, revision)
        check_reading(encoder, name_or_path)
        forget_origin(encoder.config)
        num_prefix, num_suffix = count_special_tokens(tokenizer)
        limit = min(tokenizer.model_max_length, position_limit(encoder), trained_length(name_or_path, revision))
        options.setdefault("window_size", limit if limit < NO_LIMIT else None)
        own: dict[str, Any] = {"num_prefix_tokens": num_prefix, "num_suffix_tokens": num_suffix}
        own["encoder_config"] = encoder.config
        model = cls(cls.config_class(**own, **options))
        model.base_model.pretrained = encoder
        model.train(model.training)  # the encoder too
        return model


def pretrained_encoder(model: PreTrainedModel) -> PreTrainedModel | None:
    """The pretrained encoder inside a classifier of ours or of transformers; None for one from scratch."""
    encoder = model.encoder if isinstance(model, SaliencePreTrainedModel) else model.base_model
    return encoder if isinstance(encoder, PreTrainedModel) and encoder is not model else None


def set_attention_dropout(config: PretrainedConfig, classes: Sequence[Any], rate: float | None) -> None:
    """Say in an encoder's configuration how many attention weights are dropped in training.

    Args:
        config: The encoder's.
        classes: See `model_classes`.
        rate: 0 to 1. None: 0 where attention is torch's `scaled_dot_product_attention`, which has no fast path with
            dropout on CPUs; elsewhere it stays as it is.

    Raises:
        ValueError: A rate was given, and the configuration has no place for one.
    """
    names = [name for name in ATTENTION_DROPOUTS if hasattr(config, name)]
    if rate is not None and not names:
        raise ValueError(f"{type(config).__name__} has no attention dropout; leave out attention_dropout")
    if rate is not None or all(each._supports_sdpa for each in classes):
        for name in names:
            setattr(config, name, rate or 0.0)


def can_read_unpadded(encoder: PreTrainedModel) -> bool:
    """Whether an encoder can read windows one behind the other (`unpadded_attention`).

    It can if transformers lets it attend by flash attention, so that it hands on where windows begin, if it looks both
    ways and numbers tokens as it is told, and if it drops no attention weights, which torch's kernel doesn't do.
    """
    return (
        encoder._supports_flash_attn
        and encoder.config._attn_implementation == "sdpa"
        and "position_ids" in signature(encoder.forward).parameters
        and learned_positions(encoder) is not None
        and not any(getattr(module, "is_causal", False) for module in encoder.modules())
        and not any(getattr(encoder.config, name, 0) for name in ATTENTION_DROPOUTS)
    )


@contextmanager
def reading_unpadded(encoder: PreTrainedModel | None) -> Iterator[None]:
    """Let the encoder of a model of ours read so meanwhile; one that can't, or None, stays as it is."""
    if encoder is None or not can_read_unpadded(encoder):
        yield
        return
    encoder.set_attn_implementation(UNPADDED)
    try:
        yield
    finally:
        encoder.set_attn_implementation("sdpa")


def forget_origin(config: PretrainedConfig) -> None:
    """Take out of a pretrained configuration what would send others to code of its origin, or says where it lay here.

    transformers knows the architecture itself; in what is saved of a new model, the entries would name files that it
    lacks, or another repository whose code is then run.
    """
    config._name_or_path = ""
    for name in ("auto_map", "custom_pipelines"):
        if hasattr(config, name):
            delattr(config, name)


def build_encoder(config: Any) -> PreTrainedModel:
    """An encoder with fresh weights, without the head that some encoders carry over [CLS].

    Args:
        config: An `EncoderConfig`.

    Raises:
        ValueError: It has windows that the encoder can't read.
    """
    encoder_config = config.encoder_config
    classes = model_classes(encoder_config)
    # Of the type of what stands on it, whatever its checkpoint had.
    options = {"dtype": torch.get_default_dtype(), **without_pooler(classes)}
    encoder = AutoModel.from_config(encoder_config, trust_remote_code=False, **options)
    limit = position_rows(encoder) or position_limit(encoder)  # of a saved model, which may use all rows
    if (config.window_size or 0) > limit:
        raise ValueError(f"window_size = {config.window_size} is more than the encoder's {limit} positions")
    return encoder


def load_encoder(name_or_path: str | Path, encoder_config: PretrainedConfig, revision: str | None) -> PreTrainedModel:
    """An encoder with its pretrained weights, in float32.

    Raises:
        ValueError: The checkpoint lacks weights or has more layers, or they are unfit; see `load_weights`.
    """
    classes = model_classes(encoder_config)
    options = {"config": encoder_config, "revision": revision, "dtype": torch.float32, **without_pooler(classes)}
    encoder, missing, unexpected = load_weights(AutoModel, name_or_path, **options)
    if missing:
        raise ValueError(f"{name_or_path} lacks weights of its encoder: {', '.join(missing[:5])}")
    if dropped := further_layers(encoder, unexpected):
        raise ValueError(f"{name_or_path} has weights that its config.json has no place for: {dropped[0]}")
    return encoder


def load_weights(
    auto_class: Any, name_or_path: str | Path, **options: Any
) -> tuple[PreTrainedModel, list[str], list[str]]:
    """A model of transformers or ours that answers by names, without transformers' report of what didn't fit.

    Args:
        auto_class: `AutoModel`, or one of its like.
        name_or_path: Folder or Hub id.
        options: Of `from_pretrained`.

    Returns:
        The model, the names of the weights that its checkpoint lacks, and of those that it has no place for.

    Raises:
        ValueError: Weights have other shapes than the configuration says, or are no floats or no finite numbers.
    """
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        model, report = auto_class.from_pretrained(
            name_or_path, output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=False, **options
        )
    finally:
        transformers_logging.set_verbosity(level)
    if mismatched := sorted(each if isinstance(each, str) else each[0] for each in report["mismatched_keys"]):
        raise ValueError(f"{name_or_path}: its weights have other shapes than its config.json says ({mismatched[0]})")
    check_numbers(model, name_or_path, options.get("revision"))
    check_finite(model, name_or_path)
    model.config.return_dict = True  # a config.json may say that it answers with tuples
    return model, sorted(report["missing_keys"]), sorted(report["unexpected_keys"])


def further_layers(model: PreTrainedModel, unexpected: list[str]) -> list[str]:
    """Weights of a checkpoint that are of more layers than its model has: without them it is another model.

    Args:
        model: As it was loaded.
        unexpected: Weights of the checkpoint that it has no place for; heads of other tasks are among them.
    """

    def place(name: str) -> str:
        return re.sub(r"\d+", "", name.removeprefix(f"{model.base_model_prefix}."))

    known = {place(name) for name in model.state_dict()}
    return [name for name in unexpected if place(name) in known]


def trained_length(name_or_path: str | Path, revision: str | None) -> int:
    """Tokens of the texts that an encoder was trained on, where it says so; else more than any text has.

    Raises:
        ValueError: The file that says so is damaged.
    """
    try:
        file = cached_file(
            str(name_or_path), TRAINED_FILE, revision=revision, _raise_exceptions_for_missing_entries=False
        )
    except OSError:  # there is the encoder, in the cache, and no way to ask
        transformers_logging.get_logger(__name__).warning(
            f"{name_or_path}: the Hub couldn't be asked for {TRAINED_FILE}, so that windows have as many tokens as the "
            "encoder has positions, whatever it was trained on; give a window_size if you know it"
        )
        file = None
    if file is None:
        return NO_LIMIT
    try:
        length = json.loads(Path(file).read_text("utf-8")).get("max_seq_length") or NO_LIMIT
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{TRAINED_FILE} of {name_or_path} is no JSON object") from error
    if not isinstance(length, int) or length < 8:
        raise ValueError(
            f"{TRAINED_FILE} of {name_or_path} has max_seq_length {length!r}, which is no number of tokens"
        )
    return length


def without_pooler(classes: Sequence[Any]) -> dict[str, bool]:
    """Arguments that build a model of one of some classes without its [CLS] head, where it can be left out."""
    has_switch = all("add_pooling_layer" in signature(each.__init__).parameters for each in classes)
    return {"add_pooling_layer": False} if has_switch else {}


def position_limit(encoder: PreTrainedModel) -> int:
    """Tokens that an encoder can number: rows of its position embedding and what its configuration says, the fewer."""
    said = getattr(encoder.config, "max_position_embeddings", None) or 0
    return min(position_rows(encoder) or NO_LIMIT, said if said > 0 else NO_LIMIT)  # XLNet says -1


def count_special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """How many special tokens a tokenizer puts before and behind a text."""
    encoding = tokenizer("a", return_special_tokens_mask=True)
    special = encoding["special_tokens_mask"]
    num_prefix = next((i for i, is_special in enumerate(special) if not is_special), len(special))
    num_suffix = next((i for i, is_special in enumerate(reversed(special)) if not is_special), 0)
    return num_prefix, num_suffix
