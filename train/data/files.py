"""Finds the reader of a file or folder by its ending."""

from collections.abc import Callable
from pathlib import Path

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import FileArguments
from salience.train.data.formats.csv import read_csv
from salience.train.data.formats.json import read_json
from salience.train.data.formats.parquet import read_parquet
from salience.train.data.formats.texts import read_fasttext, read_folder
from salience.train.data.paths import resolve_path
from salience.train.data.tables import Part

# To add a format, write a function that gives its columns to `make_part`, and name it here.
READERS: dict[str, Callable[[Path, str, FileArguments], Part]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json,
    ".json": read_json,
    ".parquet": read_parquet,
    ".txt": read_fasttext,
}
PACKED = ".gz"  # of text files


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
        if path.is_dir():
            return read_folder(path, name, args)
        if not path.is_file():
            raise UserError(f"'{name}' is neither a file nor a folder; copy what it gives into a file")
        ending = path.suffix.lower()
        if ending == PACKED and path.with_suffix("").suffix.lower() != ".parquet":
            ending = path.with_suffix("").suffix.lower()
        reader = READERS.get(ending)
        if reader is None:
            known = ", ".join(READERS)
            raise UserError(f"'{name}' has no known file ending; use {known} or a folder of .txt per class")
        if path.stat().st_size == 0:
            raise UserError(f"'{name}' is empty; give a file with at least one row per class")
        return reader(path, name, args)
    except OSError as error:
        raise UserError(f"'{name}' can't be read: {error.strerror or error}") from error
