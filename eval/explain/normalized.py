"""How faithful explanations are on a scale that is the model's own: NAOPC.

The area over the perturbation curve (AOPC) of an order of a text's words is the mean fall of the answer's probability
while they are removed one after the other. How low and how high it can get depends on the model, so that it compares no
two of them. Normalized (Edin et al. 2024, NAOPC), the worst order of all has 0 and the best has 1. To know these limits
one would have to try every order: as there, they are found by beam search, and an order that it missed may lie a little
beyond 0 and 1. A text of more than `NUM_PARTS` words is removed in so many stretches of words, each as important as its
words together.

`normalized` returns

    num_documents, undefined   texts that were looked at, and how many of them have no two orders that differ
    parts, beam                stretches of a text at most, orders that the beam search follows
    lowest, highest            AOPC of the worst and the best order, means over the texts
    attributions.NAME          "random" for random orders, `NUM_RANDOM` of each text
        comprehensiveness      {mean, low, high}: NAOPC when the most important words go first, high where faithful
        sufficiency            {mean, low, high}: when the least important go first, low where faithful
        against_random         {difference, low, high, p_value} of the first; not for random orders themselves
    control                    {method, shares, comprehensiveness}: NAOPC of the best of them when a growing share of
                               each text's scores is shuffled: a measure that means something falls

Shapes
    N = texts, W = words of one text, K = its parts
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np

from salience.eval.explain.attributions import checked_probabilities
from salience.eval.explain.statistics import MeanInterval, mean_interval
from salience.eval.reading.reader import Reader, Reading
from salience.eval.scores.paired import Difference, bootstrap
from salience.modeling.documents import Document

NUM_PARTS, BEAM = 10, 3
NUM_RANDOM = 3
SHUFFLED = (0.0, 0.25, 0.5, 0.75, 1.0)
SAME = 1e-6
"""Limits that are no further apart say nothing of orders."""


class NormalizedTest(TypedDict):
    """What NAOPC says of an explanation."""

    comprehensiveness: MeanInterval
    sufficiency: MeanInterval
    against_random: NotRequired[Difference]


class Control(TypedDict):
    """An explanation, and what is left of it when its scores are shuffled."""

    method: str
    shares: list[float]
    comprehensiveness: list[float]


class Normalized(TypedDict):
    """What `normalized` gives; see the module."""

    num_documents: int
    undefined: int
    parts: int
    beam: int
    lowest: float
    highest: float
    attributions: dict[str, NormalizedTest]
    control: Control | None


class PartedText:
    """One text in parts, and how far its answer's probability falls without some of them, as far as it was asked.

    Args:
        document: The text.
        reading: What the classifier says of it.
        before: The probability of its answer.
    """

    def __init__(self, document: Document, reading: Reading, before: float) -> None:
        self.document, self.answer, self.before = document, int(reading.logits.argmax()), before
        self.num_parts = min(document.num_words, NUM_PARTS)
        parts = np.array_split(np.arange(document.num_words), self.num_parts)
        self.part_W = np.repeat(np.arange(self.num_parts), [len(each) for each in parts])
        self.falls = {0: 0.0}  # by the parts that are gone, a bit for each

    def without(self, gone: int) -> np.ndarray:
        """Token ids of the text without the parts of these bits."""
        return self.document.keep_words((gone >> self.part_W) & 1 == 0)

    def one_less(self, gone: int) -> list[int]:
        """What is gone when one more part goes."""
        return [gone | 1 << part for part in range(self.num_parts) if not gone >> part & 1]

    def order(self, importance_W: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Parts by importance, the most important first, equally important ones in random order, (K,)."""
        importance_K = np.bincount(self.part_W, weights=importance_W, minlength=self.num_parts)
        return np.lexsort((generator.random(self.num_parts), -importance_K))

    @staticmethod
    def removed(order_K: np.ndarray) -> list[int]:
        """What is gone after each removal."""
        return np.bitwise_or.accumulate(1 << order_K).tolist()


def parted(reader: Reader, documents: Sequence[Document], readings: Sequence[Reading]) -> list[PartedText]:
    """Texts in parts.

    Args:
        reader: The classifier.
        documents: N texts.
        readings: What it says of them.
    """
    probabilities = checked_probabilities(reader, np.array([each.logits for each in readings]))
    return [
        PartedText(document, reading, float(row[reading.logits.argmax()]))
        for document, reading, row in zip(documents, readings, probabilities, strict=True)
    ]


def look(reader: Reader, texts: Sequence[PartedText], wanted: Sequence[Iterable[int]]) -> None:
    """Ask the classifier for what isn't known yet of each text.

    Args:
        reader: The classifier.
        texts: N texts.
        wanted: For each, what is gone.
    """
    asked = [
        (text, gone) for text, sets in zip(texts, wanted, strict=True) for gone in sorted(set(sets) - text.falls.keys())
    ]
    if not asked:
        return
    probabilities = checked_probabilities(reader, reader.logits([text.without(gone) for text, gone in asked]))
    for (text, gone), row in zip(asked, probabilities, strict=True):
        text.falls[gone] = text.before - float(row[text.answer])


def limit(reader: Reader, texts: Sequence[PartedText], sign: int) -> np.ndarray:
    """AOPC of the best order that a beam search finds for each text, or of the worst, (N,).

    Orders that have removed the same parts go on alike, and the better one stands for them.

    Args:
        reader: The classifier.
        texts: N texts.
        sign: 1 for the best, -1 for the worst.
    """
    beams = [{0: 0.0} for _ in texts]
    for _ in range(NUM_PARTS):
        grown = [[new for gone in beam for new in text.one_less(gone)] for text, beam in zip(texts, beams, strict=True)]
        look(reader, texts, grown)
        beams = [_next_beam(text, beam, sign) for text, beam in zip(texts, beams, strict=True)]
    return np.array([sign * max(beam.values()) / text.num_parts for text, beam in zip(texts, beams, strict=True)])


def _next_beam(text: PartedText, beam: dict[int, float], sign: int) -> dict[int, float]:
    grown: dict[int, float] = {}
    for gone, total in beam.items():
        for new in text.one_less(gone):
            grown[new] = max(grown.get(new, -np.inf), total + sign * text.falls[new])
    best = sorted(grown, key=lambda new: -grown[new])[:BEAM]
    return {new: grown[new] for new in best} or beam


def aopc(reader: Reader, texts: Sequence[PartedText], orders: Sequence[np.ndarray]) -> np.ndarray:
    """Mean fall of each text's answer while its parts go in these orders, (N,)."""
    removed = [text.removed(order) for text, order in zip(texts, orders, strict=True)]
    look(reader, texts, removed)
    return np.array([np.mean([text.falls[each] for each in gone]) for text, gone in zip(texts, removed, strict=True)])


class Scale:
    """NAOPC of explanations of some texts.

    Args:
        reader: The classifier.
        documents: N texts.
        readings: What it says of them.
        seed: Of random orders.
    """

    def __init__(
        self, reader: Reader, documents: Sequence[Document], readings: Sequence[Reading], seed: int = 0
    ) -> None:
        self.reader, self.texts = reader, parted(reader, documents, readings)
        self.lowest, self.highest = (limit(reader, self.texts, sign) for sign in (-1, 1))
        self.is_defined = self.highest - self.lowest > SAME
        self.seed = seed

    def naopc(self, importances: Sequence[np.ndarray]) -> np.ndarray:
        """NAOPC of the texts in which it is defined, the most important words removed first.

        Args:
            importances: Of each of the N texts, (W,); with other signs, the least important go first.
        """
        generator = np.random.default_rng(self.seed)
        orders = [text.order(each, generator) for text, each in zip(self.texts, importances, strict=True)]
        share = aopc(self.reader, self.texts, orders) - self.lowest
        return share[self.is_defined] / (self.highest - self.lowest)[self.is_defined]

    def random(self) -> np.ndarray:
        """Mean NAOPC of random orders."""
        generator = np.random.default_rng(self.seed + 1)
        draws = [[generator.random(len(text.part_W)) for text in self.texts] for _ in range(NUM_RANDOM)]
        return np.mean([self.naopc(each) for each in draws], axis=0)


def normalized(
    reader: Reader,
    documents: Sequence[Document],
    readings: Sequence[Reading],
    importances: Mapping[str, Sequence[np.ndarray]],
    seed: int = 0,
) -> Normalized | None:
    """NAOPC of explanations; see the module.

    Args:
        reader: The classifier.
        documents: N texts of two words or more.
        readings: What it says of them.
        importances: By name, the explanations: of each text (W,).
        seed: Of all draws.

    Returns:
        None where no text has two orders that differ.
    """
    scale = Scale(reader, documents, readings, seed)
    if not scale.is_defined.any():
        return None
    random = scale.random()
    found: dict[str, NormalizedTest] = {}
    for name, each in importances.items():
        removed, kept = scale.naopc(each), scale.naopc([-importance for importance in each])
        found[name] = {
            "comprehensiveness": mean_interval(removed),
            "sufficiency": mean_interval(kept),
            "against_random": bootstrap([removed - random]),
        }
    best = max(found, key=lambda name: found[name]["comprehensiveness"]["mean"], default=None)
    found["random"] = {"comprehensiveness": mean_interval(random), "sufficiency": mean_interval(random)}
    return {
        "num_documents": len(documents),
        "undefined": int((~scale.is_defined).sum()),
        "parts": NUM_PARTS,
        "beam": BEAM,
        "lowest": float(scale.lowest.mean()),
        "highest": float(scale.highest.mean()),
        "attributions": found,
        "control": None if best is None else control(best, importances[best], scale.naopc, seed),
    }


def control(
    method: str,
    importances: Sequence[np.ndarray],
    naopc: Callable[[Sequence[np.ndarray]], np.ndarray],
    seed: int,
) -> Control:
    """What is left of an explanation when a growing share of its scores is shuffled.

    Args:
        method: Its name.
        importances: Of each text, (W,).
        naopc: Measures explanations.
        seed: Of the draws.
    """
    means = []
    for share in SHUFFLED:
        generator = np.random.default_rng(seed)  # the words of a smaller share are among those of a larger one
        means.append(float(naopc([degraded(each, share, generator) for each in importances]).mean()))
    return {"method": method, "shares": list(SHUFFLED), "comprehensiveness": means}


def degraded(importance_W: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """The same scores, some of which have changed places with each other, (W,).

    Args:
        importance_W: Of the words of a text.
        share: Of its words.
        generator: Draws them.
    """
    chosen = generator.permutation(len(importance_W))[: round(share * len(importance_W))]
    changed = importance_W.copy()
    changed[chosen] = importance_W[np.roll(chosen, 1)]  # in random order, each takes the place of the one before
    return changed
