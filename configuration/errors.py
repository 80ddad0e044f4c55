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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` with the nearest known name, or an empty string if none is near."""
    nearest = get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
