"""Contestants as whole processes that take turns."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from salience.configuration.errors import UserError, one_line

WORKERS = Path(__file__).parent / "workers"
OURS = "with_salience.py"
CALM = ("OMP_WAIT_POLICY", "passive")


@dataclass(frozen=True)
class Contestant:
    """A program in the race.

    Attributes:
        name: In tables.
        worker: Its file in `workers/`.
        about: What it is, and with which settings, for people.
        options: Of its job.
        is_peer: Whether it needs packages that only the peers' environment has.
        limit: Tokens at which it cuts texts; None for whole texts.
        epochs: How often it reads the training texts, if its result doesn't tell.
        passes: Passes of the encoder for each of them, a backward one being two; 0 where the encoder isn't run on them.
        in_windows: Whether the encoder reads long texts in windows; else whole ones, down to `limit`.
        model: The contestant whose trained model it predicts with; its own where none is named.
        reference: The contestant that answers with the same model in float32, where there is one.
    """

    name: str
    worker: str
    about: str
    options: dict[str, Any] = field(default_factory=dict)
    is_peer: bool = False
    limit: int | None = None
    epochs: float = 1
    passes: int = 0
    in_windows: bool = False
    model: str | None = None
    reference: str | None = None


class Outcome(NamedTuple):
    """What one process found and took, and why there is nothing if it failed."""

    result: dict[str, Any]
    cpu_seconds: float
    failure: str | None

    @property
    def seconds(self) -> dict[str, float]:
        """Of each phase."""
        return self.result["seconds"]


class Field:
    """Runs contestants' processes, each in its environment.

    Args:
        folder: For jobs, results and logs.
        peers: The interpreter of the peers' environment; None where there is none.
    """

    def __init__(self, folder: Path, peers: str | None) -> None:
        self.folder, self.peers, self.count = folder, peers, 0

    def run(self, contestant: Contestant, job: dict[str, Any]) -> Outcome:
        """One process, to its end."""
        if contestant.is_peer and self.peers is None:
            return Outcome({}, 0, "not run: make peers, then --peers .venv-peers/bin/python")
        self.count += 1
        source, target, log = (self.folder / f"{self.count}.{name}" for name in ("job.json", "result.json", "log"))
        source.write_text(json.dumps({**job, "options": contestant.options}), encoding="utf-8")
        python = str(self.peers) if contestant.is_peer else sys.executable
        with log.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [python, str(WORKERS / contestant.worker), str(source), str(target)],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=self._environment(contestant),
                start_new_session=True,
            )  # fmt: skip
            try:
                _, status, usage = os.wait4(process.pid, 0)  # with the time of those that it has started
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)  # with those that it has started
                raise
            process.returncode = os.waitstatus_to_exitcode(status)
        result = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
        return Outcome(result, usage.ru_utime + usage.ru_stime, self._failure(process.returncode, result, log))

    def _environment(self, contestant: Contestant) -> dict[str, str]:
        """For peers without what our programs set for themselves: see `calm_threads`.

        Python may keep what it compiles of a model's code, as it does of libraries when they are installed.
        """
        environment = {**os.environ, "HF_MODULES_CACHE": str(self.folder / "modules")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if contestant.worker != OURS and environment.get(CALM[0]) == CALM[1]:
            del environment[CALM[0]]
        return environment

    @staticmethod
    def _failure(status: int, result: dict[str, Any], log: Path) -> str | None:
        if missing := result.get("missing"):
            return f"not installed: {one_line(missing, 200)}"
        if status == 0:
            return None
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line for line in said if line.strip() and "%|" not in line]  # no progress bars
        return f"ended with status {status}: {one_line(lines[-1] if lines else 'it said nothing', 300)}"


class Race(NamedTuple):
    """By contestant: what each of its repetitions took; or why there are none."""

    outcomes: dict[str, list[Outcome]]
    absent: dict[str, str]


def race(
    contestants: Sequence[Contestant],
    repetitions: int,
    run: Callable[[Contestant, int], Outcome],
    title: str,
    reference: str,
) -> Race:
    """One repetition of each in turn; who fails isn't run again, and has none.

    Args:
        contestants: In the order of their turns.
        repetitions: How many.
        run: Runs a contestant, in the repetition of this number.
        title: Of the progress bar.
        reference: Name of the contestant with whom all are compared.

    Raises:
        UserError: That one fails.
    """
    found = Race({each.name: [] for each in contestants}, {})
    with tqdm(total=repetitions * len(contestants), desc=title, leave=False) as progress:
        for repetition in range(repetitions):
            for contestant in contestants:
                if contestant.name not in found.absent:
                    outcome = run(contestant, repetition)
                    found.outcomes[contestant.name].append(outcome)
                    if outcome.failure and contestant.name == reference:
                        raise UserError(f"{reference}, with which all are compared: {outcome.failure}")
                    if outcome.failure:
                        found.absent[contestant.name] = outcome.failure
                        del found.outcomes[contestant.name]
                progress.update()
    return found
