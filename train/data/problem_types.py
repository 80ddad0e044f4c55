"""What labels are for: one class for each text, several, or a number."""

import logging
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from salience.configuration.errors import UserError
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from salience.train.data.columns import is_list
from salience.train.data.tables import Part

logger = logging.getLogger(__name__)

# Squared and summed over the texts of a batch, larger ones overflow in single precision.
LARGEST_NUMBER = 1e15
# Of labels to single precision, in standard deviations.
LARGEST_ROUNDING = 1e-3


def find_problem_type(parts: list[Part], separator: str | None, asked: str | None, where: str) -> str:
    """Find the problem type in the training labels.

    Args:
        parts: The training files.
        separator: Splits a string into several labels, or None.
        asked: What `--problem_type` says, or None.
        where: The files, for the messages.

    Raises:
        UserError: The labels don't fit what was asked for.
    """
    has_several = separator is not None or any(is_list(part.label.type) for part in parts)
    if asked is None and not has_several and _are_decimal_numbers(parts):
        logger.warning(
            "the labels of %s are read as numbers (regression), as some have decimals; if they are classes, pass "
            "--problem_type single_label_classification",
            where,
        )
        return REGRESSION
    found = MULTI_LABEL if has_several else SINGLE_LABEL
    if asked is None and separator is None and has_several and all(_is_alone(part) for part in parts):
        logger.warning(
            "the labels of %s are lists, so that a text may have several, though each holds one; if they are classes, "
            "pass --problem_type single_label_classification",
            where,
        )
    if asked is not None and (asked == MULTI_LABEL) != has_several:
        raise UserError(
            f"--problem_type {asked} doesn't fit the labels of {where}: several labels for a text are lists, "
            "or text with --label_separator"
        )
    return asked or found


def refuse_unused_separator(parts: list[Part], separator: str | None, asked: str | None, where: str) -> None:
    """Refuse a separator that stands in no label, unless several labels for a text are asked for.

    Args:
        parts: The training files.
        separator: What `--label_separator` says, or None.
        asked: What `--problem_type` says, or None.
        where: The files, for the messages.
    """
    if separator is not None and asked != MULTI_LABEL and not any(_holds(separator, part) for part in parts):
        raise UserError(
            f"no label of {where} holds the --label_separator '{separator}'; leave it out, or pass --problem_type "
            f"{MULTI_LABEL}"
        )


def without_lists_of_one(parts: list[Part], problem_type: str | None) -> list[Part]:
    """Take the labels out of lists that hold one each, where a format has lists only or one label for each is wanted.

    Args:
        parts: Files of one split.
        problem_type: As far as it is known.
    """
    lists = [part for part in parts if is_list(part.label.type)]
    may_be = [part.lists_of_one or problem_type is not None for part in lists]
    if problem_type == MULTI_LABEL or not all(may_be) or not all(map(_is_alone, lists)):
        return parts
    return [replace(part, label=pc.list_flatten(part.label)) if is_list(part.label.type) else part for part in parts]


def encode_numbers(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Labels of regression as float32.

    Args:
        column: Numbers, or text that holds numbers.
        where: The file, for the messages.

    Raises:
        UserError: One isn't a number, or is too large.
    """
    try:
        numbers = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        numbers = pa.chunked_array([[_number(value) for value in column.to_pylist()]], pa.float64())
    values = numbers.to_numpy()
    bad = np.flatnonzero(~(np.abs(values) <= LARGEST_NUMBER))
    if len(bad):
        value = str(column[bad[0]].as_py())[:50]
        is_large = np.isfinite(values[bad[0]])
        too_large = f"is too large a number; scale the labels to at most {LARGEST_NUMBER:g}"
        reason = too_large if is_large else "is not a number, which regression needs"
        raise UserError(f"the label '{value}' in row {bad[0] + 1} of {where} {reason}")
    rounded = values.astype(np.float32)
    if len(values) and np.ptp(values) and np.abs(values - rounded).max() > LARGEST_ROUNDING * values.std():
        raise UserError(
            f"the labels of {where} lie so far from 0, for their differences, that single precision rounds these away; "
            f"subtract a number near {values.mean():.3g} from all"
        )
    return pa.chunked_array([pa.array(rounded)])


def _is_alone(part: Part) -> bool:
    """Whether a file holds lists of one label each."""
    return is_list(part.label.type) and bool(pc.all(pc.equal(pc.list_value_length(part.label), 1)).as_py())


def _holds(separator: str, part: Part) -> bool:
    """Whether a label of a file holds the separator, or is empty, as a text without labels has it."""
    if not pa.types.is_string(part.label.type):
        return False
    found = pc.or_(pc.match_substring(part.label, separator), pc.equal(pc.utf8_trim_whitespace(part.label), ""))
    return bool(pc.any(found).as_py())


def _are_decimal_numbers(parts: list[Part]) -> bool:
    """Whether all labels are numbers and one of them isn't whole."""
    columns = [_numbers(part) for part in parts]
    found = np.concatenate([column for column in columns if column is not None] or [np.zeros(0)])
    finite = found[np.isfinite(found)]
    return all(column is not None for column in columns) and bool((finite != np.round(finite)).any())


def _numbers(part: Part) -> np.ndarray | None:
    kind = part.label.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (is_number or (part.is_text and pa.types.is_string(kind))):
        return None
    try:
        cells = pc.utf8_trim_whitespace(part.label) if pa.types.is_string(kind) else part.label
        return cells.cast(pa.float64(), safe=False).to_numpy()
    except pa.ArrowInvalid:
        return None


def _number(value: object) -> float | None:
    try:
        return None if "_" in str(value) else float(str(value))  # Python reads 1_0 as 10
    except ValueError:
        return None
