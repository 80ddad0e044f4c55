"""Lines of a text file, plain or gzip, read on from wherever a line begins, without holding the file."""

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import TextArguments
from salience.eval.predict.rows import Input
from salience.train.data.formats.decoding import (
    BROKEN_GZIP,
    PIECE_BYTES,
    UTF8,
    broken_gzip,
    find_encoding,
    open_unpacked,
)

LONGEST_LINE = 64 * 2**20
"""Characters: a file without line breaks would be read whole."""


def pieces(path: Path, name: str) -> Iterator[bytes]:
    """The content of a file, unpacked, some megabytes at a time.

    Raises:
        UserError: It is a damaged gzip file.
    """
    try:
        with open_unpacked(path) as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
    except BROKEN_GZIP as error:
        raise broken_gzip(name, error) from error


def encoding_of(path: Path, name: str, args: TextArguments) -> str:
    """The codec with which a file is read, by the rules of `read_utf8`.

    Raises:
        UserError: It is empty or no text, or not valid in any of the encodings.
    """
    start = next(pieces(path, name), b"")
    if not start:
        raise UserError(f"'{name}' is empty; give a file with at least one row")

    @cache
    def is_valid(encoding: str) -> bool:
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            for piece in pieces(path, name):
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
        return True

    return find_encoding(start[:4096], name, args, is_valid)


class Lines:
    r"""Lines of a file, each with the byte of the file, read as UTF-8, with which it begins.

    Args:
        path: The file.
        name: Of it, for the messages.
        encoding: Its codec.

    Attributes:
        has_mark: Whether it is UTF-8 and begins with a byte order mark, which belongs to no line.
        newline: How its lines end: \n, also behind \r, or \r alone.
    """

    def __init__(self, path: Path, name: str, encoding: str) -> None:
        self.path, self.name = path, name
        self.is_utf8 = encoding in UTF8
        self.encoding = "utf-8" if self.is_utf8 else encoding
        start = next(pieces(path, name), b"")
        self.has_mark = self.is_utf8 and start.startswith(codecs.BOM_UTF8)
        letters = start.decode(self.encoding, errors="ignore")
        self.newline = "\r" if "\r" in letters and "\n" not in letters else "\n"
        self._text: io.TextIOWrapper | None = None
        self._position = 0

    def read_from(self, offset: int) -> Iterator[tuple[int, str]]:
        """Lines with their ends, and where each begins.

        Args:
            offset: Where a line begins; those behind the last one that was read need no search.

        Raises:
            UserError: It is a damaged gzip file.
        """
        try:
            text = self._go_to(offset)
            while line := text.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE and not line.endswith(("\n", "\r")):
                    raise UserError(
                        f"'{self.name}' has a line of more than {LONGEST_LINE // 2**20:,} million characters, which is "
                        "no row; put each row on a line of its own"
                    )
                at = self._position
                self._position += size_of(line)
                yield at, line
        except BROKEN_GZIP as error:
            raise broken_gzip(self.name, error) from error

    def _go_to(self, offset: int) -> io.TextIOWrapper:
        if self._text is not None and offset == self._position:
            return self._text
        if self._text is None or self.is_utf8 or offset < self._position:
            self._open(offset if self.is_utf8 else 0)
        assert self._text is not None
        while self._position < offset:
            self._position += size_of(self._text.readline())
        return self._text

    def _open(self, offset: int) -> None:
        if self._text is not None:
            self._text.close()
        file = open_unpacked(self.path)
        if self.is_utf8:
            file.seek(offset + (len(codecs.BOM_UTF8) if self.has_mark else 0))
        self._text = io.TextIOWrapper(file, encoding=self.encoding, newline=self.newline)  # type: ignore[arg-type]  # any binary file
        self._position = offset
        if not self.is_utf8 and self._text.read(1) != "\ufeff":  # of UTF-16 of a named byte order
            self._text.seek(0)


def size_of(line: str) -> int:
    """Bytes of a line in UTF-8."""
    return len(line) if line.isascii() else len(line.encode())


@dataclass(frozen=True)
class TextInput(Input):
    """A file of lines.

    Attributes:
        encoding: Its codec.
    """

    encoding: str = ""

    def describe(self) -> dict[str, Any]:
        """How it is read, for the manifest."""
        return {"encoding": self.encoding}

    @cached_property
    def lines(self) -> Lines:
        """The file, opened when it is first read."""
        return Lines(self.path, self.name, self.encoding)
