"""Paths that a recipe can name on any machine."""

import difflib
import importlib.util
from pathlib import Path

from salience.train.errors import UserError

PACKAGE_PREFIX = "package:"


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
        return _inside_package(name)
    path = Path(name).expanduser()
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"there is no file or folder '{name}'{did_you_mean(path.name, siblings)}")
    return path


def did_you_mean(name: str, known: list[str]) -> str:
    """Return `; did you mean '...'?` with the nearest known name, or an empty string if none is near."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""


def _inside_package(name: str) -> Path:
    package, _, inside = name.removeprefix(PACKAGE_PREFIX).partition("/")
    # A dotted name would import the parent package, so only top-level names are looked up.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"'{name}' lies in the Python package '{package}', which isn't installed; "
            f"run: pip install {package.replace('_', '-')}"
        )
    for location in spec.submodule_search_locations:
        path = Path(location) / inside
        if path.exists():
            return path
    raise UserError(f"the installed Python package '{package}' has no file or folder '{inside}'")
