"""Turns stored labels (words, numbers or lists of them) into what a model trains on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from salience.configuration.errors import UserError
from salience.train.data.tables import Part

_ROWS_AT_ONCE = 65_536  # a multi-hot table of all rows at once would overflow Arrow's 32-bit list offsets


@dataclass
class LabelScheme:
    """What the labels of a data set mean.

    Attributes:
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`.
        names: The label names in the order of their ids; empty for regression.
        separator: Splits a string into several labels, or None.
    """

    problem_type: str
    names: list[str]
    separator: str | None = None

    @classmethod
    def find(cls, parts: list[Part], problem_type: str | None = None, separator: str | None = None) -> "LabelScheme":
        """Find the problem type and the label names in the training labels.

        Args:
            parts: The training files. Labels that are ids have the names of the last part that names them; others are
                their own names, sorted, by number if all are whole numbers.
            problem_type: As the user asked for it, or None to find it: lists or a separator mean multi-label, decimal
                numbers such as 2.5 mean regression, all else one label per text.
            separator: Splits a string into several labels, or None.

        Raises:
            UserError: If the labels don't fit the problem type, or there are fewer than two classes.
        """
        where = ", ".join(f"'{part.where}'" for part in parts)
        found = _problem_type([part.label for part in parts], separator)
        wanted = problem_type or found
        if (wanted == "multi_label_classification") != (found == "multi_label_classification"):
            raise UserError(
                f"--problem_type {wanted} doesn't fit the labels of {where}: several labels for a text are lists, "
                "or text with --label_separator"
            )
        scheme = cls(wanted, [], separator)
        if wanted == "regression":
            return scheme
        used = {name for part in parts for name in pc.unique(scheme._flat_names(part)).to_pylist()} - {"", None}
        least = 2 if wanted == "single_label_classification" else 1
        if len(used) < least:
            listed = f"only the label '{used.pop()}'" if used else "no label at all"
            raise UserError(f"the training data {where} has {listed}; a classifier needs texts of two or more classes")
        known = [part.class_names for part in parts if part.class_names]
        scheme.names = known[-1] if known else _sorted_names(used)
        return scheme

    def encode(self, part: Part) -> pa.ChunkedArray:
        """Encode one file's labels.

        Args:
            part: The file.

        Returns:
            int64 class ids, or float32 numbers (regression), or lists of float32 (multi-label, one per label name,
            1.0 where the text has the label).

        Raises:
            UserError: If a label isn't one of `names`, or isn't a finite number in regression.
        """
        where = f"'{part.where}'"
        if self.problem_type == "regression":
            return _numbers(part.label, where)
        if self.problem_type == "multi_label_classification":
            return pa.chunked_array(list(self._multi_hot(part)), pa.list_(pa.float32()))
        if _is_list(part.label.type):
            raise UserError(f"{where} holds lists of labels, the training data one label per text; write them alike")
        names = _names(part.label, part)
        ids = self._ids(names)
        row = pc.index(pc.is_null(ids), True).as_py()
        if row >= 0:
            raise _unseen(names[row].as_py(), where, row)
        return ids

    def _ids(self, names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        return pc.index_in(names, value_set=pa.array(self.names, pa.string())).cast(pa.int64())

    def _lists(self, part: Part) -> pa.ChunkedArray:
        if _is_list(part.label.type):
            return part.label
        if self.separator is None:
            raise UserError(
                f"'{part.where}' holds one label per text, the training data lists of labels; write them alike"
            )
        return pc.split_pattern(_names(part.label, part), self.separator)

    def _flat_names(self, part: Part) -> pa.ChunkedArray:
        if self.problem_type == "single_label_classification":
            return _names(part.label, part)
        return _names(pc.list_flatten(self._lists(part)), part)

    def _multi_hot(self, part: Part) -> Iterator[pa.Array]:
        lists = self._lists(part)
        for start in range(0, len(lists), _ROWS_AT_ONCE):
            piece = lists.slice(start, _ROWS_AT_ONCE).combine_chunks()
            rows, names = pc.list_parent_indices(piece), _names(pc.list_flatten(piece), part)
            given = pc.not_equal(names, "").fill_null(True)  # 'a;' or an empty cell lists no further label
            rows, names = rows.filter(given), names.filter(given)
            ids = self._ids(names)
            bad = pc.index(pc.is_null(ids), True).as_py()
            if bad >= 0:
                raise _unseen(names[bad].as_py(), f"'{part.where}'", start + rows[bad].as_py())
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


def _names(column: pa.Array | pa.ChunkedArray, part: Part) -> pa.Array | pa.ChunkedArray:
    """Write labels as text: 1 and 1.0 are the same label, and so are 'a' and ' a ' in a list that was split."""
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise UserError(
            f"the labels of '{part.where}' are of the type {column.type}; use words, numbers or lists of them"
        )
    if part.class_names and pa.types.is_integer(column.type):
        return _decoded(column, part)
    names = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        return pc.replace_substring_regex(names, r"\.0$", "")
    return pc.utf8_trim_whitespace(names)


def _decoded(ids: pa.Array | pa.ChunkedArray, part: Part) -> pa.Array | pa.ChunkedArray:
    names = pa.array(part.class_names, pa.string())
    known = pc.and_(pc.greater_equal(ids, 0), pc.less(ids, len(names))).fill_null(True)
    if (bad := pc.index(known, False).as_py()) >= 0:
        raise UserError(
            f"the label id {ids[bad]} of '{part.where}' has no name: there are {len(names)} names of labels"
        )
    return pc.take(names, ids)


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
