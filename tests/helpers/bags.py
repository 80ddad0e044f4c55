"""Classifiers whose decisions are known: an attention-pooling model without layers, its weights set by hand.

A word has a strength from -1 to 1. A text's score is the weighted mean of its words' strengths times SCALE, and the
weights are a softmax of the words' appeals. Position and context play no part.
"""

import numpy as np
import torch
from transformers import BertConfig, PreTrainedTokenizerBase

from salience.eval.reading.reader import Reader
from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification

SCALE = 40.0


def bag_reader(
    tokenizer: PreTrainedTokenizerBase,
    strengths: dict[str, float],
    appeals: dict[str, float],
    scale: float = SCALE,
    **options,
) -> Reader:
    """A reader of texts of single-token words.

    Args:
        tokenizer: The tiny tokenizer.
        strengths: Of words, -1 (class "left") to 1 ("right"); 0 for others.
        appeals: The logarithm of a word's attention, -1 to 1 times a constant; 0 for others.
        scale: Logit of "right" for a text of strength 1; that of "left" is its negative.
        options: Fields of the configuration.
    """
    encoder = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=0, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=512,
    )  # fmt: skip
    options = {"query": "learned", "key_dim": 1, "alpha": 0.0, "num_prefix_tokens": 1, "num_suffix_tokens": 1} | options
    model = AttnPoolForSequenceClassification(
        AttnPoolConfig(
            encoder_config=encoder, id2label={0: "left", 1: "right"}, label2id={"left": 0, "right": 1}, **options
        )
    )
    table = np.zeros((len(tokenizer), 2))
    for column, values in enumerate((strengths, appeals)):
        highest = max([1.0, *(abs(value) for value in values.values())])
        for word, value in values.items():
            table[tokenizer.convert_tokens_to_ids(word), column] = value / highest
    appeal_scale = max([1.0, *(abs(value) for value in appeals.values())])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        embeddings = model.model.pretrained.embeddings
        embeddings.word_embeddings.weight.copy_(torch.tensor(_of_mean_0_and_variance_1(table)))
        embeddings.LayerNorm.weight.fill_(1.0)
        model.classifier.weight[:, 0] = torch.tensor([-scale, scale])
        attention = model.model.pooler.attention
        if attention is not None:
            attention.key.weight[0, 2] = 1.0
            attention.question.fill_(appeal_scale)
    return Reader(model.eval(), tokenizer, batch_size=64)


def _of_mean_0_and_variance_1(table: np.ndarray) -> np.ndarray:
    """(V, 2) -> (V, 8) whose columns 0 and 2 are those of the table; the layer norm leaves such rows as they are."""
    rest = np.sqrt((4 - (table**2).sum(1, keepdims=True)) / 2)
    halves = np.concatenate([table, rest, rest], 1)
    return np.stack([halves, -halves], 2).reshape(len(table), 8)
