"""Rows of .csv and .tsv files, each kept as it stands in its file."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import TextArguments
from salience.eval.predict.lines import Lines, encoding_of, size_of
from salience.eval.predict.predictor import PickledAsFields, refuse_taken
from salience.eval.predict.rows import STRETCH_BYTES, Rejected, Rows, Stretch
from salience.train.data.formats.csv import BLOCK_BYTES, cell_reader, find_layout
from salience.train.data.formats.quotes import WAY_OUT, QuotedCells, swallows

REASONS = {
    "expected after": "a quote is closed where neither a separator nor the line's end follows",
    "new-line character": "a carriage return stands within it; quote that cell or take the character out",
}


class Record(NamedTuple):
    """A row as it was found.

    Attributes:
        offset: Where it begins, see `Stretch`.
        line: Its first line.
        raw: It as it stands there, with the line's end.
        cells: What it holds; None where it can't be read.
        reason: Why not.
    """

    offset: int
    line: int
    raw: str
    cells: list[str] | None
    reason: str = ""


@dataclass(frozen=True)
class CsvInput(PickledAsFields):
    """A .csv or .tsv file.

    Attributes:
        path: The file.
        name: Of it, for the messages.
        args: How it is read.
        encoding: Its codec.
        separator: Between its cells.
        columns: Their names.
    """

    path: Path
    name: str
    args: TextArguments
    encoding: str
    separator: str
    columns: list[str]

    @classmethod
    def open(cls, path: Path, name: str, args: TextArguments, added: Sequence[str]) -> "CsvInput":
        """Find out how a file is read.

        Args:
            path: The file.
            name: Of it, for the messages.
            args: How it is read.
            added: Names of the columns that it will get.

        Raises:
            UserError: It can't be, lacks a column, or has one that it will get.
        """
        encoding = encoding_of(path, name, args)
        first = "".join(line for _, line in islice(Lines(path, name, encoding).read_from(0), 1000))
        separator, columns = find_layout(pa.py_buffer(first.encode()), path, name, args)
        refuse_taken(columns, added, f"'{name}'")
        return cls(path, name, args, encoding, separator, columns)

    def describe(self) -> dict[str, Any]:
        """How it is read, for the manifest."""
        return {"encoding": self.encoding, "separator": self.separator}

    @cached_property
    def lines(self) -> Lines:
        """The file, opened when it is first read."""
        return Lines(self.path, self.name, self.encoding)

    @cached_property
    def first(self) -> Record:
        """The header; without one, the first row."""
        return next(self._records(0, 1))

    @property
    def line_end(self) -> str:
        """How its lines end."""
        body = self.first.raw.rstrip("\r\n")
        return self.first.raw[len(body) :] or "\n"

    def stretches(self, file: int, rows: int) -> Iterator[Stretch]:
        """Where each stretch of so many rows begins.

        Args:
            file: Number of this file.
            rows: Of a stretch; fewer where they are long.

        Raises:
            UserError: A quote is never closed, or a row is too long to be one.
        """
        first: Record | None = None
        number, count, size = 1, 0, 0
        for record in self._body():
            if first is not None and (count == rows or size >= STRETCH_BYTES):
                yield Stretch(file, number, count, first.line, first.offset)
                first, number, count, size = None, number + count, 0, 0
            first = first or record
            count, size = count + 1, size + size_of(record.raw)
        if first is not None:
            yield Stretch(file, number, count, first.line, first.offset)

    def read(self, stretch: Stretch) -> Rows:
        """Read one, and look for cells that swallowed rows where `--quoting` is checked."""
        records = list(islice(self._records(stretch.offset, stretch.line), stretch.rows))
        if self.args.quoting == "checked":
            records = self._without_swallowed(records)
        good, rejected = [], []
        for number, record in enumerate(records, stretch.row):
            if reason := record.reason or self._fault(record.cells or []):
                rejected.append(Rejected(number, record.line, reason))
            else:
                good.append((number, record, record.cells or []))
        columns = list(zip(*(cells for _, _, cells in good), strict=True)) or [()] * len(self.columns)
        texts = {name: [cell or None for cell in columns[self.columns.index(name)]] for name in self.args.text_column}
        return Rows(
            texts=texts,
            raw=[record.raw.rstrip("\r\n") for _, record, _ in good],
            table=lambda: pa.table([pa.array(cells, pa.string()) for cells in columns], names=self.columns),
            places=[(number, record.line) for number, record, _ in good],
            rejected=rejected,
        )

    def _fault(self, cells: list[str]) -> str:
        """Why a row is none of this table; empty where it is one."""
        if len(cells) != len(self.columns):
            return f"it has {len(cells)} cells and the first row {len(self.columns)}"
        return "it is the header again" if self.args.header and cells == self.columns else ""

    def _body(self) -> Iterator[Record]:
        records = self._records(0, 1)
        if self.args.header:
            next(records)
        yield from records

    def _records(self, offset: int, line: int) -> Iterator[Record]:
        """Yield the rows from a line on; blank lines are none.

        Args:
            offset: Where the line begins.
            line: Its number.
        """
        taken: list[tuple[int, str]] = []
        reader = cell_reader(self._taken(taken, offset, line), self.separator, self.args, strict=True)
        while True:
            cells, reason = None, ""
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "unexpected end" in str(error):
                    raise self._unclosed(line) from error
                reason = next((words for mark, words in REASONS.items() if mark in str(error)), str(error))
                if len(taken) > 1:
                    reason += f" (lines {line} to {line + len(taken) - 1})"
            if cells != []:
                yield Record(taken[0][0], line, "".join(text for _, text in taken), cells, reason)
            line += len(taken)
            taken.clear()

    def _taken(self, taken: list[tuple[int, str]], offset: int, line: int) -> Iterator[str]:
        """Yield lines, and note those of the row that is being read."""
        size = 0
        for at, text in self.lines.read_from(offset):
            size = size + len(text) if taken else len(text)
            taken.append((at, text))
            if size > BLOCK_BYTES:
                raise UserError(
                    f"'{self.name}' has a row of more than {BLOCK_BYTES // 2**20} MB that ends behind line "
                    f"{line}: is a quote never closed? {WAY_OUT}"
                )
            yield text

    def _unclosed(self, line: int) -> UserError:
        return UserError(f"'{self.name}' is malformed: the quote that opens in line {line} is never closed; {WAY_OUT}")

    def _without_swallowed(self, records: list[Record]) -> list[Record]:
        """The same rows; those with a cell that seems to have swallowed others can't be read."""
        good = [number for number, record in enumerate(records) if record.cells is not None]
        raw = [records[number].raw.encode() for number in good]
        content = b"".join(raw)
        if not any(b"\n" in each.rstrip(b"\r\n") or b"\r" in each.rstrip(b"\r\n") for each in raw):
            return records
        cells = QuotedCells.find(pa.py_buffer(content), self.name, self.separator)
        starts = np.cumsum([0, *map(len, raw)])
        for cell in cells.swallowing(len(self.columns)):
            number = good[int(np.searchsorted(starts, cells.starts[cell], side="right")) - 1]
            record = records[number]
            closes = record.line + record.raw.rstrip("\r\n").count("\n")
            records[number] = record._replace(cells=None, reason=swallows(closes))
        return records
