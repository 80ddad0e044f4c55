"""What every contestant's program does around its work. Nothing here is Salience's: peers run in another environment.

`python with_NAME.py JOB RESULT`: JOB is a JSON file with `task` and what the task needs; RESULT gets `seconds` of each
phase and what was found, or `missing` where a package isn't installed.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

NUM_WARM_UP = 8


class Job:
    """A job, and what is found.

    Args:
        content: What its file says: `task`, `options`, `model` (the folder of a trained model), ...
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self.content, self.options = content, content.get("options", {})
        self.seconds: dict[str, float] = {}
        self.found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a part of the work."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def read(self, split: str) -> tuple[list[str], list[str]]:
        """The texts of a split and their labels."""
        lines = Path(self["files"][split]).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [row["text"] for row in rows], [row.get("label", "") for row in rows]

    def score(self, split: str, answers: Sequence[str], labels: Sequence[str]) -> None:
        """Keep the accuracy of answers."""
        right = sum(answer == label for answer, label in zip(answers, labels, strict=True))
        self.found[f"{split}_accuracy"] = right / len(labels)

    def test(self, classify: Callable[[list[str]], list[str]]) -> None:
        """Time the answers to the texts of validation and test, and keep their accuracy.

        Args:
            classify: Texts to their labels.
        """
        for phase, split in (("validate", "validation"), ("test", "test")):
            texts, labels = self.read(split)
            with self.phase(phase):
                answers = classify(texts)
            self.score(split, answers, labels)

    def predict(self, classify: Callable[[list[str]], list[str] | list[dict[str, float]]]) -> None:
        """Time the answers to each of `texts`, after a few that nobody times.

        Args:
            classify: Texts to their labels, or to the logit of each label.
        """
        answers: dict[str, Any] = {}
        for name in self["texts"]:
            texts, _ = self.read(name)
            classify(texts[:NUM_WARM_UP])
            with self.phase(f"predict {name}"):
                answers[name] = classify(texts)
        self.found["answers"] = answers


def peak_megabytes() -> float:
    """The most memory that this process, or one that it has started, has held until now."""
    unit = 1 if sys.platform == "darwin" else 1024
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    status = Path("/proc/self/status")
    if status.is_file():  # the kernel's count for a process begins with that of the one which started it
        (own,) = (int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    else:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return max(own, started) / 10**6


def versions() -> dict[str, str]:
    """Of the packages that this process has imported."""
    packages = packages_distributions()
    names = {name for module in {each.partition(".")[0] for each in sys.modules} for name in packages.get(module, ())}
    return {name: version(name) for name in sorted(names)}


def run(**tasks: Callable[[Job], None]) -> None:
    """The program: does the job's task.

    Args:
        tasks: By name.
    """
    source, target = map(Path, sys.argv[1:])
    job = Job(json.loads(source.read_text(encoding="utf-8")))
    try:
        tasks[job["task"]](job)
        result = {"seconds": job.seconds, "megabytes": peak_megabytes(), "versions": versions(), **job.found}
    except ImportError as error:
        result = {"missing": str(error)}
    target.write_text(json.dumps(result), encoding="utf-8")
