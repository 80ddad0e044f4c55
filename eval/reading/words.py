"""Which words a model's pooling weighs most. Weights show what was read, not why it was decided."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.configuration_fields import problem_type_of
from salience.eval.scores.predictions import class_probabilities
from salience.modeling.tokenizer_loading import length_limit

NUM_WORDS = 5


class Reading(NamedTuple):
    """One classified text, and its `NUM_WORDS` heaviest words."""

    text: str
    label: str
    score: float  # probability of the label
    words: list[tuple[str, float]]  # heaviest first, with their share of the document vector; empty for baselines


@torch.no_grad()
def read_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> Reading:
    """Classify one text and name its heaviest words, see `heaviest_words`.

    Args:
        model: A classifier; one that returns `pooling_weights` also tells words.
        tokenizer: Its (fast) tokenizer.
        text: The text.
    """
    model.eval()
    encoding = tokenizer(text, return_tensors="pt", truncation=length_limit(tokenizer) is not None)
    outputs = model(**{name: value.to(model.device) for name, value in encoding.items()})
    scores = class_probabilities(outputs.logits[0].float().cpu().numpy(), problem_type(model))
    best = int(scores.argmax())
    weights: Any = outputs.get("pooling_weights")
    words = [] if weights is None else heaviest_words(*_words_of(text, encoding, weights[0].tolist()))[:NUM_WORDS]
    return Reading(text, label_names(model)[best], float(scores[best]), words)


def _words_of(text: str, encoding: BatchEncoding, weights: list[float]) -> tuple[list[str], list[float]]:
    """The words of a text, and the sum of the weights of each one's tokens."""
    places: dict[int, float] = {}
    for word_id, weight in zip(encoding.word_ids(0), weights, strict=True):
        if word_id is not None:
            places[word_id] = places.get(word_id, 0.0) + weight
    return [text[slice(*encoding.word_to_chars(0, word_id))] for word_id in places], list(places.values())


def label_names(model: PreTrainedModel) -> list[str]:
    """Names of a classifier's classes, in the order of their ids."""
    names: dict[int, str] = model.config.id2label  # type: ignore[assignment]  # int keys, always
    return [names[index] for index in range(len(names))]


def problem_type(model: PreTrainedModel) -> str:
    """What a model answers: see `problem_type_of`."""
    return problem_type_of(model.config)


def heaviest_words(words: Sequence[str], weights: Sequence[float]) -> list[tuple[str, float]]:
    """The different words of a text, in lower case, from the heaviest to the lightest.

    A word's weight is that of the place where it weighs most: summed over all places, the commonest words would win.
    Punctuation is left out.

    Args:
        words: Of the text, in its order.
        weights: The weight of each, summed over its tokens.
    """
    heaviest: dict[str, float] = {}
    for place, weight in zip(words, weights, strict=True):
        word = place.strip().lower()
        if any(character.isalnum() for character in word):
            heaviest[word] = max(heaviest.get(word, 0.0), weight)
    return sorted(heaviest.items(), key=lambda item: -item[1])
