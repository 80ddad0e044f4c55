"""Paths that a recipe can name on any machine."""

import difflib
import os
from pathlib import Path

from salience.modeling.encoders import PACKAGE_PREFIX, find_in_package
from salience.train.errors import UserError


def resolve_path(name: str) -> Path:
    """Find the file or folder that a flag names.

    Args:
        name: A path (`~` is the home folder), or `package:NAME/sub/folder` for a file or folder inside an installed
            Python package, which is located without being imported.

    Returns:
        An existing path.

    Raises:
        UserError: If the package isn't installed or there is no such file or folder.
    """
    if name.startswith(PACKAGE_PREFIX):
        try:
            return find_in_package(name)
        except ValueError as error:
            raise UserError(str(error)) from error
    path = expand(name)
    if not os.path.exists(path):  # Path.exists raises where a name is too long
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"there is no file or folder '{name}'{did_you_mean(path.name, siblings)}")
    return path


def expand(name: str) -> Path:
    """A path whose `~` is the home folder, where there is one."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # nobody's home
        return Path(name)


def did_you_mean(name: str, known: list[str]) -> str:
    """Return `; did you mean '...'?` with the nearest known name, or an empty string if none is near."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
