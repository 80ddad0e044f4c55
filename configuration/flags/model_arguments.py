"""The flags that say which model is built: those that all families share, and the fields of their configurations."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from inspect import Parameter, cleandoc, signature
from typing import Any

from transformers import PretrainedConfig

from salience.configuration.configuration_salience import FITTED, SalienceConfig
from salience.configuration.errors import UserError
from salience.configuration.families import FAMILIES, codes, names_a_run
from salience.configuration.flags.flag_rules import check, check_together
from salience.configuration.flags.flags_together import MODEL_RULES
from salience.configuration.flags.rule_kinds import changed_flags, refuse, shown

# What counts of a model that is trained already, beside the fields that all our configurations share.
OF_A_RUN = frozenset({"model", "model_revision", "encoder_cache"})
# What the program itself finds out, from the tokenizer, the encoder or the data.
NOT_FLAGS = {
    "encoder_config", "num_prefix_tokens", "num_suffix_tokens", "pad_token_id", "sentence_end_ids", "architecture",
    *FITTED, "label_scale", "kwargs", "self",
}  # fmt: skip
# They count with a pretrained encoder only.
WINDOW_OPTIONS = frozenset({"window_size", "window_stride"})
# They count where there are word embeddings only.
WORD_VECTOR_FLAGS = frozenset({"word_vectors", "word_vectors_vocabulary"})


def _owners(config_class: type[PretrainedConfig]) -> list[type]:
    """The class and its bases that are ours, the class first."""
    mro = config_class.__mro__
    return [owner for owner in mro[: mro.index(PretrainedConfig)] if "__init__" in vars(owner)]


def model_options(config_class: type[PretrainedConfig]) -> dict[str, Parameter]:
    """The fields of one of our configurations that a user sets, by name: they are the model's flags."""
    options: dict[str, Parameter] = {}
    for owner in _owners(config_class):
        parameters = signature(vars(owner)["__init__"]).parameters
        options |= {name: each for name, each in parameters.items() if name not in NOT_FLAGS | set(options)}
    return options


def option_helps(config_class: type[PretrainedConfig]) -> dict[str, str]:
    """What the docstrings of one of our configurations say of its fields, on one line each."""
    helps: dict[str, str] = {}
    for owner in _owners(config_class):
        arguments = cleandoc(owner.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
        found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE)
        helps |= {name: " ".join(text.split()) for name, text in found if name not in helps}
    return helps


def _model_fields() -> list[tuple[str, Any, Any]]:
    """One optional field for each option of each family; unset means the configuration's default."""
    classes = [code.config_class() for code in codes().values()]
    options = {name: each for config in reversed(classes) for name, each in model_options(config).items()}
    return [
        (name, each.annotation | None, field(default=None, metadata={"help": _help(name)}))
        for name, each in sorted(options.items())
    ]


def meaning(name: str) -> str:
    """What a field of our configurations is, in the words of each that says something else of it."""
    said: dict[str, str] = {}
    for code in codes().values():
        text = option_helps(code.config_class()).get(name)
        if text is not None and name in model_options(code.config_class()):
            said.setdefault(text, code.name)
    return next(iter(said)) if len(said) == 1 else " ".join(f"{code}: {text}" for text, code in said.items())


def defaults_of(name: str) -> list[tuple[Any, list[str]]]:
    """Each default that a field of our configurations has, with the families that have it; not those without effect."""
    found: list[tuple[Any, list[str]]] = []
    for model, family in FAMILIES.items():
        options = model_options(family.code.config_class()) if family.code else {}
        if name not in options.keys() - family.unused:
            continue
        default = family.defaults.get(name, options[name].default)
        same = next((names for value, names in found if value == default), None)
        if same is None:
            found.append((default, same := []))
        same.append(model)
    return found


def _help(name: str) -> str:
    defaults = "; ".join(f"{value} ({', '.join(names)})" for value, names in defaults_of(name))
    return f"{meaning(name)} Default: {defaults}.".strip().replace("%", "%%")  # argparse fills in what follows a %


@dataclass
class CommonModelArguments:
    """Which model, on which encoder or which words."""

    model: str = field(
        default="attn_pool",
        metadata={
            "help": "; ".join(f"{name}: {family.help}" for name, family in FAMILIES.items())
            + "; or the folder or Hub id of a trained one of ours, which is trained on."
        },
    )
    model_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit of a trained model on the Hub that --model names."}
    )
    encoder: str | None = field(
        default=None, metadata={"help": "Hub id, folder, or package:NAME[/FOLDER] of a pretrained encoder."}
    )
    encoder_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub encoder."})
    attention_dropout: float | None = field(
        default=None,
        metadata={
            "help": "Share of an encoder's attention weights that is dropped in training; unset: 0 where it would be "
            "slow (torch's scaled_dot_product_attention), else what the encoder has."
        },
    )
    encoder_cache: str | None = field(
        default=None,
        metadata={
            "help": "File that keeps what a frozen encoder says of each text (--freeze_encoder), so that further "
            "epochs and runs needn't ask it again; with MiniLM 80 MB for 1,000 texts of 50 tokens, in bfloat16 40."
        },
    )
    base_model: str | None = field(
        default=None, metadata={"help": "Hub id that the card names, if --encoder is a folder or package."}
    )
    vocabulary: str = field(
        default="words", metadata={"help": "From scratch: words, or wordpieces that spell the rarer ones."}
    )
    min_frequency: int = field(default=2, metadata={"help": "From scratch: words seen less often are unknown."})
    word_vectors: str | None = field(
        default=None,
        metadata={
            "help": "From scratch: a .npy, .safetensors, GloVe or word2vec text, or package:NAME/FILE, from which the "
            "word embeddings start; embedding_dim becomes its width."
        },
    )
    word_vectors_vocabulary: str | None = field(
        default=None,
        metadata={
            "help": "The words of the rows of .npy or .safetensors: a text with one a line, JSON, parquet, or a "
            "tokenizer.json, whose pieces have the vectors."
        },
    )


ModelArguments = make_dataclass("ModelArguments", _model_fields(), bases=(CommonModelArguments,))
ModelArguments.__doc__ = "Which model, on which encoder, with which fields of its configuration."
COMMON_FLAGS = frozenset(each.name for each in fields(CommonModelArguments))


def chosen_options(arguments: Any) -> dict[str, Any]:
    """The flags that were set for the model's configuration.

    Args:
        arguments: `ModelArguments`.

    Raises:
        UserError: The model is unknown, or a flag was set that it doesn't know or that would have no effect.
    """
    if names_a_run(arguments.model):
        return _options_of_run(arguments)
    if arguments.model not in FAMILIES:
        raise UserError(
            f"--model {arguments.model} is unknown; choose from {', '.join(FAMILIES)}, or name the folder or Hub id of "
            "a trained model"
        )
    family, has_encoder = FAMILIES[arguments.model], arguments.encoder is not None
    if has_encoder and family.encoder == "refused":
        raise UserError(f"--model {arguments.model} is trained from scratch; leave out --encoder")
    if not has_encoder and family.encoder == "needed":
        raise UserError(f"--model {arguments.model} needs --encoder: a Hub id, a folder or package:NAME")
    options = model_options(family.code.config_class()) if family.code else {}
    unused: frozenset[str] = frozenset()
    if family.code and family.encoder == "possible":
        unused = family.code.scratch_options if has_encoder else WINDOW_OPTIONS
    known = options.keys() - unused - family.unused
    common = COMMON_FLAGS if "embedding_dim" in known else COMMON_FLAGS - WORD_VECTOR_FLAGS
    chosen = {name: value for name, value in vars(arguments).items() if value is not None}
    for name in sorted(chosen.keys() - known - common):
        encoder = " with --encoder" if has_encoder else " without --encoder" if name in unused else ""
        raise UserError(f"--{name} is not an option of --model {arguments.model}{encoder}")
    check(arguments)
    check_together(arguments)
    chosen = {name: value for name, value in chosen.items() if name in known}
    defaults: Mapping[str, Any] = {name: each.default for name, each in options.items()} | family.defaults
    refuse(MODEL_RULES, {**defaults, **chosen}, chosen.keys())
    return chosen


def _options_of_run(arguments: Any) -> dict[str, Any]:
    """See `chosen_options`; most of a trained model stays what it is."""
    known, changed = model_options(SalienceConfig).keys(), changed_flags(arguments)
    for name in sorted(changed.keys() - known - OF_A_RUN):
        raise UserError(
            f"--{name} {shown(changed[name])} is of a new model, and --model {arguments.model} goes on with a trained "
            "one; leave it out"
        )
    check(arguments)
    check_together(arguments)
    return {name: value for name, value in changed.items() if name in known}
