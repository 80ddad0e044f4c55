"""How much each word of a text weighs in what a classifier answers, by several methods: `METHODS`.

For any text-classification model of transformers with a fast tokenizer. Nothing here asks for a class of ours: in a Hub
repository, the model and this code can be imported as two modules.

Shape suffixes
    B = texts or points of a path, T = tokens of one text, W = words of one text, C = classes, E = width of a token
    embedding
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .documents import Document, padded
from .windows import cells_of_call

INTEGRATION_STEPS = 32
MAX_PARTS = 256
"""Parts of a text that `leave_one_out` takes out, one at a time: single words, or stretches of a longer text's."""


@dataclass
class Subject:
    """A text before a classifier.

    Args:
        model: The classifier, in evaluation mode.
        tokenizer: Its (fast) tokenizer.
        document: The text.
        most_rows: Variants of the text that are read at once, at most; fewer where they would be many tokens. The
            work on them bounds the memory, however long the text is.
    """

    model: Any
    tokenizer: Any
    document: Document
    most_rows: int = 512

    @property
    def rows(self) -> int:
        """Variants of the text that are read at once."""
        return max(1, min(self.most_rows, self.cells // max(len(self.document.ids), 1)))

    @property
    def cells(self) -> int:
        """Texts times tokens that the device reads at once."""
        return cells_of_call(self.model.device.type)

    @cached_property
    def outputs(self) -> Any:
        """What the model says of the text."""
        with torch.no_grad():
            return self.model(**self.inputs([self.document.ids]))

    def inputs(self, ids: Sequence[np.ndarray]) -> Any:
        """Texts, given as token ids, as inputs of the model."""
        return padded(self.tokenizer, ids).to(self.model.device)

    def of_tokens(self, name: str) -> np.ndarray | None:
        """One of the model's outputs for each token, (T,); None where the model has none."""
        found = self.outputs.get(name)
        return None if found is None else found[0].float().cpu().numpy()

    def scores(self, ids: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities of the classes, or the numbers of a regression, for texts given as token ids: (B, C)."""
        parts = []
        for start in range(0, len(ids), self.rows):
            with torch.no_grad():
                parts.append(
                    probabilities(self.model(**self.inputs(ids[start : start + self.rows])), self.model.config)
                )
        return np.concatenate(parts)


def probabilities(outputs: Any, config: Any) -> np.ndarray:
    """What a classifier's logits say: probabilities (B, C); the logits themselves where it predicts numbers."""
    logits_BC = outputs.logits.float()
    if config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1):
        return logits_BC.cpu().numpy()
    several = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return (logits_BC.sigmoid() if several else logits_BC.softmax(-1)).cpu().numpy()


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

    Raises:
        ValueError: See `replaced_embeddings`.
    """
    ids_T = torch.tensor(subject.document.ids, device=subject.model.device)
    embeds_TE = token_embeddings(subject.model, ids_T)
    gradient_TE = logit_gradients(subject, embeds_TE[None], target)[0]
    return subject.document.per_word((gradient_TE * embeds_TE).sum(-1).cpu().numpy())


def integrated_gradients(subject: Subject, target: int) -> np.ndarray:
    """Integrated gradients (Sundararajan et al. 2017) of the class's logit, summed over each word: (W,).

    The path leads from the text with every word replaced by the embedding of the padding token, special tokens kept,
    to the text itself, in the points and shares of Gauss and Legendre. A text's importances sum to the difference of
    the two logits, except for jumps on the way: where a filter drops a word or a boundary moves there is no gradient.
    What a model reads from token ids alone (counts of n-grams, inverse document frequencies) is the same along the
    path, and has no part in the importances.

    Raises:
        ValueError: See `replaced_embeddings`.
    """
    document = subject.document
    if not document.num_words:
        return np.zeros(0)
    start_TE, end_TE = path_ends(subject)
    points, shares = np.polynomial.legendre.leggauss(INTEGRATION_STEPS)
    point_B = torch.tensor((points + 1) / 2, dtype=torch.float32, device=end_TE.device)
    share_B = torch.tensor(shares / 2, dtype=torch.float32, device=end_TE.device)
    mean_TE = torch.zeros_like(end_TE)
    for first in range(0, INTEGRATION_STEPS, subject.rows):
        part = slice(first, first + subject.rows)
        embeds_BTE = start_TE + point_B[part, None, None] * (end_TE - start_TE)
        mean_TE += (share_B[part, None, None] * logit_gradients(subject, embeds_BTE, target)).sum(0)
    return document.per_word(((end_TE - start_TE) * mean_TE).sum(-1).cpu().numpy())


def leave_one_out(subject: Subject, target: int) -> np.ndarray:
    """By how much the class's probability (or the number of a regression) falls when a word is left out: (W,).

    Of a text of more than `MAX_PARTS` words, stretches of equally many words are left out, and the fall is shared
    among them: else the cost would grow with the square of the length.
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
    """The logit of a class, over that of the text without its words: what `integrated_gradients` sum to."""
    batch, ends = subject.inputs([subject.document.ids] * 2), torch.stack(path_ends(subject))
    with replaced_embeddings(subject.model, ends), torch.no_grad():
        start, end = subject.model(**batch).logits[:, target].tolist()
    return end - start


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
