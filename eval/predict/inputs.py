"""From names of files, folders and patterns to inputs that can be read in stretches."""

import glob
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import TextArguments
from salience.eval.predict.csv_rows import CsvInput
from salience.eval.predict.json_rows import JsonInput
from salience.eval.predict.parquet_rows import ParquetInput
from salience.eval.predict.rows import Input
from salience.train.data.formats.csv import read_csv
from salience.train.data.formats.json import read_json
from salience.train.data.formats.parquet import read_parquet
from salience.train.data.paths import expand, refuse_pointer, resolve_path
from salience.train.data.sources.files import FORMAT_FLAGS, PACKED, READERS, Reader, reader_of, refuse_unused

logger = logging.getLogger(__name__)

# By the function that training reads such a file with.
CLASSES: dict[Reader, type[Input]] = {read_csv: CsvInput, read_json: JsonInput, read_parquet: ParquetInput}
ENDINGS = [ending for ending, reader in READERS.items() if reader in CLASSES]


def find_files(names: Sequence[str]) -> list[tuple[str, Path]]:
    """The files that `--input` names, in this order, those of a folder or a pattern by their names.

    Args:
        names: Files, folders of such files, and patterns such as `*.csv`.

    Returns:
        Name for people, and path.

    Raises:
        UserError: There is none, one can't be read in parts, or stands there twice.
    """
    return readable([file for name in names for file in _files_of(name)])


def readable(found: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """The same files, of which each can be read in parts.

    Args:
        found: Name for people, and path.

    Raises:
        UserError: One can't, or stands there twice.
    """
    for name, path in found:
        refuse_pointer(path, name)
        if not path.is_file():
            raise UserError(f"'{name}' is neither a file nor a folder; copy what it gives into a file")
        if reader_of(path, name) not in CLASSES:
            raise UserError(f"'{name}' can't be read in parts; give {', '.join(ENDINGS)}, or a folder of such files")
    paths = [path.resolve() for _, path in found]
    counted = Counter(paths)
    if doubled := next((name for (name, _), path in zip(found, paths, strict=True) if counted[path] > 1), None):
        raise UserError(f"'{doubled}' is given twice (--input); name it once")
    return found


def open_inputs(
    files: Sequence[tuple[str, Path]], args: TextArguments, to_parquet: bool, added: Sequence[str]
) -> list[Input]:
    """Look at each file.

    Args:
        files: As `find_files` gives them.
        args: How they are read.
        to_parquet: Whether parquet files are written, which need columns of the same types.
        added: Names of the columns that they will get.

    Raises:
        UserError: They are of several formats or have different columns, or one can't be read.
    """
    readers = [reader_of(path, name) for name, path in files]
    if other := next((name for (name, _), each in zip(files, readers, strict=True) if each != readers[0]), None):
        raise UserError(f"'{files[0][0]}' and '{other}' are of different formats; give files of one at a time")
    refuse_unused(readers, args, FORMAT_FLAGS)
    format_class = CLASSES[readers[0]]
    inputs = [format_class.open(path.absolute(), name, args, added, to_parquet) for name, path in files]
    if to_parquet:
        _refuse_unlike(inputs)
    return inputs


def kind_of(name: str) -> str | None:
    """The ending of a file's name that tells its format; None if it has none."""
    path = Path(name.lower())
    is_packed = path.suffix == PACKED
    ending = path.with_suffix("").suffix if is_packed else path.suffix
    return ending if ending in ENDINGS and not (is_packed and ending == ".parquet") else None


def _files_of(name: str) -> list[tuple[str, Path]]:
    path = expand(name)
    if glob.has_magic(name) and not path.exists():
        found = [each for each in sorted(glob.glob(str(path), recursive=True)) if not Path(each).is_dir()]
        if not found:
            raise UserError(f"no file fits '{name}' (--input)")
        return [(each, Path(each)) for each in found]
    path = resolve_path(name)
    if not path.is_dir():
        return [(name, path)]
    inside = [each for each in sorted(path.iterdir()) if each.is_file() and not each.name.startswith(".")]
    known = [each for each in inside if kind_of(each.name)]
    if not known:
        raise UserError(f"folder '{name}' has no file that ends in {', '.join(ENDINGS)}")
    if others := [each.name for each in inside if each not in known]:
        logger.warning("%d files of the folder '%s' are not read, such as %s", len(others), name, others[0])
    if deeper := next((each for each in sorted(path.glob("*/**/*")) if each.is_file() and kind_of(each.name)), None):
        says = "folders inside of the folder '%s' are not read, as with '%s'; to read them, name '%s/**/*%s'"
        logger.warning(says, name, deeper.relative_to(path), name.rstrip("/"), kind_of(deeper.name))
    return [(f"{name.rstrip('/')}/{each.name}", each) for each in known]


def _refuse_unlike(inputs: list[Input]) -> None:
    """Refuse files that can't become parts of one table."""
    first = inputs[0]
    for each in inputs:
        if doubled := next((name for name in each.columns if each.columns.count(name) > 1), None):
            raise UserError(
                f"'{each.name}' has two columns '{doubled}', and a folder of parquet files can't hold both; rename "
                "one, or let --output end as the input does"
            )
        if isinstance(each, JsonInput):  # rows have any keys
            continue
        same = each.columns == first.columns
        if isinstance(each, ParquetInput) and isinstance(first, ParquetInput):
            same = each.schema.equals(first.schema)
            each.close()
        if not same:
            raise UserError(f"'{first.name}' and '{each.name}' have different columns; give them one at a time")
