"""Cells of a study: what is in their folders, and who runs them."""

import fcntl
import threading
import time

import pytest

from salience.configuration.errors import UserError
from salience.eval.study.cells import Cell, CellRunner


@pytest.fixture
def cell(tmp_path):
    folder = tmp_path / "cells/row/seed_0"
    return Cell("row", 0, folder, ("salience.train.cli",), {"model": "lstm", "output_dir": str(folder)})


def test_an_unfinished_run_without_a_checkpoint_starts_anew(cell):
    cell.prepare()
    cell.folder.mkdir()
    (cell.folder / "config.json").write_text("{}")
    assert cell.prepare()[1:] == ["-m", "salience.train.cli", str(cell.recipe_file)]
    assert not cell.folder.exists()


def test_a_folder_of_somebody_else_is_left_alone(cell):
    cell.folder.mkdir(parents=True)
    with pytest.raises(UserError, match="was not made by this study"):
        cell.check()


def test_a_cell_that_another_study_runs_is_waited_for(cell):
    cell.folder.mkdir(parents=True)
    with cell.log_file.open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        ended = []
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
    for each in (cell, free):
        each.folder.mkdir(parents=True)
    (free.folder / "run.json").write_text("{}")
    with cell.log_file.open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        ended = CellRunner(1).run([cell, free])
        assert next(ended) == (free, True)
        (cell.folder / "run.json").write_text("{}")
    assert list(ended) == [(cell, True)]
