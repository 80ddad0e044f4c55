"""From a recipe and command-line flags to typed arguments: unknown names are errors, flags win over recipes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, make_dataclass
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser, PretrainedConfig

from salience.configuration.configuration_attn_pool import AttnPoolConfig
from salience.configuration.configuration_baseline import BaselineConfig
from salience.configuration.configuration_hierarchical_attn import HierarchicalAttnConfig
from salience.configuration.data_arguments import DataArguments
from salience.configuration.errors import UserError, one_line
from salience.configuration.training_arguments import SalienceTrainingArguments
from salience.configuration.tuning_arguments import TuningArguments

# What the program itself finds out, from the tokenizer, the encoder or the data.
NOT_FLAGS = {
    "encoder_config", "num_prefix_tokens", "num_suffix_tokens", "pad_token_id", "sentence_end_ids", "architecture",
    "logit_temperature", "prior_correction", "num_ngrams", "kwargs", "self",
}  # fmt: skip


def model_options(config_class: type[PretrainedConfig]) -> dict[str, Parameter]:
    """The fields of one of our configurations that a user sets, by name: they are the model's flags."""
    options: dict[str, Parameter] = {}
    for owner in config_class.__mro__:
        if owner is PretrainedConfig:
            break
        if "__init__" in vars(owner):
            parameters = signature(vars(owner)["__init__"]).parameters
            options |= {name: each for name, each in parameters.items() if name not in NOT_FLAGS | set(options)}
    return options


def _model_fields() -> list[tuple[str, Any, Any]]:
    """One optional field for each option of each family; unset means the configuration's default."""
    families = (AttnPoolConfig, HierarchicalAttnConfig, BaselineConfig)
    options = {name: each for family in reversed(families) for name, each in model_options(family).items()}
    defaults = {
        name: ", ".join(
            f"{each.__name__} {model_options(each)[name].default}" for each in families if name in model_options(each)
        )
        for name in options
    }
    return [
        (name, each.annotation | None, field(default=None, metadata={"help": f"Default: {defaults[name]}."}))
        for name, each in sorted(options.items())
    ]


ModelArguments = make_dataclass(
    "ModelArguments",
    [
        (
            "model",
            str,
            field(
                default="attn_pool",
                metadata={
                    "help": "attn_pool, hierarchical_attn, lstm, cnn, transformer, gat (from scratch), "
                    "or sequence_classification (the plain head of transformers)."
                },
            ),
        ),
        (
            "encoder",
            str | None,
            field(
                default=None,
                metadata={"help": "Hub id, folder, or package:NAME[/FOLDER] of a pretrained encoder."},
            ),
        ),
        (
            "encoder_revision",
            str | None,
            field(default=None, metadata={"help": "Branch, tag or commit of a Hub encoder."}),
        ),
        (
            "encoder_cache",
            str | None,
            field(
                default=None,
                metadata={
                    "help": "File that keeps what a frozen encoder says of each text (--freeze_encoder), so that "
                    "further epochs and runs needn't ask it again; 80 MB for 1,000 texts of 50 tokens with MiniLM."
                },
            ),
        ),
        (
            "base_model",
            str | None,
            field(default=None, metadata={"help": "Hub id that the card names, if --encoder is a folder or package."}),
        ),
        (
            "vocabulary",
            str,
            field(default="words", metadata={"help": "From scratch: words, or wordpieces that spell the rarer ones."}),
        ),
        (
            "min_frequency",
            int,
            field(default=2, metadata={"help": "From scratch: words seen less often are unknown."}),
        ),
        (
            "word_vectors",
            str | None,
            field(
                default=None,
                metadata={
                    "help": "From scratch: a .npy, .safetensors, GloVe or word2vec text, or package:NAME/FILE, from "
                    "which the word embeddings start; embedding_dim becomes its width."
                },
            ),
        ),
        (
            "word_vectors_vocabulary",
            str | None,
            field(
                default=None,
                metadata={
                    "help": "The words of the rows of .npy or .safetensors: a text with one a line, JSON, parquet, or "
                    "a tokenizer.json, whose pieces have the vectors."
                },
            ),
        ),
        *_model_fields(),
    ],
)
ModelArguments.__doc__ = "Which model, on which encoder, with which fields of its configuration."
Arguments = tuple[Any, DataArguments, TuningArguments, SalienceTrainingArguments]

TRAINING_GROUPS = (ModelArguments, DataArguments, TuningArguments, SalienceTrainingArguments)


class RecipeParser(HfArgumentParser):
    """HfArgumentParser that takes `RECIPE.yaml --flag value ...` and answers mistakes with one sentence."""

    def __init__(self, groups: tuple[type, ...] = TRAINING_GROUPS, program: str = "train.py") -> None:
        super().__init__(
            groups,  # type: ignore[arg-type]  # DataClassType is a NewType that no class is
            prog=program,
            usage=f"{program} [RECIPE.yaml ...] [--flag value ...]",
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Called by argparse for a flag it can't read."""
        # "argument --learning_rate/--learning-rate: invalid ...": one spelling of the flag is enough.
        raise UserError(re.sub(r"^argument (--\w+)\S*:", r"\1:", one_line(message)))

    def known(self) -> list[str]:
        """Names of all flags, without dashes."""
        return [name.removeprefix("--") for name in self._option_string_actions if name.startswith("--")]

    def parse(self, argv: Sequence[str]) -> tuple[Any, ...]:
        """Arguments of the recipes and flags in `argv`, one object for each group.

        Raises:
            UserError: A key or flag is unknown (the nearest one is suggested), a value is out of range, or a recipe
                can't be read.
        """
        tokens: list[str] = []
        flags = list(argv)
        while flags and not flags[0].startswith("-"):
            tokens += recipe_tokens(self.read_recipe(flags.pop(0)))
        tokens += flags
        _, unknown = self.parse_known_args(tokens)
        if unknown:
            raise UserError(self.unknown("flag", unknown[0].split("=")[0], "--"))
        try:
            return tuple(self.parse_args_into_dataclasses(tokens, look_for_args_file=False))
        except UserError:
            raise
        # A dataclass looked at its values; a flag needs a package or a file that isn't there.
        except (ValueError, ImportError, OSError) as error:
            raise UserError(one_line(error)) from error

    def parse_flags(self, flags: Mapping[str, Any], recipes: Sequence[str] = ()) -> tuple[tuple[Any, ...], list[str]]:
        """Arguments of flags that Python code gives by name, with the checks of the command line.

        Args:
            flags: Values by the names of the flags, without dashes; None for the default.
            recipes: Recipes to start from.

        Returns:
            One object for each group, and the words that one would type for them.

        Raises:
            UserError: See `parse`.
        """
        for name in flags:
            if name not in self.known() or name == "help":
                raise UserError(self.unknown("argument", name, ""))
        words = [*recipes, *recipe_tokens(flags)]
        return self.parse(words), words

    def unknown(self, kind: str, name: str, dashes: str) -> str:
        """One sentence for a name that doesn't exist."""
        if dashes and not name.startswith(dashes):
            return f'"{name}" is neither a flag nor the value of one; recipes come first, flags start with --'
        nearest = get_close_matches(name.removeprefix(dashes), self.known(), n=1)
        hint = f"; did you mean {dashes}{nearest[0]}?" if nearest else f"; see {self.prog} --help"
        return f"unknown {kind} {name}{hint}"

    def read_recipe(self, name: str) -> dict[str, Any]:
        """A recipe's values by flag, without dashes.

        Raises:
            UserError: It can't be read, or a key is no flag.
        """
        recipe = read_yaml(name, "recipe")
        if not isinstance(recipe, dict):
            raise UserError(f"recipe {name} must hold lines of the form `key: value`")
        for key in recipe:
            if key not in self.known():
                raise UserError(f"recipe {name}: {self.unknown('key', str(key), '')}")
        return recipe


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would forget the first one's value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):  # YAML itself refuses lists and maps
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(name: str | Path, kind: str) -> Any:
    """What a YAML file holds.

    Args:
        name: The file.
        kind: What it is, for the messages.

    Raises:
        UserError: It can't be read, isn't valid, or has a key twice.
    """
    try:
        return yaml.load(Path(name).read_text(encoding="utf-8"), _UniqueKeyLoader)
    except OSError as error:
        raise UserError(f"{kind} {name} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # also of another encoding, or with a 13th month
        raise UserError(f"{kind} {name} is not valid YAML: {one_line(error)}") from error


def recipe_tokens(recipe: Mapping[str, Any]) -> list[str]:
    """A recipe as the flags that it stands for."""
    return [token for key, value in recipe.items() for token in as_tokens(key, value)]


def as_tokens(key: str, value: Any) -> list[str]:
    """A line of a recipe as one would type it: a flag and its value or values; nothing for null, the default."""
    if value is None:
        return []
    if isinstance(value, list):
        return [f"--{key}", *(as_text(each) for each in value)]
    return [f"--{key}={as_text(value)}"]  # with =, a value may begin with a dash


def as_text(value: Any) -> str:
    """A YAML value as one would type it."""
    if value is False:
        return "no"  # YAML reads `eval_strategy: no` as False, and argparse reads no as false
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
