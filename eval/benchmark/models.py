"""What the benchmark runs: batches of real texts, the models that are compared, and a check that equals are equal."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import PreTrainedTokenizerBase

from salience.configuration.errors import UserError
from salience.configuration.flags.model_arguments import model_options
from salience.modeling import (
    BaselineConfig,
    BaselineForSequenceClassification,
    HierarchicalAttnConfig,
    HierarchicalAttnForSequenceClassification,
)
from salience.modeling.dense_reference import Grid, dense_logits, make_grid
from salience.train.building.word_tokenizer import build_word_tokenizer, sentence_end_ids
from salience.train.loop.sampling import EpochSampler

NUM_LABELS = 20
TOLERANCE = 1e-5
LABELS = [str(number) for number in range(NUM_LABELS)]
VOCAB_SIZE = 20_000


class Batch(NamedTuple):
    """A padded batch: token ids (B, T), mask (B, T), and labels (B,), which mean nothing, as only time is measured."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def make_batch(documents: list[list[int]]) -> Batch:
    """Documents of token ids as a batch, padded with 0 on the right."""
    rows = [torch.tensor(ids, dtype=torch.long) for ids in documents]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return Batch(ids, mask, torch.arange(len(rows)) % NUM_LABELS)


def batches_of(documents: list[list[int]], batch_size: int) -> list[Batch]:
    """Padded batches, in the order of the documents."""
    return [make_batch(documents[start : start + batch_size]) for start in range(0, len(documents), batch_size)]


class Corpus:
    """Real texts as token ids, drawn from by seed.

    Args:
        texts: The texts; their vocabulary is that of models from scratch.
        seed: Seed of what is drawn.
        vocab_size: Words of the vocabulary at most, the two special tokens not counted.
    """

    def __init__(self, texts: list[str], seed: int, vocab_size: int = VOCAB_SIZE) -> None:
        self.tokenizer: PreTrainedTokenizerBase = build_word_tokenizer(texts, vocab_size=vocab_size)
        ids: list[list[int]] = self.tokenizer(texts)["input_ids"]
        order = np.random.default_rng(seed).permutation(len(ids))
        self.texts = [texts[number] for number in order]
        self.documents = [ids[number] for number in order]

    def draw(self, count: int) -> list[list[int]]:
        """The first `count` documents of the order that the seed gives; from the beginning again where they end."""
        return [self.documents[number % len(self.documents)] for number in range(count)]

    def draw_grouped(self, num_batches: int, batch_size: int) -> list[list[int]]:
        """Documents of some batches of a training epoch with `--length_grouped true`, evenly spaced over it."""
        lengths = [len(document) for document in self.documents]
        sampler = EpochSampler(len(lengths), lengths, batch_size, 0, None, current_epoch=lambda: 0)
        order = list(sampler)
        starts = np.linspace(0, max(len(order) - batch_size, 0), num_batches).astype(int) // batch_size * batch_size
        return [self.documents[number] for start in starts for number in order[start : start + batch_size]]

    def long_text(self, num_words: int) -> str:
        """One text of `num_words` words, as spaces part them: texts one after the other."""
        words = [word for text in self.texts for word in text.split()]
        return " ".join((words * (num_words // len(words) + 1))[:num_words])

    def long_document(self, num_words: int) -> list[int]:
        """One document of exactly `num_words` words: texts one after the other."""
        words: list[int] = []
        while len(words) < num_words:
            for document in self.documents:
                words += document
                if len(words) >= num_words:
                    break
        return words[:num_words]


def hierarchical_config(corpus: Corpus, **options: Any) -> HierarchicalAttnConfig:
    """The Newsgroups paper's sizes for the corpus's vocabulary; `options` are other fields.

    Raises:
        UserError: A field is unknown or out of its range.
    """
    unknown = sorted(options.keys() - model_options(HierarchicalAttnConfig).keys())
    if unknown:
        raise UserError(f"--model_options {unknown[0]} is no field of HierarchicalAttnConfig")
    try:
        return HierarchicalAttnConfig(
            **options | {"vocab_size": len(corpus.tokenizer)},
            pad_token_id=corpus.tokenizer.pad_token_id,
            sentence_end_ids=sentence_end_ids(corpus.tokenizer),
            num_labels=NUM_LABELS,
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"--model_options: {error}") from error


def cut_unread(model: HierarchicalAttnForSequenceClassification, documents: list[list[int]]) -> list[list[int]]:
    """Documents without what follows the last word that the model reads, so that all models read as much."""
    cut = []
    with torch.no_grad():
        for document in documents:
            batch = make_batch([document])
            read_T = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).sentence_ids[0] >= 0
            cut.append(document[: int(read_T.nonzero().max()) + 1 if read_T.any() else 0])
    return cut


def hierarchical(config: HierarchicalAttnConfig) -> HierarchicalAttnForSequenceClassification:
    """The model with fresh weights, the same ones for every call."""
    torch.manual_seed(0)
    return HierarchicalAttnForSequenceClassification(config)


def baseline(architecture: str, config: HierarchicalAttnConfig) -> BaselineForSequenceClassification:
    """A baseline of the same vocabulary, widths and depth."""
    torch.manual_seed(0)
    shared = ("vocab_size", "pad_token_id", "embedding_dim", "hidden_dim", "num_layers", "dropout", "num_labels")
    options = {name: getattr(config, name) for name in shared}
    return BaselineForSequenceClassification(BaselineConfig(architecture=architecture, **options))


class PackedBiLSTM(nn.Module):
    """What `salience.modeling.word_encoders.BiLSTM` computes, by one call with `pack_padded_sequence`."""

    def __init__(self, config: HierarchicalAttnConfig) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            config.embedding_dim,
            config.hidden_dim // 2,
            config.num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )

    def forward(self, x_GLE: Tensor, mask_GL: Tensor) -> Tensor:
        """(G, L, E) -> (G, L, D)."""
        lengths_G = mask_GL.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(x_GLE, lengths_G, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x_GLE.shape[1])[0]


def packed_lstm(config: HierarchicalAttnConfig) -> BaselineForSequenceClassification:
    """The Bi-LSTM baseline, packed."""
    model = baseline("lstm", config)
    model.model.network.bilstm = PackedBiLSTM(config)
    return model


class Contestant:
    """A model in the race: its training step and its inference on inputs that lie ready on the device.

    Args:
        model: The model, which is moved to the device.
        inputs: What it reads, one for each batch: a `Batch`, or a `Grid` for the dense version.
        labels: (B,) for each batch.
        device: Where it runs.
        dtype: Of its products of matrices, by autocast; None for float32.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: list[Batch] | list[Grid],
        labels: list[Tensor],
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.model: Any = model.to(device)
        self.inputs = [type(each)(*(part.to(device) for part in each)) for each in inputs]
        self.labels = [each.to(device) for each in labels]
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        self.autocast = torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)

    def logits(self, number: int) -> Tensor:
        """Logits (B, C) of a batch."""
        given = self.inputs[number]
        with self.autocast:
            if isinstance(given, Batch):
                return self.model(input_ids=given.input_ids, attention_mask=given.attention_mask).logits
            return dense_logits(self.model, given)

    def train(self, number: int) -> None:
        """Forward, loss, backward and optimizer step."""
        self.model.train()
        self.optimizer.zero_grad()
        F.cross_entropy(self.logits(number), self.labels[number]).backward()
        self.optimizer.step()

    @torch.inference_mode()
    def infer(self, number: int) -> None:
        """Forward, in evaluation mode."""
        self.model.eval()
        self.logits(number)

    def calls(self, mode: str) -> list[Callable[[], None]]:
        """One call for each batch; `mode` is "training" or "inference"."""
        step = self.train if mode == "training" else self.infer
        return [partial(step, number) for number in range(len(self.inputs))]


def contestant(
    model: nn.Module, batches: list[Batch], device: torch.device, dtype: torch.dtype | None = None
) -> Contestant:
    """A model that reads padded batches."""
    return Contestant(model, batches, [batch.labels for batch in batches], device, dtype)


def dense_contestant(
    config: HierarchicalAttnConfig, batches: list[Batch], device: torch.device, whole_grid: bool
) -> Contestant:
    """The hierarchical model on grids, which are laid out beforehand, as a data loader would.

    Args:
        config: The model's.
        batches: The texts.
        device: Where it runs.
        whole_grid: Pad to `max_sentences` x `max_words`, instead of to the most of the batch.
    """
    model = hierarchical(config).eval()
    size = (config.max_sentences or None, config.max_words or None) if whole_grid else (None, None)
    with torch.no_grad():
        grids = [make_grid(model, batch.input_ids, batch.attention_mask, *size) for batch in batches]
    return Contestant(model, grids, [batch.labels for batch in batches], device)


def check_equal(ragged: Contestant, dense: Contestant, num_batches: int) -> float:
    """The largest difference between the logits of two versions of one model, in evaluation mode and float64.

    In float32, rounding may turn the order of two words that are equally important to seven digits, of which the
    filter keeps one. Both get the same noise on all weights for the time of the check: fresh weights that are zero
    would hide what they multiply.

    Args:
        ragged: One version.
        dense: The other one, with the same weights and batches.
        num_batches: Batches that are looked at.

    Raises:
        RuntimeError: It is more than 1e-5: the two aren't the same model, and their times can't be compared.
    """
    largest, versions = 0.0, (ragged, dense)
    fresh = [deepcopy(version.model.state_dict()) for version in versions]
    for version in versions:
        add_noise(version.model.double().eval())
    with torch.no_grad():
        for number in range(num_batches):
            difference = ragged.logits(number) - dense.logits(number)
            largest = max(largest, difference.abs().max().item())
    for version, state in zip(versions, fresh, strict=True):
        version.model.float().load_state_dict(state)
    if not largest <= TOLERANCE:
        raise RuntimeError(
            f"logits of dense grid and ragged computation differ by {largest:.1e}, more than {TOLERANCE}"
        )
    return largest


@torch.no_grad()
def add_noise(model: nn.Module) -> None:
    """Add the same normal noise (standard deviation 0.1) to the weights of all models of one shape."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.add_(0.1 * noise.to(parameter))
