"""What may be in an output folder before a run, so that no earlier result is lost."""

import json
import os
from pathlib import Path
from typing import Any

from salience.configuration.errors import UserError
from salience.train.folder.hub_files import hub_files
from salience.train.folder.record import RUN_FILE, write_json

PLAN_FILE = "started.json"
STATE_FILES = "checkpoint-*/trainer_state.json"


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
    states = filter(_is_json, folder.glob(STATE_FILES))
    found = {path.parent.name.removeprefix("checkpoint-"): path.parent for path in states}
    return [found[step] for step in sorted(filter(str.isdigit, found), key=int)]


def _is_json(file: Path) -> bool:
    """Whether a file was written to its end."""
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def check_plan(folder: Path, plan: dict[str, Any], resuming: bool) -> None:
    """Note what a run is about, or make sure that a resumed one is about the same.

    Args:
        folder: Output folder.
        plan: By name, what must not change, ready for JSON.
        resuming: Whether a checkpoint of an earlier start is used.

    Raises:
        UserError: Something changed; the message names it.
    """
    file = folder / PLAN_FILE
    if resuming and file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [name for name, value in json.loads(json.dumps(plan)).items() if before.get(name) != value]
        if changed:
            raise UserError(
                f"--output_dir {folder} holds a run with another {', '.join(changed)}: repeat its command with "
                "--resume_from_checkpoint last, or choose another folder"
            )
    elif int(os.environ.get("RANK", "0")) == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, plan)


def last_checkpoint(folder: Path, wanted: str | None) -> str | None:
    """The checkpoint that `--resume_from_checkpoint` names: a path, or "last"; None starts from the beginning.

    Raises:
        UserError: There is none.
    """
    if wanted is None:
        return None
    if wanted.lower() not in ("last", "true"):
        if not Path(wanted, "trainer_state.json").is_file():
            raise UserError(f"--resume_from_checkpoint {wanted} is no complete checkpoint folder")
        if Path(wanted).resolve().parent != folder.resolve():
            raise UserError(f"--resume_from_checkpoint {wanted} lies outside of --output_dir {folder}: name its folder")
        return wanted
    found = checkpoints(folder)
    if not found:
        raise UserError(f"--output_dir {folder} holds no complete checkpoint; leave out --resume_from_checkpoint")
    return str(found[-1])
