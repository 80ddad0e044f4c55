"""Texts on which explanations are tested."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from salience.configuration.errors import UserError
from salience.eval.reading.reader import Reader, Reading
from salience.modeling.documents import Document


class Sample(NamedTuple):
    """Texts that were drawn, cut where they are long, and what the classifier says of what is left."""

    rows: list[int]  # which of the given texts, ascending
    documents: list[Document]
    readings: list[Reading]
    too_short: int
    shortened: int


def draw(
    reader: Reader,
    documents: Sequence[Document],
    readings: Sequence[Reading],
    num_documents: int,
    max_tokens: int,
    seed: int,
) -> Sample:
    """Draw texts of two words or more; the arguments are those of `faithfulness`.

    Raises:
        UserError: There is no such text.
    """
    shorter = [cut(document, max_tokens) for document in documents]
    fitting = np.array([row for row, document in enumerate(shorter) if document.num_words >= 2], dtype=int)
    if not len(fitting):
        raise UserError(f"explanations need texts of two words or more within {max_tokens} tokens; give others")
    rows = np.sort(np.random.default_rng(seed).permutation(fitting)[:num_documents]).tolist()
    changed = [row for row in rows if shorter[row] is not documents[row]]
    answers = dict(zip(changed, reader.read([shorter[row].ids for row in changed]), strict=True))
    return Sample(
        rows=rows,
        documents=[shorter[row] for row in rows],
        readings=[answers.get(row, readings[row]) for row in rows],
        too_short=len(documents) - len(fitting),
        shortened=len(changed),
    )


def cut(document: Document, max_tokens: int) -> Document:
    """A text with as many of its first words as fit, special tokens included; itself if all do.

    Args:
        document: The text.
        max_tokens: Tokens at most.
    """
    if len(document.ids) <= max_tokens:
        return document
    room = max_tokens - int((document.word_of < 0).sum())
    tokens_of_words = np.bincount(document.word_of[document.word_of >= 0])
    kept = document.word_of < np.searchsorted(tokens_of_words.cumsum(), room, side="right")
    return replace(document, ids=document.ids[kept], spans=document.spans[kept], word_of=document.word_of[kept])
