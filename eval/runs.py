"""What a finished run of `train.py` or `eval.py baseline` left behind: its scores, and its answers beside another's."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import DataArguments
from salience.configuration.flags.parser import as_tokens, flag_name
from salience.configuration.problem_types import REGRESSION
from salience.eval.scores.metrics import compute_scores
from salience.eval.scores.prediction_files import predictions_file, read_predictions
from salience.eval.scores.predictions import Predictions
from salience.model_cards.run_checks import MAKE_ANEW
from salience.model_cards.run_folder import (
    RUN_FILE,
    RunFolder,
    RunRecord,
    read_record,
    read_results,
    read_training,
    results_file,
)
from salience.train.data.labels import LabelScheme
from salience.train.data.load import TextData, load_splits

HOW_SEVERAL_COUNT = (
    "Where texts have several labels, as here, an answer is right if it gives all of them and no other. Labels are "
    "given from thresholds on that are fitted on validation; by the plain head, and where they aren't fitted, from 0.5."
)
"""For people who read accuracies of such runs."""
TOLERANCE = 1e-6
"""By which a score in a file may differ from that of the predictions beside it."""


@dataclass(frozen=True)
class Run:
    """A finished run, as `read_run` found it.

    Attributes:
        folder: Where it is.
        record: The content of its run.json.
    """

    folder: Path
    record: RunRecord

    @property
    def family(self) -> str:
        """Value of --model, or name of the sparse baseline."""
        return self.record["model"]["family"]

    @property
    def kind(self) -> str:
        """What it is: "model", or a baseline: "sparse" (TF-IDF) or "frozen" (vectors of a frozen encoder)."""
        return self.record["kind"]

    @property
    def splits(self) -> dict[str, str]:
        """Fingerprint of each split."""
        return {split: each["sha256"] for split, each in self.record["data"]["splits"].items()}


class RunScores(TypedDict):
    """What `read_scores` gives."""

    validation_accuracy: float
    accuracy: float
    f1_macro: float
    train_seconds: float | None
    texts_per_second: float | None
    parameters: int


def read_run(name: str | Path, tested: bool = True) -> Run:
    """A finished run.

    Args:
        name: Its folder.
        tested: Whether it must have a test split.

    Raises:
        UserError: There is none, or it lacks the test split.
    """
    folder = Path(os.path.expanduser(name))
    run = Run(folder, read_record(folder))
    if tested and "test" not in run.splits:
        raise UserError(f"{run.folder} was not tested: train with --test_file or --test_size")
    return run


def finished_run(model: str | Path | None) -> Run | None:
    """The run of train.py whose folder this is, if it is one.

    Raises:
        UserError: Its run.json is damaged.
    """
    folder = Path(os.path.expanduser(str(model)))
    return read_run(folder, tested=False) if (folder / RUN_FILE).is_file() else None


def data_flags(run: Run, flags: Sequence[str]) -> list[str]:
    """The data flags that a run was given, as one would type them; without the folders of absolute paths.

    Args:
        run: The run.
        flags: Of the command line, which are put behind them: those among these are left out.
    """
    given = {flag_name(flag) for flag in flags}
    recorded = {name: value for name, value in run.record["arguments"].items() if name not in given}
    known = {each.name for each in fields(DataArguments)}
    return [token for name, value in recorded.items() if name in known for token in as_tokens(name, value)]


HINT = "name its files as well, as in --train_file FILE --test_file FILE; in Python, give texts in memory as then"


def load_data(
    run: Run, data_args: DataArguments, what: str, hint: str = HINT, memory: Mapping[str, Any] | None = None
) -> TextData:
    """The splits that a run was trained, validated and tested on.

    Args:
        run: The run.
        data_args: From its `data_flags`, and others.
        what: What needs them, in the plural, for messages.
        hint: What to do where they aren't there.
        memory: Splits that are given in memory, see `load_splits`.

    Raises:
        UserError: The data isn't there, or isn't what the run had.
    """
    try:
        data = load_splits(data_args, memory or None, known=known_labels(run))
    except UserError as error:
        raise UserError(f"{what} need the data of {run.folder} ({hint}): {error}") from error
    for split, sha256 in run.splits.items():
        if split not in data.splits or data.fingerprint(split)["sha256"] != sha256:
            raise UserError(
                f"the {split} texts of {run.folder} were others than those that its data flags give now: {hint}"
            )
    return data


def known_labels(run: Run) -> LabelScheme | None:
    """The labels of a run that went on from another one's, in their order; None where the data alone tell them."""
    if "start" not in run.record["model"]:
        return None
    names = list(run.record["data"]["splits"]["train"].get("labels", {}))
    return LabelScheme(str(RunFolder(run.folder).config.get("problem_type")), names)


def read_scores(folder: Path) -> RunScores:
    """The scores of a finished run.

    Args:
        folder: Its run folder.

    Returns:
        validation_accuracy, accuracy and f1_macro (test, 0 to 1), train_seconds (None if it was stopped and resumed),
        texts_per_second (of the test texts) and parameters.

    Raises:
        UserError: It isn't a classifier, has no test texts, or has other scores than its predictions.
    """
    record, trained = read_record(folder), read_training(folder)
    if not (folder / results_file("test")).is_file():
        raise UserError(f"{folder} has no test results: train with --test_file or --test_size")
    validation, test = (read_own_results(folder, split) for split in ("validation", "test"))
    if "accuracy" not in test:
        raise UserError(f"{folder} is no classifier, and only accuracies are compared")
    try:
        was_resumed = bool(record["arguments"].get("resume_from_checkpoint"))
        return {
            "validation_accuracy": validation["accuracy"],
            "accuracy": test["accuracy"],
            "f1_macro": test["f1_macro"],
            "train_seconds": None if was_resumed else trained["runtime"],
            "texts_per_second": texts_per_second(test),
            "parameters": record["model"]["parameters"],
        }
    except KeyError as error:
        raise UserError(f"the results in {folder} lack {error}: make this run again") from error


def read_own_results(folder: Path, split: str) -> dict[str, Any]:
    """A finished run's results of a split, after a look whether its predictions have these scores.

    Args:
        folder: Its run folder.
        split: `validation` or `test`.

    Raises:
        UserError: They have others: one of the two files was edited, or is of another run.
    """
    results, predictions = read_results(folder, split), read_predictions(folder, split)
    scores: dict[str, Any] = {"samples": len(predictions)}
    if predictions.problem_type != REGRESSION:
        # A ranking can be finer than the single precision of predictions in a file; what is answered isn't.
        scores |= {name: value for name, value in compute_scores(predictions).items() if name != "roc_auc"}
    counted, told = _flat(scores), _flat({name: value for name, value in results.items() if name in scores})
    other = next((name for name, value in told.items() if abs(value - counted.get(name, math.inf)) > TOLERANCE), None)
    if other is not None:
        raise UserError(
            f"{folder / results_file(split)} has {other} = {told[other]:.6g}, and the answers in "
            f"{predictions_file(folder, split).name} beside it give {counted.get(other, 'none')}: restore both files, "
            "or make this run again"
        )
    return results


def _flat(scores: Mapping[str, Any]) -> dict[str, float]:
    """Scores by name, those of one class as `per_class.NAME.f1`."""
    flat = {name: value for name, value in scores.items() if name != "per_class"}
    for label, each in scores.get("per_class", {}).items():
        flat |= {f"per_class.{one_line(label)}.{name}": value for name, value in each.items()}
    return flat


def texts_per_second(test: Mapping[str, Any]) -> float | None:
    """Test texts that a run classified in a second, on the machine it ran on; None if it was too fast to tell.

    Args:
        test: Its test results, without their prefix.
    """
    if "samples_per_second" in test:
        return test["samples_per_second"]
    texts, seconds = test.get("samples"), test.get("runtime")
    return texts / seconds if texts and seconds else None


def best_by_validation(accuracies: Mapping[str, float]) -> str | None:
    """The name with the highest validation accuracy, the first of equals; None if there is none."""
    return max(accuracies, key=lambda name: accuracies[name], default=None)


def read_answers(run: Run) -> Predictions:
    """A run's answers to its test texts.

    Raises:
        UserError: There are none, they are damaged, or are to other texts than run.json tells of.
    """
    answers, rows = read_predictions(run.folder, "test"), run.record["data"]["splits"]["test"]["rows"]
    if len(answers) != rows:
        raise UserError(
            f"{predictions_file(run.folder, 'test')} holds answers to {len(answers)} texts, and the run was tested on "
            f"{rows}: {MAKE_ANEW}"
        )
    return answers


def paired_answers(ours: Path, theirs: Path) -> tuple[Predictions, Predictions]:
    """The answers of two runs to the same test texts.

    Args:
        ours: A run folder.
        theirs: Another one.

    Raises:
        UserError: The test texts or their classes differ, or there are no predictions.
    """
    runs = read_run(ours), read_run(theirs)
    our, their = map(read_answers, runs)
    check_same_classes(ours, our, theirs, their)
    if runs[0].splits["test"] != runs[1].splits["test"] or not np.array_equal(our.labels, their.labels):
        raise UserError(f"{ours} and {theirs} were tested on different texts: give them the same splits")
    return our, their


def check_same_classes(ours: Path, our: Predictions, theirs: Path, their: Predictions) -> None:
    """Make sure that two runs know the same classes.

    Args:
        ours: A run folder.
        our: Its answers.
        theirs: Another one.
        their: Its answers.

    Raises:
        UserError: They don't, or in another order.
    """
    if our.label_names == their.label_names:
        return
    names = {ours: our.label_names, theirs: their.label_names}
    for folder, other in ((ours, theirs), (theirs, ours)):
        if alone := [repr(name) for name in names[folder] if name not in names[other]]:
            raise UserError(
                f"{ours} and {theirs} have other classes ({', '.join(alone[:5])} only in {folder}): compare runs of "
                "the same classes"
            )
    raise UserError(f"{ours} and {theirs} have the same classes in another order: train one of them again")
