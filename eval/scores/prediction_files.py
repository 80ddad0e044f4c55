"""Predictions in the folder of a run, as parquet.

Shapes
    N = texts, C = classes
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from salience.configuration.errors import UserError, one_line
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from salience.eval.scores.predictions import Predictions
from salience.model_cards.run_folder import RunFolder

METADATA = b"salience"
"""Key of the parquet file's metadata under which problem type and label names stand, as JSON."""


def predictions_file(folder: str | Path, split: str) -> Path:
    """Where a run keeps the predictions for `test` or `validation`."""
    return Path(folder) / f"{split}_predictions.parquet"


def write_predictions(folder: str | Path, split: str, rows: np.ndarray, predictions: Predictions) -> None:
    """Write `SPLIT_predictions.parquet` into a run folder, with the columns row, label, logits (float32) and words.

    Args:
        folder: The run folder.
        split: `validation` or `test`.
        rows: (N,) place of each text in the split as it was loaded.
        predictions: Of the N texts.
    """
    logits = predictions.logits.astype(np.float32).reshape(len(rows), -1)
    columns = {"row": rows, "label": list(predictions.labels), "logits": list(logits)}
    if predictions.num_words is not None:
        columns["words"] = predictions.num_words
    about: dict[str, Any] = {"problem_type": predictions.problem_type, "label_names": predictions.label_names}
    if predictions.label_thresholds is not None:
        about["label_thresholds"] = list(predictions.label_thresholds)
    table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(about)})
    with predictions_file(folder, split).open("wb") as file:  # pyarrow would read "exp:1" as an address
        pq.write_table(table, file)


def read_predictions(folder: str | Path, split: str) -> Predictions:
    """The predictions of a run, in the order in which the split was loaded.

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
        with file.open("rb") as source:
            table = pq.read_table(source)
        about = (table.schema.metadata or {}).get(METADATA)
        table = table.sort_by("row")
        if not np.array_equal(table["row"].to_numpy(), np.arange(len(table))):
            raise ValueError("its rows aren't those of a split, each once")
        labels, logits = _array(table["label"]), _array(table["logits"]).astype(np.float32)
        num_words = table["words"].to_numpy() if "words" in table.column_names else None
        described: dict[str, Any] = json.loads(about) if about else _described_by_run(Path(folder), labels)
        names = described["label_names"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("its label_names are no list of names")
        if num_words is not None and num_words.dtype.kind not in "iu":
            raise ValueError("its words are no whole numbers")
        if not np.isfinite(logits).all():
            raise ValueError("its logits aren't all finite numbers")
        thresholds = described.get("label_thresholds")
        return Predictions(labels, logits, described["problem_type"], names, num_words, thresholds)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"{file} is damaged: train again, or name another run ({one_line(error)})") from error


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers (N,), or lists of equally many (N, C)."""
    if not pa.types.is_list(column.type):
        return column.to_numpy()
    if len(pc.unique(pc.list_value_length(column))) > 1:
        raise ValueError("its lists aren't equally long")
    return pc.list_flatten(column).to_numpy().reshape(len(column), -1)


def _described_by_run(folder: Path, labels: np.ndarray) -> dict[str, Any]:
    """Problem type and label names of predictions of an earlier version, which don't tell them themselves.

    They stand in the config.json of the run's model. A baseline has none, but run.json counts the labels of each split,
    in their order.
    """
    run = RunFolder(folder)
    by_labels = MULTI_LABEL if labels.ndim == 2 else REGRESSION if labels.dtype.kind == "f" else SINGLE_LABEL
    names: dict[str, str] = run.config.get("id2label") or {}
    counted = {} if names else next(iter(run.run["data"]["splits"].values()))["labels"]
    return {
        "problem_type": run.config.get("problem_type") or by_labels,
        "label_names": [names[key] for key in sorted(names, key=int)] or list(counted),
    }
