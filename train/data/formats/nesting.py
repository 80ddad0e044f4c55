"""JSON that is nested so deeply that pyarrow ends the process, even in a column that nobody asked for."""

import json
import re

import numpy as np
import pyarrow as pa

from salience.configuration.errors import UserError

PIECE_BYTES = 2**24
SAFE_DEPTH = 2_000  # pyarrow's parser overflows its stack beyond 8,000
_SOMETHING, _DECODER = re.compile(r"\S"), json.JSONDecoder()


def may_be_deep(content: pa.Buffer) -> bool:
    """Whether a row has so many opening brackets, in its texts too, that it may be nested too deeply.

    Args:
        content: Of a file of JSON objects, one in each line.
    """
    letters = np.frombuffer(content, np.uint8)
    opening, ends = [], []
    for start in range(0, len(letters), PIECE_BYTES):
        piece = letters[start : start + PIECE_BYTES]
        opening.append(start + np.flatnonzero((piece == ord("[")) | (piece == ord("{"))))
        ends.append(start + np.flatnonzero(piece == ord("\n")))
    openings, newlines = np.concatenate(opening), np.concatenate(ends)
    # A line may end within an object, but nowhere in one does a } stand before a {.
    newlines = newlines[(newlines > 1) & (newlines < len(letters) - 1)]
    before = letters[newlines - 1]
    before = np.where(before == ord("\r"), letters[newlines - 2], before)
    rows = newlines[(before == ord("}")) & (letters[newlines + 1] == ord("{"))]
    counts = np.diff(np.searchsorted(openings, rows), prepend=0, append=len(openings))
    return bool(counts.max() > SAFE_DEPTH)


def refuse_deep(content: pa.Buffer, name: str) -> None:
    """Refuse JSON that another reader than ours would end the process with.

    Args:
        content: Of a file.
        name: Of it, for the messages.

    Raises:
        UserError: It is nested too deeply.
    """
    if not content.size or not may_be_deep(content):
        return
    text, end = content.to_pybytes().decode(errors="replace"), 0
    while start := _SOMETHING.search(text, end):
        try:
            _, end = _DECODER.raw_decode(text, start.start())
        except RecursionError as error:
            raise too_deep(name, f" line {text.count(chr(10), 0, start.start()) + 1}") from error
        except ValueError:  # for the reader to tell
            return


def too_deep(name: str, where: str) -> UserError:
    """What to say of such a file."""
    return UserError(f"'{name}'{where} is nested too deeply; put one object in each line")
