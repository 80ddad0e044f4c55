"""Pointers of Git LFS: what a checkout without it holds in place of its large files."""

from pathlib import Path

_MARK = b"version https://git-lfs.github.com/spec/"
IS_POINTER = "is a pointer of Git LFS and not the file itself; fetch it with: git lfs pull"


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer; False, too, for what can't be read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_MARK)) == _MARK
    except OSError:
        return False
