"""What may be in an output folder before a run, so that no earlier result is lost."""

import os
from pathlib import Path

from salience.configuration.errors import UserError
from salience.model_cards.run_folder import RUN_FILE, STATE_FILE, is_whole
from salience.train.folder.hub_files import hub_files


def check_folder(folder: Path, resuming: bool) -> None:
    """Refuse a folder that holds an earlier run, or anything else that a run would overwrite.

    Raises:
        UserError: It is no folder or can't be written to, holds a finished run, an unfinished one that isn't being
            resumed, or other files of a model repository.
    """
    check_writable(folder)
    if (folder / RUN_FILE).exists():
        raise UserError(f"--output_dir {folder} holds a finished run; choose another folder, or move that one away")
    if checkpoints(folder):
        if not resuming:
            raise UserError(
                f"--output_dir {folder} holds an unfinished run; "
                "continue it with --resume_from_checkpoint last, or choose another folder"
            )
    elif files := hub_files(folder):
        raise UserError(f"--output_dir {folder} holds {files[0]}, which the run would overwrite; choose another folder")


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
