"""Does the attention of this model explain what it answers? Tested against other explanations, on the same texts.

`faithfulness` returns, with numbers from 0 to 1 unless said otherwise and intervals of 95 % by bootstrap over texts:

    num_documents, rows        how many texts were drawn, and which of the given ones
    too_short, shortened       how many of the given ones have fewer than 2 words and were left out; how many of those
                               drawn were longer than `max_tokens`, of which the first words were looked at
    max_tokens, fractions      the longest text looked at; shares of a text's words that were removed or kept
    ngram_weight               of the evidence by counts of n-grams beside the network, 0 for none
    attributions.NAME
        comprehensiveness      {mean, low, high, curve}: fall of the predicted class's probability without the most
        sufficiency            important words, and with nothing but them; mean over `fractions`, which `curve` lists
        tau_leave_one_out      {mean, low, high, num_documents}: Kendall's tau-b, -1 to 1, over the texts in which it
                               is defined; null where it is in none
        against.OTHER          {comprehensiveness, sufficiency}: each {difference, low, high, p_value}, paired
    left_out.NAME              why an attribution wasn't possible with this model
    interventions              null for a model without weights, else permutation and uniform, each with
        total_variation        {mean, low, high}: distance of the probabilities before and after
        flipped                share of texts that got another answer
    normalized                 the same explanations on the model's own scale, on `NUM_NORMALIZED` texts, drawn: see
                               `salience.eval.explain.normalized`; between models, only these compare
    replacement                the same texts with words replaced by others': see `salience.eval.explain.replacement`
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from scipy.stats import kendalltau

from salience.configuration.errors import UserError
from salience.configuration.problem_types import MULTI_LABEL
from salience.eval.explain.attributions import ATTRIBUTIONS, Attribution, checked_probabilities, predicted_classes
from salience.eval.explain.normalized import Normalized, normalized
from salience.eval.explain.replacement import Replacement, replacement
from salience.eval.explain.sampling import draw
from salience.eval.explain.statistics import MeanInterval, mean_interval
from salience.eval.explain.weight_changes import Change, changed_weights, shuffled, uniform
from salience.eval.reading.reader import Reader, Reading
from salience.eval.scores.paired import Difference, bootstrap
from salience.modeling.documents import Document

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of a text's words: the bins of ERASER (DeYoung et al. 2020, section 4.2)."""
NUM_PERMUTATIONS = 10
NUM_NORMALIZED = 8
"""Of the texts, those whose limits are looked for: each is read some hundred times more."""
REFERENCES = ("random", "integrated_gradients")


class Erasure(MeanInterval):
    """Mean fall of a probability, and its means by fraction."""

    curve: list[float]


class Agreement(MeanInterval):
    """Mean correlation, over the texts in which it is defined."""

    num_documents: int


class Margins(TypedDict):
    """One explanation against another."""

    comprehensiveness: Difference
    sufficiency: Difference


class Tested(TypedDict):
    """What the tests say of an explanation."""

    comprehensiveness: Erasure
    sufficiency: Erasure
    against: dict[str, Margins]


class TestedWithAgreement(Tested, total=False):
    """The same, with a comparison where leave-one-out is another explanation."""

    tau_leave_one_out: Agreement | None


class ChangeEffect(TypedDict):
    """What other weights change in the answers."""

    total_variation: MeanInterval
    flipped: float


class WeightChanges(TypedDict):
    """What `interventions` gives."""

    permutation: ChangeEffect
    uniform: ChangeEffect


class Faithfulness(TypedDict):
    """What `faithfulness` gives; see the module."""

    num_documents: int
    rows: list[int]
    too_short: int
    shortened: int
    max_tokens: int
    fractions: list[float]
    ngram_weight: float
    attributions: dict[str, TestedWithAgreement]
    left_out: dict[str, str]
    interventions: WeightChanges | None
    normalized: Normalized | None
    replacement: Replacement | None


def faithfulness(
    reader: Reader,
    documents: Sequence[Document],
    readings: Sequence[Reading],
    attributions: Mapping[str, Attribution] = ATTRIBUTIONS,
    num_documents: int = 100,
    max_tokens: int = 256,
    seed: int = 0,
) -> Faithfulness:
    """Test explanations of a classifier on a sample of texts.

    Args:
        reader: The classifier.
        documents: N texts.
        readings: What it says of them.
        attributions: By name, the explanations; the tests against others need those under their names.
        num_documents: Texts drawn at most.
        max_tokens: Longer texts are cut behind a whole word, and the cut ones explained: leaving out each word in turn
            is quadratic in the length.
        seed: Of all draws.

    Returns:
        What the module's documentation lists.

    Raises:
        UserError: No text has two words, or the model is no classifier.
    """
    sample = draw(reader, documents, readings, num_documents, max_tokens, seed)
    documents, readings = sample.documents, sample.readings
    importances: dict[str, list[np.ndarray]] = {}
    left_out = {}
    for name, attribution in attributions.items():
        try:
            importances[name] = attribution(reader, documents, readings)
        except UserError as error:
            left_out[name] = str(error)
    drops = {name: erasure(reader, documents, readings, each, seed) for name, each in importances.items()}
    # Texts lie in the order of their file, often class by class: the first ones would be of one class.
    chosen = np.sort(np.random.default_rng(seed).permutation(len(documents))[:NUM_NORMALIZED]).tolist()
    of_few = {name: [each[row] for row in chosen] for name, each in importances.items()}
    few = reader, [documents[row] for row in chosen], [readings[row] for row in chosen]
    return {
        "num_documents": len(documents),
        "rows": sample.rows,
        "too_short": sample.too_short,
        "shortened": sample.shortened,
        "max_tokens": max_tokens,
        "fractions": list(FRACTIONS),
        "ngram_weight": float(getattr(reader.model.config, "ngram_weight", 0.0)),
        "attributions": {name: _summary(name, drops, importances) for name in importances},
        "left_out": left_out,
        "interventions": interventions(reader, documents, readings, seed),
        "normalized": normalized(*few, {name: each for name, each in of_few.items() if name != "random"}, seed),
        "replacement": replacement(*few, of_few, seed),
    }


def erasure(
    reader: Reader,
    documents: Sequence[Document],
    readings: Sequence[Reading],
    importances: Sequence[np.ndarray],
    seed: int = 0,
) -> np.ndarray:
    """Fall of the predicted class's probability without the most important words, and with only them.

    Comprehensiveness and sufficiency of DeYoung et al. 2020, equations 1 and 2. Words go with all their tokens, special
    tokens stay. Every fraction makes one word at least; words of equal importance are taken in random order.

    Args:
        reader: The classifier.
        documents: N texts.
        readings: What it says of them.
        importances: Each (W,).
        seed: Of the order of equally important words.

    Returns:
        (2, N, fractions): comprehensiveness, then sufficiency.
    """
    generator = np.random.default_rng(seed)
    ids = []
    for document, importance in zip(documents, importances, strict=True):
        order = np.lexsort((generator.random(len(importance)), -importance))
        counts = np.ceil(np.array(FRACTIONS) * len(importance) - 1e-9)
        # (fractions, W): whether a word is among the most important.
        is_top = np.argsort(order) < counts[:, None]
        ids += [document.keep_words(kept) for kept in np.concatenate([~is_top, is_top])]
    logits = reader.logits(ids)
    answers = predicted_classes(readings)
    before = checked_probabilities(reader, np.array([reading.logits for reading in readings]))
    after = checked_probabilities(reader, logits).reshape(len(documents), 2, len(FRACTIONS), -1)
    rows = np.arange(len(documents))
    fall = before[rows, answers][:, None, None] - after[rows, :, :, answers]
    return fall.transpose(1, 0, 2)


def _summary(
    name: str, drops: Mapping[str, np.ndarray], importances: Mapping[str, list[np.ndarray]]
) -> TestedWithAgreement:
    comprehensiveness, sufficiency = drops[name]
    found: TestedWithAgreement = {
        "comprehensiveness": _erasure(comprehensiveness),
        "sufficiency": _erasure(sufficiency),
        "against": {
            other: {
                "comprehensiveness": bootstrap([(comprehensiveness - drops[other][0]).mean(1)]),
                "sufficiency": bootstrap([(sufficiency - drops[other][1]).mean(1)]),
            }
            for other in REFERENCES
            if other in drops and other != name
        },
    }
    if "leave_one_out" in importances and name != "leave_one_out":
        found["tau_leave_one_out"] = _mean_tau(importances[name], importances["leave_one_out"])
    return found


def _erasure(drops: np.ndarray) -> Erasure:
    return {**mean_interval(drops.mean(1)), "curve": drops.mean(0).tolist()}


def _mean_tau(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Agreement | None:
    """Kendall's tau-b, mean over the texts in which neither side has all words alike."""
    taus = [
        kendalltau(our, their).statistic
        for our, their in zip(ours, theirs, strict=True)
        if np.ptp(our) > 0 and np.ptp(their) > 0
    ]
    return {**mean_interval(np.array(taus)), "num_documents": len(taus)} if taus else None


def interventions(
    reader: Reader, documents: Sequence[Document], readings: Sequence[Reading], seed: int = 0
) -> WeightChanges | None:
    """What changes when the weights of a text's words are shuffled, and when they are all equal.

    Args:
        reader: The classifier.
        documents: N texts.
        readings: What it says of them.
        seed: Of the first of `NUM_PERMUTATIONS` shuffles, over which the mean is taken.

    Returns:
        `permutation` and `uniform` (see the module), or None for a model without weights.
    """
    if any(reading.weights is None for reading in readings):
        return None
    shuffles = [shuffled(seed + number) for number in range(NUM_PERMUTATIONS)]
    return {
        "permutation": _effect(reader, documents, readings, shuffles),
        "uniform": _effect(reader, documents, readings, [uniform]),
    }


def _effect(
    reader: Reader, documents: Sequence[Document], readings: Sequence[Reading], changes: Sequence[Change]
) -> ChangeEffect:
    ids = [document.ids for document in documents]
    logits = np.array([reading.logits for reading in readings])
    before = checked_probabilities(reader, logits)
    answers = reader.decide(logits)
    distances, flipped = [], []
    for change in changes:
        with changed_weights(reader, change):
            changed = reader.logits(ids)
        moved = np.abs(checked_probabilities(reader, changed) - before)
        # With several labels each is a distribution of its own, and the one that moves most counts.
        distances.append(moved.max(1) if reader.problem_type == MULTI_LABEL else moved.sum(1) / 2)
        flipped.append((reader.decide(changed) != answers).any(1))
    return {"total_variation": mean_interval(np.mean(distances, axis=0)), "flipped": float(np.mean(flipped))}
