"""Rows with their answers, as files of each format."""

import csv
import filecmp
import gzip
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from salience.configuration.errors import UserError
from salience.eval.predict.csv_rows import CsvInput
from salience.eval.predict.rows import Input, Rows
from salience.model_cards.files import whole_file

Columns = Mapping[str, np.ndarray]


def publish(made: Path, path: Path) -> None:
    """Give a whole file its own name, unless another one has it.

    Args:
        made: The file; it may stay under its old name, too.
        path: Where it goes, in the same file system.

    Raises:
        UserError: There is something else.
    """
    with suppress(OSError):  # it is there, or the file system has no links
        os.link(made, path)
        return
    if not os.path.lexists(path):
        os.replace(made, path)
    elif not path.is_file() or not filecmp.cmp(made, path, shallow=False):
        raise UserError(
            f"{path} was made by something else meanwhile: move it away and give the same command again, which has "
            "little left to do"
        )


def write_part(
    path: Path, source: Input, rows: Rows, answers: Columns, types: Mapping[str, pa.DataType], between: str
) -> None:
    """Write the rows of one stretch, in the format that the ending of `path` says.

    Args:
        path: The file.
        source: Where the rows are from.
        rows: Those that could be read.
        answers: The columns that are added, one value for each row.
        types: Of these columns.
        between: Stands between the values of a list in a csv file.
    """
    with whole_file(path) as file:
        if path.suffix == ".parquet":
            pq.write_table(with_answers(rows.table(), answers, types), file)
            return
        text = csv_lines(source, rows, answers, between) if isinstance(source, CsvInput) else json_lines(rows, answers)
        data = text.encode()
        file.write(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def join_parts(path: Path, parts: Sequence[Path], head: str) -> None:
    """Write one file of the files of all stretches.

    Args:
        path: The file.
        parts: In order, of the same format.
        head: What stands before the rows.
    """
    with whole_file(path) as file:
        if path.suffix == ".parquet":
            with pq.ParquetWriter(file, pq.read_schema(parts[0])) as writer:
                for part in parts:
                    writer.write_table(pq.ParquetFile(part).read())
            return
        file.write(gzip.compress(head.encode(), mtime=0) if path.suffix == ".gz" and head else head.encode())
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file)


def head_of(source: Input, added: Sequence[str]) -> str:
    """What stands before the rows of a text file: a csv's header with the new columns, behind its byte order mark.

    Raises:
        UserError: A name can't be written without quotes.
    """
    if not isinstance(source, CsvInput):
        return ""
    mark = "\ufeff" if source.lines.has_mark else ""
    if not source.args.header:
        return mark
    return mark + source.first.raw.rstrip("\r\n") + "".join(added_cells(source, [list(added)]))


def csv_lines(source: CsvInput, rows: Rows, answers: Columns, between: str) -> str:
    """Rows as they stood in their file, each with the new cells behind it.

    Args:
        source: The file.
        rows: Of it.
        answers: The columns that are added.
        between: Stands between the values of a list.
    """
    columns = [[as_cell(value, between) for value in column] for column in answers.values()]
    new = added_cells(source, [list(cells) for cells in zip(*columns, strict=True)])
    return "".join(raw + cells for raw, cells in zip(rows.raw, new, strict=True))


def added_cells(source: CsvInput, rows: Sequence[list[str]]) -> list[str]:
    """Cells as they are put behind a row: a separator before each, and the line's end.

    Raises:
        UserError: They need quotes, and quotes are letters in this file.
    """
    layout: dict[str, Any] = {"delimiter": source.separator, "lineterminator": source.line_end}
    if source.args.quoting == "none":
        layout |= {"quoting": csv.QUOTE_NONE, "quotechar": None}
    texts = []
    for cells in rows:
        text = io.StringIO(newline="")
        try:
            csv.writer(text, **layout).writerow(["", *cells])
        except csv.Error as error:
            raise UserError(
                f"{cells} can't be written into a file without quotes (--quoting none): let --output be a folder"
            ) from error
        texts.append(text.getvalue())
    return texts


def as_cell(value: Any, between: str) -> str:
    """A value as the text of a csv's cell; a missing one is empty."""
    if isinstance(value, list | np.ndarray):
        return between.join(map(str, value))
    return "" if value is None or value != value else str(value)


def json_lines(rows: Rows, answers: Columns) -> str:
    """Objects as they stood in their file, each with the new keys at its end."""
    lines = []
    for raw, *values in zip(rows.raw, *answers.values(), strict=True):
        new = json.dumps(dict(zip(answers, map(as_json, values), strict=True)), ensure_ascii=False)
        body = raw[:-1].rstrip()
        lines.append(f"{body}{'' if body == '{' else ', '}{new[1:]}\n")
    return "".join(lines)


def as_json(value: Any) -> Any:
    """A value as JSON has it, numbers with the digits that single precision has."""
    if isinstance(value, list | np.ndarray):
        return [as_json(each) for each in value]
    if isinstance(value, np.floating):
        return None if np.isnan(value) else float(str(value))
    return value


def with_answers(table: pa.Table, answers: Columns, types: Mapping[str, pa.DataType]) -> pa.Table:
    """A table with the new columns behind its own."""
    for name, values in answers.items():
        table = table.append_column(name, pa.array(values.tolist() if values.dtype == object else values, types[name],
                                                   from_pandas=True))  # fmt: skip
    return table
