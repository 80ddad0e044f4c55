"""Rows of .csv and .tsv files, each kept as it stands in its file."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from salience.configuration.errors import UserError
from salience.eval.predict.lines import Lines, TextInput, encoding_of, size_of
from salience.eval.predict.rows import Rejected, Rows, Stretch, Survey, divided
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


def without_rests(records: Iterable[Record]) -> Iterator[Record]:
    """The same rows; one that may be the rest of a row before it, whose quotes are broken, can't be read either."""
    before: Record | None = None
    for record in records:
        follows_broken = before is not None and before.cells is None
        if before and follows_broken and record.cells is not None and record.raw.count('"') % 2:
            record = record._replace(cells=None, reason=f"it may be the rest of the row in line {before.line}")
        yield record
        before = record


@dataclass(frozen=True)
class CsvInput(TextInput):
    """A .csv or .tsv file.

    Attributes:
        separator: Between its cells.
    """

    separator: str = ""

    def looked_at(self) -> "CsvInput":
        """See `Input`."""
        encoding = encoding_of(self.path, self.name, self.args)
        first = "".join(line for _, line in islice(Lines(self.path, self.name, encoding).read_from(0), 1000))
        separator, columns = find_layout(pa.py_buffer(first.encode()), self.path, self.name, self.args)
        return replace(self, encoding=encoding, separator=separator, columns=columns)

    def describe(self) -> dict[str, Any]:
        """How it is read, for the manifest."""
        return {**super().describe(), "separator": self.separator}

    @cached_property
    def first(self) -> Record:
        """The header; without one, the first row."""
        return next(self._records(0, 1))

    @property
    def line_end(self) -> str:
        """How its lines end."""
        body = self.first.raw.rstrip("\r\n")
        return self.first.raw[len(body) :] or "\n"

    def survey(self, file: int, rows: int) -> Survey:
        """See `Input`; a quote may never be closed, or a row be too long to be one."""
        found = without_rests(self._body())
        return Survey(divided(file, rows, ((*each[:2], size_of(each.raw), each.cells is None) for each in found)), {})

    def read(self, stretch: Stretch) -> Rows:
        """Read one, and look for cells that swallowed rows where `--quoting` is checked."""
        records = list(islice(without_rests(self._records(stretch.offset, stretch.line)), stretch.rows))
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
