"""Makes labelled texts of the columns of any source, and refuses missing columns, texts and labels."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from salience.configuration.errors import UserError, did_you_mean, hidden_characters, one_line
from salience.configuration.flags.data_arguments import FileArguments, TextArguments
from salience.train.data.columns import is_text, plain_column, refuse_far_dates

ONES = ("1", "1.0", "true", "True", "TRUE")  # how formats write that a text has a label
BITS = ("0", "0.0", "false", "False", "FALSE", *ONES)
MISSING_LABEL = (
    "fill it in or drop the row (or, where a text can have several labels or none, say what stands between them with "
    "--label_separator)"
)


@dataclass(frozen=True)
class Part:
    """One file, one split of a data set or one object in memory.

    Attributes:
        where: Its name, for the messages.
        text: Strings without nulls.
        label: As it was stored, without nulls.
        class_names: Names of the ids in `label`, or of the columns that it was made of; None if there are none.
        is_text: Whether all labels are text because the format has no other type, so that numbers can't be told.
        lists_of_one: Whether lists of one label each are plain labels, because the format has lists only.
    """

    where: str
    text: pa.ChunkedArray
    label: pa.ChunkedArray
    class_names: list[str] | None = None
    is_text: bool = False
    lists_of_one: bool = False


def wanted_columns(args: TextArguments) -> list[str]:
    """All columns that the flags name."""
    return [*args.text_column, *(args.label_column if isinstance(args, FileArguments) else ())]


def check_columns(columns: list[str], name: str, args: TextArguments, hint: str = "") -> None:
    """Raise a UserError unless the columns of `name` contain the text columns and, if any, those of labels, once each.

    Args:
        columns: All that `name` has.
        name: The file or data set.
        args: Column names.
        hint: What else may be wrong where there is no such column.
    """
    if not columns:
        raise UserError(f"'{name}' has no columns and so no texts; give a file with at least one row per class")
    wanted = wanted_columns(args)
    for flag in ("text_column", "label_column"):
        for column in getattr(args, flag, ()):
            if columns.count(column) != 1:
                listed = ", ".join(f"'{known}'" for known in columns[:20]) + (", ..." if len(columns) > 20 else "")
                count = "more than one" if column in columns else "no"
                hint = (
                    ""
                    if column in columns
                    else hidden_characters(column, columns) or did_you_mean(column, columns) or hint
                )
                raise UserError(f"'{name}' has {count} column '{column}' (--{flag}); its columns are {listed}{hint}")
    for column in wanted:
        if isinstance(args, FileArguments) and column in args.text_column and column in args.label_column:
            raise UserError(f"--text_column and --label_column are both '{column}'; name two columns")
        if wanted.count(column) > 1:
            raise UserError(f"column '{column}' is named twice; name it once")


def make_part(
    table: pa.Table,
    name: str,
    args: FileArguments,
    find_line: Callable[[int], str] | None = None,
    class_names: list[str] | None = None,
    is_text: bool = False,
    lists_of_one: bool = False,
) -> Part:
    """Take the text and the label columns, and refuse missing values.

    Args:
        table: Has at least the text and the label columns.
        name: The file or data set, for the messages.
        args: Column names, separators, and `keep_empty_texts`.
        find_line: Tells where in the file a row (counted from 1) stands, for the messages.
        class_names: See `Part`.
        is_text: See `Part`.
        lists_of_one: See `Part`.

    Raises:
        UserError: If there are no rows, the text isn't text, or a text or label is missing.
    """
    if table.num_rows == 0:
        raise UserError(f"'{name}' has no rows; give a file with at least one row per class")
    rows = Rows(table, name, find_line)
    text = _joined_texts(rows, args)
    if len(args.label_column) > 1:
        return Part(name, text, _labels_of_columns(rows, args.label_column), list(args.label_column))
    label = rows.column(args.label_column[0])
    if args.label_separator is not None and pa.types.is_string(label.type):
        label = pc.fill_null(label, "")  # a cell without any of the labels
    else:
        rows.refuse(_is_missing(label), "label", args.label_column, MISSING_LABEL)
    return Part(name, text, label, class_names, is_text, lists_of_one)


def ids_without_minus_one(table: pa.Table, args: FileArguments) -> pa.Table:
    """Make the Hub's way to say that a text isn't labelled, -1, a missing label."""
    column = args.label_column[0]
    ids = table[column]
    if not pa.types.is_integer(ids.type):
        return table
    known = pc.if_else(pc.equal(ids, -1), pa.scalar(None, ids.type), ids)
    return table.set_column(table.column_names.index(column), column, known)


@dataclass(frozen=True)
class Rows:
    """A table as it was read.

    Attributes:
        table: The table.
        name: The file or data set, for the messages.
        find_line: See `make_part`.
    """

    table: pa.Table
    name: str
    find_line: Callable[[int], str] | None = None

    def texts(self, column: str) -> pa.ChunkedArray:
        """A column of texts as strings.

        Raises:
            UserError: It holds something else, or can't be read.
        """
        texts = self.column(column)
        if not is_text(texts.type):
            raise UserError(f"column '{column}' of '{self.name}' holds {self.table[column].type}, not text")
        return texts.cast(pa.string())

    def column(self, column: str) -> pa.ChunkedArray:
        """A column in one of few types, see `plain_column`.

        Raises:
            UserError: It can't be read.
        """
        try:
            plain = plain_column(self.table[column])
            refuse_far_dates(plain)
            return plain
        except OverflowError as error:
            raise UserError(
                f"column '{column}' of '{self.name}' has dates before the year 1 or after 9999; write them as text"
            ) from error
        except pa.ArrowException as error:
            if "utf8" in str(error).lower():
                reason = "holds text that isn't valid UTF-8; convert the file to UTF-8"
            else:
                reason = f"can't be read: {one_line(error, 200)}; write the file again"
            raise UserError(f"column '{column}' of '{self.name}' {reason}") from error

    def refuse(self, is_bad: pa.ChunkedArray, kind: str, columns: list[str], way_out: str) -> None:
        """Name the first row in which the mask is true."""
        row = pc.index(is_bad, True).as_py()
        if row >= 0:
            line = self.find_line(row + 1) if self.find_line else ""
            where = f" in column '{columns[0]}'" if len(columns) == 1 and columns[0] not in ("text", "label") else ""
            raise UserError(f"'{self.name}' has no {kind} in row {row + 1}{line}{where}; {way_out}")


def _joined_texts(rows: Rows, args: FileArguments) -> pa.ChunkedArray:
    texts = []
    for column in args.text_column:
        text = rows.texts(column)
        if args.keep_empty_texts:
            text = pc.fill_null(text, "")
        way_out = "fill it in, drop the row, or pass --keep_empty_texts true"
        rows.refuse(pc.is_null(text), "text", [column], way_out)
        texts.append(text)
    if len(texts) == 1:
        return texts[0]
    return pc.binary_join_element_wise(*texts, args.joining_text)


def _labels_of_columns(rows: Rows, names: list[str]) -> pa.ChunkedArray:
    """Lists of names, from one column of zeros and ones for each of them."""
    has_label = []
    for name in names:
        column = rows.column(name)
        rows.refuse(_is_missing(column), "label", [name], "fill it in or drop the row")
        values = pa.chunked_array([[str(value) for value in column.to_pylist()]], pa.string())
        bad = pc.index(pc.is_in(values, value_set=pa.array(BITS)), False).as_py()
        if bad >= 0:
            raise UserError(
                f"column '{name}' of '{rows.name}' has '{values[bad].as_py()[:50]}' in row {bad + 1}; several columns "
                "of labels (--label_column) hold a 0 or 1 for each text"
            )
        has_label.append(pc.is_in(values, value_set=pa.array(ONES)).to_numpy())
    lists = [[name for name, each in zip(names, row, strict=True) if each] for row in zip(*has_label, strict=True)]
    return pa.chunked_array([pa.array(lists, pa.list_(pa.string()))])


def _is_missing(label: pa.ChunkedArray) -> pa.ChunkedArray:
    if is_text(label.type):
        return pc.equal(pc.utf8_trim_whitespace(label.cast(pa.string())), "").fill_null(True)
    return pc.is_null(label, nan_is_null=pa.types.is_floating(label.type))
