"""eval.py study STUDY.yaml [--jobs N] [--output_dir OUT] [--flag value ...]: a grid of runs, with resume.

A study names rows, and seeds for each of them; a cell is one row with one seed, a run of train.py in a process of its
own. `seed: S` is given to it, and `split_seed: S` unless the study or a recipe says `split_seed`. Further flags on the
command line count for every row.

    name: 20 Newsgroups, hierarchical
    recipe: configuration/recipes/20_newsgroups/hierarchical_attn.yaml  # one or a list; relative to the current folder
    arguments: {num_train_epochs: 4}  # flags of every row
    seeds: [0, 1, 2]
    reference: full                   # row that the others are compared with
    sparse: [tfidf_svm]               # TF-IDF baselines of `eval.py sparse`, each a row
    scores: [minority_recall]         # further scores of the test texts, beside those below
    rows:
      full: {}
      no_filter: {filter: none}
      lstm: {model: lstm, max_sentences: null}  # null takes a flag of the recipe away; `recipe:` names another one
      rare: {model: tfidf_logistic_prior, minority_ratio: 6}  # any baseline of `eval.py sparse`, with data of its own

Further scores are precision_macro, recall_macro, f1_weighted, roc_auc, ece (expected calibration error, bins of equal
width), accuracy_short, _medium and _long (fewer than 100 words, 100 to 500, more), and minority_ and majority_ before
precision, recall and f1: means over the classes that `minority_labels` names, and over the others.

OUT (default runs/studies/ and the name of the YAML file) gets cells/ROW/seed_S/ with each run, beside it its recipe
seed_S.yaml and its log seed_S.log, study.md with the table, study.png (rows called NAME_NUMBER become curves, where
several names have numbers in common), and study.json:

    name, seeds, reference, scores (the further ones), best_sparse (of those under `sparse`, by mean validation
    accuracy; null without), data (name, source, and rows of the splits of one cell)
    rows: {row: {
        kind: "model", "sparse" (TF-IDF) or "frozen" (vectors of a frozen encoder), flags: {those of the row},
        seeds: {seed: {validation_accuracy, accuracy, f1_macro (test), train_seconds, texts_per_second, parameters,
            further scores}},
        mean, sd: {validation_accuracy, accuracy, f1_macro, train_seconds, texts_per_second, further scores},
        against: {other row: {difference, low, high, p_value, mcnemar: {seed: {only_this_right, only_other_right,
            p_value}}}}}}

Scores run from 0 to 1; null where one is not defined. `train_seconds` is null for a cell that was stopped and resumed;
`texts_per_second` is that of the test texts, read whole. Both depend on what else the machine did.
"""

import re
import signal
import sys
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from salience.configuration.arguments import RecipeParser, as_tokens, one_line
from salience.configuration.data_arguments import DataArguments
from salience.train.errors import UserError
from salience.train.flag_checks import check_flags

from .frozen import FROZEN_MODELS
from .runs import read_scores
from .sparse import BASELINES, SPARSE_MODELS
from .study_cells import Cell, CellRunner
from .study_results import write_results
from .study_scores import GROUP_SCORES, KNOWN_SCORES

ROW_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# What the study says itself, and what would leave this machine.
RESERVED = ("seed", "output_dir", "resume_from_checkpoint", "push_to_hub", "hub_token")
DATA_FLAGS = {each.name for each in fields(DataArguments)}
ENCODER_FLAGS = {"encoder", "encoder_revision", "encoder_cache", "base_model", "freeze_encoder"}


@dataclass
class StudyArguments:
    """How a study is run."""

    jobs: int = field(default=1, metadata={"help": "Cells at a time; they share the cores."})
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the study; unset: runs/studies/ and the name of the YAML file."}
    )


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

    def __post_init__(self) -> None:
        self.name = str(self.name or Path(self.file).stem)
        self.recipe = [self.recipe] if isinstance(self.recipe, str) else self.recipe
        self.sparse = [self.sparse] if isinstance(self.sparse, str) else self.sparse
        self.scores = [self.scores] if isinstance(self.scores, str) else self.scores
        self._check_seeds()
        for name in self.scores:
            if name not in KNOWN_SCORES:
                raise UserError(f"{self.file}: score {name} is unknown; choose from {', '.join(KNOWN_SCORES)}")
        for name in self.sparse:
            if name not in SPARSE_MODELS:
                raise UserError(f"{self.file}: sparse {name} is unknown; choose from {', '.join(SPARSE_MODELS)}")
        for name, row in self.rows.items():
            if not isinstance(name, str) or not ROW_NAME.fullmatch(name) or name in BASELINES:
                raise UserError(
                    f"{self.file}: {name!r} can't be the name of a row; use letters, digits, '_', '.' and '-', "
                    "in quotes where YAML reads something else, and no name of a sparse baseline"
                )
            self._check_row(name, row)
        if self.reference is not None and self.reference not in [*self.sparse, *self.rows]:
            raise UserError(f"{self.file}: reference {self.reference} is no row")
        for group in (self.arguments, self.overrides, *self.rows.values()):
            for key in set(RESERVED) & group.keys():
                raise UserError(f"{self.file}: {key} can't be set for the cells of a study; leave it out")

    def _check_row(self, name: str, row: Any) -> None:
        if not isinstance(row, dict):
            raise UserError(f"{self.file}: row {name} must hold flags, as in {{filter: none}}, or {{}}")
        if row.get("model") not in BASELINES:
            return
        for key in row:
            if key not in baseline_flags(row["model"]) | {"model", "recipe"}:
                raise UserError(f"{self.file}: row {name}: {key} has no effect on {row['model']}; leave it out")

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
        return "sparse" if model in SPARSE_MODELS else "frozen" if model in FROZEN_MODELS else "model"

    def _cell(self, folder: Path, name: str, row: dict[str, Any], seed: int) -> Cell:
        target = folder / "cells" / name / f"seed_{seed}"
        own = {"seed": seed, "output_dir": str(target)}
        program: tuple[str, ...] = ("salience.train.cli",)
        recipe, kind = self.flags(row), self.kind(name)
        if kind != "model":
            program = ("salience.eval.cli", "sparse", row["model"])
            recipe = {key: value for key, value in recipe.items() if key in baseline_flags(row["model"])}
        return Cell(name, seed, target, program, {"split_seed": seed, **recipe, **own})

    def flags(self, row: dict[str, Any]) -> dict[str, Any]:
        """The flags of a row: of its recipes, of all rows, its own, and of the command line."""
        recipes = row.get("recipe", self.recipe)
        merged: dict[str, Any] = {}
        for name in [recipes] if isinstance(recipes, str) else recipes:
            RecipeParser().recipe_tokens(name)  # its errors are sentences
            merged |= yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        for key in RESERVED:
            merged.pop(key, None)
        merged |= self.arguments | {key: value for key, value in row.items() if key != "recipe"} | self.overrides
        return {key: value for key, value in merged.items() if value is not None}


def baseline_flags(name: str) -> set[str]:
    """The flags that count for a baseline of `eval.py sparse`."""
    return DATA_FLAGS | ENCODER_FLAGS if name in FROZEN_MODELS else DATA_FLAGS


def main(argv: list[str]) -> None:
    """`eval.py study`: see the module.

    Raises:
        UserError: The study or a flag is wrong (nothing was started), or a cell failed (the others were run).
    """
    parser = RecipeParser((StudyArguments,), program="eval.py study")
    if not argv or {"-h", "--help"} & set(argv):
        print(__doc__)  # noqa: T201
        return
    if argv[0].startswith("-"):
        raise UserError("name the study's YAML file first, then the flags")
    known, rest = parser.parse_known_args(argv[1:])
    if known.jobs < 1:
        raise UserError(f"--jobs {known.jobs} must be at least 1")
    study = read_study(argv[0], read_flags(rest))
    folder = Path(known.output_dir or Path("runs/studies", Path(argv[0]).stem))
    cells = study.cells(folder)
    check_cells(study, cells)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the cells are ended, too
    try:
        failed = run_cells(study, cells, folder, known.jobs)
    except KeyboardInterrupt as error:
        raise UserError("stopped: run the same command again; finished cells are kept") from error
    finally:
        signal.signal(signal.SIGTERM, before)
    if failed:
        logs = ", ".join(str(cell.log_file) for cell in failed)
        raise UserError(f"{len(failed)} of {len(cells)} cells failed, the others are finished; see {logs}")


def read_study(file: str, overrides: dict[str, Any]) -> Study:
    """A study from its YAML file.

    Args:
        file: Its name.
        overrides: Flags for every row.

    Raises:
        UserError: It can't be read, or something in it is wrong.
    """
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"study {file} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"study {file} is not valid YAML: {one_line(error)}") from error
    kinds = {"name": str, "recipe": str | list, "arguments": dict, "seeds": list, "reference": str,
             "sparse": str | list, "scores": str | list, "rows": dict}  # fmt: skip
    if not isinstance(content, dict) or not content.get("rows") and not content.get("sparse"):
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
            flag, equals, value = token.removeprefix("--").partition("=")
            key = flag.replace("-", "_")
            if key not in parser.known():
                raise UserError(parser.unknown("flag", f"--{flag}", "--"))
            flags[key] = [value] if equals else []
        elif not flags:
            raise UserError(parser.unknown("flag", token, "--"))
        else:
            flags[key].append(token)
    return {key: values if len(values) > 1 else values[0] if values else True for key, values in flags.items()}


def check_cells(study: Study, cells: list[Cell]) -> None:
    """Make sure that no cell will be refused for its flags, before the first one is run.

    Raises:
        UserError: A flag is wrong, or a cell's folder holds a run with other ones.
    """
    parser = RecipeParser()
    for cell in cells:
        tokens = [token for key, value in cell.recipe.items() for token in as_tokens(key, value)]
        try:
            model_args, _, tuning, training = parser.parse(tokens)
            check_flags(model_args, tuning, training)
        except UserError as error:
            raise UserError(f"{study.file}, row {cell.row}: {error}") from error
        for name in GROUP_SCORES.keys() & set(study.scores):
            if not cell.recipe.get("minority_labels"):
                raise UserError(f"{study.file}, row {cell.row}: score {name} needs minority_labels")
    for cell in cells:
        cell.check()


def run_cells(study: Study, cells: list[Cell], folder: Path, jobs: int) -> list[Cell]:
    """Run what isn't finished, and write the results after each cell. Returns the cells that failed."""
    failed = []
    done: list[Cell] = []
    with closing(CellRunner(jobs).run(cells)) as ended, tqdm(total=len(cells), desc="cells") as progress:
        for cell, is_finished in ended:
            if is_finished:
                done.append(cell)
                scores = read_scores(cell.folder)
                validation, test = scores["validation_accuracy"], scores["accuracy"]
                progress.write(f"{cell}: accuracy {test:.4f} (validation {validation:.4f})", file=sys.stdout)
                write_results(study, done, folder)
            else:
                failed.append(cell)
                progress.write(f"{cell}: failed, see {cell.log_file}", file=sys.stdout)
            progress.update()
    if done:
        progress.write((folder / "study.md").read_text(encoding="utf-8"), file=sys.stdout)
    return failed
