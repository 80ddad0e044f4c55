"""Files that are whole or not there at all, JSON among them, and their fingerprints."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from huggingface_hub.utils.sha import sha_fileobj

from salience.configuration.errors import UserError, one_line
from salience.model_cards.run_checks import MAKE_ANEW

TORN = ".torn-"
"""Begins the names of files that aren't whole yet."""


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that is complete or not there at all, also after a kill.

    Args:
        path: the file; its folder exists.
        content: what `json` can write; NaN and infinity are refused with ValueError, other programs can't read them.
    """
    # Numpy scalars become numbers; anything else unknown to JSON becomes its text.
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is complete or not there at all, see `whole_file`.

    Args:
        path: the file; its folder exists.
        text: its content.
    """
    with whole_file(path) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that is complete or not there at all, also after a kill or a loss of power.

    Args:
        path: the file; its folder exists.
    """
    part = path.with_name(f"{TORN}{uuid.uuid4().hex}")  # process ids are unique on one machine only
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sha256_of(file: Path) -> str:
    """Fingerprint of a file as it is; the Hub's name for the content of a large one."""
    with file.open("rb") as stream:
        return sha_fileobj(stream).hex()


def read_json(file: Path, way_out: str = MAKE_ANEW, name: str | None = None) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        file: The file.
        way_out: What to do if it can't be read, for the message.
        name: How the message calls the file. Default: its path.

    Raises:
        UserError: It isn't there, or isn't a JSON object.
    """
    name = name or str(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{name} can't be read ({error.strerror}): {way_out}") from error
    except (ValueError, RecursionError) as error:  # a thousand brackets within each other
        raise UserError(f"{name} is not valid JSON ({one_line(error)}): {way_out}") from error
    if not isinstance(content, dict):
        raise UserError(f"{name} holds no JSON object: {way_out}")
    return content


def read_whole(file: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no such file, or it wasn't written to its end."""
    try:
        return read_json(file)
    except UserError:
        return None


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
