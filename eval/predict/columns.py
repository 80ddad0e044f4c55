"""Columns in memory, and what is put beside them.

Shapes
    N = rows
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pandas as pd

from salience.configuration.errors import UserError


def refuse_taken(columns: Collection[str], added: Iterable[str], where: str) -> None:
    """Refuse input that has a column of the name of an answer.

    Args:
        columns: Of the input.
        added: Those that are added.
        where: What has them, for the message.

    Raises:
        UserError: It has one.
    """
    if taken := next((name for name in added if name in columns), None):
        way_out = "give the new ones a prefix, as in --prefix predicted_"
        raise UserError(f"{where} has a column '{taken}' already: {way_out}, or rename it")


def as_arrays(columns: Any) -> dict[str, np.ndarray]:
    """Columns as arrays, each (N,).

    Args:
        columns: A dict of lists or arrays, or a data frame.

    Raises:
        UserError: It is something else, or they are of several lengths.
    """
    if not isinstance(columns, Mapping | pd.DataFrame):
        raise UserError(
            f'the input is a {type(columns).__name__}; give columns, as in {{"text": [...]}}, or a data frame'
        )
    names = list(columns)
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"the input has two columns '{doubled}'; rename one")
    given = {name: as_array(values, name) for name, values in columns.items()}
    if len({len(values) for values in given.values()}) > 1:
        lengths = ", ".join(f"{len(values)} in '{name}'" for name, values in given.items())
        raise UserError(f"the input has columns of several lengths ({lengths}); give one value for each row")
    return given


def as_array(values: Any, name: str) -> np.ndarray:
    """A column as an array (N,), its values as they are; numbers as numbers.

    Raises:
        UserError: It is no column.
    """
    if isinstance(values, np.ndarray) and values.ndim:
        return values
    if isinstance(values, pd.DataFrame):
        raise UserError(f"column '{name}' is a data frame; give one column of it, as in frame['{name}']")
    if isinstance(values, str | bytes | Mapping | Set | np.ndarray) or not isinstance(values, Iterable):
        raise UserError(f"column '{name}' is a {type(values).__name__}; give a list, with one value for each row")
    values = list(values)
    num_truths = sum(isinstance(each, bool) for each in values)
    if all(isinstance(each, int | float | np.number) for each in values) and num_truths in (0, len(values)):
        numbers = np.asarray(values)
        is_rounded = numbers.dtype.kind == "f" and any(isinstance(each, int) and float(each) != each for each in values)
        if not is_rounded:
            return numbers
    return spread(values, list(range(len(values))), len(values))


def spread(values: Sequence[Any] | np.ndarray, rows: list[int], num_rows: int) -> np.ndarray:
    """Values of some rows as a column of all, (num_rows,), with NaN for other numbers and None for anything else.

    Args:
        values: One for each of `rows`.
        rows: Their numbers.
        num_rows: Of the column.
    """
    if isinstance(values, np.ndarray):
        column = np.full(num_rows, np.nan, values.dtype)
        column[rows] = values
        return column
    column = np.full(num_rows, None, object)
    for row, value in zip(rows, values, strict=True):
        column[row] = value
    return column


def as_lists(rows: Iterable[np.ndarray]) -> list[list[float]]:
    """Arrays of single precision as lists, which all libraries take for one type, with the digits that they have."""
    return [[float(str(value)) for value in row] for row in rows]
