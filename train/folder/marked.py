"""Folders that a run makes for itself within its own: each has a copy of what the run is about, by which it is known.

Whatever has such a name without this mark is somebody else's, and is neither written into nor removed.
"""

import shutil
import uuid
from pathlib import Path

from salience.model_cards.run_folder import STARTED_FILE

SAVING_FOLDER, SAVED_FOLDER = ".saving", ".saved"
"""In a run's folder, where its model is written, and how that is called when all of it is there."""
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


def is_marked(place: Path) -> bool:
    """Whether a run of this version has made this folder."""
    return (place / STARTED_FILE).is_file() and not place.is_symlink()


def foreign_folders(folder: Path) -> list[Path]:
    """What is called like a folder that a run makes for itself, and was not made by a run of this version."""
    named = [*sorted(folder.glob("checkpoint-*")), folder / SAVING_FOLDER, folder / SAVED_FOLDER]
    return [place for place in named if (place.exists() or place.is_symlink()) and not is_marked(place)]


def make_marked(place: Path) -> None:
    """Make a folder within a run's; it is there at once with its mark, also after a kill."""
    part = place.with_name(f".{place.name.lstrip('.')}.{uuid.uuid4().hex}")
    part.mkdir()
    shutil.copy(place.with_name(STARTED_FILE), part)
    part.rename(place)


def remove_marked(place: Path) -> None:
    """Remove a folder that a run has made for itself, its mark last; nothing is done where there is none."""
    if not is_marked(place):
        return
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != STARTED_FILE:
            path.unlink()
    shutil.rmtree(place)


def mark_checkpoint(folder: Path, step: int) -> None:
    """Make the folder of a checkpoint that is going to be written."""
    checkpoint = folder / f"checkpoint-{step}"
    if not checkpoint.exists():
        make_marked(checkpoint)


def saving_folder(folder: Path) -> Path:
    """A place for the model of a run with nothing but its mark, which `saved` makes part of the run's folder."""
    remove_marked(folder / SAVING_FOLDER)
    make_marked(folder / SAVING_FOLDER)
    return folder / SAVING_FOLDER


def saved(folder: Path) -> None:
    """The model in `saving_folder` is whole: put it into its run's folder, from which a kill never leaves a part."""
    part = folder / SAVING_FOLDER
    for weights in part.rglob("*.safetensors"):
        shutil.copymode(part / STARTED_FILE, weights)  # their library lets nobody else read them
    part.rename(folder / SAVED_FOLDER)
    settle(folder)


def saved_files(folder: Path) -> list[str]:
    """Names of the files of a model that is saved as a whole and not yet where it belongs, the weights last."""
    whole = folder / SAVED_FOLDER
    names = [path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()]
    return sorted(set(names) - {STARTED_FILE}, key=lambda name: (name in WEIGHT_FILES, name))


def settle(folder: Path) -> None:
    """Move a model that was saved as a whole to where it belongs; a kill before the end is made up.

    Args:
        folder: Of a run, whether it has such a model or not.
    """
    for name in saved_files(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / SAVED_FOLDER / name).replace(folder / name)
    remove_marked(folder / SAVED_FOLDER)
