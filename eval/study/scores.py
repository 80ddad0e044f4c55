"""Scores that a study can ask for beside accuracy and macro F1: of all classes, of rare ones, of long texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from salience.configuration.errors import UserError
from salience.eval.scores.breakdown import by_length
from salience.eval.scores.calibration import calibration
from salience.eval.scores.prediction_files import predictions_file, read_predictions
from salience.eval.study.cells import Cell
from salience.model_cards.run_folder import read_results

PLAIN_SCORES = ("precision_macro", "recall_macro", "f1_weighted", "roc_auc", "network_accuracy")
GROUP_SCORES = {
    f"{group}_{score}": (group, score) for group in ("minority", "majority") for score in ("precision", "recall", "f1")
}
"""By name, the group of classes and the score that is averaged over them."""
LENGTHS = {"accuracy_short": 0, "accuracy_medium": 1, "accuracy_long": 2}
"""By name, the bin of `by_length`: texts of fewer than 100 words, of 100 to 500, and of more."""
CHOICE_SCORES = {f"validation_{name}": name for name in PLAIN_SCORES}
"""By name, the score of the validation texts, for choosing where accuracy isn't what matters."""
KNOWN_SCORES = (*PLAIN_SCORES, *CHOICE_SCORES, *GROUP_SCORES, "ece", *LENGTHS)


def further_scores(cell: Cell, names: Sequence[str]) -> dict[str, float | None]:
    """Scores of a finished cell on its test texts.

    Args:
        cell: Its flag `minority_labels` says which classes are the minority, whatever its `minority_ratio`.
        names: Of `KNOWN_SCORES`; `ece` is the expected calibration error with bins of equal width.

    Returns:
        By name, 0 to 1; None where a score isn't defined.

    Raises:
        UserError: There are no test results, or they are those of an earlier version.
    """
    test = read_results(cell.folder, "test")
    listed = cell.recipe.get("minority_labels", [])
    minority = {str(name) for name in ([listed] if isinstance(listed, str) else listed)}
    found: dict[str, float | None] = {}
    for name in names:
        if name in GROUP_SCORES:
            found[name] = group_score(test["per_class"], minority, *GROUP_SCORES[name])
        elif name in PLAIN_SCORES:
            found[name] = test.get(name)
        elif name in CHOICE_SCORES:
            found[name] = read_results(cell.folder, "validation").get(CHOICE_SCORES[name])
        else:
            found[name] = score_of_answers(name, cell)
    return found


def score_title(name: str) -> str:
    """A score's name for people, with the split that it is of."""
    return name.replace("_", " ") if name.startswith("validation_") else f"test {name.replace('_', ' ')}"


def score_of_answers(name: str, cell: Cell) -> float | None:
    """A score that is counted from a finished cell's answers to its test texts.

    Args:
        name: `ece`, or one of `LENGTHS`.
        cell: The cell.

    Returns:
        0 to 1; None if no text is of that length.

    Raises:
        UserError: There are no answers, or an earlier version wrote them.
    """
    predictions = read_predictions(cell.folder, "test")
    if name == "ece":
        return calibration(predictions)["ece_equal_width"]
    if predictions.num_words is None:
        raise UserError(f"{predictions_file(cell.folder, 'test')} doesn't say how long texts are: run the cell again")
    return by_length(predictions)["bins"][LENGTHS[name]]["accuracy"]


def group_score(per_class: Mapping[str, Mapping[str, Any]], minority: set[str], group: str, score: str) -> float | None:
    """Mean of a score over the classes of a group that the test texts have; None if they have none of it.

    Args:
        per_class: Class name -> precision, recall, f1 and support.
        minority: Names of the rare classes.
        group: `minority`, or `majority` for the others.
        score: `precision`, `recall` or `f1`.
    """
    inside = [
        each[score]
        for name, each in per_class.items()
        if (name in minority) == (group == "minority") and each["support"]
    ]
    return float(np.mean(inside)) if inside else None
