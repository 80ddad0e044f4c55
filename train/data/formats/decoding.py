"""From a file, plain or gzip, in one of the named encodings, to bytes that are valid UTF-8."""

import codecs
import gzip
import mmap
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import FileArguments

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_utf8(path: Path, name: str, args: FileArguments) -> pa.Buffer:
    """Read a text file as UTF-8 without a byte order mark.

    Args:
        path: The file; one that ends in .gz is unpacked.
        name: Of it, for the messages.
        args: `encoding`.

    Raises:
        UserError: It is empty, a damaged .gz, or not valid in any of the encodings.
    """
    content = _content(path, name)
    if content.size == 0:
        raise UserError(f"'{name}' is empty; give a file with at least one row per class")
    for encoding in encodings(args):
        if encoding in ("utf-8", "utf-8-sig"):
            if is_utf8(content) and not _looks_like_utf16(content):
                return content.slice(len(codecs.BOM_UTF8) if first_bytes(content, 3) == codecs.BOM_UTF8 else 0)
            continue
        try:
            return pa.py_buffer(str(content, encoding).removeprefix("\ufeff").encode())
        except UnicodeError:
            continue
    raise _encoding_error(content, name, args)


def encodings(args: FileArguments) -> list[str]:
    """The codecs that `--encoding` names.

    Raises:
        UserError: One of them isn't known, or is of no text.
    """
    try:
        for encoding in args.encoding:
            "".encode(encoding)  # not all codecs are of texts
        return [codecs.lookup(encoding).name for encoding in args.encoding]
    except (LookupError, UnicodeError) as error:
        raise UserError(f"--encoding: {error}; use names such as utf-8 or latin-1") from error


def first_bytes(content: pa.Buffer, count: int) -> bytes:
    """The beginning of a file, or all of a shorter one."""
    return content.slice(0, min(count, content.size)).to_pybytes()


def is_utf8(content: pa.Buffer) -> bool:
    """Whether bytes are valid UTF-8, looked at without a copy of them."""
    offsets = pa.py_buffer(np.array([0, content.size], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, content]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def line_at(content: pa.Buffer, position: int) -> int:
    """Number of the line, counted from 1, in which a byte stands."""
    return int(np.count_nonzero(np.frombuffer(content, np.uint8, position) == ord("\n"))) + 1 if position else 1


def _content(path: Path, name: str) -> pa.Buffer:
    with path.open("rb") as file:
        if path.suffix.lower() != ".gz":
            if path.stat().st_size == 0:
                return pa.py_buffer(b"")
            return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        with gzip.open(path) as file:
            return pa.py_buffer(file.read())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"'{name}' is no whole gzip file ({error}); pack it again") from error


def _looks_like_utf16(content: pa.Buffer) -> bool:
    """Plain letters in UTF-16 or UTF-32 without a mark are valid UTF-8, too, with a NUL beside each."""
    start = first_bytes(content, 4096)
    return start.count(0) > len(start) / 4


def _encoding_error(content: pa.Buffer, name: str, args: FileArguments) -> UserError:
    tried = " ".join(args.encoding)
    start = first_bytes(content, 2)
    if start in UTF16_MARKS or _looks_like_utf16(content):
        other = "utf-16" if start in UTF16_MARKS else "utf-16-le"
        return UserError(f"'{name}' is not valid {tried}, it looks like UTF-16; try --encoding {tried} {other}")
    return UserError(f"'{name}' is not valid {tried}; convert it to UTF-8 or try --encoding {tried} latin-1")
