"""Rows of .jsonl files, and of .json files with one object in each line; each kept as it stands in its file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import TextArguments
from salience.eval.predict.lines import Lines, encoding_of, size_of
from salience.eval.predict.predictor import PickledAsFields, refuse_taken
from salience.eval.predict.rows import STRETCH_BYTES, Rejected, Rows, Stretch
from salience.train.data.formats.json import check_record, parse
from salience.train.data.tables import check_columns

FIRST_ROWS = 1000
"""Rows in which a column of texts must be found."""
# What all values of a column must be for it to have a type of its own in a parquet file; else it holds them as JSON.
TYPES: dict[frozenset[type], pa.DataType] = {
    frozenset({bool}): pa.bool_(),
    frozenset({int}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
}


@dataclass(frozen=True)
class JsonInput(PickledAsFields):
    """A file of JSON lines.

    Attributes:
        path: The file.
        name: Of it, for the messages.
        args: How it is read.
        encoding: Its codec.
        columns: Keys of its first rows.
        added: Names of the columns that it will get.
        types: Of the columns of a parquet file, where one is written: see `typed`.
    """

    path: Path
    name: str
    args: TextArguments
    encoding: str
    columns: list[str]
    added: tuple[str, ...] = ()
    types: dict[str, pa.DataType] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, name: str, args: TextArguments, added: Sequence[str]) -> "JsonInput":
        """Find out how a file is read.

        Args:
            path: The file.
            name: Of it, for the messages.
            args: How it is read.
            added: Names of the columns that it will get.

        Raises:
            UserError: It can't be, is one list, lacks a column, or has one that it will get.
        """
        found = cls(path, name, args, encoding_of(path, name, args), [])
        rows = list(islice(found._lines(0, 1), FIRST_ROWS))
        if not rows or rows[0][2].startswith("["):
            what = "one JSON list, which can't be read in parts" if rows else "no row"
            raise UserError(f"'{name}' is {what}; write one object in each line, as .jsonl")
        records = [record for _, line, text in rows if isinstance(record := found._parse(text, line)[0], dict)]
        if not records:
            parse(rows[0][2], name, f" line {rows[0][1]}")
        columns = list(dict.fromkeys(key for record in records for key in record))
        check_columns(columns, name, args)
        refuse_taken(columns, added, f"'{name}'")
        return replace(found, columns=columns, added=tuple(added))

    def describe(self) -> dict[str, Any]:
        """How it is read, for the manifest."""
        return {"encoding": self.encoding}

    @cached_property
    def lines(self) -> Lines:
        """The file, opened when it is first read."""
        return Lines(self.path, self.name, self.encoding)

    def stretches(self, file: int, rows: int) -> Iterator[Stretch]:
        """Where each stretch of so many rows begins.

        Args:
            file: Number of this file.
            rows: Of a stretch; fewer where they are long.
        """
        begin: tuple[int, int] | None = None
        number, count, size = 1, 0, 0
        for offset, line, text in self._lines(0, 1):
            if begin is not None and (count == rows or size >= STRETCH_BYTES):
                yield Stretch(file, number, count, *begin)
                begin, number, count, size = None, number + count, 0, 0
            begin = begin or (line, offset)
            count, size = count + 1, size + size_of(text)
        if begin is not None:
            yield Stretch(file, number, count, *begin)

    def read(self, stretch: Stretch) -> Rows:
        """Read one."""
        good, rejected = [], []
        rows = islice(self._lines(stretch.offset, stretch.line), stretch.rows)
        for number, (_, line, text) in enumerate(rows, stretch.row):
            record, reason = self._parse(text, line)
            if record is None:
                rejected.append(Rejected(number, line, reason))
            else:
                good.append((number, line, text, record))
        records = [record for *_, record in good]
        return Rows(
            texts={name: [record.get(name) for record in records] for name in self.args.text_column},
            raw=[text for _, _, text, _ in good],
            table=lambda: self._table(records),
            places=[(number, line) for number, line, _, _ in good],
            rejected=rejected,
        )

    def kinds(self) -> dict[str, set[type]]:
        """Key -> the types of its values in all rows."""
        found: dict[str, set[type]] = {}
        for _, line, text in self._lines(0, 1):
            for key, value in (self._parse(text, line)[0] or {}).items():
                # Whole numbers that no column of numbers holds are kept as JSON.
                kind = list if isinstance(value, int) and not -(2**63) <= value < 2**63 else type(value)
                found.setdefault(key, set()).add(kind)
        return found

    def _table(self, records: list[dict[str, Any]]) -> pa.Table:
        columns = {}
        for name, kind in self.types.items():
            values = [record.get(name) for record in records]
            is_json = pa.types.is_string(kind)
            cells = [_as_text(value) for value in values] if is_json else values
            columns[name] = pa.array(cells, kind)
        return pa.table(columns)

    def _parse(self, text: str, line: int) -> tuple[dict[str, Any] | None, str]:
        """A row, or None and why it can't be read."""
        try:
            record = parse(text, self.name, f" line {line}")
            check_record(record, f"'{self.name}' line {line}", self.args)
            assert isinstance(record, dict)
            refuse_taken(record, self.added, f"'{self.name}' line {line}")
        except UserError as error:
            return None, str(error)
        return record, ""

    def _lines(self, offset: int, line: int) -> Iterator[tuple[int, int, str]]:
        """Yield (where it begins, its number, its text) of each line from one on that isn't blank."""
        for number, (at, text) in enumerate(self.lines.read_from(offset), line):
            if stripped := text.strip():
                yield at, number, stripped


def typed(inputs: list[JsonInput]) -> list[JsonInput]:
    """The same files, with types for the columns of the parquet files that are made of them."""
    found: dict[str, set[type]] = {}
    for each in inputs:
        for key, kinds in each.kinds().items():
            found.setdefault(key, set()).update(kinds)
    types = {key: TYPES.get(frozenset(kinds - {type(None)}), pa.string()) for key, kinds in found.items()}
    return [replace(each, types=types) for each in inputs]


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
