"""From a recipe and command-line flags to typed arguments: unknown names are errors, flags win over recipes."""

import json
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, NoReturn

from transformers import HfArgumentParser

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import DataArguments
from salience.configuration.flags.library_errors import blame
from salience.configuration.flags.model_arguments import ModelArguments
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.configuration.flags.yaml_files import read_yaml

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
        """Names of all flags that have a value, without dashes."""
        names = [name.removeprefix("--") for name in self._option_string_actions if name.startswith("--")]
        return [name for name in names if name != "help"]

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
        values, unknown = self.parse_known_args(tokens)
        if unknown:
            raise UserError(self.unknown("flag", unknown[0].split("=")[0], "--"))
        given = {token.partition("=")[0].removeprefix("--").replace("-", "_") for token in tokens}
        return tuple(_filled(group, vars(values), given) for group in self.dataclass_types)

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
            if name not in self.known():
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
        try:
            self.check_names(recipe)
        except UserError as error:
            raise UserError(f"recipe {name}: {error}") from error
        return recipe

    def check_names(self, values: Mapping[str, Any]) -> None:
        """Refuse names that YAML didn't read as text: `[no, 1.10]` would become False and 1.1.

        Args:
            values: By flag, without dashes.

        Raises:
            UserError: Something else than text or a whole number stands in a list of names.
        """
        for key, value in values.items():
            action = self._option_string_actions.get(f"--{key}")
            if action is None or action.type is not str or not isinstance(value, list):
                continue
            for each in value:
                if isinstance(each, bool) or not isinstance(each, str | int):
                    raise UserError(f'{key}: {each!r} in a list of names is no text for YAML; quote it, as in "no"')


def _filled(group: Any, values: Mapping[str, Any], given: Set[str]) -> Any:
    """A group of arguments, whose dataclass looks at its values; `given` are the names of all flags that were set."""
    own = {each.name: values[each.name] for each in fields(group) if each.init}
    suspects = {name: value for name, value in own.items() if name in given - {"output_dir"}}
    return blame(lambda left_out: group(**{name: own[name] for name in own.keys() - left_out}), suspects)


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
