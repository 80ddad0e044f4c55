"""One text with its answer, and the words that the pooling weighs most: what was read, not why it was decided."""

from typing import NamedTuple

import numpy as np

from salience.eval.reading.reader import Reader
from salience.eval.reading.words import heaviest_words
from salience.eval.scores.predictions import class_probabilities

NUM_WORDS = 5


class Example(NamedTuple):
    """One classified text.

    Attributes:
        text: The text.
        labels: The answer, with its probability; where a text can have several labels, each, the surest first, or none.
        words: The `NUM_WORDS` heaviest, by their share of the document vector; none of a model without such weights.
    """

    text: str
    labels: dict[str, float]
    words: dict[str, float]


def read_example(reader: Reader, text: str) -> Example:
    """Classify one text and name its heaviest words, see `heaviest_words`.

    Args:
        reader: A classifier, not of numbers.
        text: The text.
    """
    (ids,) = reader.token_ids([text])
    (reading,) = reader.read([ids])
    logits = reading.logits[None]
    chosen, scores = reader.decide(logits)[0], class_probabilities(logits, reader.problem_type)[0]
    labels = {reader.label_names[index]: float(scores[index]) for index in np.argsort(-scores) if chosen[index]}
    words: list[tuple[str, float]] = []
    if reading.weights is not None and reader.tokenizer.is_fast:
        (document,) = reader.documents([text])
        words = heaviest_words(document.words, document.per_word(reading.weights).tolist())
    return Example(text, labels, dict(words[:NUM_WORDS]))
