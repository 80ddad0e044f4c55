"""Reads a data set of the Hub into the same tables as files."""

import logging
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets.exceptions import DatasetsError

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import DataArguments, FileArguments
from salience.configuration.hub import find_commit
from salience.train.data.tables import Part, check_columns, ids_without_minus_one, make_part, wanted_columns

logger = logging.getLogger(__name__)

SPLIT_NAMES = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}


def read_hub(args: DataArguments) -> dict[str, list[Part]]:
    """Read a data set by its name on the Hub, or from a folder that `datasets.load_dataset` understands.

    Args:
        args: `dataset_name`, `dataset_config`, `dataset_revision` and the columns.

    Returns:
        The splits, each of one part, by the names train, validation and test.

    Raises:
        UserError: If the data set can't be loaded, has no training split, or lacks a column, a text or a label.
    """
    loaded = _load(args)
    _refuse_codes(loaded, args)
    return hub_parts(loaded, str(args.dataset_name), args)


def hub_parts(loaded: datasets.DatasetDict, name: str, args: FileArguments) -> dict[str, list[Part]]:
    """Find the splits of a data set under the Hub's names, and read them.

    Args:
        loaded: The data set.
        name: Of it, for the messages.
        args: The columns.

    Raises:
        UserError: See `read_hub`.
    """
    parts = {}
    for split, known_as in SPLIT_NAMES.items():
        found = next((each for each in known_as if each in loaded), None)
        if found is None:
            continue
        where = f"{name}, split {found}"
        check_columns(loaded[found].column_names, where, args)
        if split == "test" and _unlabelled(loaded[found], args.label_column):
            logger.warning("%s has no labels (all are -1), so it isn't used", where)
            continue
        parts[split] = [read_split(loaded[found], where, args)]
    if "train" not in parts:
        raise UserError(f"the data set '{name}' has no split named train, only {', '.join(loaded)}")
    return parts


def read_split(rows: datasets.Dataset, where: str, args: FileArguments) -> Part:
    """Read one split.

    Args:
        rows: The split.
        where: Its name, for the messages.
        args: The columns.

    Raises:
        UserError: It lacks a column, a text or a label.
    """
    check_columns(rows.column_names, where, args)
    names = _class_names(rows.features[args.label_column[0]]) if len(args.label_column) == 1 else None
    table = _columns_of(rows, wanted_columns(args))
    return make_part(ids_without_minus_one(table, args) if names else table, where, args, class_names=names)


def _load(args: DataArguments) -> datasets.DatasetDict:
    name = str(args.dataset_name)
    try:
        if "/" in name and not Path(name).is_dir():
            find_commit(name, args.dataset_revision, "dataset")
        return datasets.load_dataset(name, args.dataset_config, revision=args.dataset_revision)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise UserError(
            f"the data set '{args.dataset_name}' (--dataset_name) can't be loaded; check its name, --dataset_config, "
            f"--dataset_revision and the connection, or give --train_file: {one_line(error, 300)}"
        ) from error


def _refuse_codes(loaded: datasets.DatasetDict, args: DataArguments) -> None:
    """Of csv files `datasets` makes numbers, in which the codes 2.1 and 2.10 are one class."""
    for name, rows in loaded.items():
        kind = getattr(rows.features.get(args.label_column[0]), "dtype", "")
        if args.problem_type == "single_label_classification" and rows.info.builder_name == "csv" and "float" in kind:
            raise UserError(
                f"the labels of {args.dataset_name}, split {name}, are read from csv as numbers, in which codes such "
                "as 2.1 and 2.10 are one: give the files by --train_file and --test_file"
            )


def _class_names(feature: object) -> list[str] | None:
    feature = getattr(feature, "feature", feature)  # the labels inside a list
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) and feature.names else None


def _columns_of(rows: datasets.Dataset, columns: list[str]) -> pa.Table:
    """Some columns, in the order of the rows, which may have been selected or shuffled."""
    return rows.select_columns(columns).with_format("arrow")[:]


def _unlabelled(rows: datasets.Dataset, columns: list[str]) -> bool:
    if len(columns) > 1 or not _class_names(rows.features[columns[0]]):
        return False
    ids = _columns_of(rows, columns)[columns[0]]
    return pa.types.is_integer(ids.type) and bool(pc.all(pc.equal(ids, -1)).as_py())
