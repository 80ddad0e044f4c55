"""Who works in an output folder, and what may be in it before a run, so that no earlier result is lost."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

from filelock import FileLock, Timeout

from salience.configuration.errors import UserError
from salience.model_cards.files import read_whole, write_json
from salience.model_cards.run_folder import (
    LOCK_FILE,
    PREFIXES,
    RUN_FILE,
    STARTED_FILE,
    STATE_FILE,
    TRAIN_RESULTS_FILE,
    results_file,
)
from salience.train.folder.hub_files import HUB_FILES, hub_files
from salience.train.folder.marked import (
    SAVED_FOLDER,
    SAVING_FOLDER,
    WEIGHT_FILES,
    foreign_folders,
    remove_marked,
    saved_files,
    settle,
)

UNPUBLISHED_FILES = (
    STATE_FILE,
    TRAIN_RESULTS_FILE,
    "training_args.bin",  # Trainer's: `SalienceTrainer` removes it
    *(file for split in PREFIXES for file in (results_file(split), f"{split}_predictions.parquet")),
)
"""What a run writes before its model."""
ELSEWHERE = "choose another folder, or move it away"
MOVE = "choose another --output_dir, or move it away"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for one command, so that no other one writes into it meanwhile.

    The lock is one of the process: it ends with it, also after a kill.

    Args:
        folder: Its output folder; is made, and removed again if nothing was written into it.

    Raises:
        UserError: Another command works in it, or it can't be written to.
    """
    check_own_folder(folder)
    file = lock_file(folder)
    made = [each for each in (folder, *folder.absolute().parents) if not each.exists()]
    lock = FileLock(file)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=1)  # `is_claimed` may be looking at it
    except Timeout as error:
        raise UserError(
            f"another command is working in --output_dir {folder}: wait for its end, or choose another folder"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes it when it is released
            file.unlink()
        lock.release()
        with suppress(OSError):  # not empty
            for each in made:
                each.rmdir()


@contextmanager
def claimed(folder: Path, kind: str = "model", resuming: bool = False, is_first: bool = True) -> Iterator[None]:
    """Hold a folder for one run, in which nothing else is lost.

    Args:
        folder: See `held`.
        kind: Of the run, see `RunRecord`.
        resuming: Whether it goes on from a checkpoint in the folder.
        is_first: Whether this is the first of the processes of a run, who asks for all of them.

    Raises:
        UserError: See `held`; or `check_folder` refuses it.
    """
    if not is_first:
        yield
        return
    with held(folder):
        check_folder(folder, kind, resuming)
        settle(folder)
        yield


def is_claimed(folder: Path) -> bool:
    """Whether a run works in the folder now.

    Raises:
        UserError: See `lock_file`.
    """
    file = lock_file(folder)
    if not file.exists():
        return False
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def lock_file(folder: Path) -> Path:
    """The file that a run in the folder holds, whether it is there or not.

    Raises:
        UserError: Something of its name is there that no run has made.
    """
    file = folder / LOCK_FILE
    try:
        found = file.lstat()
        # It is empty; where a file system has no locks, `filelock` writes the number of a process into it.
        is_ours = S_ISREG(found.st_mode) and (not found.st_size or re.match(rb"\d+\s", file.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):  # also where its run has just ended
        return file
    if not is_ours:
        raise UserError(f"--output_dir {folder} holds {LOCK_FILE}, which no run has made; {ELSEWHERE}")
    return file


def check_folder(folder: Path, kind: str, resuming: bool = False) -> None:
    """Refuse a folder that holds an earlier run, or anything else that a run would overwrite or delete; touch nothing.

    Args:
        folder: Output folder.
        kind: Of the run, see `RunRecord`. One of its kind that was stopped before its first checkpoint starts anew.
        resuming: Whether the run goes on from a checkpoint in the folder.

    Raises:
        UserError: It can't be written to, holds a finished run, an unfinished one that isn't being resumed, or files
            that the run would overwrite.
    """
    check_unfinished(folder, kind)
    check_places(folder, [name for name in (*HUB_FILES, *UNPUBLISHED_FILES, STARTED_FILE) if "*" not in name])
    if foreign := foreign_folders(folder):
        raise UserError(
            f"--output_dir {folder} holds {foreign[0].name}, which no run of this version has made and which might be "
            f"deleted as one of its own; {ELSEWHERE}"
        )
    if not resuming and (checkpoints(folder) or holds_model(folder)):
        raise UserError(
            f"--output_dir {folder} holds an unfinished run; "
            "continue it with --resume_from_checkpoint last, or choose another folder"
        )
    before = (STARTED_FILE, *UNPUBLISHED_FILES)
    own = (*before, *(hub_files(folder) if holds_model(folder) else ())) if started_kind(folder) else ()
    there = [*hub_files(folder), *(name for name in before if (folder / name).exists())]
    moved_into = [name for name in saved_files(folder) if (folder / name).exists()]  # by moving, none is in both
    if files := [*moved_into, *(name for name in there if name not in own)]:
        raise UserError(f"--output_dir {folder} holds {files[0]}, which the run would overwrite; {ELSEWHERE}")


def check_unfinished(folder: Path, kind: str) -> None:
    """Refuse a folder that holds a finished run, or something of another kind that was started.

    Args:
        folder: Where the results of a program go.
        kind: Of a run, see `RunRecord`, or `study` or `comparison`.

    Raises:
        UserError: It does, or can't be written to.
    """
    check_own_folder(folder)
    if (folder / RUN_FILE).exists():
        raise UserError(f"--output_dir {folder} holds a finished run; choose another folder, or move that one away")
    if (started := started_kind(folder)) not in (None, kind):
        what = "a study" if started == "study" else "an unfinished run of another kind"
        raise UserError(f"--output_dir {folder} holds {what}; choose another folder, or move it away")


def started_kind(folder: Path) -> str | None:
    """The kind of the run that was started in a folder; None if there is none of this version."""
    marks = [folder / STARTED_FILE, *sorted(folder.glob(f"checkpoint-*/{STARTED_FILE}"))]
    return next((mark.get("kind") for mark in map(read_whole, marks) if mark is not None), None)


def holds_model(folder: Path) -> bool:
    """Whether the run that was started in a folder has saved its model: then its results are there too."""
    places = (folder, folder / SAVED_FOLDER)
    is_there = any((place / name).is_file() for place in places for name in WEIGHT_FILES)
    return is_there and started_kind(folder) == "model"


def start(folder: Path, plan: dict[str, Any]) -> None:
    """Write down what a run is about, and remove what one that was stopped before a checkpoint has left.

    Args:
        folder: Of the run, made if it isn't there; `check_folder` found nothing else in it.
        plan: What must not change where it is resumed, and its `kind`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for torn in folder.glob(f"checkpoint-*/{STARTED_FILE}"):
        remove_marked(torn.parent)
    remove_marked(folder / SAVING_FOLDER)
    for name in UNPUBLISHED_FILES:
        (folder / name).unlink(missing_ok=True)
    write_json(folder / STARTED_FILE, plan)


def check_writable(folder: Path, flag: str = "--output_dir") -> None:
    """Refuse a folder that can't be made, or written to.

    Args:
        folder: The folder.
        flag: What named it, for the message.

    Raises:
        UserError: It is a file or below one, or one lacks the permission.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the current folder was deleted: change into another one") from error
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        what = "a file" if existing.exists() else "a link to nothing"
        raise UserError(f"{flag} {folder} can't be made: {existing} is {what}; name a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {folder} can't be written to; choose another folder")


def check_own_folder(folder: Path, flag: str = "--output_dir") -> None:
    """Refuse a folder that can't be one of results alone; arguments are those of `check_writable`.

    Raises:
        UserError: It can't be made or written to, or it is or holds the user's home or this package.
    """
    check_writable(folder, flag)
    places = {"this package": Path(__file__).parents[2], "your home folder": Path(os.path.expanduser("~"))}
    for what, place in places.items():
        if place.is_absolute() and place.resolve().is_relative_to(folder.resolve()):  # without a home, ~ stays ~
            raise UserError(f"{flag} {folder} is or holds {what}; name a folder for the results alone")


def check_places(folder: Path, names: Iterable[Path | str]) -> None:
    """Refuse a folder where a file will be written, and a file where a folder will be made.

    Args:
        folder: Where the results of a program go.
        names: Of its files, relative to it.

    Raises:
        UserError: There is one.
    """
    for name in names:
        if (folder / name).is_dir():
            raise UserError(f"{folder / name} is a folder, and a file goes there: {MOVE}")
        for parent in Path(name).parents[:-1]:
            if (folder / parent).is_file():
                raise UserError(f"{folder / parent} is a file, and a folder goes there: {MOVE}")


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first: the trainer's state is the last file that is written."""
    states = (file for file in folder.glob(f"checkpoint-*/{STATE_FILE}") if read_whole(file) is not None)
    found = {path.parent.name.removeprefix("checkpoint-"): path.parent for path in states}
    return [found[step] for step in sorted(filter(str.isdigit, found), key=int)]
