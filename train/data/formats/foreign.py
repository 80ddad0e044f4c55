"""Tells what a file is that isn't the text its name promises."""

import re
import tarfile

# What such files begin with; no text does.
KINDS = {
    rb"PK(\x03\x04|\x05\x06|\x07\x08)": "a zip archive, as .xlsx, .docx and .ods are",
    rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "a file of old Excel or Word",
    rb"%PDF-\d": "a PDF",
    rb"PAR1[\x00-\x1f]": "a parquet file",
    rb"ARROW1\x00|\xff\xff\xff\xff[\x00-\xff]{4}\x10\x00\x00\x00": "an Arrow file",
    rb"SQLite format 3\x00": "an SQLite database",
    rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": "packed by bzip2",
    rb"\xfd7zXZ\x00": "packed by xz",
    rb"\x28\xb5\x2f\xfd": "packed by zstd",
    rb"7z\xbc\xaf\x27\x1c": "a 7z archive",
    rb"\x80[\x02-\x05][\x00-\xff]{3}": "a pickle of Python",
    rb"\x89HDF\r\n": "an HDF5 file",
    rb"\{\\rtf": "a text of a word processor (RTF)",
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF[\x00-\xff]{4}WEBP|II\*\x00|MM\x00\*": "a picture",
    rb"ID3[\x02-\x04]|OggS\x00|fLaC\x00|RIFF[\x00-\xff]{4}(WAVE|AVI )|\x00{3}[\x08-\x40]ftyp": "sound or a film",
    rb"\x7fELF|MZ[\x00-\xff]{2}[\x00-\x04]\x00": "a program",
}
WIDE_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32-le",
    b"\x00\x00\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}


def kind_of(start: bytes) -> str | None:
    """What the beginning of a file tells of it, in words; None for what may be text."""
    if _is_tar(start):
        return "a tar archive, which must be unpacked"
    return next((words for mark, words in KINDS.items() if re.match(mark, start)), None)


def _is_tar(start: bytes) -> bool:
    """Whether a file begins with the header of an archive's first member, whose sum of bytes stands in it."""
    try:
        return bool(tarfile.TarInfo.frombuf(start[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape").name)
    except tarfile.HeaderError:
        return False


def wide_encoding(start: bytes) -> str | None:
    """The encoding of two or four bytes a letter that the beginning of a file shows, or None.

    Without a mark, plain letters are valid UTF-8, too, with NULs beside each.
    """
    for mark, encoding in WIDE_MARKS.items():
        if start.startswith(mark):
            return encoding
    if start.count(0) <= len(start) / 4:
        return None
    nulls = [start[place::4].count(0) for place in range(4)]
    if start.count(0) > len(start) * 5 / 8:
        return "utf-32-be" if nulls[0] > nulls[3] else "utf-32-le"
    return "utf-16-be" if nulls[0] + nulls[2] > nulls[1] + nulls[3] else "utf-16-le"
