"""Rows of .jsonl files, and of .json files with one object in each line; each kept as it stands in its file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import pyarrow as pa

from salience.configuration.errors import UserError
from salience.eval.predict.columns import refuse_taken
from salience.eval.predict.lines import TextInput, encoding_of, pieces, size_of
from salience.eval.predict.rows import Input, Rejected, Rows, Stretch, Survey, divided
from salience.train.data.formats.json import check_record, parse, refuse_loss
from salience.train.data.tables import check_columns

FIRST_ROWS = 1000
"""Rows in which a column of texts must be found."""


class Long(int):
    """Kind of the whole numbers that no fraction of double precision may stand beside: it can't tell them apart."""


# What all values of a column must be for it to have a type of its own in a parquet file; else it holds them as JSON.
TYPES: dict[frozenset[type], pa.DataType] = {
    frozenset({bool}): pa.bool_(),
    frozenset({int}): pa.int64(),
    frozenset({Long}): pa.int64(),
    frozenset({int, Long}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
}


@dataclass(frozen=True)
class JsonInput(TextInput):
    """A file of JSON lines.

    Attributes:
        types: Of the columns of parquet files, where such are written: see `typed`.
    """

    types: dict[str, pa.DataType] = field(default_factory=dict)

    def looked_at(self) -> "JsonInput":
        """See `Input`; it may be one list."""
        found = replace(self, encoding=encoding_of(self.path, self.name, self.args))
        start = next(pieces(self.path, self.name), b"").decode(found.encoding, errors="ignore")
        is_list = start.lstrip("\ufeff \t\r\n").startswith("[")  # perhaps of one line, which is as long as the file
        rows = [] if is_list else list(islice(found._lines(0, 1), FIRST_ROWS))
        if not rows:
            what = "one JSON list, which can't be read in parts" if is_list else "no row"
            raise UserError(f"'{self.name}' is {what}; write one object in each line, as .jsonl")
        # Of a name that is taken, the file is told, and not its first row.
        parsed = [replace(found, added=())._parse(text, line) for _, line, text in rows]
        records = [record for record, _ in parsed if record is not None]
        if not records:
            raise UserError(parsed[0][1])
        columns = list(dict.fromkeys(key for record in records for key in record))
        check_columns(columns, self.name, self.args)
        return replace(found, columns=columns)

    def survey(self, file: int, rows: int) -> Survey:
        """See `Input`."""
        kinds: dict[str, set[type]] = {}

        def noted() -> Iterator[tuple[int, int, int, bool]]:
            for offset, line, text in self._lines(0, 1):
                for key, value in (self._parse(text, line)[0] or {}).items() if self.to_parquet else ():
                    kinds.setdefault(key, set()).add(_kind(value))
                yield offset, line, size_of(text), False

        return Survey(divided(file, rows, noted()), kinds)

    def read(self, stretch: Stretch) -> Rows:
        """See `Input`."""
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
            if self.to_parquet:
                refuse_loss(record, f"'{self.name}' line {line}")
        except UserError as error:
            return None, str(error)
        return record, ""

    def _lines(self, offset: int, line: int) -> Iterator[tuple[int, int, str]]:
        """Yield (where it begins, its number, its text) of each line from one on that isn't blank."""
        for number, (at, text) in enumerate(self.lines.read_from(offset), line):
            if stripped := text.strip():
                yield at, number, stripped


def typed(inputs: Sequence[Input], surveys: Sequence[Survey]) -> list[Input]:
    """The same files; those of JSON lines with types for the columns of the parquet files that are made of them.

    Args:
        inputs: All of one format.
        surveys: Of each.
    """
    found: dict[str, set[type]] = {}
    for each in surveys:
        for key, kinds in each.kinds.items():
            found.setdefault(key, set()).update(kinds)
    types = {key: TYPES.get(frozenset(kinds - {type(None)}), pa.string()) for key, kinds in found.items()}
    return [replace(each, types=types) if isinstance(each, JsonInput) else each for each in inputs]


def _kind(value: Any) -> type:
    """The type of a value; of whole numbers that no column of numbers holds, that of other values kept as JSON."""
    if not isinstance(value, int) or abs(value) <= 2**53:
        return type(value)
    return Long if -(2**63) <= value < 2**63 else list


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
