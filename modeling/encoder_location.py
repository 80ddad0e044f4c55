"""Where a pretrained encoder lies: on the Hub, in a folder, or inside an installed Python package."""

from importlib.util import find_spec
from pathlib import Path

PACKAGE_PREFIX = "package:"


def find_in_package(name: str) -> Path:
    """The file or folder that `package:NAME/sub/folder` names; the package is found without being imported.

    Raises:
        ValueError: The package isn't installed, or has no such file or folder.
    """
    package, _, inside = name.removeprefix(PACKAGE_PREFIX).partition("/")
    # A dotted name would import the parent package, so only top-level names are looked up.
    spec = find_spec(package) if package.isidentifier() else None
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


def locate_encoder(name: str) -> str:
    """What transformers shall load: the model's folder inside a package or folder, or a Hub id as it is.

    Args:
        name: Hub id, folder, or `package:NAME`, `package:NAME/sub/folder`.

    Raises:
        ValueError: The package or folder holds no model, or several.
    """
    if name.startswith(PACKAGE_PREFIX):
        folder = find_in_package(name)
    elif Path(name).is_dir():
        folder = Path(name)
    else:
        return name
    if (folder / "config.json").is_file():
        return str(folder)
    found = sorted(path.parent for path in folder.rglob("config.json") if list(path.parent.glob("*.safetensors")))
    if len(found) != 1:
        what = "no model (config.json with .safetensors)" if not found else f"{len(found)} models; name one's folder"
        raise ValueError(f"{name} holds {what}")
    return str(found[0])
