"""Who works in an output folder, and what may be in it before a run, so that no earlier result is lost."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from salience.configuration.errors import UserError
from salience.model_cards.run_folder import (
    LOCK_FILE,
    PREFIXES,
    RUN_FILE,
    STARTED_FILE,
    STATE_FILE,
    TRAIN_RESULTS_FILE,
    is_whole,
    read_json,
    results_file,
    write_json,
)
from salience.train.folder.hub_files import HUB_FILES, hub_files

UNPUBLISHED_FILES = (
    STATE_FILE,
    TRAIN_RESULTS_FILE,
    "training_args.bin",  # Trainer's: `SalienceTrainer` removes it
    *(file for split in PREFIXES for file in (results_file(split), f"{split}_predictions.parquet")),
)
"""What a run writes before its model."""
MOVE = "choose another --output_dir, or move it away"
SAVING_FOLDER, SAVED_FOLDER = ".saving", ".saved"
"""In a run's folder, where its model is written, and how that is called when all of it is there."""
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


@contextmanager
def claimed(folder: Path, kind: str = "model", resuming: bool = False, is_first: bool = True) -> Iterator[None]:
    """Hold a folder for one run, in which nothing else is lost.

    The lock is one of the process: it ends with it, also after a kill.

    Args:
        folder: Its output folder; is made, and removed again if nothing was written into it.
        kind: Of the run, see `RunRecord`.
        resuming: Whether it goes on from a checkpoint in the folder.
        is_first: Whether this is the first of the processes of a run, who asks for all of them.

    Raises:
        UserError: Another run works in it, or `check_folder` refuses it.
    """
    if not is_first:
        yield
        return
    check_writable(folder)
    made = [each for each in (folder, *folder.absolute().parents) if not each.exists()]
    lock = FileLock(folder / LOCK_FILE)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=1)  # `is_claimed` may be looking at it
    except Timeout as error:
        raise UserError(
            f"another run is working in --output_dir {folder}: wait for its end, or choose another folder"
        ) from error
    try:
        settle(folder)
        check_folder(folder, kind, resuming)
        yield
    finally:
        with suppress(OSError):  # Windows removes it when it is released
            (folder / LOCK_FILE).unlink()
        lock.release()
        with suppress(OSError):  # not empty
            for each in made:
                each.rmdir()


def is_claimed(folder: Path) -> bool:
    """Whether a run works in the folder now."""
    if not (folder / LOCK_FILE).exists():
        return False
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def check_folder(folder: Path, kind: str, resuming: bool = False) -> None:
    """Refuse a folder that holds an earlier run, or anything else that a run would overwrite or delete.

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
    if foreign := foreign_checkpoints(folder):
        raise UserError(
            f"--output_dir {folder} holds {foreign[0].name}, which no run of this version has made and which might be "
            "deleted as an old checkpoint; choose another folder, or move it away"
        )
    if not resuming and (checkpoints(folder) or holds_model(folder)):
        raise UserError(
            f"--output_dir {folder} holds an unfinished run; "
            "continue it with --resume_from_checkpoint last, or choose another folder"
        )
    own = (STARTED_FILE, *UNPUBLISHED_FILES) if started_kind(folder) else ()
    there = [*hub_files(folder), *(name for name in (STARTED_FILE, *UNPUBLISHED_FILES) if (folder / name).exists())]
    if not resuming and (files := [name for name in there if name not in own]):
        raise UserError(f"--output_dir {folder} holds {files[0]}, which the run would overwrite; choose another folder")


def check_unfinished(folder: Path, kind: str) -> None:
    """Refuse a folder that holds a finished run, or something of another kind that was started.

    Args:
        folder: Where the results of a program go.
        kind: Of a run, see `RunRecord`, or `study` or `comparison`.

    Raises:
        UserError: It does, or can't be written to.
    """
    check_writable(folder)
    if (folder / RUN_FILE).exists():
        raise UserError(f"--output_dir {folder} holds a finished run; choose another folder, or move that one away")
    if (started := started_kind(folder)) not in (None, kind):
        what = "a study" if started == "study" else "an unfinished run of another kind"
        raise UserError(f"--output_dir {folder} holds {what}; choose another folder, or move it away")


def started_kind(folder: Path) -> str | None:
    """The kind of the run that was started in a folder; None if there is none of this version."""
    marks = [folder / STARTED_FILE, *sorted(folder.glob(f"checkpoint-*/{STARTED_FILE}"))]
    return next((read_json(file).get("kind") for file in marks if is_whole(file)), None)


def holds_model(folder: Path) -> bool:
    """Whether the run that was started in a folder has saved its model: then its results are there too."""
    return started_kind(folder) == "model" and any((folder / name).is_file() for name in WEIGHT_FILES)


def saving_folder(folder: Path) -> Path:
    """An empty place for the model of a run, which `saved` makes part of its folder."""
    shutil.rmtree(folder / SAVING_FOLDER, ignore_errors=True)
    (folder / SAVING_FOLDER).mkdir()
    return folder / SAVING_FOLDER


def saved(folder: Path) -> None:
    """The model in `saving_folder` is whole: put it into its run's folder, from which a kill never leaves a part."""
    (folder / SAVING_FOLDER).rename(folder / SAVED_FOLDER)
    settle(folder)


def settle(folder: Path) -> None:
    """Move a model that was saved as a whole to where it belongs, the weights last; a kill before the end is made up.

    Args:
        folder: Of a run, whether it has such a model or not.
    """
    whole = folder / SAVED_FOLDER
    files = [path for path in whole.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda path: (path.relative_to(whole).as_posix() in WEIGHT_FILES, path)):
        target = folder / file.relative_to(whole)
        target.parent.mkdir(exist_ok=True)
        file.replace(target)
    shutil.rmtree(whole, ignore_errors=True)


def start(folder: Path, plan: dict[str, Any]) -> None:
    """Write down what a run is about, and remove what one that was stopped before a checkpoint has left.

    Args:
        folder: Of the run, made if it isn't there; `check_folder` found nothing else in it.
        plan: What must not change where it is resumed, and its `kind`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for torn in folder.glob(f"checkpoint-*/{STARTED_FILE}"):
        shutil.rmtree(torn.parent)
    shutil.rmtree(folder / SAVING_FOLDER, ignore_errors=True)
    for name in UNPUBLISHED_FILES:
        (folder / name).unlink(missing_ok=True)
    write_json(folder / STARTED_FILE, plan)


def mark_checkpoint(folder: Path, step: int) -> None:
    """Make the folder of a checkpoint that is going to be written, with a copy of what its run is about.

    It is there at once with this mark, so that a kill leaves none that looks like somebody else's.
    """
    checkpoint = folder / f"checkpoint-{step}"
    if not checkpoint.exists():
        part = folder / f".{checkpoint.name}"
        part.mkdir(exist_ok=True)
        shutil.copy(folder / STARTED_FILE, part)
        part.rename(checkpoint)


def foreign_checkpoints(folder: Path) -> list[Path]:
    """What is called like a checkpoint, and was not written by a run of this version."""
    return sorted(path for path in folder.glob("checkpoint-*") if not (path / STARTED_FILE).is_file())


def check_writable(folder: Path) -> None:
    """Refuse a folder that can't be made, or written to.

    Raises:
        UserError: It is a file or below one, or one lacks the permission.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"--output_dir {folder} can't be made: {existing} is a file; name a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"--output_dir {folder} can't be written to; choose another folder")


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


def new_file(folder: str | None, name: str) -> Path | None:
    """Where a program's results go, or None where they are only printed.

    Args:
        folder: What `--output_dir` says.
        name: Of the file.

    Raises:
        UserError: The file exists, or its folder can't be made or written to.
    """
    if folder is None:
        return None
    file = Path(folder, name)
    check_writable(file.parent)
    if file.exists():
        raise UserError(f"{file} exists; choose another --output_dir, or move it away")
    return file


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first: the trainer's state is the last file that is written."""
    states = filter(is_whole, folder.glob(f"checkpoint-*/{STATE_FILE}"))
    found = {path.parent.name.removeprefix("checkpoint-"): path.parent for path in states}
    return [found[step] for step in sorted(filter(str.isdigit, found), key=int)]
