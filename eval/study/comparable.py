"""Whether finished cells of a study may stand in one table: they had the same data, of which they say so themselves."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.eval.runs import read_run
from salience.eval.study.cells import Cell
from salience.model_cards.run_folder import RUN_FILE

logger = logging.getLogger(__name__)

DATA_FLAGS = sorted(each.name for each in fields(DataArguments))


def check_records(cells: Sequence[Cell]) -> None:
    """Make sure that runs are of the seeds of their cells, and all of a seed of the same test texts.

    Args:
        cells: Finished ones.

    Raises:
        UserError: They are not.
    """
    tests: dict[int, tuple[Cell, str]] = {}
    versions = sorted({str(read_run(cell.folder).record.get("salience_version")) for cell in cells})
    if len(versions) > 1:
        logger.warning("cells were made by several versions of salience: %s", ", ".join(versions))
    for cell in cells:
        run = read_run(cell.folder)
        if (seed := run.record["seed"]) != cell.seed:
            raise UserError(f"{cell.folder / RUN_FILE} tells of seed {seed}: restore it, or move that folder away")
        first, test = tests.setdefault(cell.seed, (cell, run.splits["test"]))
        if run.splits["test"] != test:
            raise UserError(
                f"{cell.folder} was tested on other texts than {first.folder}, so they can't be compared; choose "
                "another --output_dir, or move one of the two away"
            )


def check_same_texts(cells: Sequence[Cell]) -> None:
    """Make sure that equal data flags meant equal texts, and that other seeds split the same data in other ways.

    Args:
        cells: Finished ones.

    Raises:
        UserError: They did not: a file has changed between two cells.
    """
    of_any_seed = [name for name in DATA_FLAGS if name != "split_seed"]
    _check_equal(cells, DATA_FLAGS, lambda cell: read_run(cell.folder).splits, "had other texts")
    _check_equal(cells, of_any_seed, of_any_split, "are parts of other data,")


def check_unchanged(cell: Cell, splits: dict[str, str], finished: Sequence[Cell]) -> None:
    """Make sure that the texts of a cell are those that others had by the same flags.

    Args:
        cell: That is to be run.
        splits: Fingerprint of each of its splits.
        finished: Others.

    Raises:
        UserError: They aren't: a file has changed.
    """
    flags = [cell.recipe.get(name) for name in DATA_FLAGS]
    for other in finished:
        if [other.recipe.get(name) for name in DATA_FLAGS] == flags and read_run(other.folder).splits != splits:
            raise UserError(
                f"{other.folder} had other texts by the same flags: files have changed since; choose another "
                "--output_dir, or move that folder away"
            )


def _check_equal(
    cells: Sequence[Cell], flags: Sequence[str], facts: Callable[[Cell], dict[str, Any]], says: str
) -> None:
    seen: dict[str, tuple[Cell, dict[str, Any]]] = {}
    for cell in cells:
        found = facts(cell)
        first, expected = seen.setdefault(repr([cell.recipe.get(name) for name in flags]), (cell, found))
        if found != expected:
            raise UserError(
                f"{first.folder} and {cell.folder} {says} by the same flags: files have changed since; choose "
                "another --output_dir, or move the older of the two away"
            )


def of_any_split(cell: Cell) -> dict[str, Any]:
    """What of a cell's data is the same for every seed of the split."""
    splits = read_run(cell.folder).record["data"]["splits"]
    found: dict[str, Any] = {"test_rows": splits["test"]["rows"]}
    # How many texts stand in two splits, or are thinned out of a class, depends on the split.
    if not (cell.recipe.get("drop_leaked") or cell.recipe.get("minority_labels")):
        found["rows"] = sum(each["rows"] for each in splits.values())
    if not cell.recipe.get("test_size"):
        found["test"] = splits["test"]["sha256"]
    return found
