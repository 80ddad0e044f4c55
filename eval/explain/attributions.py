"""How much each word of a text matters for what a classifier answers, by several methods: `ATTRIBUTIONS`.

Shapes
    N = texts, T = tokens of one text, W = words of one text, C = classes, E = width of a token embedding
"""

from collections.abc import Callable, Sequence
from inspect import signature

import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from salience.configuration.errors import UserError
from salience.eval.reading.reader import Document, Reader, Reading
from salience.eval.scores.predictions import REGRESSION, class_probabilities
from salience.modeling.salience_base import SaliencePreTrainedModel

INTEGRATION_STEPS = 32

Attribution = Callable[[Reader, Sequence[Document], Sequence[Reading]], list[np.ndarray]]
"""From the classifier, N texts and what it says of them to each text's importances (W,), the highest the most."""


def checked_probabilities(reader: Reader, logits: np.ndarray) -> np.ndarray:
    """Probabilities of classes, (N, C).

    Args:
        reader: The classifier.
        logits: (N, C).

    Raises:
        UserError: The model predicts numbers, not classes.
    """
    if reader.problem_type == REGRESSION or logits.shape[1] == 1:
        raise UserError("this model predicts numbers, not classes; explanations are tested on a classifier")
    return class_probabilities(logits, reader.problem_type)


def predicted_classes(readings: Sequence[Reading]) -> np.ndarray:
    """The class of highest score for each text, (N,)."""
    return np.array([reading.logits.argmax() for reading in readings], dtype=int)


def attention(reader: Reader, documents: Sequence[Document], readings: Sequence[Reading]) -> list[np.ndarray]:
    """The weight of each word in the document vector, summed over its tokens.

    Args:
        reader: The classifier.
        documents: N texts.
        readings: What it says of them.

    Returns:
        For each text (W,); with special tokens they sum to 1.

    Raises:
        UserError: The model has no such weights.
    """
    return [document.per_word(pooling_weights(reading)) for document, reading in zip(documents, readings, strict=True)]


def pooling_weights(reading: Reading) -> np.ndarray:
    """The weights of a text's tokens, (T,).

    Raises:
        UserError: The model has none.
    """
    if reading.weights is None:
        raise UserError("this model returns no pooling_weights, so it has no attention over words to look at")
    return reading.weights


def random_importance(
    reader: Reader, documents: Sequence[Document], readings: Sequence[Reading], seed: int = 0
) -> list[np.ndarray]:
    """Importances drawn evenly from 0 to 1: what any explanation must beat.

    Args:
        reader: Not looked at.
        documents: N texts.
        readings: Not looked at.
        seed: Of the draws.

    Returns:
        For each text (W,).
    """
    generator = np.random.default_rng(seed)
    return [generator.random(document.num_words) for document in documents]


def leave_one_out(reader: Reader, documents: Sequence[Document], readings: Sequence[Reading]) -> list[np.ndarray]:
    """By how much the predicted class's probability falls when a word is left out.

    One forward pass for each word: cost grows with the square of a text's length.

    Args:
        reader: The classifier.
        documents: N texts.
        readings: What it says of them.

    Returns:
        For each text (W,), from -1 to 1.
    """
    return [
        _drops(reader, document, reading) if document.num_words else np.zeros(0)
        for document, reading in zip(documents, readings, strict=True)
    ]


def _drops(reader: Reader, document: Document, reading: Reading) -> np.ndarray:
    without = reader.logits([document.keep_words(kept) for kept in ~np.eye(document.num_words, dtype=bool)])
    probability = checked_probabilities(reader, np.concatenate([reading.logits[None], without]))
    answer = reading.logits.argmax()
    return probability[0, answer] - probability[1:, answer]


def integrated_gradients(
    reader: Reader, documents: Sequence[Document], readings: Sequence[Reading]
) -> list[np.ndarray]:
    """Integrated gradients (Sundararajan et al. 2017) of the predicted class's logit, summed over each word.

    The path leads from the text with every word replaced by the embedding of the padding token, special tokens kept,
    to the text itself. A text's importances sum to the difference of the two logits, except for jumps on the way: where
    a filter drops a word or a boundary moves there is no gradient. What a model reads from token ids alone (counts of
    n-grams, inverse document frequencies) is the same along the path, and has no part in the importances.

    Args:
        reader: The classifier; it must take `inputs_embeds`.
        documents: N texts.
        readings: What it says of them.

    Returns:
        For each text (W,), in units of the logit.

    Raises:
        UserError: The model doesn't take embeddings in place of token ids.
    """
    model = reader.model
    if model.config.is_encoder_decoder or "inputs_embeds" not in signature(model.forward).parameters:
        raise UserError("integrated gradients need a model that takes inputs_embeds in place of input_ids")
    # cuDNN has no gradient for an LSTM in evaluation mode.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        return [
            document.per_word(_token_gradients(reader, document, int(reading.logits.argmax())))
            for document, reading in zip(documents, readings, strict=True)
        ]


def _token_gradients(reader: Reader, document: Document, answer: int) -> np.ndarray:
    """Integrated gradients of one logit, summed over the width of each token's embedding: (T,)."""
    if not document.num_words:
        return np.zeros(len(document.ids))
    model = reader.model
    is_word = document.word_of >= 0
    ids_1T = torch.tensor(document.ids, device=model.device)[None]
    baseline_ids = np.where(is_word, reader.tokenizer.pad_token_id, document.ids)
    baseline_1T = torch.tensor(baseline_ids, device=model.device)[None]
    # Our own models read token ids beside embeddings; others refuse to be given both.
    takes_both = isinstance(model, SaliencePreTrainedModel)

    def logits(embeds_BTE: Tensor, ids_BT: Tensor) -> Tensor:
        inputs = {"inputs_embeds": embeds_BTE, "attention_mask": torch.ones_like(ids_BT)}
        return model(**inputs, **({"input_ids": ids_BT} if takes_both else {})).logits

    embed = model.get_input_embeddings()
    attributions_1TE = IntegratedGradients(logits).attribute(
        embed(ids_1T).detach(),
        baselines=embed(baseline_1T).detach(),
        target=answer,
        additional_forward_args=(ids_1T,),
        n_steps=INTEGRATION_STEPS,
        internal_batch_size=max(1, min(reader.batch_size, reader.cells // len(document.ids))),
    )
    return attributions_1TE[0].sum(-1).float().cpu().numpy()


ATTRIBUTIONS: dict[str, Attribution] = {
    "attention": attention,
    "random": random_importance,
    "integrated_gradients": integrated_gradients,
    "leave_one_out": leave_one_out,
}
"""By name. A new method is a function like these, and a line here."""
