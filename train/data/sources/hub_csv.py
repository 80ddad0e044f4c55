"""Reads the csv files of a data set of the Hub as `--train_file` does: `datasets` makes numbers and nulls of cells."""

from dataclasses import replace
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets.packaged_modules.csv.csv import Csv, CsvConfig

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.train.data.formats.csv import read_csv
from salience.train.data.sources.hub_files import refuse_unheeded
from salience.train.data.spelling import whole_number
from salience.train.data.tables import Part


def is_csv(builder: datasets.DatasetBuilder) -> bool:
    """Whether a data set is made of .csv or .tsv files."""
    return isinstance(builder, Csv)


def read_csv_files(builder: datasets.DatasetBuilder, args: DataArguments) -> dict[str, list[Part]]:
    """Read the files of each split with our own reader.

    Args:
        builder: Of csv files.
        args: Columns, encodings, header and quoting; a separator counts before that of the data set's card.

    Returns:
        Split, as the data set calls it -> its files.

    Raises:
        UserError: The card sets what our reader hasn't, or a file can't be read.
    """
    name, config = str(args.dataset_name), builder.config
    refuse_unheeded(builder, args)
    if args.separator is None and config.sep != CsvConfig().sep:
        args = replace(args, separator=config.sep)
    loader = datasets.DownloadManager(dataset_name=name)  # files of this machine stay where they are
    parts = {}
    for split, files in config.data_files.items():
        paths = loader.download([str(file) for file in files])
        parts[str(split)] = [
            read_csv(Path(path), f"{name}/{str(file).rpartition('/')[2]}", args)
            for path, file in zip(paths, files, strict=True)
        ]
    names = _class_names(builder, args)
    return parts if names is None else _with_names(parts, names)


def _class_names(builder: datasets.DatasetBuilder, args: DataArguments) -> list[str] | None:
    features = builder.info.features or builder.config.features or {}
    feature = features.get(args.label_column[0]) if len(args.label_column) == 1 else None
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) and feature.names else None


def _with_names(parts: dict[str, list[Part]], names: list[str]) -> dict[str, list[Part]]:
    """The cells of a file hold either the names that the card lists, or their ids; where both may be, others tell."""
    readings = {id(part): _readings(part, names) for several in parts.values() for part in several}
    sure = {reading for each in readings.values() if len(each) == 1 for reading in each}

    def named(part: Part) -> Part:
        may_be = readings[id(part)]
        if len(may_be) == 2 and len(may_be & sure) != 1:
            raise UserError(
                f"the labels of '{part.where}' can be names of classes or their ids, as the data set's card lists "
                "whole numbers for names; give the files by --train_file"
            )
        found = may_be & sure if len(may_be) == 2 else may_be
        return replace(part, class_names=names) if found & {"names", "same"} else _with_ids(part, names)

    return {split: [named(part) for part in several] for split, several in parts.items()}


def _readings(part: Part, names: list[str]) -> set[str]:
    """What the cells of a file may be: "names", "ids", or both; "same" where both mean the same."""
    used = set(pc.unique(part.label).to_pylist()) - {None}
    ids = {cell: int(number) for cell in used if (number := whole_number(cell)) is not None}
    are_ids = len(ids) == len(used) and all(0 <= number < len(names) for number in ids.values())
    if not used <= set(names):
        return {"ids"} if are_ids else set()
    if not are_ids:
        return {"names"}
    return {"same"} if all(names[number] == cell for cell, number in ids.items()) else {"names", "ids"}


def _with_ids(part: Part, names: list[str]) -> Part:
    try:
        ids = part.label.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise UserError(
            f"the labels of '{part.where}' are neither the names nor the ids of the classes that the data set's card "
            "lists; give the files by --train_file"
        ) from error
    return replace(part, label=ids, class_names=names, is_text=False)
