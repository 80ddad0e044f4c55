"""How much each word of a text matters for what a classifier answers, by several methods: `ATTRIBUTIONS`.

Shapes
    N = texts, T = tokens of one text, W = words of one text, C = classes
"""

from collections.abc import Callable, Sequence

import numpy as np

from salience.configuration.errors import UserError, one_line
from salience.configuration.problem_types import REGRESSION
from salience.eval.reading.reader import Reader, Reading
from salience.eval.scores.predictions import class_probabilities
from salience.modeling.attributions import METHODS, method_named
from salience.modeling.documents import Document
from salience.modeling.subject import Subject

Attribution = Callable[[Reader, Sequence[Document], Sequence[Reading]], list[np.ndarray]]
"""From the classifier, N texts and what it says of them to each text's importances (W,), the highest the most."""


def checked_probabilities(reader: Reader, logits: np.ndarray) -> np.ndarray:
    """Probabilities of classes, (N, C).

    Args:
        reader: The classifier.
        logits: (N, C).

    Raises:
        UserError: The model predicts numbers, not classes.
    """
    if reader.problem_type == REGRESSION or logits.shape[1] == 1:
        raise UserError("this model predicts numbers, not classes; explanations are tested on a classifier")
    return class_probabilities(logits, reader.problem_type)


def predicted_classes(readings: Sequence[Reading]) -> np.ndarray:
    """The class of highest score for each text, (N,)."""
    return np.array([reading.logits.argmax() for reading in readings], dtype=int)


def attention(reader: Reader, documents: Sequence[Document], readings: Sequence[Reading]) -> list[np.ndarray]:
    """The weight of each word in the document vector, summed over its tokens.

    Args:
        reader: The classifier.
        documents: N texts.
        readings: What it says of them.

    Returns:
        For each text (W,); with special tokens they sum to 1.

    Raises:
        UserError: The model has no such weights.
    """
    return [document.per_word(pooling_weights(reading)) for document, reading in zip(documents, readings, strict=True)]


def pooling_weights(reading: Reading) -> np.ndarray:
    """The weights of a text's tokens, (T,).

    Raises:
        UserError: The model has none.
    """
    if reading.weights is None:
        raise UserError("this model returns no pooling_weights, so it has no attention over words to look at")
    return reading.weights


def random_importance(
    reader: Reader, documents: Sequence[Document], readings: Sequence[Reading], seed: int = 0
) -> list[np.ndarray]:
    """Importances drawn evenly from 0 to 1: what any explanation must beat.

    Args:
        reader: Not looked at.
        documents: N texts.
        readings: Not looked at.
        seed: Of the draws.

    Returns:
        For each text (W,).
    """
    generator = np.random.default_rng([seed, 1])  # ties are broken by another stream: constant scores aren't these
    return [generator.random(document.num_words) for document in documents]


def by_method(name: str) -> Attribution:
    """One of the methods by which the model's own pipeline explains, of the predicted class.

    Args:
        name: A key of `METHODS`.
    """
    method = method_named(name)

    def attribution(reader: Reader, documents: Sequence[Document], readings: Sequence[Reading]) -> list[np.ndarray]:
        try:
            return [
                method(subject(reader, document), int(reading.logits.argmax()))
                for document, reading in zip(documents, readings, strict=True)
            ]
        except ValueError as error:
            raise UserError(one_line(error)) from error

    return attribution


def subject(reader: Reader, document: Document) -> Subject:
    """A text before a reader's classifier."""
    return Subject(reader.model, reader.tokenizer, document, reader.batch_size)


ATTRIBUTIONS: dict[str, Attribution] = {
    "attention": attention,
    "random": random_importance,
    **{name: by_method(name) for name in METHODS if name != "attention"},
}
"""By name: `METHODS`, where attention needs no further reading, and random importances beside them."""
