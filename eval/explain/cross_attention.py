"""What each head of a cross-attention from words to sentences looks at.

Shapes
    H = heads, T = tokens of one text, K = kept words, S = sentences of one text
"""

from collections.abc import Sequence
from typing import TypedDict, cast

import numpy as np
from scipy.special import entr

from salience.eval.reading.reader import Reading


class Head(TypedDict):
    """What one head of the cross-attention does."""

    entropy: float
    normalized_entropy: float
    own_sentence: float
    own_sentence_by_chance: float


def cross_attention_profile(readings: Sequence[Reading]) -> list[Head] | None:
    """How each head spreads a word's attention over the sentences, over texts of two sentences or more.

    Args:
        readings: What a hierarchical model says of texts, read with `cross_attention=True`.

    Returns:
        For each head the means of its entropy in nats, of the same over log of the sentences, and of the attention to
        the word's own sentence, beside what that would be by chance; None where nothing was read.
    """
    measures = [_text_measures(reading) for reading in readings if reading.cross_attention is not None]
    kept = [each for each in measures if each.shape[2]]
    if not kept:
        return None
    names = ("entropy", "normalized_entropy", "own_sentence", "own_sentence_by_chance")
    # (H, measures), over the kept words K of all texts.
    means = np.concatenate(kept, axis=2).mean(2)
    return [cast(Head, dict(zip(names, map(float, head), strict=True))) for head in means]


def _text_measures(reading: Reading) -> np.ndarray:
    """Measures of each head for each kept word of a text, (H, 4, K)."""
    assert reading.cross_attention is not None and reading.sentence_of is not None  # a hierarchical model has both
    is_kept = reading.cross_attention.any((0, 2))
    # A token of two sentences has the number of the first; beyond the text's last sentence there is no attention.
    numbers = [*reading.sentence_of, *np.flatnonzero(reading.cross_attention.any((0, 1)))]
    num_sentences = int(max(numbers, default=-1)) + 1
    if num_sentences < 2 or not is_kept.any():
        return np.zeros((len(reading.cross_attention), 4, 0))
    attention_HKS = reading.cross_attention[:, is_kept]
    entropy_HK = entr(attention_HKS).sum(2)
    own_HK = np.take_along_axis(attention_HKS, reading.sentence_of[is_kept][None, :, None], axis=2)[:, :, 0]
    chance_HK = np.full_like(own_HK, 1 / num_sentences)
    return np.stack([entropy_HK, entropy_HK / np.log(num_sentences), own_HK, chance_HK], 1)
