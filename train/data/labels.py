"""Turns stored labels (words, numbers or lists of them) into what a model trains on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from salience.configuration.errors import UserError

_ROWS_AT_ONCE = 65_536  # a multi-hot table of all rows at once would overflow Arrow's 32-bit list offsets


@dataclass
class LabelScheme:
    """What the labels of a data set mean.

    Attributes:
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`.
        names: The label names in the order of their ids; empty for regression.
        stored: The labels in the same order as the files hold them, written as text: the names themselves, or the ids
            of a Hub data set that names its ids.
        separator: Splits a string into several labels, or None.
    """

    problem_type: str
    names: list[str]
    stored: list[str]
    separator: str | None = None

    @classmethod
    def find(
        cls,
        columns: list[pa.ChunkedArray],
        where: str,
        problem_type: str | None = None,
        separator: str | None = None,
        names: list[str] | None = None,
    ) -> "LabelScheme":
        """Find the problem type and the label names in the training labels.

        Args:
            columns: The label columns of the training files, without nulls.
            where: The files or the data set, for the messages.
            problem_type: As the user asked for it, or None to find it: lists or a separator mean multi-label, decimal
                numbers such as 2.5 mean regression, all else one label per text.
            separator: Splits a string into several labels, or None.
            names: Names of the labels 0, 1, 2 ... (of a Hub data set), or None: then the labels are their own names,
                sorted, by number if all are whole numbers.

        Raises:
            UserError: If the labels don't fit the problem type, or there are fewer than two classes.
        """
        found = _problem_type(columns, separator)
        wanted = problem_type or found
        if (wanted == "multi_label_classification") != (found == "multi_label_classification"):
            raise UserError(
                f"--problem_type {wanted} doesn't fit the labels of {where}: several labels for a text are lists, "
                "or text with --label_separator"
            )
        scheme = cls(wanted, [], [], separator)
        if wanted == "regression":
            return scheme
        used = {name for column in columns for name in pc.unique(scheme._flat_names(column, where)).to_pylist()}
        used -= {"", None}
        least = 2 if wanted == "single_label_classification" else 1
        if len(used) < least:
            listed = f"only the label '{used.pop()}'" if used else "no label at all"
            raise UserError(f"the training data {where} has {listed}; a classifier needs texts of two or more classes")
        scheme.stored = [str(index) for index in range(len(names))] if names else _sorted_names(used)
        scheme.names = names or scheme.stored
        return scheme

    def encode(self, column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
        """Encode one file's labels.

        Args:
            column: Labels as stored, without nulls.
            where: The file, for the messages.

        Returns:
            int64 class ids, or float32 numbers (regression), or lists of float32 (multi-label, one per label name,
            1.0 where the text has the label).

        Raises:
            UserError: If a label isn't one of `names`, or isn't a finite number in regression.
        """
        if self.problem_type == "regression":
            return _numbers(column, where)
        if self.problem_type == "multi_label_classification":
            return pa.chunked_array(list(self._multi_hot(column, where)), pa.list_(pa.float32()))
        if _is_list(column.type):
            raise UserError(f"{where} holds lists of labels, the training data one label per text; write them alike")
        ids = self._ids(_names(column, where))
        row = pc.index(pc.is_null(ids), True).as_py()
        if row >= 0:
            raise _unseen(_names(column, where)[row].as_py(), where, row)
        return ids

    def _ids(self, names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        return pc.index_in(names, value_set=pa.array(self.stored, pa.string())).cast(pa.int64())

    def _lists(self, column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
        if _is_list(column.type):
            return column
        if self.separator is None:
            raise UserError(f"{where} holds one label per text, the training data lists of labels; write them alike")
        return pc.split_pattern(_names(column, where), self.separator)

    def _flat_names(self, column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
        if self.problem_type == "single_label_classification":
            return _names(column, where)
        return _names(pc.list_flatten(self._lists(column, where)), where)

    def _multi_hot(self, column: pa.ChunkedArray, where: str) -> Iterator[pa.Array]:
        lists = self._lists(column, where)
        for start in range(0, len(lists), _ROWS_AT_ONCE):
            piece = lists.slice(start, _ROWS_AT_ONCE).combine_chunks()
            rows, names = pc.list_parent_indices(piece), _names(pc.list_flatten(piece), where)
            given = pc.not_equal(names, "").fill_null(True)  # 'a;' or an empty cell lists no further label
            rows, names = rows.filter(given), names.filter(given)
            ids = self._ids(names)
            bad = pc.index(pc.is_null(ids), True).as_py()
            if bad >= 0:
                raise _unseen(names[bad].as_py(), where, start + rows[bad].as_py())
            hot = np.zeros((len(piece), len(self.names)), np.float32)
            hot[rows.to_numpy(), ids.to_numpy()] = 1.0
            yield pa.FixedSizeListArray.from_arrays(hot.ravel(), len(self.names)).cast(pa.list_(pa.float32()))


def _problem_type(columns: list[pa.ChunkedArray], separator: str | None) -> str:
    if separator is not None or any(_is_list(column.type) for column in columns):
        return "multi_label_classification"
    for column in columns:
        if pa.types.is_floating(column.type) and not pc.all(pc.equal(column, pc.round(column))).as_py():
            return "regression"
    return "single_label_classification"


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _names(column: pa.Array | pa.ChunkedArray, where: str) -> pa.Array | pa.ChunkedArray:
    """Write labels as text: 1 and 1.0 are the same label, and so are 'a' and ' a ' in a list that was split."""
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise UserError(f"the labels of {where} are of the type {column.type}; use words, numbers or lists of them")
    names = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        return pc.replace_substring_regex(names, r"\.0$", "")
    return pc.utf8_trim_whitespace(names)


def _sorted_names(names: set[str]) -> list[str]:
    try:
        return sorted(names, key=lambda name: (int(name), name))
    except ValueError:
        return sorted(names)


def _numbers(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    try:
        numbers = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        numbers = pa.chunked_array([[_number(value) for value in column.to_pylist()]], pa.float64())
    row = pc.index(pc.is_finite(numbers).fill_null(False), False).as_py()
    if row >= 0:
        value = str(column[row].as_py())[:50]
        raise UserError(f"the label '{value}' in row {row + 1} of {where} is not a number, which regression needs")
    return numbers.cast(pa.float32())


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _unseen(name: str | None, where: str, row: int) -> UserError:
    what = "an empty label in its list" if name is None else f"the label '{name[:100]}', which the training data lacks"
    return UserError(f"row {row + 1} of {where} has {what}; correct it, drop the row, or add it to the training data")
