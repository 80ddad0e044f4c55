"""Names of what a model answers and reads: its classes, and the words that its pooling weighs most."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from salience.configuration.configuration_fields import problem_type_of


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
