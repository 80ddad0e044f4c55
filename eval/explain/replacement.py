"""Does an explanation find the words that matter, judged on texts like those that the model knows?

Texts without half of their words are texts that no model has seen. In the manner of F-Fidelity (Zheng et al. 2024),
without the fine-tuning on masked texts that belongs to it: `SHARE` of a text's words, rounded up, change at a time,
drawn at random from an explanation's top, and each makes room for a word of another text, drawn at random among those
of no more tokens. So the text keeps its length, and nearly all of its words.

`replacement` returns

    num_documents, share, tops, draws   texts, share of a text's words that changes, tops of an explanation from which
                               they are drawn, and how often from each
    attributions.NAME
        top                    {mean, low, high}: fall of the answer's probability when words of the top change, mean
                               over `tops`; high where the explanation is faithful
        rest                   {mean, low, high}: when as many of the other words change; low where it is faithful
        difference             {difference, low, high, p_value}: top over rest

Shapes
    N = texts, W = words of one text
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from salience.eval.explain.attributions import checked_probabilities, predicted_classes
from salience.eval.explain.statistics import MeanInterval, mean_interval
from salience.eval.reading.reader import Reader, Reading
from salience.eval.scores.paired import Difference, bootstrap
from salience.modeling.documents import Document

SHARE = 0.1
TOPS = (0.1, 0.3, 0.5)
NUM_DRAWS = 2


class ReplacementTest(TypedDict):
    """What replaced words say of an explanation."""

    top: MeanInterval
    rest: MeanInterval
    difference: Difference


class Replacement(TypedDict):
    """What `replacement` gives; see the module."""

    num_documents: int
    share: float
    tops: list[float]
    draws: int
    attributions: dict[str, ReplacementTest]


def replacement(
    reader: Reader,
    documents: Sequence[Document],
    readings: Sequence[Reading],
    importances: Mapping[str, Sequence[np.ndarray]],
    seed: int = 0,
) -> Replacement | None:
    """The test of explanations by replaced words; see the module.

    Args:
        reader: The classifier.
        documents: N texts of two words or more.
        readings: What it says of them.
        importances: By name, the explanations: of each text (W,).
        seed: Of all draws; those of all explanations are alike.

    Returns:
        None for a single text, which has no others.
    """
    if len(documents) < 2:
        return None
    words = [words_of(each) for each in documents]
    found: dict[str, ReplacementTest] = {}
    for name, each in importances.items():
        top, rest = falls(reader, documents, readings, each, words, seed)
        found[name] = {"top": mean_interval(top), "rest": mean_interval(rest), "difference": bootstrap([top - rest])}
    return {
        "num_documents": len(documents),
        "share": SHARE,
        "tops": list(TOPS),
        "draws": NUM_DRAWS,
        "attributions": found,
    }


def falls(
    reader: Reader,
    documents: Sequence[Document],
    readings: Sequence[Reading],
    importances: Sequence[np.ndarray],
    words: Sequence[list[np.ndarray]],
    seed: int,
) -> np.ndarray:
    """Fall of the answer's probability when words of the top change, and when others do, (2, N)."""
    generator = np.random.default_rng(seed)
    ids = []
    for row, (document, importance_W) in enumerate(zip(documents, importances, strict=True)):
        order = np.lexsort((generator.random(len(importance_W)), -importance_W))
        others = sorted((word for other, each in enumerate(words) if other != row for word in each), key=len)
        for side in (False, True):
            for share in np.repeat(TOPS, NUM_DRAWS):
                num_top = min(int(np.ceil(share * len(order) - 1e-9)), len(order) - 1)
                pool = order[num_top:] if side else order[:num_top]
                chosen = generator.permutation(pool)[: int(np.ceil(SHARE * len(order) - 1e-9))]
                ids.append(replaced(document, words[row], chosen, others, generator))
    after = checked_probabilities(reader, reader.logits(ids)).reshape(len(documents), 2, len(TOPS) * NUM_DRAWS, -1)
    before = checked_probabilities(reader, np.array([reading.logits for reading in readings]))
    rows, answers = np.arange(len(documents)), predicted_classes(readings)
    return (before[rows, answers][:, None, None] - after[rows, :, :, answers]).mean(2).T


def words_of(document: Document) -> list[np.ndarray]:
    """The token ids of each word, W arrays."""
    return [document.ids[document.word_of == number] for number in range(document.num_words)]


def replaced(
    document: Document,
    words: Sequence[np.ndarray],
    chosen: np.ndarray,
    others: Sequence[np.ndarray],
    generator: np.random.Generator,
) -> np.ndarray:
    """Token ids of a text in which some words have made room for others of no more tokens.

    Args:
        document: The text.
        words: Token ids of each word.
        chosen: Numbers of the words that change.
        others: Token ids of words of other texts, the shortest first; where none is short enough, a word is removed.
        generator: Draws them.
    """
    lengths = np.array([len(each) for each in others])
    new: dict[int, np.ndarray] = {}
    for number in chosen.tolist():
        fitting = int(np.searchsorted(lengths, len(words[number]), side="right"))
        new[number] = others[int(generator.integers(fitting))] if fitting else document.ids[:0]
    kept = [
        new.pop(number) if number in new else document.ids[place : place + 1]
        for place, number in enumerate(document.word_of.tolist())
        if number in new or number not in chosen
    ]
    return np.concatenate(kept)
