"""Outputs of programs that have a name only when they are whole."""

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from salience.configuration.errors import UserError
from salience.model_cards.run_folder import LOCK_FILE
from salience.train.folder.output import check_own_folder, held, is_claimed


@contextmanager
def new_files(folder: str | None, *names: str) -> Iterator[Path | None]:
    """Hold the folder where a program's results go; None where they are only printed.

    Args:
        folder: What `--output_dir` says.
        names: Of the files.

    Raises:
        UserError: See `held`; or a file exists.
    """
    if folder is None:
        yield None
        return
    with held(Path(folder)):
        for file in (Path(folder, name) for name in names):
            if file.exists():
                raise UserError(f"{file} exists; choose another --output_dir, or move it away")
        yield Path(folder)


@contextmanager
def new_folder(output: str | None) -> Iterator[Path]:
    """A folder to fill, which gets the name that `--output` says when all is in it, and is gone if something fails.

    Args:
        output: A folder that isn't there, or an empty one.

    Raises:
        UserError: None is named, it holds something, can't be made, or is filled by something else meanwhile.
    """
    if not output:
        raise UserError("--output is missing: name a new folder")
    folder = Path(os.path.expanduser(output)).resolve()  # a link stays, and its folder is filled
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"--output {output} exists; choose another folder, or move it away")
    check_own_folder(folder, "--output")
    beginning = f".{folder.name}.unfinished-"
    for killed in folder.parent.glob(f"{glob.escape(beginning)}*"):
        with suppress(OSError):  # it is somebody else's
            if {each.name for each in killed.iterdir()} == {LOCK_FILE, folder.name} and not is_claimed(killed):
                shutil.rmtree(killed)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(dir=folder.parent, prefix=beginning)
    except OSError as error:
        raise UserError(f"--output {output} can't be made: {error.strerror}") from error
    with place, held(Path(place.name)):
        unfinished = Path(place.name, folder.name)
        unfinished.mkdir()
        yield unfinished
        try:
            unfinished.replace(folder)
        except OSError as error:
            raise UserError(f"--output {output} was filled or taken away meanwhile ({error.strerror})") from error
