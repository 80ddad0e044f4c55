"""Refuses tables of texts and labels in which a column, a text or a label is missing."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from salience.configuration.data_arguments import FileArguments
from salience.configuration.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Part:
    """One file, one split of a data set or one object in memory.

    Attributes:
        where: Its name, for the messages.
        text: Strings without nulls.
        label: As it was stored, without nulls.
        class_names: Names of the ids in `label`, or None if the labels are no ids.
    """

    where: str
    text: pa.ChunkedArray
    label: pa.ChunkedArray
    class_names: list[str] | None = None


def check_columns(columns: list[str], name: str, args: FileArguments) -> None:
    """Raise a UserError unless the columns of `name` contain the text and the label column, once each."""
    for flag in ("text_column", "label_column"):
        column = getattr(args, flag)
        if columns.count(column) != 1:
            listed = ", ".join(f"'{known}'" for known in columns[:20]) + (", ..." if len(columns) > 20 else "")
            count = "more than one" if column in columns else "no"
            hint = "" if column in columns else did_you_mean(column, columns)
            raise UserError(f"'{name}' has {count} column '{column}' (--{flag}); its columns are {listed}{hint}")
    if args.text_column == args.label_column:
        raise UserError(f"--text_column and --label_column are both '{args.text_column}'; name two columns")


def check_table(
    table: pa.Table,
    name: str,
    args: FileArguments,
    find_line: Callable[[int], str] | None = None,
    class_names: list[str] | None = None,
) -> Part:
    """Take the text and the label column, and refuse missing values.

    Args:
        table: Has at least the text and the label column.
        name: The file or data set, for the messages.
        args: Column names, and `keep_empty_texts`.
        find_line: Tells where in the file a row (counted from 1) begins, for the messages.
        class_names: Names of the ids in the label column, if there are any.

    Raises:
        UserError: If there are no rows, the text isn't text, or a text or label is missing.
    """
    if table.num_rows == 0:
        raise UserError(f"'{name}' has no rows; give a file with at least one row per class")
    text, label = table[args.text_column], table[args.label_column]
    try:
        text = text.cast(pa.string()) if _is_text(text.type) else None
        table.select([args.text_column, args.label_column]).validate(full=True)  # finds invalid UTF-8 in json, parquet
    except pa.ArrowInvalid as error:
        raise UserError(f"'{name}' holds text that isn't valid UTF-8; convert the file to UTF-8") from error
    if text is None:
        raise UserError(f"column '{args.text_column}' of '{name}' holds {table[args.text_column].type}, not text")
    if args.keep_empty_texts:
        text = pc.fill_null(text, "")
    if args.label_separator is not None and _is_text(label.type):
        label = pc.fill_null(label.cast(pa.string()), "")  # a cell without any of the labels
        missing_label = pc.is_null(label)
    else:
        missing_label = _is_missing(label)
    checks = (
        ("text", pc.is_null(text), "fill it in, drop the row, or pass --keep_empty_texts true"),
        ("label", missing_label, "fill it in or drop the row"),
    )
    for kind, mask, fix in checks:
        row = pc.index(mask, True).as_py()
        if row >= 0:
            line = find_line(row + 1) if find_line else ""
            raise UserError(f"'{name}' has no {kind} in row {row + 1}{line}; {fix}")
    return Part(name, text, label, class_names)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)


def _is_missing(label: pa.ChunkedArray) -> pa.ChunkedArray:
    if _is_text(label.type):
        return pc.equal(pc.utf8_trim_whitespace(label.cast(pa.string())), "").fill_null(True)
    return pc.is_null(label, nan_is_null=pa.types.is_floating(label.type))
