"""One picklable object that labels texts: columns in, the same columns and the answers out.

It holds a path and options, and loads the model when it is first called, so that Ray, Spark, joblib and processes of
`datasets` can each be given it.

Shapes
    N = texts, C = classes
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import TextArguments, check_type
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION
from salience.eval.predict.columns import as_arrays, as_lists, refuse_taken, spread
from salience.eval.reading.load import ClassifierArguments, load_reader
from salience.eval.reading.reader import Reader
from salience.eval.reading.words import heaviest_words
from salience.eval.scores.predictions import class_probabilities, confidence, least_confidence
from salience.train.data.load import clean_texts, columns_of_model

LABEL, SCORE, PROBABILITIES, ACTION, WORDS = "label", "score", "probabilities", "action", "heaviest_words"
PREDICT, REVIEW = "predict", "review"
CHARACTERS_AT_ONCE = 4_000_000
"""What is tokenized together: a tokenizer keeps some hundred bytes for each token."""
NUMBER, TEXT = pa.float32(), pa.string()


class PickledAsFields:
    """A dataclass of which only the fields are pickled, and not what it has loaded or opened."""

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]  # a dataclass


@dataclass(frozen=True)
class Predictor(PickledAsFields):
    """Labels texts: `predictor(columns)` gives the columns back, and beside them the answers.

    `label` and `score`, its calibrated probability; of several labels, the list of them and of their probabilities; of
    a regression only `score`, the number. `probabilities` has those of all classes, in the order of the model's
    `id2label`. Where training was given a `--target_accuracy`, `action` is `predict` or, for an answer that is less
    confident than it took, `review`. A row without text has None, and NaN for numbers.

    Args:
        model: Folder or Hub id of any text-classification model of ours or of transformers.
        revision: Branch, tag or commit of a Hub id.
        text_column: Columns that hold the text; None for those that the model was trained on, or `text`.
        text_separator: Stands between the texts of several columns; None for what the model was trained with.
        keep_empty_texts: Read a missing or empty text as an empty one, and answer.
        clean: Newsgroup parts to cut, as in training.
        batch_size: Texts at a time at most, fewer of long ones; texts of like length are read together.
        bf16: Read with the encoder in bfloat16; None: where the device does it in hardware.
        prefix: Stands before the names of the columns that are added.
        heaviest_words: How many words to name that the model's pooling weighs most; they say what was read, not why it
            was decided.

    Example:
        >>> predictor = Predictor("runs/mine")
        >>> predictor({"text": ["a goal in the last minute", None]})["label"]
        array(['sport', None], dtype=object)
    """

    model: str | Path
    revision: str | None = None
    text_column: str | Sequence[str] | None = None
    text_separator: str | None = None
    keep_empty_texts: bool = False
    clean: Sequence[str] = ()
    batch_size: int = 512
    bf16: bool | None = None
    prefix: str = ""
    heaviest_words: int = 0

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.name not in ("model", "text_column", "clean"):
                check_type(each, getattr(self, each.name))
        if not isinstance(self.model, str | Path):
            raise UserError(f"model is a {type(self.model).__name__}; name a folder or a Hub id")
        # The folder is meant that lies there now, wherever the object is called.
        folder = Path(os.path.expanduser(self.model))
        if str(self.model) and folder.is_dir():
            object.__setattr__(self, "model", str(folder.absolute()))
        if isinstance(self.clean, str):
            object.__setattr__(self, "clean", (self.clean,))

    def __getstate__(self) -> dict[str, Any]:
        """The fields, and what a folder holds: `datasets` keeps answers by it, and another model may lie there now."""
        folder = Path(self.model)
        held = [(each.name, each.stat().st_mtime_ns) for each in sorted(folder.iterdir())] if folder.is_dir() else []
        return super().__getstate__() | {"_held": hashlib.sha256(repr(held).encode()).hexdigest()}

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The columns, and the answers to their rows.

        Args:
            columns: Name -> array or list, one value for each row.

        Raises:
            UserError: There is no such model or column, a text is something else, columns are of several lengths, or a
                name is taken.
        """
        given = as_arrays(columns)
        refuse_taken(given, self.added, "the input")
        return given | self.answers(self.texts(given))

    @cached_property
    def reader(self) -> Reader:
        """The model, loaded when it is first asked for.

        Raises:
            UserError: It can't be loaded, or has no weights of words.
        """
        if self.heaviest_words < 0:
            raise UserError(f"heaviest_words = {self.heaviest_words} must be at least 0")
        reader = load_reader(ClassifierArguments(str(self.model), self.revision, self.batch_size, self.bf16))
        if self.heaviest_words and reader.read(reader.token_ids(["a"]))[0].weights is None:
            raise UserError(
                f"--heaviest_words {self.heaviest_words} needs a model that weighs words, and --model {self.model} "
                "doesn't: leave it out"
            )
        return reader

    @cached_property
    def text_arguments(self) -> TextArguments:
        """Which columns hold the text, and what stands between them."""
        columns = {} if self.text_column is None else {"text_column": self.text_column}
        arguments = TextArguments(
            **columns,  # type: ignore[arg-type]  # a single name becomes a list
            text_separator=self.text_separator,
            keep_empty_texts=self.keep_empty_texts,
            clean=list(self.clean),
        )
        return columns_of_model(arguments, self.reader.model.config)

    @property
    def review_threshold(self) -> float | None:
        """Confidence below which an answer is for review; None where the model has no such."""
        return getattr(self.reader.model.config, "review_threshold", None)

    @cached_property
    def added(self) -> dict[str, pa.DataType]:
        """The columns that `answers` adds, and their types."""
        kind = self.reader.problem_type
        several = len(self.reader.label_names) > 1 if kind == REGRESSION else kind == MULTI_LABEL
        types = {SCORE: pa.list_(NUMBER) if several else NUMBER}
        if kind != REGRESSION:
            types = {LABEL: pa.list_(TEXT) if several else TEXT} | types | {PROBABILITIES: pa.list_(NUMBER)}
        if self.review_threshold is not None:
            types[ACTION] = TEXT
        if self.heaviest_words:
            types[WORDS] = pa.list_(TEXT)
        return {self.prefix + name: each for name, each in types.items()}

    def texts(self, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> list[str | None]:
        """The text of each row, cleaned, (N,); None where a column has none, or nothing is left of it.

        Args:
            columns: The columns of texts at least.

        Raises:
            UserError: One isn't there, or holds something else.
        """
        arguments = self.text_arguments
        for name in arguments.text_column:
            if name not in columns:
                listed = ", ".join(f"'{each}'" for each in columns)
                raise UserError(f"there is no column '{name}' (--text_column); the columns are {listed}")
        columns_of_cells = [[_text(value, name) for value in columns[name]] for name in arguments.text_column]
        texts = [_joined(row, arguments) for row in zip(*columns_of_cells, strict=True)]
        given = [row for row, text in enumerate(texts) if text is not None]
        for row, text in zip(given, clean_texts([texts[row] for row in given], self.clean), strict=True):  # type: ignore[misc]
            texts[row] = text if text.strip() or self.keep_empty_texts else None
        return texts

    def answers(
        self, texts: Sequence[str | None], advance: Callable[[int], object] | None = None
    ) -> dict[str, np.ndarray]:
        """The columns that are added, each (N,).

        Args:
            texts: Of the rows, as `texts` gives them: None for a missing one.
            advance: Is told how many texts were read, whenever some were.

        Raises:
            UserError: The model answers with NaN or infinity.
        """
        given = [row for row, text in enumerate(texts) if text is not None]
        logits, words = self._read([text for text in texts if text is not None], advance)
        found = self._columns(logits)
        if self.heaviest_words:
            found[WORDS] = words
        return {self.prefix + name: spread(values, given, len(texts)) for name, values in found.items()}

    def _read(self, texts: list[str], advance: Callable[[int], object] | None) -> tuple[np.ndarray, list[list[str]]]:
        """Logits (N, C), and the heaviest words of each text where they are asked for."""
        reader = self.reader
        logits = np.zeros((len(texts), len(reader.label_names)), np.float32)
        words: list[list[str]] = [[] for _ in texts if self.heaviest_words]
        for part in portions(texts):
            documents = reader.documents(texts[part]) if self.heaviest_words else None
            ids = reader.token_ids(texts[part]) if documents is None else [each.ids for each in documents]
            for rows in reader.batches(ids):
                for row, reading in zip(rows, reader.read_batch([ids[row] for row in rows]), strict=True):
                    logits[part.start + row] = reading.logits
                    if documents is not None and reading.weights is not None:
                        weights = documents[row].per_word(reading.weights).tolist()
                        heaviest = heaviest_words(documents[row].words, weights)[: self.heaviest_words]
                        words[part.start + row] = [word for word, _ in heaviest]
                if advance:
                    advance(len(rows))
        if not np.isfinite(logits).all():
            raise UserError(f"--model {self.model} answers with NaN or infinity: its training has diverged")
        return logits, words

    def _columns(self, logits: np.ndarray) -> dict[str, Sequence[Any] | np.ndarray]:
        """Label, score and probabilities of logits (N, C)."""
        names, kind = np.array(self.reader.label_names, object), self.reader.problem_type
        if kind == REGRESSION:
            return {SCORE: logits[:, 0] if len(names) == 1 else as_lists(logits)}
        probabilities = class_probabilities(logits.astype(np.float64), kind).astype(np.float32)
        is_answer = self.reader.decide(logits)
        if kind == MULTI_LABEL:
            label: Sequence[Any] = [list(names[each]) for each in is_answer]
            score: Any = as_lists(row[each] for row, each in zip(probabilities, is_answer, strict=True))
        else:
            label, score = list(names[is_answer.argmax(1)]), probabilities[is_answer]
        found = {LABEL: label, SCORE: score, PROBABILITIES: as_lists(probabilities)}
        if self.review_threshold is not None:
            is_sure = confidence(probabilities, is_answer, kind) >= np.float32(least_confidence(self.review_threshold))
            found[ACTION] = [PREDICT if each else REVIEW for each in is_sure]
        return found


def portions(texts: Sequence[str]) -> Iterator[slice]:
    """Neighbours of at most `CHARACTERS_AT_ONCE` characters together; one that has more is alone."""
    start = size = 0
    for row, text in enumerate(texts):
        if size and size + len(text) > CHARACTERS_AT_ONCE:
            yield slice(start, row)
            start, size = row, 0
        size += len(text)
    if start < len(texts):
        yield slice(start, len(texts))


def _text(value: Any, name: str) -> str | None:
    """A cell as text; None where it is missing: None, NaN, or what pandas and Arrow have in their place."""
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    if isinstance(value, str):
        return str(value)
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, Number | np.generic) and value != value:
        return None
    raise UserError(f"column '{name}' holds {type(value).__name__}, not text")


def _joined(cells: Sequence[str | None], arguments: TextArguments) -> str | None:
    """The text of a row; None where a cell is missing, or all are blank."""
    if arguments.keep_empty_texts:
        return arguments.joining_text.join(cell or "" for cell in cells)
    known = [cell for cell in cells if cell is not None]
    is_there = len(known) == len(cells) and any(cell.strip() for cell in known)
    return arguments.joining_text.join(known) if is_there else None
