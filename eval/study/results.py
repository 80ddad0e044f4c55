"""From the finished cells of a study to study.json and study.md."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np

from salience.configuration.errors import UserError
from salience.eval.runs import best_by_validation, paired_answers, read_run, read_scores
from salience.eval.scores.paired import Difference, McNemar, bootstrap, exact_mcnemar
from salience.eval.scores.prediction_files import read_predictions
from salience.eval.study.cells import Cell
from salience.eval.study.comparable import check_records, check_same_texts
from salience.eval.study.figure import draw_study
from salience.eval.study.file import Study
from salience.eval.study.scores import further_scores
from salience.eval.study.table import render
from salience.model_cards.files import read_whole, write_json
from salience.model_cards.run_folder import STARTED_FILE
from salience.train.folder.output import check_places, check_unfinished

DPI = 120
RESULTS_FILES = ("study.json", "study.md", "study.png")
MEASURES = ("validation_accuracy", "accuracy", "f1_macro", "train_seconds", "texts_per_second")

CellScores = dict[str, float | None]
"""Scores of one cell: those of `RunScores`, and further ones by name."""


class RowDifference(Difference):
    """Paired difference of two rows, and McNemar's test by seed."""

    mcnemar: dict[str, McNemar]


class Summary(TypedDict):
    """Of each measure over the seeds; null where there is none."""

    mean: dict[str, float | None]
    sd: dict[str, float | None]


class StudyRow(Summary):
    """A row of a study."""

    kind: str
    flags: dict[str, Any]
    seeds: dict[int, CellScores]
    against: dict[str, RowDifference]


class StudyData(TypedDict):
    """What a cell was trained and tested on, with the rows of each split."""

    name: str
    source: str
    problem_type: str
    splits: dict[str, int]


class StudyResults(TypedDict):
    """The content of study.json; see `salience.eval.study.command`."""

    name: str
    seeds: list[int]
    reference: str | None
    scores: list[str]
    best_sparse: str | None
    data: StudyData
    rows: dict[str, StudyRow]


def check_out(study: Study, folder: Path) -> None:
    """Refuse a folder that holds something else than earlier results of this study.

    Raises:
        UserError: A run, the study of another file, or a user's files of the names of a study's.
    """
    mark = read_whole(folder / STARTED_FILE) or {}
    check_unfinished(folder, "study")
    check_places(folder, (*RESULTS_FILES, STARTED_FILE, "cells/row"))
    if "file" in mark:
        other = Path(os.path.normpath(folder / mark["file"]))
        if other.is_file() and other.read_bytes() != Path(study.file).read_bytes() and not other.samefile(study.file):
            raise UserError(f"{folder} holds the study of {other}: choose another --output_dir")
    elif not is_study(folder / RESULTS_FILES[0], study.name):  # of an earlier version, which marked nothing
        for name in RESULTS_FILES:
            if (folder / name).exists():
                raise UserError(f"{folder / name} isn't of this study: choose another --output_dir, or move it away")


def is_study(file: Path, name: str) -> bool:
    """Whether a file holds the results of a study of this name."""
    content = read_whole(file) or {}
    return {"rows", "reference", "best_sparse"} <= content.keys() and content.get("name") == name


def mark_as_own(study: Study, folder: Path) -> None:
    """Write down of which file the folder holds the study; both may be moved together."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STARTED_FILE, {"kind": "study", "file": Path(os.path.relpath(study.file, folder)).as_posix()})


def write_results(study: Study, cells: Sequence[Cell], folder: Path) -> None:
    """Write study.json, study.md and study.png.

    Args:
        study: The study.
        cells: Its finished cells, in any order.
        folder: Of the study.

    Raises:
        UserError: Cells can't be compared.
    """
    results = collect(study, cells)
    numbers, table, figure = (folder / name for name in RESULTS_FILES)
    write_json(numbers, results)
    table.write_text(render(results), encoding="utf-8")
    draw_study(results).savefig(figure, dpi=DPI)


def collect(study: Study, cells: Sequence[Cell]) -> StudyResults:
    """The content of study.json; see `salience.eval.study.command`.

    Args:
        study: The study.
        cells: Its finished cells, in any order.

    Raises:
        UserError: Cells can't be compared.
    """
    folders: dict[str, dict[int, Path]] = {name: {} for name in study.all_rows()}
    scores: dict[str, dict[int, CellScores]] = {name: {} for name in folders}
    for cell in sorted(cells, key=lambda cell: study.seeds.index(cell.seed)):
        folders[cell.row][cell.seed] = cell.folder
        scores[cell.row][cell.seed] = {
            **cast(CellScores, read_scores(cell.folder)),
            **further_scores(cell, study.scores),
        }
    check_same_texts(cells)
    check_records(cells)
    summaries = {name: summarize(found, (*MEASURES, *study.scores)) for name, found in scores.items()}
    best_sparse = best_of(study.sparse, scores)
    rows: dict[str, StudyRow] = {}
    for name, found in scores.items():
        others = [other for other in (study.reference, best_sparse) if other is not None and other != name]
        compared = {
            other: mirrored(rows[other]["against"][name])
            if other in rows and name in rows[other]["against"]
            else compare(folders[name], folders[other])
            for other in others
        }
        rows[name] = {
            "kind": study.kind(name),
            "flags": {**study.rows.get(name, {}), **overridden(study, name)},
            "seeds": found,
            **summaries[name],
            "against": {other: each for other, each in compared.items() if each},
        }
    return {
        "name": study.name,
        "seeds": study.seeds,
        "reference": study.reference,
        "scores": study.scores,
        "best_sparse": best_sparse,
        "data": describe_data(cells),
        "rows": rows,
    }


def best_of(names: Sequence[str], scores: Mapping[str, Mapping[int, CellScores]]) -> str | None:
    """The row with the highest validation accuracy over the seeds that all of these rows have that have any."""
    found = {name: scores[name] for name in names if scores[name]}
    common = set.intersection(*map(set, found.values())) if found else set()
    values = {name: [row[seed]["validation_accuracy"] for seed in common] for name, row in found.items()}
    known = {name: [value for value in each if value is not None] for name, each in values.items()}
    return best_by_validation({name: float(np.mean(each)) for name, each in known.items() if each})


def mirrored(found: RowDifference) -> RowDifference:
    """The same comparison from the other row's side."""
    tests: dict[str, McNemar] = {}
    for seed, each in found["mcnemar"].items():
        ours, theirs = each["only_this_right"], each["only_other_right"]
        tests[seed] = {**each, "only_this_right": theirs, "only_other_right": ours}
    return {
        "difference": -found["difference"],
        "low": -found["high"],
        "high": -found["low"],
        "p_value": found["p_value"],
        "mcnemar": tests,
    }


def overridden(study: Study, name: str) -> dict[str, Any]:
    """The flags of a row that the command line sets otherwise; what a row takes away stays away."""
    return {flag: study.overrides[flag] for flag, own in study.rows.get(name, {}).items()
            if own is not None and flag in study.overrides}  # fmt: skip


def describe_data(cells: Sequence[Cell]) -> StudyData:
    """Name, source, problem type and rows of the splits, as one cell of the first seed had them."""
    first = min(cells, key=lambda cell: (cell.seed, cell.row))
    data = read_run(first.folder).record["data"]
    splits = {split: each["rows"] for split, each in data["splits"].items()}
    problem_type = read_predictions(first.folder, "test").problem_type
    return {"name": data["name"], "source": data["source"], "problem_type": problem_type, "splits": splits}


def summarize(cells: Mapping[int, CellScores], measures: Sequence[str] = MEASURES) -> Summary:
    """Mean and standard deviation (ddof 1) over the seeds of a row, of each measure; None where there is none."""
    means: dict[str, float | None] = {}
    deviations: dict[str, float | None] = {}
    for name in measures:
        values = [value for cell in cells.values() if (value := cell[name]) is not None]
        means[name] = float(np.mean(values)) if values else None
        deviations[name] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": means, "sd": deviations}


def compare(ours: Mapping[int, Path], theirs: Mapping[int, Path]) -> RowDifference | None:
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
        our, their = paired_answers(ours[seed], theirs[seed])
        differences.append(our.is_right().astype(int) - their.is_right())
        mcnemar[str(seed)] = exact_mcnemar(our, their)
        splits.add(read_run(ours[seed]).splits["test"])
    if not differences:
        return None
    # One test split for all seeds: a text is drawn with all its answers. Else each seed has texts of its own.
    strata = [np.mean(differences, axis=0)] if len(splits) == 1 else differences
    return {**bootstrap(strata), "mcnemar": mcnemar}
