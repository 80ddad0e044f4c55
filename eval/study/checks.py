"""What a study refuses before its first cell is run: flags, data and models of every row."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import Arguments, RecipeParser, recipe_tokens
from salience.configuration.problem_types import REGRESSION
from salience.eval.baseline.models import build_baseline
from salience.eval.runs import read_run
from salience.eval.study.cells import Cell
from salience.eval.study.comparable import check_unchanged
from salience.eval.study.file import Study
from salience.eval.study.scores import GROUP_SCORES
from salience.train.building.build import build_model
from salience.train.data.load import TextData, load_splits
from salience.train.flag_checks import check_flags, check_model, loss_on

NO_TEST = "a study compares scores of test texts, and there are none; name them with --test_file, or set --test_size"


def check_cells(study: Study, cells: list[Cell]) -> None:
    """Make sure that no cell will be refused for its flags, before the first one is run.

    Raises:
        UserError: A flag is wrong, or a cell's folder holds a run with other ones.
    """
    parser = RecipeParser()
    for cell in cells:
        with named(study, cell):
            parser.check_values(cell.recipe)
            model_args, _, tuning, training = parser.parse(recipe_tokens(cell.recipe))
            if study.kind(cell.row) == "model":
                check_flags(model_args, tuning, training)
            for name in GROUP_SCORES.keys() & set(study.scores):
                if not cell.recipe.get("minority_labels"):
                    raise UserError(f"score {name} needs minority_labels")
    for cell in cells:
        cell.check()


@contextmanager
def named(study: Study, cell: Cell) -> Iterator[None]:
    """Say of which row an error is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{study.file}, row {cell.row}: {error}") from error


def check_data(study: Study, cells: Sequence[Cell]) -> None:
    """Make sure that the data can be compared and the models be built, before the first cell is trained.

    Raises:
        UserError: There are no test texts, the labels aren't classes, the data of a cell that is to be run can't
            be read, rows have other test texts, or train.py would refuse a cell for its model or its loss.
    """
    waiting = unfinished(study, cells)
    # Where no row says how data are split, further seeds split the same data in other ways.
    are_alike = all(arguments[1].split_seed == cell.seed for cell, arguments in waiting)
    same_data: dict[str, list[tuple[Cell, Arguments]]] = {}
    for cell, arguments in waiting:
        key = repr(replace(arguments[1], split_seed=0) if are_alike else arguments[1])
        same_data.setdefault(key, []).append((cell, arguments))
    finished = [cell for cell in cells if cell.is_finished]
    tested = [(cell, read_run(cell.folder).splits["test"]) for cell in finished]
    for group in same_data.values():
        first, (_, data_args, *_) = group[0]
        with named(study, first):
            data = load_comparable(data_args)
        splits = {split: data.fingerprint(split)["sha256"] for split in data.splits}
        check_unchanged(first, splits, finished)
        found = splits["test"]
        tested += [(cell, found) for cell, (_, other, *_) in group if other.split_seed == data_args.split_seed]
        check_same_tests(study, tested)
        check_models(study, group, data)


def unfinished(study: Study, cells: Sequence[Cell]) -> list[tuple[Cell, Arguments]]:
    """The cells that are to be run, with their arguments.

    Raises:
        UserError: One has no test texts.
    """
    found, parser = [], RecipeParser()
    for cell in cells:
        if cell.is_finished:
            continue
        arguments: Any = parser.parse(recipe_tokens(cell.recipe))
        with named(study, cell):
            if not (arguments[1].test_file or arguments[1].test_size or arguments[1].dataset_name):
                raise UserError(NO_TEST)
        found.append((cell, arguments))
    return found


def load_comparable(data_args: Any) -> TextData:
    """The data of a cell.

    Raises:
        UserError: See `check_data`.
    """
    data = load_splits(data_args)
    if "test" not in data.splits:
        raise UserError(NO_TEST)
    if data.problem_type == REGRESSION:
        raise UserError(f"a study compares accuracies, which need classes; these labels are {data.problem_type}")
    return data


def check_same_tests(study: Study, tested: Sequence[tuple[Cell, str]]) -> None:
    """Make sure that rows have the same test texts, seed by seed.

    Args:
        study: The study.
        tested: Cells with the fingerprints of their test texts.

    Raises:
        UserError: They haven't.
    """
    expected: dict[int, tuple[str, str]] = {}  # row and fingerprint by seed
    for cell, found in tested:
        row, test = expected.setdefault(cell.seed, (cell.row, found))
        if found != test:
            with named(study, cell):
                raise UserError(f"its test texts are others than those of row {row}, so they can't be compared")


def check_models(study: Study, group: Sequence[tuple[Cell, Arguments]], data: TextData) -> None:
    """Build each model of some cells once, as train.py would before it trains.

    Args:
        study: The study.
        group: Cells with their arguments.
        data: Of all of them, by some seed.

    Raises:
        UserError: A model can't be built, or the flags don't fit it or the labels.
    """
    rows = {cell.row: (cell, arguments) for cell, arguments in reversed(group)}  # seeds change nothing of it
    of_model: dict[str, list[tuple[Cell, Arguments]]] = {}
    for cell, arguments in rows.values():
        if study.kind(cell.row) == "model":
            with named(study, cell):
                loss_on(data, *arguments[2:])
        of_model.setdefault(f"{cell.program} {arguments[0]}", []).append((cell, arguments))
    for alike in of_model.values():
        cell, (model_args, *_) = alike[0]
        with named(study, cell):
            if study.kind(cell.row) != "model":
                build_baseline(cell.program[-1], data.problem_type, replace(model_args, encoder_cache=None))
                continue
            model, _ = build_model(model_args, data.splits["train"]["text"], data.label_names, data.problem_type)
        for cell, arguments in alike:
            with named(study, cell):
                check_model(model, model_args, arguments[3])
