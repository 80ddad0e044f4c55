"""Reads a data set of the Hub into the same tables as files."""

import logging
from collections.abc import Collection
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets.packaged_modules.json.json import Json

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments, FileArguments
from salience.train.data.formats.csv import read_csv
from salience.train.data.formats.decoding import raw_content
from salience.train.data.formats.nesting import refuse_deep
from salience.train.data.sources.files import FORMAT_FLAGS, refuse_unused
from salience.train.data.sources.hub_csv import is_csv, read_csv_files
from salience.train.data.sources.hub_files import loading, open_builder
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
    with loading(args):
        return _read(str(args.dataset_name), args)


def _read(name: str, args: DataArguments) -> dict[str, list[Part]]:
    builder = open_builder(args)
    refuse_unused([read_csv] if is_csv(builder) else [], args, FORMAT_FLAGS)
    if is_csv(builder):
        loaded = read_csv_files(builder, args)
        return {split: loaded[found] for split, found in _known_splits(loaded, name).items()}
    if isinstance(builder, Json):
        _refuse_deep_rows(builder, args)
    builder.download_and_prepare()
    return hub_parts(builder.as_dataset(), name, args)


def _refuse_deep_rows(builder: datasets.DatasetBuilder, args: DataArguments) -> None:
    loader = datasets.DownloadManager(dataset_name=args.dataset_name)  # files of this machine stay where they are
    for files in builder.config.data_files.values():
        for file, place in zip(files, loader.download_and_extract([str(file) for file in files]), strict=True):
            where = f"{args.dataset_name}/{str(file).rpartition('/')[2]}"
            for path in loader.iter_files(place):  # of an archive
                refuse_deep(raw_content(Path(path), where), where)


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
    for split, found in _known_splits(loaded, name).items():
        where = f"{name}, split {found}"
        check_columns(loaded[found].column_names, where, args)
        if split == "test" and _unlabelled(loaded[found], args.label_column):
            logger.warning("%s has no labels (all are -1), so it isn't used", where)
            continue
        parts[split] = [read_split(loaded[found], where, args)]
    return parts


def _known_splits(names: Collection[str], name: str) -> dict[str, str]:
    """Our name of each split -> what the data set `name` calls it."""
    found = {split: next((each for each in known if each in names), None) for split, known in SPLIT_NAMES.items()}
    if found["train"] is None:
        raise UserError(f"the data set '{name}' has no split named train, only {', '.join(names)}")
    if others := [each for each in names if each not in found.values()]:
        logger.warning("the data set '%s' has other splits, which are not read: %s", name, ", ".join(others))
    return {split: each for split, each in found.items() if each is not None}


def read_split(rows: datasets.Dataset, where: str, args: FileArguments) -> Part:
    """Read one split.

    Args:
        rows: The split.
        where: Its name, for the messages.
        args: The columns.

    Raises:
        UserError: It lacks a column, a text or a label.
    """
    if rows.format["type"] == "custom":
        raise UserError(f"'{where}' has a transform (set_transform), which wouldn't be applied; call .map in its place")
    check_columns(rows.column_names, where, args)
    names = _class_names(rows.features[args.label_column[0]]) if len(args.label_column) == 1 else None
    table = _columns_of(rows, wanted_columns(args))
    return make_part(ids_without_minus_one(table, args) if names else table, where, args, class_names=names)


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
