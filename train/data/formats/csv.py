"""Reads .csv and .tsv files: separators, headers and quotes."""

import csv
import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import FileArguments, TextArguments
from salience.train.data.formats.decoding import first_bytes, read_utf8
from salience.train.data.formats.quotes import QuotedCells
from salience.train.data.tables import Part, check_columns, make_part, wanted_columns

logger = logging.getLogger(__name__)

# A text longer than one block couldn't be read, and pyarrow's default is only 1 MB.
BLOCK_BYTES = 64 * 2**20
SEPARATOR_LINE = re.compile(rb'"?sep=[ -~\t]"?\r?\n', re.IGNORECASE)
NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def read_csv(path: Path, name: str, args: FileArguments) -> Part:
    """Read one file; all labels are text, as nobody can tell the codes 2.1 and 2.10 from numbers.

    Args:
        path: The file, which may end in .gz.
        name: Of it, for the messages.
        args: Columns, encodings, separator, header and quoting.

    Raises:
        UserError: It is malformed, in another encoding, or lacks a column, a text or a label.
    """
    content = read_utf8(path, name, args)
    separator, header = find_layout(content, path, name, args)
    cells = QuotedCells.find(content, name, separator) if args.quoting == "checked" else None
    if cells is not None:
        cells.refuse_lone_returns()
    quote = False if args.quoting == "none" else '"'
    columns = wanted_columns(args)
    # Only an empty cell is null (the words NA and null are text), and a quoted empty one is an empty text.
    converting = pa.csv.ConvertOptions(
        include_columns=columns,
        column_types=dict.fromkeys(columns, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    rows = partial(_rows, content, separator, args)
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(content),
            pa.csv.ReadOptions(block_size=BLOCK_BYTES, column_names=None if args.header else header),
            pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True, quote_char=quote),
            converting,
        )
    except pa.ArrowInvalid as error:
        raise _malformed(rows(), name, error) from error
    find_line = partial(_line_of, rows, args.header)
    part = make_part(table, name, args, find_line, is_text=True)
    if args.header:
        _refuse_second_header(table, name, find_line)
    if cells is not None:
        cells.refuse_swallowed_rows(len(header))
    return part


def _refuse_second_header(table: pa.Table, name: str, find_line: Callable[[int], str]) -> None:
    """Refuse a row in which each column holds its own name, as files have that were put together."""
    is_header = [pc.equal(table[column], column).fill_null(False) for column in table.column_names]
    row = pc.index(reduce(pc.and_, is_header), True).as_py()
    if row >= 0:
        raise UserError(f"'{name}' has its header again in row {row + 1}{find_line(row + 1)}; delete that row")


def find_layout(content: pa.Buffer, path: Path, name: str, args: TextArguments) -> tuple[str, list[str]]:
    """The separator and the names of the columns.

    Args:
        content: The file, or its beginning with the whole first row.
        path: Of it.
        name: Of it, for the messages.
        args: Columns, separator, header and quoting.

    Raises:
        UserError: It has no row, or lacks a column.
    """
    if found := SEPARATOR_LINE.match(first_bytes(content, 16)):
        line = found[0].decode().strip()
        way_out = "delete that line and name the separator with --separator"
        raise UserError(f"'{name}' begins with the line '{line}', which is for spreadsheets only; {way_out}")
    usual = "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes] else ","
    columns = wanted_columns(args)
    header = _header(content, args.separator or usual, name, args)
    if not set(columns) <= set(header):
        others = {each: _header(content, each, name, args) for each in NAMES if each != (args.separator or usual)}
        fitting = [each for each, found in others.items() if set(columns) <= set(found)]
        if fitting and args.separator is not None:
            raise UserError(
                f"'{name}' has no column '{next(each for each in columns if each not in header)}' with --separator "
                f"{_typed(args.separator)}, but with {NAMES[fitting[0]]}; pass --separator {_typed(fitting[0])}"
            )
        if len(fitting) == 1:
            logger.warning("'%s' is read with %s between its cells (--separator)", name, NAMES[fitting[0]])
            return fitting[0], others[fitting[0]]
    hint = "" if not args.header else "; without a header, pass --header false and name columns by place, from 1"
    check_columns(header, name, args, hint)
    return args.separator or usual, header


def _typed(separator: str) -> str:
    """A separator as one types it in a shell."""
    return "tab" if separator == "\t" else f"'{separator}'"


def _header(content: pa.Buffer, separator: str, name: str, args: TextArguments) -> list[str]:
    for _, cells in _rows(content, separator, args):
        return cells if args.header else [str(number) for number in range(1, len(cells) + 1)]
    raise UserError(f"'{name}' is malformed: it has no line with text; write it again as a table with a header")


def _rows(content: pa.Buffer, separator: str, args: TextArguments) -> Iterator[tuple[int, list[str]]]:
    """Yield (last line, cells) of each row that isn't blank: pyarrow doesn't tell where a broken row stands."""
    reader = cell_reader(io.TextIOWrapper(pa.BufferReader(content), encoding="utf-8", newline=""), separator, args)
    yield from ((reader.line_num, cells) for cells in reader if cells)


def cell_reader(lines: Iterable[str], separator: str, args: TextArguments, strict: bool = False) -> Any:
    """Python's reader of rows of cells (`csv.reader`), with quotes as `--quoting` says.

    Args:
        lines: Of the file.
        separator: Between cells.
        args: `quoting`.
        strict: Whether it raises `csv.Error` where something else than a separator or a line's end follows a quote.
    """
    csv.field_size_limit(2**31 - 1)
    quoting: Any = csv.QUOTE_NONE if args.quoting == "none" else csv.QUOTE_MINIMAL
    return csv.reader(lines, delimiter=separator, quoting=quoting, strict=strict)


def _line_of(rows: partial[Iterator[tuple[int, list[str]]]], has_header: bool, row: int) -> str:
    for number, (line, _) in enumerate(rows(), 0 if has_header else 1):
        if number == row:
            return f" (ends in line {line})"
    return ""


def _malformed(rows: Iterator[tuple[int, list[str]]], name: str, error: Exception) -> UserError:
    width = None
    for line, cells in rows:
        width = width or len(cells)
        if len(cells) != width:
            reason = f"the row that ends in line {line} has {len(cells)} cells and the header {width}"
            return UserError(f"'{name}' is malformed: {reason}; check that row's quotes and separators")
    return UserError(f"'{name}' is malformed: {one_line(error, 200)}; write it again as a table with a header")
