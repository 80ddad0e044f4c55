"""Reads a data set of the Hub into the same tables as files."""

import logging

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets.exceptions import DatasetsError

from salience.configuration.data_arguments import DataArguments
from salience.configuration.errors import UserError
from salience.train.data.tables import check_columns, check_table

logger = logging.getLogger(__name__)

SPLIT_NAMES = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}


def read_hub(args: DataArguments) -> tuple[dict[str, pa.Table], list[str] | None]:
    """Read a data set by its name on the Hub, or from a folder that `datasets.load_dataset` understands.

    Args:
        args: `dataset_name`, `dataset_config`, `dataset_revision` and the columns.

    Returns:
        The splits as tables of `text` and `label`, by the names train, validation and test; and the names of the label
        ids in those tables, or None if the labels aren't ids.

    Raises:
        UserError: If the data set can't be loaded, has no training split, or lacks a column, a text or a label.
    """
    loaded = _load(args)
    tables, class_names = {}, None
    for split, known_as in SPLIT_NAMES.items():
        found = next((name for name in known_as if name in loaded), None)
        if found is None:
            continue
        where = f"{args.dataset_name}, split {found}"
        check_columns(loaded[found].column_names, where, args)
        names = _class_names(loaded[found].features[args.label_column])
        table = loaded[found].data.table
        if names and split == "test" and _unlabelled(table[args.label_column]):
            logger.warning("%s has no labels (all are -1), so it isn't used", where)
            continue
        if names:
            class_names = names
            table = _without_minus_one(table, args.label_column)
        tables[split] = check_table(table, where, args)
    if "train" not in tables:
        raise UserError(f"the data set '{args.dataset_name}' has no split named train, only {', '.join(loaded)}")
    return tables, class_names


def _load(args: DataArguments) -> datasets.DatasetDict:
    try:
        return datasets.load_dataset(args.dataset_name, args.dataset_config, revision=args.dataset_revision)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the data set '{args.dataset_name}' (--dataset_name) can't be loaded; check its name, --dataset_config, "
            f"--dataset_revision and the connection, or give --train_file: {reason}"
        ) from error


def _class_names(feature: object) -> list[str] | None:
    feature = getattr(feature, "feature", feature)  # the labels inside a list
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) and feature.names else None


def _unlabelled(ids: pa.ChunkedArray) -> bool:
    return pa.types.is_integer(ids.type) and bool(pc.all(pc.equal(ids, -1)).as_py())


def _without_minus_one(table: pa.Table, column: str) -> pa.Table:
    """Make the Hub's way to say that a text isn't labelled, -1, a missing label."""
    ids = table[column]
    if not pa.types.is_integer(ids.type):
        return table
    known = pc.if_else(pc.equal(ids, -1), pa.scalar(None, ids.type), ids)
    return table.set_column(table.column_names.index(column), column, known)
