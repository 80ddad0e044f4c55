"""Which row of a file of word vectors is which word."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from tokenizers import Tokenizer

from salience.configuration.errors import UserError, one_line
from salience.train.data.paths import resolve_path

# The rows of a word: one, several where a tokenizer splits it into pieces, none if it is unknown.
RowsOf = Callable[[str], list[int]]


def read_vocabulary(name: str, path: str, num_rows: int) -> RowsOf:
    """The words of a file of vectors.

    Args:
        name: A file, or `package:NAME/inside`: a text with one word a line, a JSON list of words, a JSON object
            word -> row, parquet (a column of words, and one of row numbers if they aren't in order), or the
            tokenizer.json of the `tokenizers` library.
        path: The file of vectors, for messages.
        num_rows: Its rows.

    Returns:
        A function that gives the rows of a word, of which the mean is its vector. Where a word stands twice, its first
        row counts.

    Raises:
        UserError: There is no such file, it is none of these, or it doesn't fit the rows.
    """
    file = resolve_path(name)
    try:
        words = READERS.get(file.suffix.lower(), _read_lines)(file)
    except OSError as error:
        raise UserError(f"'{name}' can't be read: {error.strerror or one_line(error)}") from error
    except (ValueError, RecursionError, pa.ArrowException) as error:
        raise UserError(f"'{name}' can't be read as a vocabulary: {one_line(error)}") from error
    if isinstance(words, Tokenizer):
        return _rows_of_tokenizer(words, name, path, num_rows)
    if isinstance(words, list):
        if len(words) != num_rows:
            raise UserError(f"'{name}' has {len(words)} words, and '{path}' has {num_rows} rows; they must be as many")
        words = _first_rows(zip(words, range(num_rows), strict=True))
    for word, row in words.items():
        if type(row) is not int or not 0 <= row < num_rows:
            raise UserError(f"'{name}' puts {word!r} in row {row!r}, and '{path}' has rows 0 to {num_rows - 1}")
    return lambda word: [words[word]] if word in words else []


def _first_rows(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for word, row in pairs:
        rows.setdefault(word, row)
    return rows


def _rows_of_tokenizer(tokenizer: Tokenizer, name: str, path: str, num_rows: int) -> RowsOf:
    last = max(tokenizer.get_vocab().values(), default=0)
    if last >= num_rows:
        raise UserError(f"'{name}' numbers its tokens up to {last}, and '{path}' has rows 0 to {num_rows - 1}")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model["unk_id"] if "unk_id" in model else tokenizer.token_to_id(model.get("unk_token") or "")
    return partial(_rows_of_pieces, tokenizer, unknown)


def _rows_of_pieces(tokenizer: Tokenizer, unknown: int | None, word: str) -> list[int]:
    try:
        rows = tokenizer.encode(word, add_special_tokens=False).ids
    except Exception:  # the word is unknown, and the vocabulary has no token for that; the library has no class for it
        return []
    return [] if unknown in rows else rows


def _read_lines(file: Path) -> list[str]:
    # Only line feeds end a line: a word may be any other of the characters that str.splitlines splits at.
    lines = file.read_bytes().decode().removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines]


def _read_json(file: Path) -> Tokenizer | list[str] | dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    content = json.loads(text)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        try:
            return Tokenizer.from_str(text)
        except Exception as error:  # the library has no class for it
            raise ValueError(f"no tokenizer.json: {error}") from error
    if isinstance(content, dict) or (isinstance(content, list) and all(isinstance(word, str) for word in content)):
        return content
    raise ValueError("it must be a list of words, an object word: row, or a tokenizer.json")


def _read_parquet(file: Path) -> list[str] | dict[str, Any]:
    with file.open("rb") as source:  # pyarrow would read "exp:1" as an address
        table = pa.parquet.read_table(source)
    texts = [column for column in table.columns if column.type in (pa.string(), pa.large_string())]
    numbers = [column for column in table.columns if pa.types.is_integer(column.type)]
    if len(texts) != 1 or len(numbers) > 1:
        raise ValueError("it must have one column of words, and at most one of integers, their rows")
    words = texts[0].to_pylist()
    return _first_rows(zip(words, numbers[0].to_pylist(), strict=True)) if numbers else words


READERS: dict[str, Callable[[Path], Tokenizer | list[str] | dict[str, Any]]] = {
    ".json": _read_json,
    ".parquet": _read_parquet,
}
