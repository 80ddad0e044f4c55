"""Which words a model's pooling weighs most. Weights show what was read, not why it was decided."""

from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Reading(NamedTuple):
    """One classified text."""

    label: str
    score: float  # probability of the label
    words: list[tuple[str, float]]  # heaviest first, with their share of the document vector; empty for baselines


@torch.no_grad()
def read_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, num_words: int = 5) -> Reading:
    """Classify one text and name its heaviest words.

    A word's weight is the sum over its tokens in all places where it stands, punctuation and special tokens left out.

    Args:
        model: A classifier; one that returns `pooling_weights` also tells words.
        tokenizer: Its (fast) tokenizer.
        text: The text.
        num_words: How many words to name.
    """
    model.eval()
    limit = tokenizer.model_max_length
    encoding = tokenizer(text, return_tensors="pt", truncation=limit < 1_000_000)
    outputs = model(**{name: value.to(model.device) for name, value in encoding.items()})
    is_multi_label = model.config.problem_type == "multi_label_classification"
    scores = outputs.logits[0].float().sigmoid() if is_multi_label else outputs.logits[0].float().softmax(-1)
    best = int(scores.argmax())
    words: dict[str, float] = {}
    weights: Any = outputs.get("pooling_weights")
    if weights is not None:
        for token, word_id in enumerate(encoding.word_ids(0)):
            if word_id is None:
                continue
            start, end = encoding.word_to_chars(0, word_id)
            word = text[start:end].strip().lower()
            if any(character.isalnum() for character in word):
                words[word] = words.get(word, 0.0) + float(weights[0, token])
    heaviest = sorted(words.items(), key=lambda item: -item[1])[:num_words]
    names: dict[int, str] = model.config.id2label  # type: ignore[assignment]  # int keys, always
    return Reading(names[best], float(scores[best]), heaviest)
