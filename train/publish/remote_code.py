"""The code that a folder brings: what `auto_map` names, and what that imports from beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_relative_imports

from salience.configuration.errors import UserError
from salience.model_cards.files import read_json

CONFIGS = ("config.json", "tokenizer_config.json")


def code_files(folder: Path) -> set[str]:
    """Names of the Python files in `folder` that are run when others load its model.

    Raises:
        UserError: A configuration names code of another repository, or a file that isn't in the folder.
    """
    found: set[str] = set()
    for config in CONFIGS:
        if not (folder / config).is_file():
            continue
        for reference in _references(read_json(folder / config)):
            module = str(reference).rpartition(".")[0]
            if "--" in module:
                raise UserError(
                    f"{folder / config} has others run code of another repository ({reference}): take its auto_map out"
                )
            _follow(folder, module, f"the auto_map in {folder / config}", found)
    return found


def _follow(folder: Path, module: str, whence: str, found: set[str]) -> None:
    """Add a module's file and the files of all its relative imports."""
    name = f"{module}.py"
    if name in found:
        return
    file = folder / name
    if not module.isidentifier() or not file.is_file() or file.is_symlink():
        raise UserError(f"{whence} names {name}, which isn't a file in {folder}: train again, or put it there")
    found.add(name)
    for imported in get_relative_imports(file):
        _follow(folder, imported, str(file), found)


def _references(config: Any) -> Iterator[str]:
    """All classes that the `auto_map` of a configuration, or of one within it, and its `custom_pipelines` name."""
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        if key == "auto_map" and isinstance(value, dict):
            listed = [each for item in value.values() for each in (item if isinstance(item, list) else [item])]
            yield from (each for each in listed if each is not None)
        elif key == "custom_pipelines" and isinstance(value, dict):
            yield from (each["impl"] for each in value.values() if isinstance(each, dict) and "impl" in each)
        else:
            yield from _references(value)
