"""Reads .jsonl and .json files: one object in each line, or a list of objects."""

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments, FileArguments, TextArguments
from salience.configuration.problem_types import SINGLE_LABEL
from salience.train.data.formats.decoding import first_bytes, read_utf8
from salience.train.data.formats.nesting import may_be_deep, too_deep
from salience.train.data.tables import Part, check_columns, make_part, wanted_columns

BLOCK_BYTES = 64 * 2**20  # as for .csv
LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # Python joins pairs
# pyarrow takes such a row for one without values, and one at the start of a block ends the process.
NULL_ROW = re.compile(rb"^[ \t\r]*null", re.MULTILINE)


def read_json(path: Path, name: str, args: FileArguments) -> Part:
    """Read one file.

    Args:
        path: The file, which may end in .gz.
        name: Of it, for the messages.
        args: Columns and encodings.

    Raises:
        UserError: It is malformed, in another encoding, or lacks a column, a text or a label.
    """
    part = _read_part(path, name, args)
    if isinstance(args, DataArguments) and args.problem_type == SINGLE_LABEL:
        _refuse_decimals(part.label, name)
    return part


def _read_part(path: Path, name: str, args: FileArguments) -> Part:
    content = read_utf8(path, name, args)
    if first_bytes(content, 4096).lstrip().startswith(b"[") and not _is_list_in_a_line(content):
        return _part_of_records(parse(content.to_pybytes(), name, ""), name, args)
    ends_pyarrow = NULL_ROW.search(memoryview(content)) or may_be_deep(content)
    table = None if ends_pyarrow else _fast_table(content, args)
    if table is None:
        # Slower, but it tolerates mixed types in columns that nobody asked for, and knows the line of an error.
        lines = content.to_pybytes().split(b"\n")
        records = [parse(line, name, f" line {n}") for n, line in enumerate(lines, 1) if line.strip()]
        return _part_of_records(records, name, args)
    # The given type creates the column even where the file has none.
    check_columns([n for n in table.column_names if table[n].null_count < table.num_rows], name, args)
    return make_part(table, name, args)


def _is_list_in_a_line(content: pa.Buffer) -> bool:
    """Whether a file goes on behind a first line that is a whole list: lines that are lists make no rows."""
    lines = (line for line in io.BufferedReader(pa.BufferReader(content)) if line.strip())
    first, second = next(lines), next(lines, None)
    try:
        return second is not None and isinstance(json.loads(first), list)
    except (ValueError, RecursionError):
        return False


def _refuse_decimals(label: pa.ChunkedArray, name: str) -> None:
    """Refuse bare numbers as classes, in which the codes 2.1 and 2.10 are one."""
    if pa.types.is_floating(label.type):
        bad = pc.index(pc.equal(label, pc.round(label)), False).as_py()
        if bad >= 0:
            raise UserError(
                f"the label {label[bad]} in row {bad + 1} of '{name}' is a bare number, and codes such as 2.1 and 2.10 "
                'would be one class; write them as text, as in "2.10"'
            )


def _fast_table(content: pa.Buffer, args: FileArguments) -> pa.Table | None:
    """What pyarrow reads, texts as texts and labels as numbers, lists or texts; None if it can't."""
    # Without a given type, texts that look like dates would become dates.
    types = dict.fromkeys(args.text_column, pa.string())
    for _ in range(2):
        parsing = pa.json.ParseOptions(explicit_schema=pa.schema(types))
        try:
            table = pa.json.read_json(pa.BufferReader(content), pa.json.ReadOptions(block_size=BLOCK_BYTES), parsing)
        except pa.ArrowInvalid:
            return None
        found = {name: table.schema.field(name).type for name in wanted_columns(args) if name in table.column_names}
        dates = {name: _date_as_text(kind) for name, kind in found.items() if _date_as_text(kind) is not None}
        if not dates:
            return table
        types |= dates
    return table


def _date_as_text(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_timestamp(kind):
        return pa.string()
    return pa.list_(pa.string()) if pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type) else None


class _Object(dict[str, Any]):
    """A JSON object that knows which of its keys stood there twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        times = Counter(key for key, _ in pairs) if len(pairs) > len(self) else {}
        self.repeated = {key for key, count in times.items() if count > 1}


def parse(data: bytes | str, name: str, where: str) -> object:
    """A JSON text as Python's objects, which know their repeated keys.

    Args:
        data: One line, or a whole file.
        name: Of the file, for the messages.
        where: In it, as in " line 7"; empty for a whole file.

    Raises:
        UserError: It is no JSON.
    """
    try:
        return json.loads(data, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        where = where or f" line {error.lineno}"
        raise UserError(f"'{name}'{where} is not valid JSON ({error.msg}); put one object in each line") from error
    except RecursionError as error:
        raise too_deep(name, where) from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"'{name}'{where} can't be read: {error}") from error


def _part_of_records(records: object, name: str, args: FileArguments) -> Part:
    rows: list[Any] = records if isinstance(records, list) else [records]
    for number, row in enumerate(rows, 1):
        check_record(row, f"'{name}' row {number}", args)
    if not rows:
        raise UserError(f"'{name}' has no rows; give a file with at least one row per class")
    check_columns(list(dict.fromkeys(key for row in rows for key in row)), name, args)
    table = {column: pa.array([row.get(column) for row in rows], pa.string()) for column in args.text_column}
    for column in args.label_column:
        try:
            table[column] = pa.array([row.get(column) for row in rows])
        except (pa.ArrowException, OverflowError, TypeError) as error:
            raise UserError(f"column '{column}' of '{name}' mixes types; write all labels alike") from error
    return make_part(pa.table(table), name, args)


def check_record(row: object, where: str, args: TextArguments) -> None:
    """Refuse what `parse` gave, unless it is an object with text in the columns of texts.

    Args:
        row: Of a file.
        where: Its file and number, for the messages.
        args: The columns.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(row, _Object):
        raise UserError(f'{where} is not a JSON object; write {{"text": ..., "label": ...}}')
    for column in wanted_columns(args):
        if column in row.repeated:
            raise UserError(f"{where} has the key '{column}' twice; leave out one of them")
    for column in args.text_column:
        if not isinstance(row.get(column), str | None):
            is_table = isinstance(row.get(column), list | dict)
            hint = "; write an object for each text (in pandas, orient='records')" if is_table else "; write it as text"
            raise UserError(f"{where} has something else than text in column '{column}'{hint}")
    if any(has_half_a_character(row.get(column)) for column in wanted_columns(args)):
        raise UserError(f"{where} has half a character (a lone surrogate); cut the text elsewhere")


def has_half_a_character(value: Any) -> bool:
    """Whether a text, or one in a list, was cut within an emoji that JSON writes as two escapes."""
    if isinstance(value, list | tuple):
        return any(has_half_a_character(each) for each in value)
    if isinstance(value, dict):
        return any(has_half_a_character(each) for item in value.items() for each in item)
    return isinstance(value, str) and bool(LONE_SURROGATE.search(value))


def refuse_loss(value: Any, where: str) -> None:
    """Refuse a row of which something would be lost if all of its values were written anew.

    Args:
        value: What `parse` gave.
        where: Its file and number, for the messages.

    Raises:
        UserError: A key stands twice in an object, or a text holds half a character.
    """
    if has_half_a_character(value):
        raise UserError(f"{where} has half a character (a lone surrogate); cut the text elsewhere")
    if repeated := _repeated_keys(value):
        raise UserError(f"{where} has the key '{min(repeated)}' twice; leave out one of them")


def _repeated_keys(value: Any) -> set[str]:
    """Keys that stand twice in an object, or in one within it."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = value.repeated if isinstance(value, _Object) else set()
    return own.union(*map(_repeated_keys, inside))
