"""How much each word of a text weighs in what a classifier answers, by several methods: `METHODS`.

For any text-classification model of transformers with a fast tokenizer. Nothing here asks for a class of ours: in a Hub
repository, the model and this code can be imported as two modules.

Shape suffixes
    B = texts or points of a path, T = tokens of one text, W = words of one text, C = classes, E = width of a token
    embedding
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .subject import Subject

INTEGRATION_STEPS = (32, 128, 512)
"""Points of a path; more where fewer miss its whole change by more than `MAX_MISSED` of it, and by what one can see."""
MAX_MISSED, TOO_SMALL_TO_SEE = 0.01, 1e-3
MAX_PARTS = 256
"""Parts of a text that `leave_one_out` takes out, one at a time: single words, or stretches of a longer text's."""


def attention(subject: Subject, target: int) -> np.ndarray:
    """The weight of each word in the document vector, summed over its tokens, (W,): the same for every class.

    Raises:
        ValueError: The model has no such weights.
    """
    weights_T = subject.of_tokens("pooling_weights")
    if weights_T is None:
        raise ValueError("this model returns no pooling_weights, so it has no attention over words to look at")
    return subject.document.per_word(weights_T)


def gradient_x_input(subject: Subject, target: int) -> np.ndarray:
    """The gradient of the class's logit, times the embedding that it is taken at, summed over each word: (W,).

    What a word adds to the logit by counts of n-grams, of which there is no gradient, is added to it.

    Raises:
        ValueError: See `replaced_embeddings`.
    """
    ids_T = torch.tensor(subject.document.ids, device=subject.model.device)
    embeds_TE = token_embeddings(subject.model, ids_T)
    gradient_TE = logit_gradients(subject, embeds_TE[None], target)[0]
    return subject.document.per_word((gradient_TE * embeds_TE).sum(-1).cpu().numpy()) + counted_words(subject, target)


def integrated_gradients(subject: Subject, target: int) -> np.ndarray:
    """Integrated gradients (Sundararajan et al. 2017) of the class's logit, summed over each word: (W,).

    The path leads from the text with every word replaced by the embedding of the padding token, special tokens kept,
    to the text itself, in the points and shares of Gauss and Legendre. What the model chooses in the text itself, words
    that it keeps and sentence boundaries, is held on the way: there is no gradient where a choice jumps. Counts of
    n-grams are no function of embeddings: what a word adds to the logit by them, exactly, is added to its importance. A
    text's importances sum to `logit_change`. Inverse document frequencies are read from ids, and stay as they are.

    Raises:
        ValueError: See `replaced_embeddings`.
    """
    counts_W, change = counted_words(subject, target), logit_change(subject, target)
    weights_W = counts_W
    for num_steps in INTEGRATION_STEPS if len(counts_W) else ():
        weights_W = path_integral(subject, target, num_steps) + counts_W
        if abs(weights_W.sum() - change) <= max(MAX_MISSED * abs(change), TOO_SMALL_TO_SEE):
            break
    return weights_W


def path_integral(subject: Subject, target: int, num_steps: int) -> np.ndarray:
    """The network's part of `integrated_gradients`, (W,).

    Args:
        subject: The text before its classifier.
        target: Number of the class.
        num_steps: Points of the path.
    """
    start_TE, end_TE = path_ends(subject)
    points, shares = np.polynomial.legendre.leggauss(num_steps)
    point_B = torch.tensor((points + 1) / 2, dtype=torch.float32, device=end_TE.device)
    share_B = torch.tensor(shares / 2, dtype=torch.float32, device=end_TE.device)
    mean_TE = torch.zeros_like(end_TE)
    for first in range(0, num_steps, subject.rows):
        part = slice(first, first + subject.rows)
        embeds_BTE = start_TE + point_B[part, None, None] * (end_TE - start_TE)
        with held_choices(subject, len(embeds_BTE)):
            mean_TE += (share_B[part, None, None] * logit_gradients(subject, embeds_BTE, target)).sum(0)
    return subject.document.per_word(((end_TE - start_TE) * mean_TE).sum(-1).cpu().numpy())


def counted_words(subject: Subject, target: int) -> np.ndarray:
    """What each word adds to the class's logit by counts of n-grams, (W,): 0 where the model counts none.

    Args:
        subject: The text before its classifier.
        target: Number of the class.
    """
    counted_T = subject.counted(target)
    return np.zeros(subject.document.num_words) if counted_T is None else subject.document.per_word(counted_T)


def leave_one_out(subject: Subject, target: int) -> np.ndarray:
    """By how much the class's probability (or the number of a regression) falls when a word is left out: (W,).

    It is what the model answers to the text without the word, in whose counts the word's neighbours are a pair. Of a
    text of more than `MAX_PARTS` words, stretches of equally many words are left out, and the fall is shared among
    them: else the cost would grow with the square of the length.
    """
    document = subject.document
    if not document.num_words:
        return np.zeros(0)
    parts = np.array_split(np.arange(document.num_words), min(document.num_words, MAX_PARTS))
    kept = [~np.isin(np.arange(document.num_words), part) for part in parts]
    scores_BC = subject.scores([document.ids, *(document.keep_words(each) for each in kept)])
    falls = scores_BC[0, target] - scores_BC[1:, target]
    return np.concatenate([np.full(len(part), fall / len(part)) for part, fall in zip(parts, falls, strict=True)])


Method = Callable[[Subject, int], np.ndarray]
METHODS: dict[str, Method] = {
    "attention": attention,
    "gradient_x_input": gradient_x_input,
    "integrated_gradients": integrated_gradients,
    "leave_one_out": leave_one_out,
}
"""By name. A new method is a function like these, and a line here."""
UNMEASURED_METHOD = "integrated_gradients"
"""What explains a model of which nobody has measured which method is the most faithful."""


def method_named(name: str) -> Method:
    """One of `METHODS`.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in METHODS:
        raise ValueError(f'method = "{name}" is unknown; choose from {", ".join(METHODS)}')
    return METHODS[name]


def logit_change(subject: Subject, target: int) -> float:
    """The logit of a class, over that of the text without its words: what `integrated_gradients` sum to.

    Without its words: with padding in their place, their counts left out, and the model's choices held.
    """
    batch, ends = subject.inputs([subject.document.ids] * 2), torch.stack(path_ends(subject))
    with held_choices(subject, 2), replaced_embeddings(subject.model, ends), torch.no_grad():
        start, end = subject.model(**batch).logits[:, target].tolist()
    return end - start + float(counted_words(subject, target).sum())


@contextmanager
def held_choices(subject: Subject, num_rows: int) -> Iterator[None]:
    """Let a model keep to what it chooses in the text itself, while it reads the text from other embeddings.

    Args:
        subject: The text before its classifier.
        num_rows: How often the text stands in each batch that is read.
    """
    choosing = [each for each in subject.model.modules() if getattr(each, "chooses_by_embeddings", False)]
    chosen: dict[Any, Any] = {}
    with ExitStack() as hooks:
        for module in choosing:
            hooks.enter_context(
                module.register_forward_hook(lambda module, inputs, output: chosen.setdefault(module, output))
            )
        if choosing:
            with torch.no_grad():
                subject.model(**subject.inputs([subject.document.ids] * num_rows))
        yield


def path_ends(subject: Subject) -> tuple[Tensor, Tensor]:
    """Embeddings of the text with padding for its words, and of the text itself, each (T, E)."""
    document = subject.document
    blank = np.where(document.word_of >= 0, subject.tokenizer.pad_token_id, document.ids)
    start_TE, end_TE = (
        token_embeddings(subject.model, torch.tensor(ids, device=subject.model.device)) for ids in (blank, document.ids)
    )
    return start_TE, end_TE


@torch.no_grad()
def token_embeddings(model: Any, ids_T: Tensor) -> Tensor:
    """Embeddings of tokens out of context, (T, E) in float32."""
    return embedding_of(model)(ids_T[None])[0].detach().float()  # checkpointing makes it require a gradient


def embedding_of(model: Any) -> Any:
    """The module that looks up tokens' embeddings.

    Raises:
        ValueError: There is none, or one for two texts.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError("gradients explain models that read a text once, and this one has an encoder and a decoder")
    try:
        return model.get_input_embeddings()
    except NotImplementedError as error:
        raise ValueError("gradients need a model that looks up an embedding for each token") from error


def logit_gradients(subject: Subject, embeds_BTE: Tensor, target: int) -> Tensor:
    """Gradient of a class's logit by the embeddings of the text's tokens, at several points, (B, T, E)."""
    model = subject.model
    batch = subject.inputs([subject.document.ids] * len(embeds_BTE))
    embeds_BTE = embeds_BTE.detach().requires_grad_()
    # cuDNN has no gradient for an LSTM in evaluation mode.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        with keeping_at_most(model, subject.cells), replaced_embeddings(model, embeds_BTE):
            logits_BC = model(**batch).logits
        return torch.autograd.grad(logits_BC[:, target].float().sum(), embeds_BTE)[0]


@contextmanager
def replaced_embeddings(model: Any, embeds_BTE: Tensor) -> Iterator[None]:
    """Let a model read these embeddings in place of those that it looks up; it is given the token ids as well.

    Raises:
        ValueError: The model looks up embeddings of another shape, so that it isn't known of which tokens, or none.
    """
    shapes = []

    def replace(module: Any, inputs: Any, output: Tensor) -> Tensor:
        shapes.append(output.shape)
        return embeds_BTE.to(output.dtype) if output.shape == embeds_BTE.shape else output

    handle = embedding_of(model).register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
    if shapes.count(embeds_BTE.shape) != 1 or len(set(shapes)) > 1:
        raise ValueError("gradients need a model that looks up the embeddings of a text's tokens once, side by side")


@contextmanager
def keeping_at_most(model: Any, tokens: int) -> Iterator[None]:
    """Let a model of ours keep the activations of so many tokens for the gradient; it computes those of more again."""
    document_model = model.base_model
    before = getattr(document_model, "keep_at_most", None)
    document_model.keep_at_most = tokens
    try:
        yield
    finally:
        document_model.keep_at_most = before
