"""From a recipe and command-line flags to typed arguments: unknown names are errors, flags win over recipes."""

import json
import os
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from datetime import date
from difflib import get_close_matches
from enum import Enum
from numbers import Number
from typing import Any, NoReturn

import numpy as np
from transformers import HfArgumentParser

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import DataArguments
from salience.configuration.flags.library_errors import blame
from salience.configuration.flags.model_arguments import ModelArguments
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.configuration.flags.yaml_files import read_yaml

# What argparse shall take for a value and no flag, as -0.5, -1e-3 and -inf; and with it, what holds a space.
NEGATIVE = r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|-inf(inity)?|-nan"
VALUE_WITH_DASH = re.compile(rf"-|{NEGATIVE}|[^=]* [^=]*", re.IGNORECASE)
# Flags of which a shell reads ~ as the home folder where it stands alone, and not behind = or in a recipe.
OWN_FOLDERS = {"output_dir", "output", "model", "encoder_cache"}

Arguments = tuple[Any, DataArguments, TuningArguments, SalienceTrainingArguments]

TRAINING_GROUPS = (ModelArguments, DataArguments, TuningArguments, SalienceTrainingArguments)


def flag_name(token: str) -> str:
    """The name of a flag as typed; argparse reads dashes as underscores: `--train-file=a` is train_file."""
    return token.partition("=")[0].removeprefix("--").replace("-", "_")


class RecipeParser(HfArgumentParser):
    """HfArgumentParser that takes `RECIPE.yaml --flag value ...` and answers mistakes with one sentence."""

    def __init__(self, groups: tuple[type, ...] = TRAINING_GROUPS, program: str = "train.py") -> None:
        super().__init__(
            groups,  # type: ignore[arg-type]  # DataClassType is a NewType that no class is
            prog=program,
            usage=f"{program} [RECIPE.yaml ...] [--flag value ...]",
            allow_abbrev=False,
        )
        self._negative_number_matcher = re.compile(rf"(?:{NEGATIVE})$", re.IGNORECASE)

    def error(self, message: str) -> NoReturn:
        """Called by argparse for a flag it can't read."""
        # "argument --learning_rate/--learning-rate: invalid ...": one spelling of the flag is enough.
        raise UserError(re.sub(r"^argument (--\w+)\S*:", r"\1:", one_line(message)))

    def known(self) -> list[str]:
        """Names of all flags that have a value, without dashes."""
        names = [name.removeprefix("--") for name in self._option_string_actions if name.startswith("--")]
        return [name for name in names if name != "help"]

    def parse(self, argv: Sequence[str]) -> tuple[Any, ...]:
        """Arguments of the recipes and flags in `argv`, one object for each group.

        Raises:
            UserError: A key or flag is unknown (the nearest one is suggested), a value is out of range, or a recipe
                can't be read.
        """
        return self.parse_tokens(self.tokens(argv))

    def tokens(self, argv: Sequence[str]) -> list[str]:
        """`argv` with the lines of its recipes as flags; errors are those of `parse`."""
        tokens: list[str] = []
        flags = list(argv)
        while flags and not flags[0].startswith("-"):
            tokens += recipe_tokens(self.read_recipe(flags.pop(0)))
        self._refuse_twice(flags)
        return tokens + flags

    def parse_tokens(self, tokens: Sequence[str]) -> tuple[Any, ...]:
        """`parse` of flags alone, of which those behind win."""
        values, unknown = self.parse_known_args(tokens)
        if unknown:
            raise UserError(self.unknown("flag", unknown[0].split("=")[0], "--"))
        for name in OWN_FOLDERS & vars(values).keys():
            if isinstance(folder := getattr(values, name), str):
                setattr(values, name, os.path.expanduser(folder))
        given = {flag_name(token) for token in tokens}
        return tuple(_filled(group, vars(values), given) for group in self.dataclass_types)

    def parse_flags(self, flags: Mapping[str, Any], recipes: Sequence[str] = ()) -> tuple[tuple[Any, ...], list[str]]:
        """Arguments of flags that Python code gives by name, with the checks of the command line.

        Args:
            flags: Values by the names of the flags, without dashes; None for the default, which a recipe may not set
                otherwise.
            recipes: Recipes to start from.

        Returns:
            One object for each group, and the words that one would type for them.

        Raises:
            UserError: See `parse`.
        """
        for name in flags:
            if name not in self.known():
                raise UserError(self.unknown("argument", name, ""))
        self.check_values(flags)
        unset = {name for name, value in flags.items() if value is None}
        for recipe in recipes if unset else ():
            if undone := next((name for name in self.read_recipe(recipe) if name in unset), None):
                raise UserError(f"{undone}=None doesn't take back what {recipe} sets; leave it out there")
        words = [*recipes, *recipe_tokens(flags)]
        return self.parse(words), words

    def _refuse_twice(self, flags: Sequence[str]) -> None:
        """Refuse a flag of several values that stands twice: the values of the first would be dropped."""
        names = [flag_name(token) for token in flags if token.startswith("--")]
        for name in names:
            action = self._option_string_actions.get(f"--{name}")
            if action is not None and action.nargs == "+" and names.count(name) > 1:
                raise UserError(f"--{name} stands twice; write all its values behind one, as in --{name} A B")

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
        recipe = read_yaml(name, "recipe", self.text_flags())
        if not isinstance(recipe, dict):
            raise UserError(f"recipe {name} must hold lines of the form `key: value`")
        for key in recipe:
            if key not in self.known():
                raise UserError(f"recipe {name}: {self.unknown('key', str(key), '')}")
        try:
            self.check_values(recipe)
        except UserError as error:
            raise UserError(f"recipe {name}: {error}") from error
        return recipe

    def text_flags(self) -> frozenset[str]:
        """Names of the flags whose values are text, without dashes."""
        return frozenset(name for name in self.known() if self._option_string_actions[f"--{name}"].type is str)

    def check_values(self, values: Mapping[str, Any]) -> None:
        """Refuse what can't be typed as flags: other values than text, numbers, truth values and lists of them.

        Args:
            values: By flag, without dashes.

        Raises:
            UserError: A value is of another kind, or isn't one that the flag can take.
        """
        # HfArgumentParser makes str of the fields' own types.
        owners = {owner for group in self.dataclass_types for owner in group.__mro__}
        hints = [hint for owner in owners for hint in vars(owner).get("__annotations__", {}).items()]
        maps = {name for name, hint in hints if "dict" in str(hint).lower()}
        for key, value in values.items():
            action = self._option_string_actions.get(f"--{key}")
            if action is None:
                continue
            if isinstance(value, list | tuple) and len(value) > 1 and action.nargs is None:
                raise UserError(f"{key} takes one value and no list ({one_line(value, 80)})")
            if isinstance(value, dict) and key not in maps:
                takes_pairs = "NAME=NUMBER" in str(action.help)
                pairs = [f"{name}={each}" for name, each in value.items()]
                instead = f"a list, {one_line(pairs, 80)}" if takes_pairs else "text, or quote it"
                raise UserError(f"{key} takes no map of keys ({one_line(value, 80)}); write {instead}")
            as_tokens(key, value)


def _filled(group: Any, values: Mapping[str, Any], given: Set[str]) -> Any:
    """A group of arguments, whose dataclass looks at its values; `given` are the names of all flags that were set."""
    own = {each.name: values[each.name] for each in fields(group) if each.init}
    suspects = {name: value for name, value in own.items() if name in given - {"output_dir"}}
    return blame(lambda left_out: group(**{name: own[name] for name in own.keys() - left_out}), suspects)


def recipe_tokens(recipe: Mapping[str, Any]) -> list[str]:
    """A recipe as the flags that it stands for."""
    return [token for key, value in recipe.items() for token in as_tokens(key, value)]


def as_tokens(key: str, value: Any) -> list[str]:
    """A line of a recipe as one would type it: a flag and its value or values; nothing for null, the default.

    Raises:
        UserError: It can't be typed.
    """
    if value is None:
        return []
    if getattr(value, "ndim", 0) == 1 and hasattr(value, "tolist"):  # NumPy's and pandas' lists
        value = value.tolist()
    if isinstance(value, list | tuple) and not value:
        raise UserError(f"{key} is an empty list; leave it out, or give it values")
    if not isinstance(value, list | tuple):
        return [f"--{key}={as_text(key, value)}"]  # with =, a value may begin with a dash
    texts = [as_text(key, each) for each in value]
    for each, text in zip(value, texts, strict=True):
        if each is None or isinstance(each, list | tuple | dict):
            raise UserError(f"{key}: {one_line(each, 80)} in a list is no text; quote it if it is one")
        if text.startswith("-") and not VALUE_WITH_DASH.fullmatch(text):
            raise UserError(f"{key}: {text} in a list begins with a dash, as flags do; of a file, write ./{text}")
    return [f"--{key}", *texts]


def as_text(key: str, value: Any) -> str:
    """A value of YAML or Python as one would type it.

    Args:
        key: The flag, for the messages.
        value: Text, a path, a number, a truth value, or a map of them.

    Raises:
        UserError: It is of another type.
    """
    if value is False:
        return "no"  # YAML reads `eval_strategy: no` as False, and argparse reads no as false
    try:
        if isinstance(value, dict | list):
            return json.dumps(value)
        # Of numbers, each library has types of its own.
        if isinstance(value, str | os.PathLike | Number | Enum | np.generic | date | None):
            return str(getattr(value, "value", value))
    except (TypeError, ValueError) as error:  # Python writes no number of more than 4,300 digits
        raise UserError(f"{key}: what it holds can't be written as text: {one_line(error, 100)}") from error
    raise UserError(
        f"{key} is of the type {type(value).__name__}; give text, a number, a truth value or a list of them"
    )
