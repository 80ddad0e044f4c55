"""Labels of any type as text, so that the same label is the same text in every format."""

import re
from collections.abc import Callable, Iterable

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from salience.configuration.errors import UserError
from salience.train.data.columns import is_list

# What str() of a list, tuple, set, dict or array of Python looks like; [deleted] doesn't.
_LIST_AS_TEXT = re.compile(
    r"""[\[({]\s*['"].*['"][\s,]*[\])}]|\[([-+\d.e,\s]|true|false|nan|none)*\]|\{\s*['"].*\}"""
    r"""|[a-z_][\w.]*\([\[({].*\)|[\[({]\s*(np|numpy)\.\w+\(.*[\])}]""",
    re.DOTALL | re.IGNORECASE,
)
_SET_OF_A_NUMBER = re.compile(r"\{[-+\d.e\s]*\}", re.IGNORECASE)
_EXACT = 2.0**53  # a double can't hold every whole number beyond
_MINUS_ZERO = r"^-(0(\.0)?)$"
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?")


def label_texts(column: pa.ChunkedArray | pa.Array, where: str) -> pa.ChunkedArray | pa.Array:
    """Write labels as text: numbers as Python does, dates as 2020-01-31, times of a day as 23:59:59.

    Args:
        column: Labels, plain (see `plain_column`).
        where: The file, for the messages.

    Raises:
        UserError: They are of a type that makes no labels.
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_null(kind):
        trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
        return pc.replace_substring_regex(trimmed, _MINUS_ZERO, r"\1")
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string())
    is_known = (pa.types.is_floating, pa.types.is_decimal, pa.types.is_timestamp, pa.types.is_date, pa.types.is_time)
    if is_list(kind) or not any(each(kind) for each in is_known):
        raise UserError(f"the labels of {where} are of the type {kind}; use words, numbers or flat lists of them")
    values = pc.unique(column)
    if pa.types.is_floating(kind) and pc.any(pc.greater_equal(pc.abs(values), _EXACT)).as_py():
        raise UserError(f"the labels of {where} are numbers too large to be told apart; write them as text")
    # -0.0 + 0.0 is 0.0
    texts = values.to_numpy(zero_copy_only=False) + 0.0 if pa.types.is_floating(kind) else values.to_pylist()
    spelled = [None if value is None else str(value) for value in texts]
    return pc.take(pa.array(spelled, pa.string()), pc.index_in(column, value_set=values))


def whole_ids(ids: pa.Array | pa.ChunkedArray, where: str) -> pa.Array | pa.ChunkedArray:
    """Ids that were stored as any kind of number.

    Args:
        ids: Of names of labels.
        where: The file, for the messages.

    Raises:
        UserError: One is no whole number.
    """
    try:
        return ids.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise UserError(
            f"the labels of {where} are ids of names, and one is no whole number; write whole ids"
        ) from error


def names_of_ids(ids: pa.Array | pa.ChunkedArray, names: list[str], where: str) -> pa.Array | pa.ChunkedArray:
    """The names that ids stand for.

    Args:
        ids: Whole numbers.
        names: In the order of their ids.
        where: The file, for the messages.

    Raises:
        UserError: One has no name.
    """
    known = pc.and_(pc.greater_equal(ids, 0), pc.less(ids, len(names))).fill_null(True)
    bad = pc.index(known, False).as_py()
    if bad >= 0:
        raise UserError(
            f"the label id {ids[bad]} of {where} has no name: there are {len(names)} names, of the ids 0 to "
            f"{len(names) - 1}; name all labels with --class_names"
        )
    return pc.take(pa.array(names, pa.string()), ids)


def refuse_lists_as_text(texts: pa.Array | pa.ChunkedArray, where: str) -> None:
    """Refuse labels such as "['oven', 'hobby']": lists that were written into a table of text.

    Raises:
        UserError: There is one, or most labels may be one, as [oven, hobby], or all are in square brackets.
    """
    labels = [text for text in pc.unique(texts).to_pylist() if text]
    found = [text for text in labels if _LIST_AS_TEXT.fullmatch(text)]
    doubtful = [text for text in labels if _may_be_list(text)]
    if 2 * len(doubtful) > len(labels) or all(text[0] == "[" and text[-1] == "]" for text in labels):
        found += doubtful
    if found:
        raise UserError(
            f"the label {found[0][:80]} of {where} is a list written as text; write the file as json lines or "
            "parquet, or the labels with one character between them, as in oven;hobby, and --label_separator"
        )


def _may_be_list(text: str) -> bool:
    """Whether a text may be a list and may be a name; (18, 25] is a span of numbers."""
    in_brackets = text[0] + text[-1] in ("[]", "()", "{}")
    return in_brackets and "," in text or _SET_OF_A_NUMBER.fullmatch(text) is not None


def whole_number(text: str) -> str | None:
    """3 and 3.0 as 3, 03 as 03; None for anything else, 03.0 too, which no program writes for a number."""
    found = re.fullmatch(r"([+-]?[0-9]{1,18})|(-?(?:0|[1-9][0-9]{0,17}))\.0", text)  # that 64 bits hold
    return found[1] or found[2] if found else None


def truth_value(text: str) -> str | None:
    """True, TRUE and true as true, and so with false; None for anything else."""
    return text.lower() if text.lower() in ("true", "false") else None


def date(text: str) -> str | None:
    """ISO dates and times as 2020-01-31, or 2020-01-31 23:59:59 unless it is midnight; None for anything else."""
    if not _DATE.fullmatch(text):
        return None
    try:
        time = pd.Timestamp(text)
        is_day = time == time.normalize() and time.tzinfo is None
        return str(time.date()) if is_day else str(time)
    except (ValueError, NotImplementedError):  # of the year 0
        return None


# A function that gives the one spelling of texts of its kind.
Spelling = Callable[[str], str | None]
SPELLINGS: tuple[Spelling, ...] = (whole_number, truth_value, date)


def common_spelling(columns: Iterable[set[str]]) -> Spelling | None:
    """The spelling that all labels have in common, if it keeps those apart that stand in the same file.

    Args:
        columns: The different labels of each file.
    """
    columns = [*columns]
    for spelling in SPELLINGS:
        spelled = [{spelling(text) for text in texts} for texts in columns]
        kept_apart = all(len(new) == len(old) for new, old in zip(spelled, columns, strict=True))
        if kept_apart and not any(None in texts for texts in spelled):
            return spelling
    return None


def sorted_names(names: Iterable[str]) -> list[str]:
    """Names in their order: by number if all are whole numbers."""
    try:
        return sorted(names, key=lambda name: (int(name), name))
    except ValueError:
        return sorted(names)
