"""From the finished cells of a study to study.json and study.md."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from salience.train.errors import UserError
from salience.train.run_record import write_json

from .paired import bootstrap, exact_mcnemar
from .predictions import read_predictions
from .study_cells import Cell
from .study_table import render

if TYPE_CHECKING:
    from .study import Study

SCORES = ("validation_accuracy", "accuracy", "f1_macro", "train_seconds")


def write_results(study: "Study", cells: Sequence[Cell], folder: Path) -> None:
    """Write study.json and study.md.

    Args:
        study: The study.
        cells: Its finished cells, in any order.
        folder: Of the study.

    Raises:
        UserError: Cells can't be compared.
    """
    results = collect(study, cells)
    write_json(folder / "study.json", results)
    (folder / "study.md").write_text(render(results), encoding="utf-8")


def collect(study: "Study", cells: Sequence[Cell]) -> dict[str, Any]:
    """The content of study.json; see `salience.eval.study`.

    Args:
        study: The study.
        cells: Its finished cells, in any order.

    Raises:
        UserError: Cells can't be compared.
    """
    folders: dict[str, dict[int, Path]] = {name: {} for name in (*study.sparse, *study.rows)}
    for cell in sorted(cells, key=lambda cell: study.seeds.index(cell.seed)):
        folders[cell.row][cell.seed] = cell.folder
    rows: dict[str, Any] = {}
    for name, runs in folders.items():
        scores = {seed: read_cell(folder) for seed, folder in runs.items()}
        kind = "sparse" if name in study.sparse else "model"
        rows[name] = {"kind": kind, "flags": study.rows.get(name, {}), "seeds": scores, **summarize(scores)}
    measured = {name: rows[name]["mean"]["validation_accuracy"] for name in study.sparse if folders[name]}
    best_sparse = max(measured, key=lambda name: measured[name], default=None)
    for name, runs in folders.items():
        others = [other for other in (study.reference, best_sparse) if other not in (None, name)]
        compared = {other: compare(runs, folders[other]) for other in others}
        rows[name]["against"] = {other: found for other, found in compared.items() if found}
    return {
        "name": study.name,
        "seeds": study.seeds,
        "reference": study.reference,
        "best_sparse": best_sparse,
        "data": describe_data(cells),
        "rows": rows,
    }


def describe_data(cells: Sequence[Cell]) -> dict[str, Any]:
    """Name, source and rows of the splits, as one cell of the first seed had them."""
    first = min(cells, key=lambda cell: (cell.seed, cell.row))
    data = _read(first.folder / "run.json")["data"]
    return {**data, "splits": {split: each["rows"] for split, each in data["splits"].items()}}


def read_cell(folder: Path) -> dict[str, Any]:
    """The scores of a finished cell.

    Args:
        folder: Its run folder.

    Returns:
        validation_accuracy, accuracy and f1_macro (test, 0 to 1), train_seconds (None if it was stopped and resumed)
        and parameters.

    Raises:
        UserError: It isn't a classifier, or has no test texts.
    """
    run, trained, validation = (_read(folder / f"{name}.json") for name in ("run", "train_results", "eval_results"))
    if not (folder / "test_results.json").is_file():
        raise UserError(f"{folder} has no test results: give the study --test_file or --test_size")
    test = _read(folder / "test_results.json")
    if "test_accuracy" not in test:
        raise UserError(f"{folder} is no classifier, and studies compare accuracies")
    was_resumed = "--resume_from_checkpoint" in run["command"]
    return {
        "validation_accuracy": validation["eval_accuracy"],
        "accuracy": test["test_accuracy"],
        "f1_macro": test["test_f1_macro"],
        "train_seconds": None if was_resumed else round(trained["train_runtime"], 2),
        "parameters": run["model"]["parameters"],
    }


def summarize(cells: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (ddof 1) over the seeds of a row, of each of `SCORES`; None where there is none."""
    means: dict[str, float | None] = {}
    deviations: dict[str, float | None] = {}
    for name in SCORES:
        values = [cell[name] for cell in cells.values() if cell[name] is not None]
        means[name] = float(np.mean(values)) if values else None
        deviations[name] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": means, "sd": deviations}


def compare(ours: Mapping[int, Path], theirs: Mapping[int, Path]) -> dict[str, Any] | None:
    """Compare two rows text by text, on the test splits of the seeds that both have.

    Args:
        ours: Run folder of each seed.
        theirs: The same of the row to compare with.

    Returns:
        `difference` of the mean accuracies (ours minus theirs, 0 to 1), its 95 % interval `low`, `high` and two-sided
        `p_value` by a paired bootstrap over the test texts of these trained models (see `bootstrap`), and for each seed
        under `mcnemar` how many texts only one of them gets right and the p-value of McNemar's exact test. None
        without a common seed.

    Raises:
        UserError: The test splits differ.
    """
    differences, mcnemar, splits = [], {}, set()
    for seed in sorted(ours.keys() & theirs.keys()):
        our, their = read_predictions(ours[seed], "test"), read_predictions(theirs[seed], "test")
        if not np.array_equal(our.labels, their.labels):
            raise UserError(
                f"{ours[seed]} and {theirs[seed]} were tested on different texts: give them the same splits"
            )
        differences.append(our.is_right().astype(int) - their.is_right())
        mcnemar[str(seed)] = exact_mcnemar(our, their)
        splits.add(_read(ours[seed] / "run.json")["data"]["splits"]["test"]["sha256"])
    if not differences:
        return None
    # One test split for all seeds: a text is drawn with all its answers. Else each seed has texts of its own.
    strata = [np.mean(differences, axis=0)] if len(splits) == 1 else differences
    return bootstrap(strata) | {"mcnemar": mcnemar}


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))
