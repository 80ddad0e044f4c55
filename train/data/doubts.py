"""What labels may have been meant to be, though they are read otherwise: told in a line, with the way out."""

import html
import logging
import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

import pyarrow as pa

from salience.configuration.errors import one_line
from salience.train.data.spelling import date, whole_number
from salience.train.data.tables import Part

logger = logging.getLogger(__name__)

SEPARATORS = (",", ";", "|")
QUOTES = "\"'`\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
# No longer than what Decimal tells apart
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_MISSING = ("nan", "none", "null", "n/a", "na", "<na>")
_NUMBER = re.compile(r"(?=.{1,28}$)[+-]?\d+(\.\d+)?(e\+?\d{1,3})?")


def tell_doubts(parts: Sequence[Part], used: Sequence[set[str]], names: Sequence[str], are_alone: bool) -> None:
    """Warn of labels that may be others than they seem.

    Args:
        parts: The training files.
        used: The labels of each, as text.
        names: Of the classes that were made of them.
        are_alone: Whether each text has one label, which is called as its file says.
    """
    names = sorted(names)
    if alike := lookalikes(names):
        further = f" ({len(alike)} such pairs)" if len(alike) > 1 else ""
        says = "the labels %a and %a look alike and are two classes, as they are spelled%s"
        logger.warning(says, *alike[0], further)
    if not are_alone or any(part.class_names for part in parts):
        return
    if joined := joined_label(names):
        says = "the label '%s' is one class; if it stands for several, pass --label_separator '%s'"
        logger.warning(says, *joined)
    if names and all(_DECIMAL_COMMA.fullmatch(name) for name in names):
        says = "the labels look like numbers with a decimal comma, and are classes; for a regression write 0.5 for 0,5"
        logger.warning(says)
    if missing := [name for name in names if name.casefold() in _MISSING]:
        says = "the label '%s' is a class like others; if it stands for a missing label, drop its rows"
        logger.warning(says, missing[0])
    spelled_so = set().union(*used) <= set(names) and not any(pa.types.is_boolean(part.label.type) for part in parts)
    if set(names) == {"false", "true"} and not spelled_so:
        logger.warning("the labels are truth values, and their classes are called true and false")
    kinds = [{whole_number(name) is not None for name in each} for each in used]
    if {True} in kinds and {False} in kinds:
        numbers, words = (parts[kinds.index({is_number})].where for is_number in (True, False))
        says = "the labels of '%s' are numbers and those of '%s' words, and all are classes; write alike what is one"
        logger.warning(says, numbers, words)
    mixed = [{_NUMBER.fullmatch(name) is None for name in each} == {True, False} for each in used]
    if any(mixed):
        says = "the labels of '%s' are partly numbers and partly words, and all are classes; write alike what is one"
        logger.warning(says, parts[mixed.index(True)].where)


def lookalikes(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that a reader could take for one: see `_look`.

    Args:
        names: Different ones, sorted.
    """
    alike = defaultdict(list)
    for name in names:
        alike[_look(name)].append(name)
    return [(first, other) for first, *others in alike.values() for other in others]


def unknown_label(text: str | None, names: Sequence[str], is_of_model: bool, is_named: bool) -> str:
    """What is said of a label that isn't among the known ones, and what to do.

    Args:
        text: The label; None for an empty one in a list.
        names: Those that are known, in the order of their ids.
        is_of_model: Whether they are a trained model's, to whose training data nothing can be added.
        is_named: Whether --class_names names them.
    """
    if text is None:
        return "an empty label in its list; correct it, or drop the row"
    label, alike = f"the label '{text[:100]}'", tell_lookalike(text, names)
    if not is_of_model:
        lacking = "--class_names lacks" if is_named else "the training data lacks"
        return f"{label}, which {lacking}{alike}; correct it, drop the row, or add it to the training data"
    listed = ", ".join(one_line(name, 40) for name in names[:10]) + (", ..." if len(names) > 10 else "")
    ways = "write these"
    if whole_number(text) and not any(map(whole_number, names)):
        ways += f", or, where {text} is an id, --class_names {' '.join(map(shlex.quote, names))}"
    return f"{label}, which the model doesn't know{alike}; its labels are {listed}: {ways}"


def tell_lookalike(name: str | None, names: Iterable[str]) -> str:
    """What to add to the sentence that some names lack one; empty if none of them looks like it."""
    alike = next((each for each in names if name and _look(each) == _look(name)), None)
    return f" ({ascii(name)[:100]}, while it has {ascii(alike)[:100]})" if alike else ""


def joined_label(names: Iterable[str]) -> tuple[str, str] | None:
    """A name that is put together of others, or of parts of others, and what stands between them; or None."""
    for separator in SEPARATORS:
        parts = {name: {part.strip() for part in name.split(separator)} for name in names}
        counts = Counter(part for each in parts.values() for part in each)
        for name, each in parts.items():
            if len(each) > 1 and all(part and counts[part] > 1 for part in each):
                return name, separator
    return None


def _look(name: str) -> str:
    """What is left of a name without case, spaces, composition of letters, quotes, and spelling of &, numbers, days."""
    plain = unicodedata.normalize("NFKC", html.unescape(name)).casefold()
    seen = "".join(character for character in plain if unicodedata.category(character) not in ("Cf", "Cc"))
    seen = re.sub(r"\s+", " ", seen).strip()
    seen = seen.strip(QUOTES).strip() or seen
    number = Decimal(seen) if _NUMBER.fullmatch(seen) else None
    if number is not None and number == number.to_integral_value():  # 2.1 and 2.10 are codes
        return str(number.normalize())
    return date(seen.upper()) or seen
