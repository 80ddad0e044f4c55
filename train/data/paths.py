"""Paths that a recipe can name on any machine."""

import errno
from importlib.util import find_spec
from pathlib import Path

from salience.configuration.errors import UserError, did_you_mean
from salience.configuration.git_lfs import IS_POINTER, is_pointer

PACKAGE_PREFIX = "package:"


def resolve_path(name: str) -> Path:
    """Find the file or folder that a flag names.

    Args:
        name: A path (`~` is the home folder), or `package:NAME/sub/folder` for a file or folder inside an installed
            Python package, which is located without being imported.

    Returns:
        An existing path.

    Raises:
        UserError: If the package isn't installed, there is no such file or folder, or only a pointer to it.
    """
    path = _find(name)
    refuse_pointer(path, name)
    return path


def refuse_pointer(path: Path, name: str) -> None:
    """Raise UserError for a pointer of Git LFS, which any format would take for a damaged file.

    Args:
        path: A file or folder.
        name: Of it, for the message.
    """
    if is_pointer(path):
        raise UserError(f"'{name}' {IS_POINTER}")


def _find(name: str) -> Path:
    if name.startswith(PACKAGE_PREFIX):
        try:
            return find_in_package(name)
        except ValueError as error:
            raise UserError(str(error)) from error
    path = expand(name)
    try:
        path.stat()
    except PermissionError as error:
        raise UserError(f"'{name}' can't be read: {error.strerror}") from error
    except (OSError, ValueError) as error:  # there is none, or its name is too long
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            raise UserError(f"'{name}' can't be read: its links lead in a circle; name the file itself") from error
        siblings = _names_beside(path)
        raise UserError(f"there is no file or folder '{name}'{did_you_mean(path.name, siblings)}") from error
    return path


def _names_beside(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return []


def expand(name: str) -> Path:
    """A path whose `~` is the home folder, where there is one."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # nobody's home
        return Path(name)


def find_in_package(name: str) -> Path:
    """The file or folder that `package:NAME/sub/folder` names; the package is found without being imported.

    Raises:
        ValueError: The package isn't installed, or has no such file or folder.
    """
    package, _, inside = name.removeprefix(PACKAGE_PREFIX).partition("/")
    if not package.isidentifier() or ".." in Path(inside).parts:
        raise ValueError(
            f"'{name}' names nothing inside of a Python package; write package:NAME/FOLDER/FILE, or the path itself "
            "for a file elsewhere"
        )
    # A dotted name would import the parent package, so only top-level names are looked up.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"'{name}' lies in the Python package '{package}', which isn't installed; "
            f"run: pip install {package.replace('_', '-')}"
        )
    for location in spec.submodule_search_locations:
        path = Path(location) / inside
        if path.exists():
            return path
    raise ValueError(f"the installed Python package '{package}' has no file or folder '{inside}'")
