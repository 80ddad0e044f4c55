"""What a run answered for each held-out text: kept beside its results, never published."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from salience.configuration.errors import UserError, one_line


class Predictions(NamedTuple):
    """Outputs for the texts of one split, in the order in which the split was loaded."""

    labels: np.ndarray  # (N,) class ids, (N, C) zeros and ones, or numbers
    logits: np.ndarray  # (N, C) float32
    num_words: np.ndarray | None = None  # (N,); None of a run of an earlier version

    def is_right(self) -> np.ndarray:
        """Whether a classifier's answer is right, with several labels: all of them, bool (N,)."""
        if self.labels.ndim == 2:
            return ((self.logits >= 0) == (self.labels > 0.5)).all(1)
        return self.logits.argmax(1) == self.labels


def predictions_file(folder: str | Path, split: str) -> Path:
    """Where a run keeps the predictions for `test` or `validation`."""
    return Path(folder) / f"{split}_predictions.parquet"


def count_words(texts: Iterable[str]) -> np.ndarray:
    """Words of each text, as white space parts them, (N,)."""
    return np.array([len(text.split()) for text in texts], int)


def write_predictions(
    folder: str | Path, split: str, rows: np.ndarray, labels: np.ndarray, logits: np.ndarray, num_words: np.ndarray
) -> None:
    """Write `SPLIT_predictions.parquet` into a run folder, with the columns row, label, logits and words.

    Args:
        folder: The run folder.
        split: `validation` or `test`.
        rows: (N,) place of each text in the split as it was loaded.
        labels: (N,) or (N, C).
        logits: (N, C), or (N,) for one value.
        num_words: (N,) words of each text.
    """
    logits = np.asarray(logits, np.float32).reshape(len(rows), -1)
    table = pa.table({"row": rows, "label": list(labels), "logits": list(logits), "words": num_words})
    pq.write_table(table, predictions_file(folder, split))


def read_predictions(folder: str | Path, split: str) -> Predictions:
    """The predictions of a run.

    Args:
        folder: The run folder.
        split: `validation` or `test`.

    Raises:
        UserError: There are none, or the file is damaged.
    """
    file = predictions_file(folder, split)
    if not file.is_file():
        raise UserError(f"{file} is missing: train again, with a {split} split")
    try:
        table = pq.read_table(file).sort_by("row")
        labels, logits = np.array(table["label"].to_pylist()), np.array(table["logits"].to_pylist(), np.float32)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UserError(f"{file} is damaged: train again, or name another run ({one_line(error)})") from error
    num_words = table["words"].to_numpy() if "words" in table.column_names else None
    return Predictions(labels, logits, num_words)
