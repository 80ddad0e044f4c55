"""What a report looks at, and how closely."""

from dataclasses import dataclass

import numpy as np

from salience.eval.reading.reader import Reader, Reading
from salience.eval.scores.predictions import Predictions, count_words
from salience.modeling.documents import Document
from salience.train.data.encoded import labels_of
from salience.train.data.load import TextData


@dataclass(frozen=True)
class Sizes:
    """How closely a report looks.

    Attributes:
        documents: Texts whose attention and failures are looked at.
        explained: Texts on which explanations are tested.
        seed: Of all draws.
    """

    documents: int
    explained: int
    seed: int


@dataclass(frozen=True)
class Texts:
    """Labelled texts, and what the model says of them.

    Attributes:
        raw: The N texts.
        documents: The N texts as the model reads them.
        readings: What it makes of them.
        predictions: What it answers.
        split: Which of a run's texts they are, "validation" or "test"; a file of its own is "test".
    """

    raw: list[str]
    documents: list[Document]
    readings: list[Reading]
    predictions: Predictions
    split: str

    @classmethod
    def of(cls, data: TextData, split: str, reader: Reader) -> "Texts":
        """Read one split of the data."""
        raw, labels = list(data.splits[split]["text"]), labels_of(data.splits[split])
        documents = reader.documents(raw)
        readings = reader.read([each.ids for each in documents], progress="reading texts")
        logits = np.array([each.logits for each in readings])
        predictions = reader.predictions(labels, logits, count_words(raw))
        return cls(raw, documents, readings, predictions, split)

    def __len__(self) -> int:
        return len(self.raw)

    def sample(self, size: int, seed: int) -> np.ndarray:
        """Row numbers of at most `size` texts, drawn at random, ascending."""
        return np.sort(np.random.default_rng(seed).permutation(len(self))[:size])
