"""From a file, plain or gzip, in one of the named encodings, to bytes that are valid UTF-8."""

import codecs
import gzip
import io
import mmap
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import TextArguments
from salience.train.data.formats.foreign import WIDE_MARKS, kind_of, wide_encoding

GZIP_MARK = b"\x1f\x8b\x08"
BROKEN_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)
UTF8 = ("utf-8", "utf-8-sig")
PIECE_BYTES = 2**24
# Texts shrink by gzip to a fifth, very uniform ones to a fiftieth; what was made to fill a memory, to a thousandth.
MOST_TIMES, UNSUSPECTED_BYTES = 200, 2**28


def read_utf8(path: Path, name: str, args: TextArguments) -> pa.Buffer:
    """Read a text file as UTF-8 without a byte order mark.

    Args:
        path: The file; one that ends in .gz is unpacked.
        name: Of it, for the messages.
        args: `encoding`.

    Raises:
        UserError: It is empty, a damaged .gz, or not valid in any of the encodings.
    """
    content = raw_content(path, name)
    if content.size == 0:
        raise UserError(f"'{name}' is empty; give a file with at least one row per class")
    encoding = find_encoding(first_bytes(content, 4096), name, args, partial(_is_valid, content))
    if encoding in UTF8:
        return content.slice(len(codecs.BOM_UTF8) if first_bytes(content, 3) == codecs.BOM_UTF8 else 0)
    return pa.py_buffer(str(content, encoding).removeprefix("\ufeff").encode())


def find_encoding(start: bytes, name: str, args: TextArguments, is_valid: Callable[[str], bool]) -> str:
    """The codec with which a text file is read.

    Args:
        start: The first 4,096 bytes.
        name: Of it, for the messages.
        args: `encoding`.
        is_valid: Whether the whole file is valid in an encoding.

    Raises:
        UserError: It is no text, or not valid in any of the encodings.
    """
    if kind := kind_of(start):
        raise UserError(f"'{name}' is no text but {kind}; save its table as .csv or .parquet")
    for encoding in _in_order(encodings(args), is_valid):
        if not _may_be(encoding, start):
            continue
        is_foreign = encoding not in UTF8 and "a".encode(encoding) != b"a"
        if is_foreign and wide_encoding(start) is None and is_valid(UTF8[0]):
            continue  # UTF-16 makes Chinese letters of any two bytes
        if is_valid(encoding):
            return encoding
    raise _encoding_error(start, name, args, is_valid)


def raw_content(path: Path, name: str) -> pa.Buffer:
    """The bytes of a file; those of a gzip file unpacked.

    Args:
        path: The file.
        name: Of it, for the messages.

    Raises:
        UserError: It is a damaged gzip file, or unpacks to more than texts hold.
    """
    with path.open("rb") as file:
        if not file.read(1):
            return pa.py_buffer(b"")
        if not is_packed(path):
            return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        return _unpacked(path, name)
    except BROKEN_GZIP as error:
        raise broken_gzip(name, error) from error


def is_packed(path: Path) -> bool:
    """Whether a file is read as gzip, by its ending or its first bytes."""
    with path.open("rb") as file:
        return path.suffix.lower() == ".gz" or file.read(len(GZIP_MARK)) == GZIP_MARK


def open_unpacked(path: Path) -> io.BufferedIOBase:
    """A file opened for its bytes, those of a gzip file unpacked as they are read."""
    return gzip.open(path) if is_packed(path) else path.open("rb")


def broken_gzip(name: str, error: Exception) -> UserError:
    """What to say of a file whose unpacking ended in one of `BROKEN_GZIP`."""
    return UserError(f"'{name}' is no whole gzip file ({error}); pack it again")


def encodings(args: TextArguments) -> list[str]:
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


def _unpacked(path: Path, name: str) -> pa.Buffer:
    """A gzip file's content.

    Raises:
        UserError: It would fill the memory, or holds far more than texts of its size can.
    """
    likely = likely_size(path)
    sink = pa.BufferOutputStream()
    with gzip.open(path) as file:
        while piece := file.read(PIECE_BYTES):
            sink.write(piece)
            if sink.tell() > likely:
                raise too_large(name, sink.tell(), "far more than such texts hold")
            if sink.tell() > psutil.virtual_memory().available:  # growing takes as much again for a moment
                raise too_large(name, sink.tell(), "more than there is memory for")
    return sink.getvalue()


def likely_size(path: Path) -> int:
    """The most bytes that a gzip file of texts unpacks to; one that holds more was made to harm."""
    return max(MOST_TIMES * path.stat().st_size, UNSUSPECTED_BYTES)


def too_large(name: str, num_bytes: int, why: str) -> UserError:
    """What to say of a gzip file that has unpacked to so many bytes already."""
    return UserError(f"'{name}' unpacks to over {num_bytes // 10**6} MB, {why}; unpack it and give that")


def _in_order(names: list[str], is_valid: Callable[[str], bool]) -> list[str]:
    """Encodings as they are tried: letters of UTF-8 are hardly valid by chance, and many others take any bytes."""
    if names[0] in UTF8 or not is_valid(UTF8[0]) or is_valid("ascii"):
        return names
    return sorted(names, key=lambda name: name not in UTF8)


def _may_be(encoding: str, start: bytes) -> bool:
    """Whether a file can be in an encoding, by what its beginning tells of the width of its letters."""
    wide = wide_encoding(start)
    if wide in (None, encoding):
        return True
    has_mark = any(start.startswith(mark) for mark in WIDE_MARKS)
    return encoding == wide[:6] and (has_mark or wide.endswith("le"))  # the codec utf-16 needs a mark for the other


def _is_valid(content: pa.Buffer, encoding: str) -> bool:
    if encoding in UTF8:
        return is_utf8(content)
    try:
        str(content, encoding)
    except UnicodeError:
        return False
    return True


def _encoding_error(start: bytes, name: str, args: TextArguments, is_valid: Callable[[str], bool]) -> UserError:
    tried = " ".join(args.encoding)
    wide = wide_encoding(start)
    if wide and not is_valid(wide):
        return UserError(f"'{name}' is no text, or damaged {wide[:6].upper()}; save it again as UTF-8")
    if wide:
        other = wide[:6] if any(start.startswith(mark) for mark in WIDE_MARKS) else wide
        looks = f"it looks like {wide[:6].upper()}"
        return UserError(f"'{name}' is not valid {tried}, {looks}; try --encoding {tried} {other}")
    if is_valid(UTF8[0]):
        return UserError(f"'{name}' is not in {tried} but valid UTF-8; try --encoding {tried} utf-8")
    return UserError(f"'{name}' is not valid {tried}; convert it to UTF-8 or try --encoding {tried} latin-1")
