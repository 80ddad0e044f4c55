"""Finds the reader of a file or folder by its ending."""

from collections.abc import Callable, Iterable
from pathlib import Path

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import FileArguments, TextArguments
from salience.configuration.flags.rule_kinds import changed_flags, shown
from salience.train.data.formats.csv import read_csv
from salience.train.data.formats.json import read_json
from salience.train.data.formats.parquet import read_parquet
from salience.train.data.formats.texts import read_fasttext, read_folder
from salience.train.data.paths import resolve_path
from salience.train.data.tables import Part

# To add a format, write a function that gives its columns to `make_part`, and name it here.
Reader = Callable[[Path, str, FileArguments], Part]
READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json,
    ".json": read_json,
    ".parquet": read_parquet,
    ".txt": read_fasttext,
}
PACKED = ".gz"  # of text files
TABLES, TEXTS = (read_csv, read_json, read_parquet), (read_csv, read_json, read_fasttext, read_folder)
# Flag -> which readers heed it, and what it belongs to, in words.
FORMAT_FLAGS: dict[str, tuple[tuple[Reader, ...], str]] = {
    **dict.fromkeys(("separator", "header", "quoting"), ((read_csv,), ".csv and .tsv files")),
    "encoding": (TEXTS, "text files, and neither to .parquet nor to texts in memory"),
}
COLUMN_FLAGS = dict.fromkeys(("text_column", "label_column"), (TABLES, "files with columns"))


def refuse_unused(
    readers: Iterable[Reader], args: TextArguments, flags: dict[str, tuple[tuple[Reader, ...], str]]
) -> None:
    """Refuse flags that none of the files heeds.

    Args:
        readers: Of the files.
        args: The flags, as the user set them.
        flags: `FORMAT_FLAGS`, and `COLUMN_FLAGS` too.

    Raises:
        UserError: There is one; the sentence says what it belongs to.
    """
    readers, changed = set(readers), changed_flags(args)
    for flag, (heeding, belongs_to) in flags.items():
        if flag in changed and not readers & set(heeding):
            value = shown(changed[flag])
            raise UserError(f"--{flag} {value} has no effect here: it belongs to {belongs_to}; leave it out")


def read_file(name: str, args: FileArguments) -> Part:
    """Read one file or folder of labelled texts.

    Args:
        name: What the flag says, as `resolve_path` takes it.
        args: Column names, encodings and what to do with missing texts.

    Raises:
        UserError: If the file is missing, empty, malformed, in another encoding, or lacks a column, a text or a label.
    """
    path = resolve_path(name)
    try:
        if not (path.is_file() or path.is_dir()):
            raise UserError(f"'{name}' is neither a file nor a folder; copy what it gives into a file")
        reader = reader_of(path, name)
        if path.is_file() and path.stat().st_size == 0:
            raise UserError(f"'{name}' is empty; give a file with at least one row per class")
        return reader(path, name, args)
    except OSError as error:
        raise UserError(f"'{name}' can't be read: {error.strerror or error}") from error


def reader_of(path: Path, name: str) -> Reader:
    """The reader of a file or folder.

    Raises:
        UserError: Its ending isn't known.
    """
    if path.is_dir():
        return read_folder
    ending = path.suffix.lower()
    if ending == PACKED and path.with_suffix("").suffix.lower() != ".parquet":
        ending = path.with_suffix("").suffix.lower()
    if ending not in READERS:
        known = ", ".join(READERS)
        raise UserError(f"'{name}' has no known file ending; use {known} or a folder of .txt per class")
    return READERS[ending]
