"""From finished runs to the content of model_comparison.json."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from salience.configuration.errors import UserError, one_line
from salience.eval.runs import Run, RunScores, best_by_validation, paired_answers, read_answers, read_scores
from salience.eval.scores.intervals import with_intervals
from salience.eval.scores.paired import Difference, McNemar, bootstrap, exact_mcnemar
from salience.eval.scores.predictions import Predictions

CELL_NAME = re.compile(r"seed_[0-9]+")


class RunDifference(Difference):
    """Paired difference from another run, and McNemar's test."""

    mcnemar: McNemar


class ComparedRow(RunScores):
    """A run of a comparison; see `salience.eval.compare.command`."""

    name: str
    kind: str
    family: str
    same_training_texts: bool
    intervals: dict[str, list[float]]
    against_best_sparse: RunDifference | None
    against_first: RunDifference | None


class ComparedData(TypedDict):
    """What is compared on, with the rows of each split."""

    name: str
    source: str
    problem_type: str
    splits: dict[str, int]


class Comparison(TypedDict):
    """The content of model_comparison.json; see `salience.eval.compare.command`."""

    data: ComparedData
    test_sha256: str
    best_sparse: str
    first: str
    rows: list[ComparedRow]


def reference_run(runs: Sequence[Run]) -> Run:
    """The run whose splits the baselines share: the first that isn't a baseline, or just the first."""
    return next((run for run in runs if run.kind == "model"), runs[0])


def collect(runs: Sequence[Run], baselines: Sequence[Run]) -> Comparison:
    """The content of model_comparison.json; see `salience.eval.compare.command`.

    Args:
        runs: Those to compare.
        baselines: Those that were made for the comparison.

    Raises:
        UserError: Results of a run are missing.
    """
    reference = reference_run(runs)
    names = distinct_names([run.folder for run in runs])
    names += [f"sparse/{run.family}" if run.family in names else run.family for run in baselines]
    named = dict(zip(names, (*runs, *baselines), strict=True))
    scores = {name: read_scores(run.folder) for name, run in named.items()}
    best = best_by_validation(
        {
            name: scores[name]["validation_accuracy"]
            for name, run in named.items()
            if run.kind == "sparse" and run.splits == reference.splits
        }
    )
    if best is None:
        raise UserError(f"there is no TF-IDF baseline on the splits of {reference.folder}")
    data = reference.record["data"]
    rows: list[ComparedRow] = [
        {
            "name": name,
            "kind": run.kind,
            "family": run.family,
            "same_training_texts": run.splits["train"] == reference.splits["train"],
            **scores[name],
            "intervals": intervals(read_answers(run)),
            "against_best_sparse": None if name == best else against(run, named[best]),
            "against_first": None if run is runs[0] else against(run, runs[0]),
        }
        for name, run in named.items()
    ]
    return {
        "data": {
            "name": data["name"],
            "source": data["source"],
            "problem_type": read_answers(reference).problem_type,
            "splits": {split: each["rows"] for split, each in data["splits"].items()},
        },
        "test_sha256": reference.splits["test"],
        "best_sparse": best,
        "first": names[0],
        "rows": rows,
    }


def intervals(predictions: Predictions) -> dict[str, list[float]]:
    """[low, high] of accuracy and macro F1, 95 %, by bootstrap over the test texts."""
    found = with_intervals(predictions)
    return {name: [found[name]["low"], found[name]["high"]] for name in ("accuracy", "f1_macro")}


def against(run: Run, other: Run) -> RunDifference:
    """Paired bootstrap and McNemar's test of a run against another one on the same test texts.

    Args:
        run: Its accuracy counts positive.
        other: Its accuracy counts negative.

    Raises:
        UserError: Their predictions are for different texts.
    """
    our, their = paired_answers(run.folder, other.folder)
    found = bootstrap([our.is_right().astype(int) - their.is_right()])
    return {**found, "mcnemar": exact_mcnemar(our, their)}


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """For each folder the part of its path that tells it from the others, without control characters.

    Last parts that all have in common say nothing, nor does the seed_N of a study's cell alone.

    Args:
        folders: Different ones.

    Returns:
        For `cells/lstm/seed_0` and `cells/gat/seed_0`: lstm and gat; with seed_1: lstm/seed_0 and gat/seed_1.
    """
    paths = [Path(os.path.abspath(folder)).parts for folder in folders]
    while len(paths) > 1 and len({parts[-1] for parts in paths}) == 1:
        paths = [parts[:-1] for parts in paths]
    depth = 2 if any(CELL_NAME.fullmatch(parts[-1]) for parts in paths) else 1
    while len({parts[-depth:] for parts in paths}) < len(paths):
        depth += 1
    names = [one_line("/".join(parts[-depth:])) for parts in paths]
    # Folders whose names differ in control characters only get numbers.
    return [f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, 1)]
