"""How errors of the word filter carry to the answer: words that matter are forced through it, or kept from passing it.

A word matters by how far the probability of the true class falls when it is removed from the text (leave-one-out), read
with an open filter: a word that the filter drops would hardly be missed. The top 10 % of a document's words are its
"right words". They are forced to be kept, or to be dropped, and so are as many random words for comparison.

`interventions` gives, under `interventions` of failure_analysis.json (all scores 0 to 1):

    reason: why nothing could be done, and then nothing else but `documents`; null otherwise
    documents: that were intervened in, drawn at random of those with 2 to `max_words` words
    max_words, right_share (of a document's words, rounded up), random_draws (for each document, averaged)
    ngram_weight: above 0, the answer also counts n-grams, which no filter holds back; 0 for none
    conditions: {as_is, keep_right, keep_random, drop_right, drop_random: {accuracy, true_class_probability (mean)}}
    effects: {keep, drop: {difference, low, high, p_value}}: what forcing the right words changes in the probability of
        the true class, beyond what forcing random words does, by a paired bootstrap over documents
    filter_keeps: {right, wrong (predictions as is): {documents, right_words, all_words}}: share that the filter lets
        through
    repaired: {documents (wrong as is), right_words, random_words}: share whose answer becomes right when they are kept
    broken: {documents (right as is), right_words, random_words}: share whose answer becomes wrong when they are dropped
A mean over no documents is null.

Shapes
    N = documents, T = tokens of one text, W = words of one text, C = classes, R = random draws
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel

from salience.configuration.problem_types import MULTI_LABEL
from salience.eval.failures.internals import read_insides
from salience.eval.reading.reader import Reader
from salience.eval.scores.paired import Difference, bootstrap
from salience.eval.scores.predictions import class_probabilities
from salience.modeling.documents import Document

RIGHT_SHARE = 0.1
RANDOM_DRAWS = 5
# A document is read once for each of its words.
MAX_WORDS = 200


class NoInterventions(TypedDict):
    """Why nothing could be done."""

    reason: str
    documents: int


class Condition(TypedDict):
    """Answers with some words forced; null over no documents, as all that follows."""

    accuracy: float | None
    true_class_probability: float | None


class Changed(TypedDict):
    """Share of the documents whose answer changes with the right words, and with random ones."""

    documents: int
    right_words: float | None
    random_words: float | None


class Kept(TypedDict):
    """Share of the documents' words that the filter lets through."""

    documents: int
    right_words: float | None
    all_words: float | None


class Effects(TypedDict):
    """What forcing words does."""

    conditions: dict[str, Condition]
    effects: dict[str, Difference]
    repaired: Changed
    broken: Changed


class Interventions(Effects):
    """What `interventions` gives; see the module."""

    reason: None
    documents: int
    max_words: int
    right_share: float
    random_draws: int
    ngram_weight: float
    filter_keeps: dict[str, Kept]


@contextmanager
def forced_filter(model: PreTrainedModel, shares: Sequence[np.ndarray]) -> Iterator[None]:
    """Decide in the filter's place what it keeps of the texts of a batch.

    Args:
        model: A model with a word filter.
        shares: For each text of the batches that follow, in their order, (T,) by token: the share to keep, 0 to 1, and
            nan to leave it to the filter.

    Raises:
        ValueError: While the context lasts, for a batch of another number of texts.
    """
    inner: Any = model.base_model
    share = torch.tensor(np.concatenate(shares), dtype=torch.float, device=model.device)
    first_B = torch.tensor(np.cumsum([0, *map(len, shares)])[:-1], device=model.device)

    def force(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        _, words = inputs
        if words.by_document.num_segments != len(shares):
            raise ValueError(f"{len(shares)} texts were to be forced, and {words.by_document.num_segments} are read")
        forced_N = share[first_B[words.by_document.segment_N] + words.position_N].to(output.dtype)
        return torch.where(forced_N.isnan(), output, forced_N)

    with inner.word_filter.choose.register_forward_hook(force):
        yield


def forced_logits(reader: Reader, ids: Sequence[np.ndarray], shares: Sequence[np.ndarray]) -> np.ndarray:
    """Answers (N, C), float64, to texts read with a forced filter.

    Args:
        reader: A model with a word filter.
        ids: Token ids of each text, (T,).
        shares: What to keep of each text, see `forced_filter`.
    """
    logits = np.zeros((len(ids), len(reader.label_names)))
    for rows in reader.batches(ids):
        with forced_filter(reader.model, [shares[row] for row in rows]):
            logits[rows] = [each.logits for each in reader.read_batch([ids[row] for row in rows])]
    return logits


def leave_one_out(reader: Reader, document: Document, label: int) -> np.ndarray:
    """How far the probability of a class falls when a word is removed from the text, for each word (W,).

    Args:
        reader: A model with a word filter, which is open here: all words are kept.
        document: The text.
        label: The class.
    """
    kept = ~np.eye(document.num_words, dtype=bool)
    ids = [document.ids, *(document.keep_words(each) for each in kept)]
    logits = forced_logits(reader, ids, [np.ones(len(each)) for each in ids])
    probabilities = class_probabilities(logits, reader.problem_type)[:, label]
    return probabilities[0] - probabilities[1:]


def interventions(
    reader: Reader, documents: Sequence[Document], labels: np.ndarray, num_documents: int = 100, seed: int = 0
) -> Interventions | NoInterventions:
    """Force words that matter through the filter, or keep them from passing it.

    Args:
        reader: A model with a word filter.
        documents: Texts, from the reader.
        labels: (N,) class ids.
        num_documents: Texts to intervene in.
        seed: Of the texts and the random words.

    Returns:
        See the module.
    """
    labels = np.asarray(labels)
    if reader.problem_type == MULTI_LABEL:
        return {"reason": "a text with several labels has no true class whose probability could fall", "documents": 0}
    random = np.random.default_rng(seed)
    fitting = [row for row, document in enumerate(documents) if 2 <= document.num_words <= MAX_WORDS]
    chosen = np.sort(random.permutation(fitting)[:num_documents]).astype(int)
    if not len(chosen):
        return {"reason": f"no text of 2 to {MAX_WORDS} words was to be intervened in", "documents": 0}
    sample, truth = [documents[row] for row in chosen], labels[chosen]
    right = [
        right_words(leave_one_out(reader, document, label))
        for document, label in tqdm(zip(sample, truth, strict=True), total=len(sample), desc="interventions")
    ]
    draws = [[random.permutation(words) for words in right] for _ in range(RANDOM_DRAWS)]
    nothing = [np.zeros_like(words) for words in right]
    plans = {"as_is": (np.nan, [nothing])}
    for name, share in (("keep", 1.0), ("drop", 0.0)):
        plans |= {f"{name}_right": (share, [right]), f"{name}_random": (share, draws)}
    found = {name: _forced(reader, sample, truth, share, drawn) for name, (share, drawn) in plans.items()}
    return {
        "reason": None,
        "documents": len(sample),
        "max_words": MAX_WORDS,
        "right_share": RIGHT_SHARE,
        "random_draws": RANDOM_DRAWS,
        "ngram_weight": float(reader.model.config.ngram_weight),
        **_summary(found),
        "filter_keeps": _filter_keeps(reader, sample, right, found["as_is"][0][0]),
    }


def right_words(drops: np.ndarray) -> np.ndarray:
    """The top 10 % of words by what their removal takes from the true class (W,), rounded up: bool (W,)."""
    chosen = np.zeros(len(drops), dtype=bool)
    chosen[np.argsort(-drops, kind="stable")[: math.ceil(RIGHT_SHARE * len(drops) - 1e-9)]] = True
    return chosen


def _forced(
    reader: Reader, documents: Sequence[Document], labels: np.ndarray, share: float, draws: list[list[np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the answers are right, and the probability of the true class, each (R, N), with words set to a share."""
    ids = [document.ids for document in documents]
    rows = np.arange(len(ids))
    is_right, probability = [], []
    for words in draws:
        forced = [np.where(_tokens(*each), share, np.nan) for each in zip(documents, words, strict=True)]
        logits = forced_logits(reader, ids, forced)
        is_right.append(reader.decide(logits)[rows, labels])
        probability.append(class_probabilities(logits, reader.problem_type)[rows, labels])
    return np.array(is_right), np.array(probability)


def _tokens(document: Document, words: np.ndarray) -> np.ndarray:
    """Tokens of some words, bool (W,), as bool (T,)."""
    return (document.word_of >= 0) & words[document.word_of]


def _summary(found: dict[str, tuple[np.ndarray, np.ndarray]]) -> Effects:
    """conditions, effects, repaired and broken, from what `_forced` says under each condition."""
    is_right = {name: each[0].mean(0) for name, each in found.items()}
    probability = {name: each[1].mean(0) for name, each in found.items()}
    was_right = found["as_is"][0][0]
    gained = {name: is_right[f"keep_{name}"][~was_right] for name in ("right", "random")}
    lost = {name: 1 - is_right[f"drop_{name}"][was_right] for name in ("right", "random")}
    return {
        "conditions": {
            name: {"accuracy": _mean(is_right[name]), "true_class_probability": _mean(probability[name])}
            for name in found
        },
        "effects": {
            name: bootstrap([probability[f"{name}_right"] - probability[f"{name}_random"]]) for name in ("keep", "drop")
        },
        "repaired": _changed(gained),
        "broken": _changed(lost),
    }


def _changed(by_words: dict[str, np.ndarray]) -> Changed:
    right, random = by_words["right"], by_words["random"]
    return {"documents": len(right), "right_words": _mean(right), "random_words": _mean(random)}


def _filter_keeps(
    reader: Reader, documents: Sequence[Document], right: list[np.ndarray], was_right: np.ndarray
) -> dict[str, Kept]:
    """Share of right words and of all words that the filter keeps, among right and wrong predictions."""
    insides = read_insides(reader, [document.ids for document in documents])
    shares = np.zeros((len(documents), 2))
    for row, (document, inside) in enumerate(zip(documents, insides, strict=True)):
        # A word that the model cuts off isn't kept; one that stands in two sentences is kept by either of them.
        kept = np.bincount(inside.position, weights=inside.kept, minlength=len(document.ids)).clip(max=1)
        shares[row] = [kept[_tokens(document, words)].mean() for words in (right[row], np.ones_like(right[row]))]
    found: dict[str, Kept] = {}
    for name, group in (("right", was_right), ("wrong", ~was_right)):
        right_share, all_share = _mean(shares[group, 0]), _mean(shares[group, 1])
        found[name] = {"documents": int(group.sum()), "right_words": right_share, "all_words": all_share}
    return found


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
