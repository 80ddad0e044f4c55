"""What may be in an output folder before a run, so that no earlier result is lost."""

from pathlib import Path

from .errors import UserError


def check_folder(folder: Path, resuming: bool) -> None:
    """Refuse a folder that holds an earlier run.

    Raises:
        UserError: It is a file, holds a finished run, or an unfinished one that isn't being resumed.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output_dir {folder} is a file; name a folder")
    if (folder / "run.json").exists() or (folder / "test_results.json").exists() or (folder / "config.json").exists():
        raise UserError(f"--output_dir {folder} holds a finished run; choose another folder, or move that one away")
    if checkpoints(folder) and not resuming:
        raise UserError(
            f"--output_dir {folder} holds an unfinished run; "
            "continue it with --resume_from_checkpoint last, or choose another folder"
        )


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first: the trainer's state is the last file that is written."""
    found = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return sorted(found, key=lambda path: int(path.name.rsplit("-", 1)[1]))


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
        return wanted
    found = checkpoints(folder)
    if not found:
        raise UserError(f"--output_dir {folder} holds no complete checkpoint; leave out --resume_from_checkpoint")
    return str(found[-1])
