"""The files of a Space."""

import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from packaging.requirements import Requirement

from salience.configuration.errors import one_line
from salience.eval.predict.planning import MODEL_FILES
from salience.model_cards.files import read_json, write_json
from salience.model_cards.markdown import escape
from salience.model_cards.run_folder import RUN_FILE

GRADIO = "6.31.0"
PARTS = ("configuration", "modeling", "model_cards", "train", "eval")
CODE = ("*.py", "*.j2")
MODEL, SETTINGS = "model", "space.json"


def write_space(folder: Path, model: str, revision: str | None, examples: list[str]) -> None:
    """Write a Space into a folder that is empty.

    Args:
        folder: It.
        model: Folder of a model, which is copied, or a Hub id.
        revision: Commit of a Hub id; None for a folder.
        examples: Texts to try.
    """
    title = Path(model).absolute().name if revision is None else model.rpartition("/")[2]
    if revision is None:
        (folder / MODEL).mkdir()
        for file in sorted({each for pattern in MODEL_FILES for each in Path(model).glob(pattern) if each.is_file()}):
            shutil.copyfile(file, folder / MODEL / file.name)
    copy_package(folder / "salience")
    settings = {"title": title, "model": MODEL if revision is None else model, "revision": revision}
    write_json(folder / SETTINGS, {**settings, "examples": examples})
    (folder / "requirements.txt").write_text("\n".join(requirements()) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme(title, model, revision), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("app.py"), folder / "app.py")


def copy_package(folder: Path) -> None:
    """Put the code of this package where `import salience` finds it beside app.py.

    Args:
        folder: Where its parts go.
    """
    root = Path(__file__).parents[2]
    for part in PARTS:
        for file in (each for pattern in CODE for each in (root / part).rglob(pattern)):
            target = folder / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def requirements() -> Iterator[str]:
    """What the package needs, in the versions that are installed here, and gradio."""
    known = [Requirement(each) for each in requires("salience") or []]
    pinned = {each.name: version(each.name) for each in known if each.marker is None}
    _, _, build = pinned["torch"].partition("+")
    if build:  # such as cpu
        yield f"--extra-index-url https://download.pytorch.org/whl/{build}"
    yield f"gradio=={GRADIO}"
    yield from (f"{name}=={number}" for name, number in pinned.items())


def _license(run: Path) -> str | None:
    """The licence that a run was given for its model, if any."""
    arguments = read_json(run / RUN_FILE).get("arguments") if (run / RUN_FILE).is_file() else None
    license = arguments.get("license") if isinstance(arguments, dict) else None
    return one_line(license) if isinstance(license, str) else None


def readme(title: str, model: str, revision: str | None) -> str:
    """The Space's README, in whose front matter the Hub reads how it is started.

    Args:
        title: Of the page.
        model: Folder or Hub id.
        revision: Commit of a Hub id; None for a folder.
    """
    front_matter: dict[str, Any] = {
        "title": one_line(title),
        "emoji": "🔎",
        "colorFrom": "blue",
        "colorTo": "indigo",
        "sdk": "gradio",
        "sdk_version": GRADIO,
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "app_file": "app.py",
        "short_description": "Labels texts, and shows which words decided",
        "tags": ["salience", "text-classification"],
    }
    if revision is not None:
        front_matter |= {"models": [model], "license": "apache-2.0"}  # of the code: the weights stay where they are
    elif license := _license(Path(model)):
        front_matter["license"] = license
    shown = "this model" if revision is None else f"{model} (commit {revision})"
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, autoescape=False
    )
    return environment.get_template("README.md.j2").render(
        front_matter=yaml.safe_dump(front_matter, allow_unicode=True, sort_keys=False),
        title=escape(title),
        model=escape(shown),
        is_local=revision is None,
    )
