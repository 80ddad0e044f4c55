"""Cells of a study: what is in their folders, and who runs them."""

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from salience.configuration.errors import UserError
from salience.eval.study.cells import Cell, CellRunner
from salience.model_cards.run_folder import LOCK_FILE
from salience.train.folder.output import claimed, is_claimed, start
from tests.helpers.toy_study import wait_for


@pytest.fixture
def cell(tmp_path):
    folder = tmp_path / "cells/row/seed_0"
    return Cell("row", 0, folder, ("salience.train.cli",), {"model": "lstm", "output_dir": str(folder)})


def test_a_cell_starts_or_goes_on_and_loses_nothing_in_its_folder(cell):
    command = cell.prepare()
    assert command[1:] == ["-m", "salience.train.cli", str(cell.recipe_file)]
    checkpoint = cell.folder / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (cell.folder / "notes.txt").write_text("mine")
    (checkpoint / "started.json").write_text("{}")
    assert cell.prepare() == command  # torn: the run removes it
    (checkpoint / "trainer_state.json").write_text("{}")
    assert cell.prepare() == [*command, "--resume_from_checkpoint", "last"]
    shutil.rmtree(checkpoint)
    (cell.folder / "started.json").write_text('{"kind": "model"}')
    for name in ("config.json", "model.safetensors"):  # stopped after its model was saved, without checkpoints
        (cell.folder / name).write_text("{}")
    assert cell.prepare() == [*command, "--resume_from_checkpoint", "last"]
    for name in ("config.json", "model.safetensors", "started.json"):
        (cell.folder / name).unlink()
    checkpoint.mkdir()
    (checkpoint / "started.json").write_text("{}")
    (cell.folder / "checkpoint-best").mkdir()
    cell.remove_checkpoints()
    assert sorted(path.name for path in cell.folder.iterdir()) == ["checkpoint-best", "notes.txt"]


def test_a_flag_is_the_same_wherever_it_is_set(cell):
    cell.recipe.update({"test_size": "0.3", "clean": ["headers"], "lora": "false"})  # on the command line
    cell.prepare()
    cell.folder.mkdir()
    cell.recipe.update({"test_size": 0.3, "lora": False})  # in the file
    cell.check()
    cell.recipe["test_size"] = 0.2
    with pytest.raises(UserError, match="holds a run with another test_size"):
        cell.check()


def test_a_folder_of_somebody_else_is_left_alone(cell):
    cell.folder.mkdir(parents=True)
    with pytest.raises(UserError, match="was not made by this study"):
        cell.check()


@pytest.mark.parametrize("name", ["recipe_file", "log_file"])
def test_files_beside_a_folder_are_a_studys_only_where_it_left_its_mark(cell, tmp_path, name):
    file = getattr(cell, name)
    file.parent.mkdir(parents=True)
    file.write_text("mine: 1\n")
    with pytest.raises(UserError, match=f"{file.name} was not made by this study"):
        cell.check()
    start(tmp_path, {"kind": "study"})
    cell.check()


def test_a_cell_that_another_process_runs_is_waited_for(cell):
    ended = []
    with claimed(cell.folder):
        thread = threading.Thread(target=lambda: ended.extend(CellRunner(1).run([cell])))
        thread.start()
        time.sleep(1.5)
        assert not ended
        (cell.folder / "run.json").write_text("{}")
    thread.join(10)
    assert ended == [(cell, True)]


def test_cells_that_others_run_are_passed_over(cell, tmp_path):
    folder = tmp_path / "cells/other/seed_0"
    free = Cell("other", 0, folder, cell.program, cell.recipe)
    free.folder.mkdir(parents=True)
    (free.folder / "run.json").write_text("{}")
    with claimed(cell.folder):
        ended = CellRunner(1).run([cell, free])
        assert next(ended) == (free, True)
        (cell.folder / "run.json").write_text("{}")
    assert list(ended) == [(cell, True)]


# A run that holds its folder until it is told to end, and fails where another is faster.
HOLD = """
import sys, time
from pathlib import Path
from salience.train.folder.output import claimed
folder = Path(sys.argv[1]).with_suffix("")
with claimed(folder):
    while not (folder.parent / "end").exists():
        time.sleep(0.05)
    (folder / "run.json").write_text("{}")
"""
# A study that runs this one cell.
STUDY = """
import sys
from pathlib import Path
from salience.eval.study.cells import Cell, CellRunner
cell = Cell("row", 0, Path(sys.argv[1]), ("hold",), {"output_dir": sys.argv[1]})
assert list(CellRunner(1).run([cell])) == [(cell, True)]
"""


@pytest.mark.slow
def test_a_cell_whose_study_was_killed_keeps_its_folder_to_its_end(cell, tmp_path, monkeypatch):
    (tmp_path / "hold.py").write_text(HOLD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-c", STUDY, str(cell.folder)]
    killed = subprocess.Popen(command)
    wait_for(lambda: (cell.folder / LOCK_FILE).exists())
    killed.kill()
    killed.wait()
    second = subprocess.Popen(command)
    time.sleep(3)
    assert second.poll() is None and is_claimed(cell.folder)
    (cell.folder.parent / "end").touch()
    assert second.wait(60) == 0
    assert cell.log_file.read_text() == ""  # nobody was refused: the second study waited
    assert not (cell.folder / LOCK_FILE).exists()
