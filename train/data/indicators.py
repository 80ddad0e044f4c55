"""Lists of zeros and ones, one place for each label: [0, 1, 1] says that a text has the second and the third."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from salience.configuration.errors import UserError
from salience.train.data.spelling import label_texts
from salience.train.data.tables import BITS, ONES


def indicator_width(lists: pa.ChunkedArray, where: str) -> int | None:
    """Places of each list, if all have equally many and hold nothing but zeros and ones (or false and true).

    Args:
        lists: Lists of labels.
        where: The file, for the messages.

    Raises:
        UserError: The lists hold truth values, but are of several lengths; or numbers that aren't whole.
    """
    values = pc.list_flatten(lists)
    if pa.types.is_nested(values.type) or pa.types.is_null(values.type):
        return None
    used = set(pc.unique(label_texts(values, where)).to_pylist())
    if pa.types.is_floating(values.type) and not used <= set(BITS):
        numbers = [text for text in used if text and not text.endswith(".0")]
        if numbers:
            raise UserError(
                f"the labels of {where} are lists with numbers such as {numbers[0]}; write each as a list of the "
                "labels that the text has, or as a list of zeros and ones"
            )
    lengths = pc.min_max(pc.list_value_length(lists)).as_py()
    same_length = lengths["min"] == lengths["max"] and lengths["min"] > 0
    if same_length and used and used <= set(BITS):
        return lengths["min"]
    if pa.types.is_boolean(values.type):
        raise UserError(f"the labels of {where} are lists of true and false of several lengths; give each text as many")
    return None


def refuse_values_by_place(lists: pa.ChunkedArray, where: str) -> None:
    """Refuse lists such as [1, -1, -1], which say something of each place: lists of names never hold one twice.

    Args:
        lists: Lists of labels, none of them null.
        where: The file, for the messages.

    Raises:
        UserError: All are of one length, and one of them holds a value twice.
    """
    values = pc.list_flatten(lists)
    lengths = pc.min_max(pc.list_value_length(lists)).as_py()
    width = lengths["max"]
    if lengths["min"] != width or width < 2 or pa.types.is_nested(values.type) or pa.types.is_null(values.type):
        return
    texts = label_texts(values, where)
    codes = pc.index_in(texts, value_set=pc.unique(texts)).to_numpy().reshape(-1, width)
    is_empty = pc.equal(texts, "").fill_null(True).to_numpy().reshape(-1, width)  # a;; has one label
    codes = np.sort(np.where(is_empty, -1 - np.arange(width), codes), axis=1)
    bad = np.flatnonzero((codes[:, 1:] == codes[:, :-1]).any(1))
    if len(bad):
        shown = ", ".join(texts[int(bad[0]) * width : (int(bad[0]) + 1) * width].to_pylist())
        raise UserError(
            f"the labels of {where} are lists of {width} values, and row {bad[0] + 1} has one of them twice "
            f"([{shown[:80]}]); write each as a list of {width} zeros and ones, or as the names of the labels that the "
            "text has"
        )


def nameless(width: int, where: str) -> UserError:
    """What to say of indicators whose labels have no names."""
    return UserError(
        f"the labels of {where} are lists of {width} zeros and ones: name the labels in that order with --class_names, "
        "or write each list as the names of the labels that the text has"
    )


def ones_of(lists: pa.ChunkedArray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Row and place of each one, (ones,) both.

    Args:
        lists: Indicators.
        where: The file, for the messages.
    """
    texts = label_texts(pc.list_flatten(lists), where)
    has_label = pc.is_in(texts, value_set=pa.array(ONES)).to_numpy().reshape(len(lists), -1)
    rows, places = has_label.nonzero()
    return rows, places


def has_repeats(lists: pa.ChunkedArray, width: int, where: str) -> bool:
    """Whether a list holds two zeros or two ones, as lists of different labels named 0 and 1 never do."""
    rows, _ = ones_of(lists, where)
    ones = np.bincount(rows, minlength=len(lists))
    return bool(((ones > 1) | (width - ones > 1)).any())
