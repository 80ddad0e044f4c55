"""Rows of .parquet files, with the columns and types that they have."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from salience.configuration.errors import UserError, one_line
from salience.eval.predict.rows import STRETCH_BYTES, Input, Stretch, Survey
from salience.eval.predict.rows import Rows as ReadRows
from salience.train.data.tables import Rows, check_columns

ROWS_AT_ONCE = 1000


class TableReader:
    """Rows of a parquet file from any one on; those behind the last one that was read need no search.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path.open("rb")  # opened here: pyarrow takes a path with a colon for an address
        self.file = pq.ParquetFile(self.source, pre_buffer=False)  # it would keep all that it has read
        self.position = 0
        self._batches = self._from_group(0)
        self._rest: pa.Table | None = None

    def read(self, start: int, count: int) -> pa.Table:
        """Some rows; fewer at the end of the file.

        Args:
            start: Number of the first, from 0.
            count: How many.
        """
        if start != self.position:
            self._go_to(start)
        parts = [] if self._rest is None else [self._rest]
        size = sum(part.num_rows for part in parts)
        while size < count and (batch := next(self._batches, None)) is not None:
            parts.append(pa.Table.from_batches([batch], self.file.schema_arrow))
            size += batch.num_rows
        table = pa.concat_tables(parts) if parts else self.file.schema_arrow.empty_table()
        self._rest = table.slice(count).combine_chunks() if size > count else None
        self.position = start + min(count, size)
        return table.slice(0, count)

    def _go_to(self, start: int) -> None:
        group, before = 0, 0
        metadata = self.file.metadata
        while group < metadata.num_row_groups - 1 and before + metadata.row_group(group).num_rows <= start:
            before += metadata.row_group(group).num_rows
            group += 1
        self._batches, self._rest, self.position = self._from_group(group), None, before
        while self.position < start:
            self.read(self.position, min(ROWS_AT_ONCE, start - self.position))

    def _from_group(self, group: int) -> Iterator[pa.RecordBatch]:
        groups = list(range(group, self.file.metadata.num_row_groups))
        return self.file.iter_batches(ROWS_AT_ONCE, row_groups=groups, use_threads=False)


@dataclass(frozen=True)
class ParquetInput(Input):
    """A .parquet file."""

    def looked_at(self) -> "ParquetInput":
        """See `Input`."""
        check_columns(self.schema.names, self.name, self.args)
        Rows(self.schema.empty_table(), self.name).texts(self.args.text_column[0])
        return replace(self, columns=self.schema.names)

    def describe(self) -> dict[str, Any]:
        """How it is read, for the manifest."""
        return {}

    @cached_property
    def reader(self) -> TableReader:
        """The file, opened when it is first read."""
        try:
            return TableReader(self.path)
        except (pa.ArrowException, NotImplementedError) as error:
            raise self._damaged(error) from error

    @property
    def schema(self) -> pa.Schema:
        """Its columns and their types."""
        return self.reader.file.schema_arrow

    def survey(self, file: int, rows: int) -> Survey:
        """See `Input`; the file's end tells all."""
        metadata = self.reader.file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        rows = min(rows, max(metadata.num_rows * STRETCH_BYTES // max(size, 1), 1))
        starts = range(0, metadata.num_rows, rows)
        return Survey([Stretch(file, start + 1, min(rows, metadata.num_rows - start)) for start in starts], {})

    def read(self, stretch: Stretch) -> ReadRows:
        """See `Input`; it may hold something else than text."""
        try:
            table = self.reader.read(stretch.row - 1, stretch.rows)
        except (pa.ArrowException, NotImplementedError, OSError) as error:
            raise self._damaged(error) from error
        rows = Rows(table, self.name)
        return ReadRows(
            texts={name: rows.texts(name).to_pylist() for name in self.args.text_column},
            raw=[],
            table=lambda: table,
            places=[(number, 0) for number in range(stretch.row, stretch.row + table.num_rows)],
        )

    def _damaged(self, error: Exception) -> UserError:
        return UserError(f"'{self.name}' is not a readable parquet file: {one_line(error, 200)}; write it again")
