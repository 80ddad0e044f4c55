"""Who may import whom: the architecture, as each file's import statements say it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PACKAGES = ("configuration", "modeling", "model_cards", "train", "eval")
# A package or room imports itself and what is named here; an ending star means everything below.
ALLOWED = {
    "configuration": [],
    "modeling": [],
    "modeling.__init__": ["configuration", "modeling"],
    "model_cards": ["configuration"],
    "train.data": ["configuration", "modeling", "model_cards"],
    "train.building": ["configuration", "modeling", "model_cards", "train.data"],
    "train.folder": ["configuration", "modeling", "model_cards", "train.data", "train.building"],
    "train.publish": ["configuration", "model_cards", "train.data", "train.building", "train.folder"],
    "train.loop": [
        "configuration", "modeling", "model_cards", "train.data", "train.building", "train.folder", "train.publish",
    ],
    "train.flag_checks": [
        "configuration", "model_cards", "train.data", "train.building", "train.folder", "train.publish", "train.loop",
    ],
    "train.cli": ["configuration", "modeling", "model_cards", "train", "eval"],
    "train.__init__": ["configuration", "train"],
    "eval.scores": ["configuration", "model_cards"],
    "eval.reading": ["configuration", "modeling", "model_cards", "eval.scores"],
    "eval.score": [], "eval.explain": [], "eval.failures": [], "eval.benchmark": [], "eval.baseline": [],
    "eval.predict": [], "eval.export": [],
    "eval.after_training": ["eval.weighing"],
    "eval.space": ["eval.explain", "eval.predict"],
    "eval.report": ["eval.explain", "eval.failures"],
    "eval.study": ["eval.baseline"],
    "eval.compare": ["eval.baseline"],
    "eval.__init__": ["configuration", "eval"],
}  # fmt: skip
BELOW_COMMANDS = [
    "configuration", "modeling", "model_cards", "train", "eval.scores", "eval.reading", "eval.runs", "eval.drawing",
]  # fmt: skip
NOBODY_IMPORTS = ("train.cli", "eval.cli")


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            yield ".".join(file.relative_to(ROOT).with_suffix("").parts), file


def imported(name: str, file: Path) -> Iterator[str]:
    """Modules of ours that a file imports, wherever in it the statement stands, without `salience.`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: -node.level] if node.level else []
            names = [".".join(["salience", *base, node.module or ""]) if node.level else str(node.module)]
            if names[0] in {"salience", *(f"salience.{each}" for each in PACKAGES)}:  # from salience import eval
                names = [f"{names[0]}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (each.removeprefix("salience.") for each in names if each.startswith("salience"))


def is_below(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def room_of(name: str) -> str:
    """The longest key of `ALLOWED` that holds the module."""
    return max((room for room in ALLOWED if is_below(name, room)), key=len, default=name)


def offences(name: str, file: Path) -> list[str]:
    room = room_of(name)
    allowed = [room, *ALLOWED.get(room, BELOW_COMMANDS)]
    if room.startswith("eval.") and room not in ("eval.scores", "eval.reading", "eval.__init__"):
        allowed += BELOW_COMMANDS
    found = list(imported(name, file))
    wrong = [each for each in found if not any(is_below(each, part) for part in allowed)]
    wrong += [each for each in found if any(is_below(each, part) for part in NOBODY_IMPORTS) and "__init__" not in name]
    if name.startswith("configuration.configuration_") or name.startswith("modeling.modeling_"):
        wrong += [each for each in found if each.startswith("modeling.modeling_")]
    return [f"{name} imports {each}" for each in wrong]


SHIMS = {f"modeling.{file.stem}" for file in (ROOT / "modeling").glob("configuration_*.py")}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_room_imports_only_what_lies_below_it(package):
    wrong = [
        offence
        for name, file in modules()
        if name.startswith(f"{package}.") and name not in SHIMS
        for offence in offences(name, file)
    ]
    assert not wrong, "\n".join(wrong)


def test_shims_hold_their_configuration_and_nothing_else():
    for name in SHIMS:
        file = ROOT / f"{name.replace('.', '/')}.py"
        assert list(imported(name, file)) == [name.replace("modeling.", "configuration.")]


def test_scores_need_no_torch():
    heavy = {"torch", "transformers", "evaluate", "accelerate"}
    for name, file in modules():
        if is_below(name, "eval.scores") and "salience_classification" not in name or name == "configuration.errors":
            top = ast.parse(file.read_text(encoding="utf-8")).body
            names = {each.module or "" for each in top if isinstance(each, ast.ImportFrom)}
            names |= {alias.name for each in top if isinstance(each, ast.Import) for alias in each.names}
            assert not heavy & {each.split(".")[0] for each in names}, name


def test_only_programs_print():
    for name, file in modules():
        calls = [each for each in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)]
        prints = any(isinstance(each.func, ast.Name) and each.func.id == "print" for each in calls)
        assert not prints or name.rpartition(".")[2] in ("cli", "command"), name


def test_an_import_across_is_found(tmp_path):
    file = tmp_path / "paired.py"
    file.write_text("def f():\n    from salience.train.data.load import load_splits\n")
    assert offences("eval.scores.paired", file) == ["eval.scores.paired imports train.data.load"]
    file.write_text("from salience.eval.study.table import render\n")
    assert offences("eval.compare.page", file) == ["eval.compare.page imports eval.study.table"]
    file.write_text("from .modeling_attn_pool import AttnPoolModel\n")
    assert offences("modeling.modeling_baseline", file)
    file.write_text("import salience.train.cli\n")
    assert offences("eval.runs", file) == ["eval.runs imports train.cli"]
