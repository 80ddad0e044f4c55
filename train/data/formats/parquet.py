"""Reads .parquet files, with the names of label ids that the Hub's libraries keep in them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import FileArguments
from salience.train.data.tables import Part, check_columns, ids_without_minus_one, make_part, wanted_columns


def read_parquet(path: Path, name: str, args: FileArguments) -> Part:
    """Read one file.

    Args:
        path: The file.
        name: Of it, for the messages.
        args: The columns.

    Raises:
        UserError: It is damaged, or lacks a column, a text or a label.
    """
    try:
        # Opened here: pyarrow takes a path with a colon for an address.
        with path.open("rb") as source, pa.parquet.ParquetFile(source) as file:
            schema = file.schema_arrow
            check_columns(schema.names, name, args)
            table = file.read(columns=wanted_columns(args)).select(wanted_columns(args))
    except (pa.ArrowException, NotImplementedError) as error:
        reason = one_line(error, 200)
        raise UserError(f"'{name}' is not a readable parquet file: {reason}; write it again") from error
    names = _class_names(schema, args.label_column[0]) if len(args.label_column) == 1 else None
    return make_part(ids_without_minus_one(table, args) if names else table, name, args, class_names=names)


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    try:
        feature: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]
        while "feature" in feature:  # the labels inside a list
            feature = feature["feature"]
        names = feature.get("names")
    except (KeyError, TypeError, AttributeError, ValueError):
        return None  # other programs write other things there
    is_list = isinstance(names, list) and all(isinstance(each, str) for each in names)
    return names if names and is_list and feature.get("_type") == "ClassLabel" else None
