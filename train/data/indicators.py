"""Lists of zeros and ones, one place for each label: [0, 1, 1] says that a text has the second and the third."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from salience.configuration.errors import UserError
from salience.train.data.spelling import label_texts, whole_number
from salience.train.data.tables import BITS, ONES


def indicator_width(lists: pa.ChunkedArray, where: str) -> int | None:
    """Places of each list, if all have equally many, or none, and hold nothing but zeros and ones (or false and true).

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
    width = _common_length(lists)
    if width and used and used <= set(BITS):
        return width
    if pa.types.is_boolean(values.type):
        raise UserError(f"the labels of {where} are lists of true and false of several lengths; give each text as many")
    return None


def refuse_indicators(lists: pa.ChunkedArray, width: int | None, num_labels: int, where: str) -> None:
    """Refuse zeros and ones of each place where the training data have ids.

    Lists of two may be either, as [0, 1] is, unless there are other than two labels; ids of one text are in one order.

    Args:
        lists: Lists of labels, none of them null.
        width: What `indicator_width` says of them.
        num_labels: Of the training data.
        where: The file, for the messages.

    Raises:
        UserError: They are no ids.
    """
    if not width:
        return
    if width == num_labels or first_repeat(lists, where) is not None or len(np.unique(ones_of(lists, where)[1])) > 1:
        raise UserError(
            f"the labels of {where} are lists of zeros and ones, one for each label, and those of the training data "
            "are lists of ids; write them alike"
        )


def refuse_repeats(lists: pa.ChunkedArray, where: str) -> None:
    """Refuse lists such as [1, -1, -1] or [1, 0, 0], which say something of each place: ids never stand twice in one.

    Names may, unless all lists are of one length.

    Args:
        lists: Lists of labels that aren't read as indicators, none of them null.
        where: The file, for the messages.

    Raises:
        UserError: A list holds a number twice, or all are of one length and one of them holds a name twice.
    """
    bad = first_repeat(lists, where)
    used = set(pc.unique(label_texts(pc.list_flatten(lists), where)).to_pylist()) - {"", None}
    are_numbers = all(text in BITS or whole_number(text) for text in used)
    width = _common_length(lists)
    if bad is None or not (are_numbers or width):
        return
    lengths = pc.list_value_length(lists).to_numpy()
    width = width or int(np.bincount(lengths[lengths > 0]).argmax())
    odd = np.flatnonzero((lengths > 0) & (lengths != width))
    is_odd = used <= set(BITS) and len(odd) > 0
    row = int(odd[0]) if is_odd else bad
    what = f"{lengths[row]} values" if is_odd else "a value twice"
    shown = ", ".join(map(str, lists[row].as_py()))
    raise UserError(
        f"the labels of {where} are lists of {width} values, and row {row + 1} has {what} ([{shown[:80]}]); write each "
        f"as a list of {width} zeros and ones, or as the different labels that the text has"
    )


def first_repeat(lists: pa.ChunkedArray, where: str) -> int | None:
    """The first row whose list holds a value twice; None if there is none.

    Args:
        lists: Lists of labels, none of them null.
        where: The file, for the messages.
    """
    texts = label_texts(pc.list_flatten(lists), where)
    values = pc.unique(texts)
    rows = np.repeat(np.arange(len(lists)), pc.list_value_length(lists).to_numpy())
    is_given = pc.not_equal(texts, "").fill_null(False).to_numpy()  # a;; has one label
    codes = pc.index_in(texts, value_set=values).to_numpy()
    labels = np.sort((rows * len(values) + codes)[is_given])
    repeated = labels[1:][labels[1:] == labels[:-1]]
    return int(repeated[0]) // len(values) if len(repeated) else None


def _common_length(lists: pa.ChunkedArray) -> int | None:
    """The length of all lists but empty ones, which say that a text has no label; None if there is none.

    Lists of one label or none are ids or names: a list of one place is never empty.
    """
    lengths = pc.list_value_length(lists).to_numpy()
    used = np.unique(lengths[lengths > 0])
    is_one = len(used) == 1 and not (used[0] == 1 and (lengths == 0).any())
    return int(used[0]) if is_one else None


def nameless(width: int, where: str) -> UserError:
    """What to say of indicators whose labels have no names."""
    if width == 1:
        return UserError(
            f"the labels of {where} are lists of one zero or one: if that is the class of a text, pass --problem_type "
            "single_label_classification, else name the label with --class_names"
        )
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
    lengths = pc.list_value_length(lists).to_numpy()
    (ones,) = pc.is_in(texts, value_set=pa.array(ONES)).to_numpy().nonzero()
    rows = np.repeat(np.arange(len(lists)), lengths)[ones]
    return rows, ones - (np.cumsum(lengths) - lengths)[rows]
