"""Scores that a study can ask for beside accuracy and macro F1: of all classes, and of rare and frequent ones apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .runs import read_results
from .study_cells import Cell

PLAIN_SCORES = ("precision_macro", "recall_macro", "f1_weighted", "roc_auc")
GROUP_SCORES = {
    f"{group}_{score}": (group, score) for group in ("minority", "majority") for score in ("precision", "recall", "f1")
}
"""By name, the group of classes and the score that is averaged over them."""


def further_scores(cell: Cell, names: Sequence[str]) -> dict[str, float | None]:
    """Scores of a finished cell on its test texts.

    Args:
        cell: Its flag `minority_labels` says which classes are the minority, whatever its `minority_ratio`.
        names: Of `PLAIN_SCORES` and `GROUP_SCORES`.

    Returns:
        By name, 0 to 1; None where a score isn't defined.

    Raises:
        UserError: There are no test results.
    """
    test = read_results(cell.folder, "test_results.json")
    listed = cell.recipe.get("minority_labels", [])
    minority = {str(name) for name in ([listed] if isinstance(listed, str) else listed)}
    return {
        name: group_score(test["test_per_class"], minority, *GROUP_SCORES[name])
        if name in GROUP_SCORES
        else test.get(f"test_{name}")
        for name in names
    }


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
