"""Labels as they stand in a data set once they are encoded, as arrays.

Shapes
    N = texts, C = classes
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from salience.configuration.problem_types import MULTI_LABEL, SINGLE_LABEL

ROWS_PER_BATCH = 100_000


def labels_of(rows: Dataset) -> np.ndarray:
    """The labels of a split: ids (N,), zeros and ones (N, C), or the numbers of a regression.

    Args:
        rows: Column `labels`.
    """
    batches = [batch["labels"] for batch in rows.select_columns("labels").with_format("arrow").iter(ROWS_PER_BATCH)]
    labels = np.concatenate([label_array(batch) for batch in batches] or [np.zeros(0, np.int64)])
    if labels.dtype == np.float32:
        labels = labels.astype(np.float64)
    has_lists = bool(batches) and pa.types.is_nested(batches[0].type)
    return labels.reshape(len(rows), -1) if has_lists else labels


def label_array(labels: pa.ChunkedArray) -> np.ndarray:
    """Encoded labels as an array: (N,), or (N * C,) if each text has a list."""
    return (pc.list_flatten(labels) if pa.types.is_nested(labels.type) else labels).to_numpy()


def count_classes(labels: np.ndarray, problem_type: str, num_classes: int) -> np.ndarray:
    """Texts of each class, (C,) int64; nothing for regression.

    Args:
        labels: What `label_array` or `labels_of` gives.
        problem_type: Of the labels.
        num_classes: C.
    """
    if problem_type == MULTI_LABEL:
        return labels.reshape(-1, num_classes).sum(0).astype(np.int64)
    return (
        np.bincount(labels, minlength=num_classes) if problem_type == SINGLE_LABEL else np.zeros(num_classes, np.int64)
    )
