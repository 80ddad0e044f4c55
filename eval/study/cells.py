"""The cells of a study, each a process of its own with a folder of its own; finished ones are not run again."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import recipe_tokens
from salience.configuration.flags.yaml_files import read_yaml
from salience.configuration.terminal import PARENT
from salience.eval.runs import read_run
from salience.model_cards.files import write_whole
from salience.model_cards.run_folder import RUN_FILE, STARTED_FILE
from salience.train.folder.output import checkpoints, holds_model, is_claimed, started_kind
from salience.train.folder.record import usable_cores


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        row: Name of its row.
        seed: Its seed.
        folder: Its `output_dir`. Beside it lie its recipe (.yaml), with every flag, and its log (.log).
        program: Module and first words of its command.
        recipe: Its flags by name, `output_dir` among them.
    """

    row: str
    seed: int
    folder: Path
    program: tuple[str, ...]
    recipe: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"

    @property
    def recipe_file(self) -> Path:
        """The recipe that makes this cell again."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def log_file(self) -> Path:
        """What the cell's process said."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def open_log(self) -> IO[str]:
        """The log, to go on with."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        return self.log_file.open("a", encoding="utf-8")

    @property
    def is_finished(self) -> bool:
        """Whether its run came to its end."""
        return (self.folder / RUN_FILE).is_file()

    def check(self) -> None:
        """Make sure that what is in the folder was made with the same flags.

        Raises:
            UserError: It was not, or nobody knows.
        """
        if not self.folder.exists():
            self._check_files_beside()
            return
        before = read_yaml(self.recipe_file, "recipe") if self.recipe_file.is_file() else None
        if not isinstance(before, dict):
            raise UserError(f"{self.folder} was not made by this study: choose another --output_dir, or move it away")
        before["output_dir"] = self.recipe["output_dir"]  # a study's folder may be moved
        changed = [key for key in before | self.recipe if _said(before, key) != _said(self.recipe, key)]
        if "baseline" in self.program and self.is_finished and read_run(self.folder).family != self.program[-1]:
            changed.append("model")  # its command's word, and no flag in its recipe
        if changed:
            raise UserError(
                f"{self.folder} holds a run with another {', '.join(changed)}: "
                "choose another --output_dir, or move that folder away"
            )

    def _check_files_beside(self) -> None:
        """Refuse a user's files; of a cell that failed before it wrote anything, a study leaves its own."""
        if started_kind(self.folder.parents[2]) == "study":
            return
        for file in (self.recipe_file, self.log_file):
            if file.exists():
                raise UserError(f"{file} was not made by this study: choose another --output_dir, or move it away")

    def prepare(self) -> list[str]:
        """The command that starts or continues the cell."""
        self.recipe_file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.recipe_file, yaml.safe_dump(self.recipe, sort_keys=False, allow_unicode=True))
        command = [sys.executable, "-m", *self.program, str(self.recipe_file)]
        if checkpoints(self.folder) or holds_model(self.folder):
            command += ["--resume_from_checkpoint", "last"]
        return command

    def remove_checkpoints(self) -> None:
        """They were for resuming; the model stays."""
        for mark in self.folder.glob(f"checkpoint-*/{STARTED_FILE}"):
            shutil.rmtree(mark.parent, ignore_errors=True)  # another study may be doing the same


def _said(recipe: dict[str, Any], key: str) -> list[str]:
    """A flag as it is typed: the same, whether a file or the command line sets it."""
    value = recipe.get(key)
    return recipe_tokens({key: str(value).lower() if isinstance(value, bool) else value})


class CellRunner:
    """Runs cells, `jobs` at a time.

    Args:
        jobs: How many at a time; they share the cores.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // jobs)))
        own = {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false", PARENT: str(os.getpid())}
        self.environment = {**os.environ, **own}
        self.processes: set[subprocess.Popen] = set()
        self.waiting: list[Cell] = []
        self.guard = threading.Lock()
        self.is_stopped = False

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, bool], None, None]:
        """Run cells that aren't finished; yields each when it ends, and whether it came to its end.

        Whoever leaves the loop early, by Ctrl-C too, ends the processes.
        """
        self.waiting = list(cells)
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [pool.submit(self._run_next) for _ in cells]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                self._stop()
                pool.shutdown(cancel_futures=True)

    def _run_next(self) -> tuple[Cell, bool]:
        while True:
            cell = self._take()
            if not cell.is_finished:
                self._call(cell)
            if cell.is_finished:
                cell.remove_checkpoints()
                return cell, True
            if self.is_stopped or not is_claimed(cell.folder):
                return cell, False
            with self.guard:  # another study was faster
                self.waiting.append(cell)

    def _take(self) -> Cell:
        """The first cell in whose folder no run works; waits while there is none.

        A run holds its folder itself: one whose study was killed does so until it has noticed.
        """
        while True:
            with self.guard:
                for cell in self.waiting:
                    if self.is_stopped or not is_claimed(cell.folder):
                        self.waiting.remove(cell)
                        return cell
            time.sleep(1)

    def _call(self, cell: Cell) -> None:
        with cell.open_log() as log:
            with self.guard:
                if self.is_stopped:
                    return
                process = subprocess.Popen(
                    cell.prepare(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.environment
                )
                self.processes.add(process)
            process.wait()
        with self.guard:
            self.processes.discard(process)

    def _stop(self) -> None:
        with self.guard:
            self.is_stopped = True
            for process in self.processes:
                process.terminate()
