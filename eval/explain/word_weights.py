"""The words of many texts in flat arrays, with the attention that each got.

Shape suffixes
    N = texts, M = words of all texts, V = word types (words in lower case)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np
from scipy.sparse import csr_array
from scipy.special import entr
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

from salience.configuration.errors import UserError
from salience.eval.explain.attributions import pooling_weights
from salience.eval.reading.reader import Reading
from salience.modeling.documents import Document
from salience.modeling.word_filter import BOUNDARY_WORDS

KINDS = ("stop_word", "punctuation", "content")


def lower_words(document: Document) -> list[str]:
    """The words of a text, in lower case."""
    return [word.lower() for word in document.words]


class Shares(TypedDict):
    """Mean shares that some words have."""

    weight: float
    even_weight: float
    words: float


@dataclass(frozen=True)
class WordWeights:
    """Texts of two words or more, of which any has weight.

    Attributes:
        rows: (N,) which of the given texts these are.
        document_M: Text of each word, 0 to N - 1, ascending.
        weight_M: Its share of the weight of its text's words; they sum to 1 over a text.
        even_M: What its share would be if all tokens of its text weighed the same: long and rare words are several.
        type_M: Its type.
        types: (V,) the types.
        tf_idf_NV: (1 + log tf) idf of each type in each text.
        special_mass_N: Share of the weight that lies on special tokens.
    """

    rows: np.ndarray
    document_M: np.ndarray
    weight_M: np.ndarray
    even_M: np.ndarray
    type_M: np.ndarray
    types: Sequence[str]
    tf_idf_NV: csr_array
    special_mass_N: np.ndarray

    @cached_property
    def lengths_N(self) -> np.ndarray:
        """Words of each text."""
        return np.bincount(self.document_M, minlength=len(self.rows))

    @cached_property
    def position_M(self) -> np.ndarray:
        """Place of each word in its text, from 0."""
        return np.arange(len(self.document_M)) - (self.lengths_N.cumsum() - self.lengths_N)[self.document_M]

    @cached_property
    def lift_M(self) -> np.ndarray:
        """Weight of each word over what even weights would give it."""
        return self.weight_M / self.even_M

    @cached_property
    def kind_M(self) -> np.ndarray:
        """Kind of each word, an index into `KINDS`."""
        kind_V = [
            0 if word in ENGLISH_STOP_WORDS else 2 if any(character.isalnum() for character in word) else 1
            for word in self.types
        ]
        return np.array(kind_V)[self.type_M]

    @cached_property
    def tf_idf_M(self) -> np.ndarray:
        """TF-IDF of each word in its text."""
        return np.asarray(self.tf_idf_NV[self.document_M, self.type_M]).ravel()

    @cached_property
    def mean_lift_NV(self) -> csr_array:
        """Mean over a text of the lift of each of its types; a type that got no weight is stored as 0."""
        place_M = self.document_M * len(self.types) + self.type_M
        place, inverse_M, count = np.unique(place_M, return_inverse=True, return_counts=True)
        mean = np.bincount(inverse_M, weights=self.lift_M) / count
        return csr_array((mean, divmod(place, len(self.types))), shape=(len(self.rows), len(self.types)))

    def mass(self, chosen_M: np.ndarray, value_M: np.ndarray | None = None) -> np.ndarray:
        """Sum over the chosen words of each text, (N,).

        Args:
            chosen_M: bool.
            value_M: What is summed; None for the weight.
        """
        value_M = self.weight_M if value_M is None else value_M
        return np.bincount(self.document_M[chosen_M], weights=value_M[chosen_M], minlength=len(self.rows))

    def mean_shares(self, chosen_M: np.ndarray) -> Shares:
        """Means over texts of the chosen words' share of weight, of the weight if it were even, and of the words."""
        share_M = 1 / self.lengths_N[self.document_M]
        columns = (self.weight_M, self.even_M, share_M)
        weight, even_weight, words = (float(self.mass(chosen_M, value_M).mean()) for value_M in columns)
        return {"weight": weight, "even_weight": even_weight, "words": words}

    def entropy(self) -> np.ndarray:
        """Entropy of each text's weights over log n: 1 for even ones, 0 for a single word, (N,)."""
        return np.bincount(self.document_M, weights=entr(self.weight_M)) / np.log(self.lengths_N)

    def top_mass(self, fraction: float) -> np.ndarray:
        """Weight of the heaviest words of each text, `fraction` of them rounded up, (N,)."""
        order_M = np.lexsort((-self.weight_M, self.document_M))
        is_top_M = np.zeros(len(order_M), dtype=bool)
        counts_N = np.ceil(fraction * self.lengths_N - 1e-9)
        is_top_M[order_M] = self.position_M < counts_N[self.document_M]
        return self.mass(is_top_M)

    def at_ends(self, ends: str = "both") -> np.ndarray:
        """Which words are the first and last three of their text, bool (M,).

        Args:
            ends: "first", "last" or "both".
        """
        is_first = self.position_M < BOUNDARY_WORDS
        is_last = self.lengths_N[self.document_M] - self.position_M <= BOUNDARY_WORDS
        return {"first": is_first, "last": is_last, "both": is_first | is_last}[ends]


def word_weights(documents: Sequence[Document], readings: Sequence[Reading]) -> WordWeights:
    """Gather words and weights.

    Args:
        documents: Texts.
        readings: What a model with pooling weights says of them.

    Raises:
        UserError: The model has no such weights, or no text has two words.
    """
    per_word = [
        document.per_word(pooling_weights(reading)) for document, reading in zip(documents, readings, strict=True)
    ]
    rows = [row for row, weights in enumerate(per_word) if len(weights) > 1 and weights.sum() > 0]
    if not rows:
        raise UserError("attention is described on texts of two words or more, and there are none; give others")
    vectorizer = TfidfVectorizer(analyzer=lower_words, sublinear_tf=True, norm=None)
    tf_idf_NV = vectorizer.fit_transform(documents[row] for row in rows)
    weights = np.concatenate([per_word[row] for row in rows])
    document_M = np.repeat(np.arange(len(rows)), [len(per_word[row]) for row in rows])
    total_N = np.bincount(document_M, weights=weights)
    tokens = np.concatenate([documents[row].per_word(np.ones(len(documents[row].ids))) for row in rows])
    type_of = vectorizer.vocabulary_
    return WordWeights(
        rows=np.array(rows),
        document_M=document_M,
        weight_M=weights / total_N[document_M],
        even_M=tokens / np.bincount(document_M, weights=tokens)[document_M],
        type_M=np.array([type_of[word] for row in rows for word in lower_words(documents[row])]),
        types=sorted(type_of, key=type_of.__getitem__),
        tf_idf_NV=csr_array(tf_idf_NV),
        special_mass_N=(1 - total_N).clip(0, 1),
    )
