"""Holds out rows, in the classes' proportions, the same ones for the same seed on any machine."""

import logging

import numpy as np
from sklearn.model_selection import train_test_split

from salience.configuration.errors import UserError

logger = logging.getLogger(__name__)


def hold_out(
    num_rows: int, classes: np.ndarray | None, sizes: dict[str, float], seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Take parts of the training rows away, one after the other.

    Each class gets its share of each part, and each part at least as many rows as there are classes. A class with a
    single row can't be divided: it stays in training.

    Args:
        num_rows: Rows of the training data.
        classes: Class id of each row, or None to divide plainly at random (multi-label, regression).
        sizes: Part name -> fraction of `num_rows`, more than 0.
        seed: Of the random choice.

    Returns:
        The row numbers that stay and those of each part, ascending.

    Raises:
        UserError: If there are too few rows.
    """
    rest, parts = np.arange(num_rows), {}
    num_classes = 1 if classes is None else len(np.unique(classes))
    for name, size in sizes.items():
        count = max(round(size * num_rows), num_classes)
        if len(rest) - count < num_classes:
            raise UserError(
                f"{num_rows} training rows of {num_classes} classes are too few to hold out a {name} split; "
                f"add rows, lower --{name}_size, or give --{name}_file"
            )
        rest, parts[name] = _divide(rest, classes, count, seed)
    return rest, parts


def sample_rows(num_rows: int, classes: np.ndarray | None, count: int, seed: int) -> np.ndarray:
    """Choose `count` of the rows, each class in proportion, and each class at least once.

    Args:
        num_rows: Rows to choose from.
        classes: Class id of each row, or None to choose plainly at random.
        count: Rows wanted; all of them if there are fewer.
        seed: Of the random choice.

    Returns:
        Row numbers, ascending.

    Raises:
        UserError: If `count` is less than the number of classes.
    """
    if count >= num_rows:
        return np.arange(num_rows)
    if classes is not None and count < len(np.unique(classes)):
        raise UserError(f"--max_train_samples {count} is less than the number of classes, {len(np.unique(classes))}")
    chosen, _ = _divide(np.arange(num_rows), classes, num_rows - count, seed)
    if classes is None:
        return chosen
    # Proportions can round a rare class to nothing: it takes the place of a row of the largest class.
    for missing in np.setdiff1d(classes, classes[chosen]):
        largest = np.flatnonzero(classes[chosen] == np.bincount(classes[chosen]).argmax())
        chosen[largest[0]] = np.flatnonzero(classes == missing)[0]
    return np.sort(chosen)


def thin_classes(classes: np.ndarray, rare: list[int], ratio: float, seed: int) -> np.ndarray:
    """Leave 1 / ratio of the rows of some classes, at least one of each, and all of the others.

    What stays at a high ratio also stays at a lower one.

    Args:
        classes: Class id of each row.
        rare: Ids of the classes to thin out.
        ratio: 1 or more; 1 leaves all.
        seed: Of the random choice.

    Returns:
        Row numbers, ascending.
    """
    random = np.random.default_rng(seed)
    stays = np.ones(len(classes), bool)
    for each in sorted(set(rare)):
        rows = random.permutation(np.flatnonzero(classes == each))
        stays[rows[max(1, round(len(rows) / ratio)) :]] = False
    return np.flatnonzero(stays)


def _divide(rows: np.ndarray, classes: np.ndarray | None, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Move `count` of the rows into a part of their own, each class in proportion where that is possible."""
    movable, stratify = rows, None
    if classes is not None:
        sizes = np.bincount(classes[rows])
        single = sizes[classes[rows]] == 1
        if single.any():
            logger.warning("classes with a single row, which stays in the training data: %d", single.sum())
        movable = rows[~single]
        num_classes = len(np.unique(classes[movable]))
        # Fewer rows than classes can't be shared out, so that such a choice is plainly random.
        if min(count, len(movable) - count) >= num_classes:
            stratify = classes[movable]
    if len(movable) <= count:
        raise UserError(
            f"only {len(movable)} rows belong to a class with two or more rows, too few to take out {count}"
        )
    _, moved = train_test_split(movable, test_size=count, random_state=seed, stratify=stratify)
    return np.setdiff1d(rows, moved, assume_unique=True), np.sort(moved)
