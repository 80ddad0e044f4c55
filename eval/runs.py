"""What a finished run of `train.py` or `eval.py baseline` left behind: its scores, and its answers beside another's."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from salience.configuration.arguments import as_tokens
from salience.configuration.data_arguments import DataArguments
from salience.configuration.errors import UserError
from salience.eval.baseline.command import SPARSE_MODELS
from salience.eval.scores.predictions import Predictions, read_predictions
from salience.train.data.load import TextData, load_splits
from salience.train.folder.record import RUN_FILE


@dataclass(frozen=True)
class Run:
    """A finished run, as `read_run` found it.

    Attributes:
        folder: Where it is.
        record: The content of its run.json.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def family(self) -> str:
        """Value of --model, or name of the sparse baseline."""
        return str(self.record["model"]["family"])

    @property
    def is_sparse(self) -> bool:
        """Whether it is a TF-IDF baseline."""
        return self.family in SPARSE_MODELS

    @property
    def splits(self) -> dict[str, str]:
        """Fingerprint of each split."""
        return {split: each["sha256"] for split, each in self.record["data"]["splits"].items()}


def read_results(folder: Path, name: str) -> dict[str, Any]:
    """One of the JSON files of a run.

    Args:
        folder: The run folder.
        name: Of the file, as in `test_results.json`.

    Raises:
        UserError: It isn't there, or isn't a JSON object.
    """
    file = folder / name
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        reason = "it holds no finished run" if name == RUN_FILE else "train again, with a test split"
        raise UserError(f"{file} can't be read ({error.strerror}): {reason}") from error
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON: make this run again") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no results: make this run again")
    return content


def read_run(name: str | Path, tested: bool = True) -> Run:
    """A finished run.

    Args:
        name: Its folder.
        tested: Whether it must have a test split.

    Raises:
        UserError: There is none, or it lacks the test split.
    """
    run = Run(Path(name), read_results(Path(name), RUN_FILE))
    try:
        has_test = "test" in run.splits and bool(run.family)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{run.folder / RUN_FILE} doesn't describe a run of train.py: make this run again") from error
    if tested and not has_test:
        raise UserError(f"{run.folder} was not tested: train with --test_file or --test_size")
    return run


def data_flags(run: Run) -> list[str]:
    """The data flags that a run was given, as one would type them; without the folders of absolute paths."""
    recorded = run.record.get("arguments") or {}
    known = {each.name for each in fields(DataArguments)}
    return [token for name, value in recorded.items() if name in known for token in as_tokens(name, value)]


def load_data(run: Run, data_args: DataArguments, what: str) -> TextData:
    """The splits that a run was trained, validated and tested on.

    Args:
        run: The run.
        data_args: From its `data_flags`, and others.
        what: What needs them, in the plural, for messages.

    Raises:
        UserError: The data isn't there, or isn't what the run had.
    """
    hint = "name its files as well, as in --train_file FILE --test_file FILE"
    try:
        data = load_splits(data_args)
    except UserError as error:
        raise UserError(f"{what} need the data of {run.folder} ({hint}): {error}") from error
    for split, sha256 in run.splits.items():
        if split not in data.splits or data.fingerprint(split)["sha256"] != sha256:
            raise UserError(
                f"the {split} texts of {run.folder} were others than those that its data flags give now: {hint}"
            )
    return data


def read_scores(folder: Path) -> dict[str, Any]:
    """The scores of a finished run.

    Args:
        folder: Its run folder.

    Returns:
        validation_accuracy, accuracy and f1_macro (test, 0 to 1), train_seconds (None if it was stopped and resumed),
        texts_per_second (of the test texts) and parameters.

    Raises:
        UserError: It isn't a classifier, or has no test texts.
    """
    names = (RUN_FILE, "train_results.json", "eval_results.json")
    run, trained, validation = (read_results(folder, name) for name in names)
    if not (folder / "test_results.json").is_file():
        raise UserError(f"{folder} has no test results: train with --test_file or --test_size")
    test = read_results(folder, "test_results.json")
    if "test_accuracy" not in test:
        raise UserError(f"{folder} is no classifier, and only accuracies are compared")
    try:
        was_resumed = bool(run["arguments"].get("resume_from_checkpoint"))
        return {
            "validation_accuracy": validation["eval_accuracy"],
            "accuracy": test["test_accuracy"],
            "f1_macro": test["test_f1_macro"],
            "train_seconds": None if was_resumed else trained["train_runtime"],
            "texts_per_second": texts_per_second(folder),
            "parameters": run["model"]["parameters"],
        }
    except KeyError as error:
        raise UserError(f"the results in {folder} lack {error}: make this run again") from error


def texts_per_second(folder: Path) -> float | None:
    """Test texts that a run classified in a second, on the machine it ran on; None if it was too fast to tell.

    Args:
        folder: The run folder.

    Raises:
        UserError: It has no test results.
    """
    test = read_results(folder, "test_results.json")
    if "test_samples_per_second" in test:
        return test["test_samples_per_second"]
    texts, seconds = test.get("test_samples"), test.get("test_runtime")
    return texts / seconds if texts and seconds else None


def best_by_validation(accuracies: Mapping[str, float]) -> str | None:
    """The name with the highest validation accuracy, the first of equals; None if there is none."""
    return max(accuracies, key=lambda name: accuracies[name], default=None)


def paired_answers(ours: Path, theirs: Path) -> tuple[Predictions, Predictions]:
    """The answers of two runs to the same test texts.

    Args:
        ours: A run folder.
        theirs: Another one.

    Raises:
        UserError: The test texts differ, or there are no predictions.
    """
    our, their = read_predictions(ours, "test"), read_predictions(theirs, "test")
    if read_run(ours).splits["test"] != read_run(theirs).splits["test"] or not np.array_equal(our.labels, their.labels):
        raise UserError(f"{ours} and {theirs} were tested on different texts: give them the same splits")
    return our, their
