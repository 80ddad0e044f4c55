"""The ground floor: the one error that a user can cause and mend, and texts of any origin made fit for one line."""

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

SENTENCE_LENGTH = 1000
# Marks that reverse or isolate the reading direction of everything after them
_DIRECTION_MARKS = dict.fromkeys(map(ord, "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))


class UserError(ValueError):
    """Bad input: its message is one sentence that names the file, row or flag, and the fix.

    The command-line programs print the message and exit with status 2, without a traceback.

    Args:
        sentence: May quote names from data: it becomes one line that can't steer a terminal, and where it is very long,
            only its beginning (file, row or flag) and its end (the fix) stay.
    """

    def __init__(self, sentence: str) -> None:
        line, half = one_line(sentence), SENTENCE_LENGTH // 2
        super().__init__(line if len(line) <= SENTENCE_LENGTH else f"{line[:half]} … {line[-half:]}")


def one_line(text: Any, limit: int | None = None) -> str:
    """A text of any origin as one line that a terminal, a table or a page can show.

    Line breaks and control characters become spaces, so that data can't steer the terminal; marks that turn the reading
    direction are dropped.

    Args:
        text: Anything; its `str` is taken.
        limit: Longest result in characters, the last being an ellipsis; None for no limit.
    """
    text = str(text).translate(_DIRECTION_MARKS)
    text = "".join(" " if unicodedata.category(char) in ("Cc", "Cs") else char for char in text)
    text = " ".join(text.split())
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


def hidden_characters(name: str, known: Iterable[str]) -> str:
    """Return a sentence's end on a known name that looks like this one and holds what isn't seen; else an empty string.

    Such names come out of web pages and spreadsheets, and nobody can type them.
    """
    for each in known if name.isprintable() else ():
        hidden = [char for char in each if _is_hidden(char) and char not in name]
        if hidden and _seen(each) == _seen(name):
            what = f"U+{ord(hidden[0]):04X} ({unicodedata.name(hidden[0], 'control character').lower()})"
            return f"; one of them looks like it and holds the hidden character {what}: write that name anew"
    return ""


def _is_hidden(char: str) -> bool:
    return char != " " and unicodedata.category(char) in ("Zs", "Zl", "Zp", "Cf", "Cc")


def _seen(text: str) -> str:
    """A text as it looks."""
    return " ".join("".join(" " if char.isspace() else "" if _is_hidden(char) else char for char in text).split())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` with the nearest known name, or an empty string if none is near."""
    nearest = get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
