"""Reads labelled texts from csv, tsv, json, parquet and folders of .txt into Arrow tables, and refuses broken ones."""

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from salience.configuration.data_arguments import FileArguments
from salience.configuration.errors import UserError, one_line
from salience.train.data.paths import resolve_path
from salience.train.data.tables import Part, check_columns, check_table

# A text longer than one block couldn't be read, and pyarrow's default is only 1 MB.
BLOCK_BYTES = 64 * 2**20
LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # Python joins pairs


def read_file(name: str, args: FileArguments) -> Part:
    """Read one file or folder of labelled texts.

    Args:
        name: What the flag says, as `resolve_path` takes it.
        args: Column names, encodings and what to do with missing texts.

    Raises:
        UserError: If the file is missing, empty, malformed, in another encoding, or lacks a column, a text or a label.
    """
    path = resolve_path(name)
    reader = _read_folder if path.is_dir() else READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"'{name}' has no known file ending; use {', '.join(READERS)} or a folder of .txt per class")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise UserError(f"'{name}' is empty; give a file with at least one row per class")
        table = reader(path, name, args)
    except OSError as error:
        raise UserError(f"'{name}' can't be read: {error.strerror or error}") from error
    find_line = partial(_csv_line, path, args=args) if reader is _read_csv else None
    return check_table(table, name, args, find_line)


def _read_csv(path: Path, name: str, args: FileArguments) -> pa.Table:
    parsing = pa.csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True)
    columns = [args.text_column, args.label_column]
    # Only an empty cell is null (the words NA and null are text), and a quoted empty one is an empty text.
    converting = pa.csv.ConvertOptions(
        include_columns=columns,
        column_types=dict.fromkeys(columns, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    for encoding in _encodings(args):
        reading = pa.csv.ReadOptions(encoding=encoding, block_size=BLOCK_BYTES)
        try:
            with pa.csv.open_csv(path, reading, parsing) as header:
                check_columns(header.schema.names, name, args)
            table = pa.csv.read_csv(path, reading, parsing, converting)
        except UnicodeDecodeError:
            continue
        except pa.ArrowInvalid as error:
            if "invalid UTF8" in str(error):
                continue
            raise _csv_error(path, name, args, error) from error
        return table.set_column(1, args.label_column, _parse_numbers(table[args.label_column]))
    raise _encoding_error(name, args)


def _parse_numbers(label: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn the labels of a csv file into numbers if all of them are and one has a decimal point (2.5 or 2.0)."""
    try:
        numbers = label.cast(pa.float64())
    except pa.ArrowInvalid:
        return label
    whole = pc.match_substring_regex(label, r"^[+-]?\d+$")
    return label if pc.all(whole, min_count=0).as_py() else numbers


def _csv_line(path: Path, row: int, args: FileArguments) -> str:
    for number, (line, _) in enumerate(_csv_rows(path, args)):
        if number == row:  # number 0 is the header
            return f" (ends in line {line})"
    return ""


def _csv_error(path: Path, name: str, args: FileArguments, error: Exception) -> UserError:
    width = None
    for line, cells in _csv_rows(path, args):
        width = width or len(cells)
        if len(cells) != width:
            reason = f"the row that ends in line {line} has {len(cells)} cells and the header {width}"
            return UserError(f"'{name}' is malformed: {reason}; check that row's quotes and separators")
    return UserError(f"'{name}' is malformed: {one_line(error, 200)}; write it again as a table with a header")


def _csv_rows(path: Path, args: FileArguments) -> Iterator[tuple[int, list[str]]]:
    """Yield (last line, cells) of each row that isn't blank: pyarrow doesn't tell where a broken row stands."""
    csv.field_size_limit(2**31 - 1)
    for encoding in _encodings(args):
        try:
            path.read_text(encoding=encoding)
        except UnicodeDecodeError:
            continue
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=_delimiter(path))
            yield from ((reader.line_num, cells) for cells in reader if cells)
        return


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _read_json(path: Path, name: str, args: FileArguments) -> pa.Table:
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
    if start.startswith(b"["):
        return _table_of_records(_parse_json(path.read_bytes(), name, ""), name, args)
    try:
        table = pa.json.read_json(
            path,
            pa.json.ReadOptions(block_size=BLOCK_BYTES),
            # Without a given type, texts that look like dates would become dates.
            pa.json.ParseOptions(explicit_schema=pa.schema([(args.text_column, pa.string())])),
        )
    except pa.ArrowInvalid:
        # Slower, but it tolerates mixed types in columns that nobody asked for, and knows the line of an error.
        with path.open("rb") as lines:
            records = [_parse_json(line, name, f" line {n}") for n, line in enumerate(lines, 1) if line.strip()]
        return _table_of_records(records, name, args)
    # The given type creates the column even where the file has none.
    check_columns([n for n in table.column_names if table[n].null_count < table.num_rows], name, args)
    return table


def _parse_json(data: bytes, name: str, where: str) -> object:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"'{name}'{where} isn't valid UTF-8; convert the file to UTF-8") from error
    except json.JSONDecodeError as error:
        where = where or f" line {error.lineno}"
        raise UserError(f"'{name}'{where} is not valid JSON ({error.msg}); put one object in each line") from error
    except RecursionError as error:
        raise UserError(f"'{name}'{where} is nested too deeply; put one object in each line") from error


def _table_of_records(records: object, name: str, args: FileArguments) -> pa.Table:
    rows: list[Any] = records if isinstance(records, list) else [records]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f'\'{name}\' row {number} is not a JSON object; write {{"text": ..., "label": ...}}')
        if not isinstance(row.get(args.text_column), str | None):
            raise UserError(f"'{name}' row {number} has something else than text in column '{args.text_column}'")
        if any(has_half_a_character(row.get(column)) for column in (args.text_column, args.label_column)):
            raise UserError(f"'{name}' row {number} has half a character (a lone surrogate); cut the text elsewhere")
    if not rows:
        raise UserError(f"'{name}' has no rows; give a file with at least one row per class")
    check_columns(list(dict.fromkeys(key for row in rows for key in row)), name, args)
    texts = pa.array([row.get(args.text_column) for row in rows], pa.string())
    try:
        labels = pa.array([row.get(args.label_column) for row in rows])
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise UserError(f"column '{args.label_column}' of '{name}' mixes types; write all labels alike") from error
    return pa.table({args.text_column: texts, args.label_column: labels})


def has_half_a_character(value: Any) -> bool:
    """Whether a text, or one in a list, was cut within an emoji that JSON writes as two escapes."""
    if isinstance(value, list):
        return any(has_half_a_character(each) for each in value)
    return isinstance(value, str) and bool(LONE_SURROGATE.search(value))


def _read_parquet(path: Path, name: str, args: FileArguments) -> pa.Table:
    try:
        with pa.parquet.ParquetFile(path) as file:
            check_columns(file.schema_arrow.names, name, args)
            return file.read(columns=[args.text_column, args.label_column])
    except pa.ArrowException as error:
        raise UserError(f"'{name}' is not a readable parquet file: {one_line(error, 200)}; write it again") from error


def _read_folder(path: Path, name: str, args: FileArguments) -> pa.Table:
    files = [file for file in path.glob("*/*.txt") if not file.parent.name.startswith((".", "__"))]
    if not files:
        raise UserError(f"folder '{name}' has no .txt files in sub-folders; lay it out as '{name}/CLASS/ANY.txt'")
    files.sort(key=lambda file: (file.parent.name, file.name))
    texts = [_read_text(file, f"{name}/{file.parent.name}/{file.name}", args) for file in files]
    labels = [file.parent.name for file in files]
    return pa.table({args.text_column: texts, args.label_column: labels})


def _read_text(file: Path, name: str, args: FileArguments) -> str:
    for encoding in _encodings(args):
        try:
            return file.read_text(encoding=encoding).removeprefix("\ufeff")
        except UnicodeDecodeError:
            continue
    raise _encoding_error(name, args)


def _encodings(args: FileArguments) -> list[str]:
    try:
        for encoding in args.encoding:
            "".encode(encoding)  # not all codecs are of texts
        return [codecs.lookup(encoding).name for encoding in args.encoding]
    except LookupError as error:
        raise UserError(f"--encoding: {error}; use names such as utf-8 or latin-1") from error


def _encoding_error(name: str, args: FileArguments) -> UserError:
    tried = " ".join(args.encoding)
    return UserError(f"'{name}' is not valid {tried}; convert it to UTF-8 or try --encoding {tried} latin-1")


READERS: dict[str, Callable[[Path, str, FileArguments], pa.Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
