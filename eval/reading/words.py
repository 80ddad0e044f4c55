"""Which words a model's pooling weighs most. Weights show what was read, not why it was decided."""

from typing import Any, NamedTuple

import torch
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from salience.eval.scores.predictions import REGRESSION, SINGLE_LABEL, class_probabilities
from salience.modeling.tokenizer_loading import length_limit


class Reading(NamedTuple):
    """One classified text."""

    text: str
    label: str
    score: float  # probability of the label
    words: list[tuple[str, float]]  # heaviest first, with their share of the document vector; empty for baselines


@torch.no_grad()
def read_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, num_words: int = 5) -> Reading:
    """Classify one text and name its heaviest words.

    Args:
        model: A classifier; one that returns `pooling_weights` also tells words.
        tokenizer: Its (fast) tokenizer.
        text: The text.
        num_words: How many words to name; see `heaviest_words`.
    """
    model.eval()
    encoding = tokenizer(text, return_tensors="pt", truncation=length_limit(tokenizer) is not None)
    outputs = model(**{name: value.to(model.device) for name, value in encoding.items()})
    scores = class_probabilities(outputs.logits[0].float().cpu().numpy(), problem_type(model))
    best = int(scores.argmax())
    weights: Any = outputs.get("pooling_weights")
    words = [] if weights is None else heaviest_words(text, encoding, weights[0].tolist())[:num_words]
    return Reading(text, label_names(model)[best], float(scores[best]), words)


def label_names(model: PreTrainedModel) -> list[str]:
    """Names of a classifier's classes, in the order of their ids."""
    names: dict[int, str] = model.config.id2label  # type: ignore[assignment]  # int keys, always
    return [names[index] for index in range(len(names))]


def problem_type(model: PreTrainedModel) -> str:
    """What a model answers: that of its configuration; as transformers takes it where nothing is said."""
    config = model.config
    return config.problem_type or (REGRESSION if config.num_labels == 1 else SINGLE_LABEL)


def heaviest_words(text: str, encoding: BatchEncoding, weights: list[float]) -> list[tuple[str, float]]:
    """The words of a text, in lower case, from the heaviest to the lightest.

    A word's weight is that of the place where it weighs most, summed over its tokens there: summed over all places, the
    commonest words would win. Punctuation and special tokens are left out.

    Args:
        text: The text.
        encoding: Its tokens, from a fast tokenizer.
        weights: One for each token.
    """
    places: dict[int, float] = {}
    for word_id, weight in zip(encoding.word_ids(0), weights, strict=True):
        if word_id is not None:
            places[word_id] = places.get(word_id, 0.0) + weight
    words: dict[str, float] = {}
    for word_id, weight in places.items():
        start, end = encoding.word_to_chars(0, word_id)
        word = text[start:end].strip().lower()
        if any(character.isalnum() for character in word):
            words[word] = max(words.get(word, 0.0), weight)
    return sorted(words.items(), key=lambda item: -item[1])
