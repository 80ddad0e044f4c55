"""A study's YAML file: its rows, their flags, and the cells that they make; see `salience.eval.study.command`."""

import re
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import RecipeParser, flag_name
from salience.configuration.flags.yaml_files import read_yaml
from salience.eval.baseline.models import BASELINES, SPARSE_MODELS, baseline_flags, baseline_kind
from salience.eval.study.cells import Cell
from salience.eval.study.scores import KNOWN_SCORES

ROW_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# What the study says itself, and what would leave this machine.
RESERVED = ("seed", "output_dir", "resume_from_checkpoint", "push_to_hub", "hub_token")
MOST_ROWS = 10_000


@dataclass
class Study:
    """A study file, and the flags behind it.

    Raises:
        UserError: Something in it is wrong.
    """

    file: str
    overrides: dict[str, Any]
    rows: dict[str, dict[str, Any]]
    seeds: list[int]
    name: str = ""
    recipe: list[str] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None
    sparse: list[str] = field(default_factory=list)
    scores: list[str] = field(default_factory=list)
    grid: list[dict[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = str(self.name or Path(self.file).stem)
        for key in ("recipe", "sparse", "scores"):
            setattr(self, key, self._names(key, getattr(self, key)))
        self._check_seeds()
        self.rows, self.grid = self.rows | self._grid_rows(), []
        if not self.all_rows():
            raise UserError(f"study {self.file} must hold rows; see eval.py study --help")
        for kind, names, known in (("score", self.scores, KNOWN_SCORES), ("sparse", self.sparse, SPARSE_MODELS)):
            if unknown := [name for name in names if name not in known]:
                raise UserError(f"{self.file}: {kind} {unknown[0]} is unknown; choose from {', '.join(known)}")
        for name, row in self.rows.items():
            self._check_row(name, row)
        if self.reference is not None and self.reference not in [*self.sparse, *self.rows]:
            raise UserError(f"{self.file}: reference {self.reference} is no row")
        self._check_flags()

    def _check_flags(self) -> None:
        parser = RecipeParser()
        for key in self.arguments:  # a baseline's cells would leave out what they don't know
            if key not in parser.known():
                raise UserError(f"{self.file}: {parser.unknown('argument', str(key), '')}")
        for group in (self.arguments, self.overrides, *self.rows.values()):
            for key in set(RESERVED) & group.keys():
                raise UserError(f"{self.file}: {key} can't be set for the cells of a study; leave it out")
        self._check_overrides()

    def _check_overrides(self) -> None:
        """Refuse flags of the command line that take away what tells two rows apart."""
        own = {key for row in self.rows.values() for key in row} & self.overrides.keys()
        if not own:
            return
        seen: dict[str, str] = {}
        for name, row in self.rows.items():
            other = seen.setdefault(repr(sorted(self.flags(row).items())), name)
            told = [f"--{key}" for key in sorted(own) if row.get(key) != self.rows[other].get(key)]
            if told:
                raise UserError(
                    f"{self.file}: with {', '.join(told)} on the command line, rows {other} and {name} are the same: "
                    "leave it out, or change the file"
                )

    def _grid_rows(self) -> dict[str, dict[str, Any]]:
        if not all(
            isinstance(group, dict) and all(isinstance(row, dict) for row in group.values()) for group in self.grid
        ):
            raise UserError(f"{self.file}: grid must be groups of rows, as in [{{a: {{loss: focal}}}}, {{2: {{}}}}]")
        if prod(map(len, self.grid)) > MOST_ROWS:
            raise UserError(f"{self.file}: the grid makes more than {MOST_ROWS:,} rows; leave some of it out")
        self._check_groups()
        rows: dict[str, dict[str, Any]] = {}
        for parts in product(*(group.items() for group in self.grid)) if self.grid else ():
            name = "_".join(str(part) for part, _ in parts)
            if name in self.rows or name in rows:
                where = "under rows and in the grid" if name in self.rows else "twice in the grid"
                raise UserError(f"{self.file}: row {name} stands {where}; rename one of them")
            rows[name] = {key: value for _, flags in parts for key, value in flags.items()}
        return rows

    def _check_groups(self) -> None:
        """Refuse a flag that two groups of the grid set: a row can have one value only."""
        seen: set[Any] = set()
        for group in self.grid:
            own = {key for flags in group.values() for key in flags}
            for key in sorted(map(str, own & seen)):
                raise UserError(f"{self.file}: {key} is set in two groups of the grid; set it in one of them")
            seen |= own

    def _check_row(self, name: Any, row: Any) -> None:
        if not isinstance(name, str) or not ROW_NAME.fullmatch(name) or name in BASELINES:
            raise UserError(
                f"{self.file}: {name!r} can't be the name of a row; use letters, digits, '_', '.' and '-', "
                "in quotes where YAML reads something else, and no name of a sparse baseline"
            )
        if not isinstance(row, dict):
            raise UserError(f"{self.file}: row {name} must hold flags, as in {{filter: none}}, or {{}}")
        self._names(f"row {name}: recipe", row.get("recipe"))
        if row.get("model") not in BASELINES:
            return
        for key in row:
            if key not in baseline_flags(row["model"]) | {"model", "recipe"}:
                raise UserError(f"{self.file}: row {name}: {key} has no effect on {row['model']}; leave it out")

    def _names(self, where: str, value: Any) -> list[str]:
        """One name or several; null is none."""
        names = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(each, str) for each in names):
            raise UserError(f"{self.file}: {where} must be a name or a list of names, not {value!r}")
        return names

    def _check_seeds(self) -> None:
        ints = all(type(seed) is int and seed >= 0 for seed in self.seeds)
        if not self.seeds or not ints or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"{self.file}: seeds must be different whole numbers, as in [0, 1, 2]")

    def cells(self, folder: Path) -> list[Cell]:
        """All cells, seed by seed, so that an early table compares all rows."""
        return [self._cell(folder, name, row, seed) for seed in self.seeds for name, row in self.all_rows().items()]

    def all_rows(self) -> dict[str, dict[str, Any]]:
        """What each row says, the baselines under `sparse` first."""
        return {name: {"model": name} for name in self.sparse} | self.rows

    def kind(self, name: str) -> str:
        """What a row is: "model", "sparse" or "frozen"."""
        model = str(self.all_rows()[name].get("model"))
        return baseline_kind(model) if model in BASELINES else "model"

    def _cell(self, folder: Path, name: str, row: dict[str, Any], seed: int) -> Cell:
        target = folder / "cells" / name / f"seed_{seed}"
        own = {"seed": seed, "output_dir": str(target)}
        program: tuple[str, ...] = ("salience.train.cli",)
        recipe, kind = self.flags(row), self.kind(name)
        if kind != "model":
            program = ("salience.eval.cli", "baseline", row["model"])
            recipe = {key: value for key, value in recipe.items() if key in baseline_flags(row["model"])}
        return Cell(name, seed, target, program, {"split_seed": seed, **recipe, **own})

    def flags(self, row: dict[str, Any]) -> dict[str, Any]:
        """The flags of a row: of its recipes, of all rows, its own, and of the command line.

        What a row takes away stays away: `--encoder` on the command line isn't for its models from scratch.
        """
        merged: dict[str, Any] = {}
        for name in self._names("recipe", row.get("recipe", self.recipe)):
            merged |= RecipeParser().read_recipe(name)
        for key in RESERVED:
            merged.pop(key, None)
        merged |= self.arguments | {key: value for key, value in row.items() if key != "recipe"} | self.overrides
        merged |= {key: None for key, value in row.items() if value is None}
        return {key: value for key, value in merged.items() if value is not None}


def read_study(file: str, overrides: dict[str, Any]) -> Study:
    """A study from its YAML file.

    Args:
        file: Its name.
        overrides: Flags for every row.

    Raises:
        UserError: It can't be read, or something in it is wrong.
    """
    content = read_yaml(file, "study", RecipeParser().text_flags())
    kinds = {"name": str, "recipe": str | list, "arguments": dict, "seeds": list, "reference": str | None,
             "sparse": str | list, "scores": str | list, "rows": dict, "grid": list}  # fmt: skip
    if not isinstance(content, dict):
        raise UserError(f"study {file} must hold rows; see eval.py study --help")
    for key, value in content.items():
        if key not in kinds:
            raise UserError(f"study {file}: unknown key {key}; known are {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):
            raise UserError(f"study {file}: {key} can't be {value!r}; see eval.py study --help")
    return Study(file=file, overrides=overrides, **{"rows": {}, "seeds": [], **content})


def read_flags(tokens: list[str]) -> dict[str, Any]:
    """Flags of train.py, as typed, by name.

    Raises:
        UserError: A word belongs to no flag, or a flag is unknown.
    """
    flags: dict[str, list[str]] = {}
    parser = RecipeParser()
    for token in tokens:
        if token.startswith("--"):
            key, (typed, equals, value) = flag_name(token), token.partition("=")
            if key not in parser.known():
                raise UserError(parser.unknown("flag", typed, "--"))
            flags[key] = [value] if equals else []
        elif not flags:
            raise UserError(parser.unknown("flag", token, "--"))
        else:
            flags[key].append(token)
    return {key: values if len(values) > 1 else values[0] if values else True for key, values in flags.items()}
