"""A text as a model reads it: its tokens, where they stand in it, and the words that they make.

Shapes
    T = tokens of one text, W = words of one text
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Document:
    """One text as the model reads it.

    Attributes:
        text: The text.
        ids: (T,) token ids.
        spans: (T, 2) first character and the one behind the last; equal for special tokens.
        word_of: (T,) number of the word that a token belongs to, -1 for special tokens.
    """

    text: str
    ids: np.ndarray
    spans: np.ndarray
    word_of: np.ndarray

    @classmethod
    def of(cls, text: str, encoding: BatchEncoding, row: int) -> "Document":
        """A text that a fast tokenizer has read.

        Args:
            text: The text.
            encoding: What the tokenizer made of it; padding is left out.
            row: Which of the encoding's texts it is.
        """
        read = encoding.encodings[row]  # type: ignore[index]  # a fast tokenizer's
        is_token = np.array(read.attention_mask, dtype=bool)
        words = np.array([-1 if word is None else word for word in encoding.word_ids(row)], dtype=int)[is_token]
        # Numbered anew: some tokenizers skip numbers.
        _, numbers = np.unique([word for word in words if word >= 0], return_inverse=True)
        word_of = np.full(len(words), -1)
        word_of[words >= 0] = numbers
        places = np.array(read.offsets, dtype=int).reshape(-1, 2)[is_token]
        return cls(text, np.array(read.ids, dtype=int)[is_token], places, word_of)

    @property
    def num_words(self) -> int:
        """How many words were read."""
        return int(self.word_of.max(initial=-1)) + 1

    @cached_property
    def word_spans(self) -> np.ndarray:
        """(W, 2) first character of each word and the one behind its last."""
        spans = np.stack([np.full(self.num_words, len(self.text)), np.zeros(self.num_words, dtype=int)], axis=1)
        inside = self.word_of >= 0
        np.minimum.at(spans[:, 0], self.word_of[inside], self.spans[inside, 0])
        np.maximum.at(spans[:, 1], self.word_of[inside], self.spans[inside, 1])
        return spans

    @cached_property
    def words(self) -> list[str]:
        """The words, as they stand in the text."""
        return [self.text[start:end] for start, end in self.word_spans]

    def per_word(self, values: np.ndarray) -> np.ndarray:
        """Sum a value of each token (T,) over each word: (W,). Special tokens are left out."""
        inside = self.word_of >= 0
        return np.bincount(self.word_of[inside], weights=values[inside], minlength=self.num_words)

    def keep_words(self, kept: np.ndarray) -> np.ndarray:
        """Token ids of the text with only these words, bool (W,); special tokens stay."""
        return self.ids[(self.word_of < 0) | kept[self.word_of]] if self.num_words else self.ids


def padded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[np.ndarray]) -> BatchEncoding:
    """Texts as the inputs of a model, side by side.

    Args:
        tokenizer: The model's.
        ids: Token ids of each text, (T,).
    """
    inputs = {"input_ids": [each.tolist() for each in ids]}
    # Few tokenizers give a special token another type than 0, which models take where they are given none.
    empty = tokenizer("", verbose=False)
    types = dict(zip(empty["input_ids"], empty.get("token_type_ids", []), strict=False))
    if any(types.values()):
        inputs["token_type_ids"] = [[types.get(each, 0) for each in row] for row in inputs["input_ids"]]
    return tokenizer.pad(inputs, return_tensors="pt")
