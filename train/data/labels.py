"""Turns stored labels (words, numbers or lists of them) into what a model trains on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import FileArguments
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from salience.train.data.columns import is_list
from salience.train.data.doubts import tell_doubts, unknown_label
from salience.train.data.indicators import (
    first_repeat,
    indicator_width,
    nameless,
    ones_of,
    refuse_indicators,
    refuse_repeats,
)
from salience.train.data.problem_types import (
    encode_numbers,
    find_problem_type,
    refuse_unused_separator,
    without_lists_of_one,
)
from salience.train.data.spelling import (
    common_spelling,
    label_texts,
    names_of_ids,
    refuse_lists_as_text,
    sorted_names,
    whole_ids,
    whole_number,
)
from salience.train.data.tables import Part

_ROWS_AT_ONCE = 65_536  # a multi-hot table of all rows at once would overflow Arrow's 32-bit list offsets


@dataclass
class LabelScheme:
    """What the labels of a data set mean.

    Attributes:
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`.
        names: The label names in the order of their ids; empty for regression.
        separator: Splits a string into several labels, or None.
        number_names: What the numbers 0, 1, 2 ... or the places of indicators in files stand for, or None.
        are_indicators: Whether lists of zeros and ones are indicators, not ids; None to look at each file.
        is_of_model: Whether the names are those of a trained model.
    """

    problem_type: str
    names: list[str]
    separator: str | None = None
    number_names: list[str] | None = None
    are_indicators: bool | None = None
    is_of_model: bool = False

    @classmethod
    def find(
        cls,
        parts: list[Part],
        args: FileArguments,
        problem_type: str | None = None,
        known: "LabelScheme | None" = None,
    ) -> "LabelScheme":
        """Find the problem type and the label names in the training labels.

        Args:
            parts: The training files.
            args: `label_separator`, which splits a string into several labels, and `class_names`, if they are given.
                Other names are those of the ids in the files, or else the labels themselves, sorted, by number if all
                are whole numbers.
            problem_type: As the user asked for it, or None to find it: lists or a separator mean multi-label, decimal
                numbers such as 2.5 mean regression, all else one label per text.
            known: Of a trained model: where it has all the labels that are found, they are its labels, in its order.

        Raises:
            UserError: If the labels don't fit the problem type, or there are fewer than two classes.
        """
        parts = without_lists_of_one(parts, problem_type)
        where = ", ".join(f"'{part.where}'" for part in parts)
        wanted = find_problem_type(parts, args.label_separator, problem_type, where)
        scheme = cls(wanted, [], args.label_separator, args.class_names)
        if wanted == REGRESSION:
            if args.class_names:
                raise UserError(f"--class_names names classes, and the labels of {where} are numbers (regression)")
            return scheme
        if wanted == MULTI_LABEL:
            scheme.are_indicators = scheme._find_indicators(parts)
        used = [scheme._used(part) for part in parts]
        refuse_unused_separator(parts, args.label_separator, problem_type, where)
        classes = set().union(*used)
        if len(classes) < (2 if wanted == SINGLE_LABEL else 1):
            listed = f"only the label '{classes.pop()}'" if classes else "no label at all"
            raise UserError(f"the training data {where} has {listed}; a classifier needs texts of two or more classes")
        scheme.names = scheme._find_names(parts, used)
        if known and known.problem_type == wanted and set(scheme.names) <= set(known.names):
            scheme.names = known.names
        tell_doubts(parts, used, scheme.names, wanted == SINGLE_LABEL and not args.class_names)
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
        (part,) = without_lists_of_one([part], self.problem_type)
        if self.problem_type == REGRESSION:
            return encode_numbers(part.label, where)
        if self.problem_type == MULTI_LABEL:
            return pa.chunked_array(list(self._multi_hot(part)), pa.list_(pa.float32()))
        if is_list(part.label.type):
            raise UserError(f"{where} holds lists of labels, the training data one label per text; write them alike")
        texts = self._texts(part.label, part)
        ids = self._ids(texts)
        self._known(ids, texts, np.arange(len(texts)), where)
        return ids

    def _find_indicators(self, parts: list[Part]) -> bool | None:
        """What `are_indicators` is by the training files.

        Raises:
            UserError: Some are lists of zeros and ones, and some are not.
        """
        found = {self._is_indicator(part): part.where for part in parts}
        if len(found) > 1:
            raise UserError(
                f"the labels of '{found[True]}' are lists of zeros and ones, one for each label, and those of "
                f"'{found[False]}' are not; write them alike"
            )
        if True in found:
            return True
        texts = [label_texts(pc.list_flatten(self._lists(part)), f"'{part.where}'") for part in parts]
        used = {text for each in texts for text in pc.unique(each).to_pylist() if text}
        return False if all(map(whole_number, used)) else None

    def _find_names(self, parts: list[Part], used: list[set[str]]) -> list[str]:
        if self.number_names:
            return self.number_names
        known = list(dict.fromkeys(name for part in parts for name in part.class_names or []))
        spelling = None if known else common_spelling(used)
        others = {(spelling(name) or name) if spelling else name for texts in used for name in texts} - set(known)
        return known + sorted_names(others)

    def _ids(self, texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Class ids, null where a label is unknown; where the names are numbers, dates or truth values, by value."""
        ids = {name: number for number, name in enumerate(self.names)}
        spelling = common_spelling([set(self.names)])
        by_value = {spelling(name): number for name, number in ids.items()} if spelling else {}
        values = pc.unique(texts)
        found = [
            ids.get(text, by_value.get(spelling(text)) if spelling and text else None) for text in values.to_pylist()
        ]
        return pc.take(pa.array(found, pa.int64()), pc.index_in(texts, value_set=values))

    def _texts(self, column: pa.Array | pa.ChunkedArray, part: Part) -> pa.Array | pa.ChunkedArray:
        """Labels as text, ids as the names that they stand for."""
        if part.class_names and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            return names_of_ids(whole_ids(column, f"'{part.where}'"), part.class_names, f"'{part.where}'")
        texts = label_texts(column, f"'{part.where}'")
        if not self.number_names:
            return texts
        used = set(pc.unique(texts).to_pylist()) - {"", None}
        if any(map(whole_number, self.number_names)) or not all(map(whole_number, used)):
            return texts  # they are names
        values = pc.unique(texts)
        spelled = [whole_number(text) if text else None for text in values.to_pylist()]
        numbers = pa.array([int(each) if each else None for each in spelled], pa.int64())
        ids = pc.take(numbers, pc.index_in(texts, value_set=values))
        return names_of_ids(ids, self.number_names, f"'{part.where}'")

    def _used(self, part: Part) -> set[str]:
        """The different labels of a file, as text."""
        where = f"'{part.where}'"
        if self.problem_type == SINGLE_LABEL:
            texts = self._texts(part.label, part)
            refuse_lists_as_text(texts, where)
        elif self.are_indicators:
            names = self._place_names(part)
            return {names[place] for place in np.unique(ones_of(self._lists(part), where)[1])}
        else:
            texts = self._texts(pc.list_flatten(self._lists(part)), part)
        return set(pc.unique(texts).to_pylist()) - {"", None}

    def _lists(self, part: Part) -> pa.ChunkedArray:
        if is_list(part.label.type):
            return part.label
        if self.separator is None:
            raise UserError(
                f"'{part.where}' holds one label per text, the training data lists of labels; write them alike, or "
                "name what stands between several labels with --label_separator"
            )
        texts = label_texts(part.label, f"'{part.where}'")
        refuse_lists_as_text(texts, f"'{part.where}'")
        lists = pc.split_pattern(texts, self.separator)
        return pc.if_else(pc.equal(texts, ""), pa.scalar([], lists.type), lists)

    def _is_indicator(self, part: Part) -> bool:
        """Whether the lists of a file are of zeros and ones.

        Raises:
            UserError: They are, and nobody knows the names of the labels; or they are neither indicators nor labels.
        """
        lists, where = self._lists(part), f"'{part.where}'"
        width = indicator_width(lists, where)
        if self.are_indicators is False:
            refuse_indicators(lists, width, len(self.names), where)
        elif width and self._has_places(width, part):
            return True
        refuse_repeats(lists, where)
        return False

    def _has_places(self, width: int, part: Part) -> bool:
        """Whether zeros and ones of a file stand for labels, and aren't ids or labels themselves."""
        lists, where = self._lists(part), f"'{part.where}'"
        if part.class_names:
            return width == len(part.class_names) and not pa.types.is_string(lists.type.value_type)
        if self.number_names:
            if width != len(self.number_names):
                raise UserError(
                    f"the labels of {where} are lists of {width} zeros and ones, and --class_names has "
                    f"{len(self.number_names)} names; name all labels"
                )
            return True
        if {"0", "1"} <= set(self.names) and width != len(self.names) and first_repeat(lists, where) is None:
            return False  # a trained model knows such labels
        raise nameless(width, where)

    def _place_names(self, part: Part) -> list[str]:
        return part.class_names or self.number_names or []

    def _multi_hot(self, part: Part) -> Iterator[pa.Array]:
        lists = self._lists(part)
        rows, ids = self._rows_and_ids(lists, part)
        for start in range(0, len(lists), _ROWS_AT_ONCE):
            size = min(_ROWS_AT_ONCE, len(lists) - start)
            here = slice(*np.searchsorted(rows, [start, start + size]))
            hot = np.zeros((size, len(self.names)), np.float32)
            hot[rows[here] - start, ids[here]] = 1.0
            yield pa.FixedSizeListArray.from_arrays(hot.ravel(), len(self.names)).cast(pa.list_(pa.float32()))

    def _rows_and_ids(self, lists: pa.ChunkedArray, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Row and class id of each label of each text, (labels,) both."""
        where = f"'{part.where}'"
        if self._is_indicator(part):
            rows, places = ones_of(lists, where)
            texts = pa.array(self._place_names(part), pa.string())
            return rows, self._known(self._ids(texts), texts, np.zeros(len(texts), np.int64), where)[places]
        if self.are_indicators and not pa.types.is_string(lists.type.value_type):
            raise UserError(f"the labels of {where} are no lists of zeros and ones as in the training data")
        rows = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy())
        texts = self._texts(pc.list_flatten(lists), part)
        given = pc.not_equal(texts, "").fill_null(True)  # 'a;' or an empty cell lists no further label
        rows, texts = rows[given.to_numpy()], texts.filter(given)
        return rows, self._known(self._ids(texts), texts, rows, where)

    def _known(
        self, ids: pa.Array | pa.ChunkedArray, texts: pa.Array | pa.ChunkedArray, rows: np.ndarray, where: str
    ) -> np.ndarray:
        """The ids as an array.

        Raises:
            UserError: One is null; the message has its text and row.
        """
        bad = pc.index(pc.is_null(ids), True).as_py()
        if bad < 0:
            return np.asarray(ids.to_numpy())
        text = texts[bad].as_py()
        reason = unknown_label(text, self.names, self.is_of_model, self.number_names == self.names)
        raise UserError(f"row {rows[bad] + 1} of {where} has {reason}")
