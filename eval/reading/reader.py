"""What a trained classifier answers to texts, and to parts of them: the ground under every study of a model.

Shapes
    N = texts, T = tokens of one text, C = classes, H = heads, S = sentences of one text
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.value_checks import is_utf8
from salience.eval.reading.words import label_names, problem_type
from salience.eval.scores.predictions import Predictions, decide
from salience.modeling.documents import Document, padded
from salience.modeling.encoders import NO_LIMIT, position_limit, pretrained_encoder
from salience.modeling.precision import hold_in_bfloat16
from salience.modeling.ragged import like_lengths
from salience.modeling.salience_base import SaliencePreTrainedModel
from salience.modeling.tokenizer_loading import foreign_tokenizer
from salience.modeling.windows import cells_of_call

logger = logging.getLogger(__name__)

TEXTS_AT_A_TIME = 1_000
"""That are tokenized together."""
FEW_TOKENS = 100
"""Of fewer, no share is told."""


class Reading(NamedTuple):
    """What the model says of one text.

    Attributes:
        logits: (C,) float32.
        weights: (T,) its share of the document vector, by token, summing to 1; None where a model has no such weights.
        sentence_of: (T,) number of the sentence that a token belongs to, -1 for none; None for models without.
        cross_attention: (H, T, S) attention of each kept token over sentences, 0 for others; None unless asked for.
    """

    logits: np.ndarray
    weights: np.ndarray | None
    sentence_of: np.ndarray | None
    cross_attention: np.ndarray | None


def token_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens of a text that a model reads; None for all."""
    if isinstance(model, SaliencePreTrainedModel):
        return None
    limit = min(tokenizer.model_max_length, position_limit(model))
    return limit if limit < NO_LIMIT else None


def batches(ids: Sequence[Sequence[int] | np.ndarray], batch_size: int, cells: int) -> Iterator[list[int]]:
    """Numbers of the texts of each batch, like lengths together.

    The longest texts come first: the first batch shows whether memory is enough.

    Args:
        ids: Token ids of each text, (T,).
        batch_size: Texts of a batch at most.
        cells: Texts times tokens of the longest at most, unless it is one text.
    """
    order = sorted(range(len(ids)), key=lambda row: (len(ids[row]), -row))
    parts = like_lengths([max(len(ids[row]), 1) for row in order], cells)
    for rows in reversed([order[part][::-1] for part in parts]):
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


def portions(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Some texts at a time: what a tokenizer says of a text takes ten times its memory."""
    return (texts[start : start + TEXTS_AT_A_TIME] for start in range(0, len(texts), TEXTS_AT_A_TIME))


@dataclass
class Reader:
    """A classifier with its tokenizer: any text-classification model of transformers.

    Args:
        model: The classifier; set to evaluation mode.
        tokenizer: Its tokenizer.
        batch_size: Texts at a time at most, fewer of long ones; texts of like length are read together.
        bf16: Hold its encoder in bfloat16, for good.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 512
    bf16: bool = False
    label_names: list[str] = field(init=False)
    has_told: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.model.eval()
        if self.bf16:
            hold_in_bfloat16(pretrained_encoder(self.model))
        self.label_names = label_names(self.model)

    @property
    def problem_type(self) -> str:
        """What the model answers: `single_label_classification`, `multi_label_classification` or `regression`."""
        return problem_type(self.model)

    @property
    def label_thresholds(self) -> list[float] | None:
        """Lowest probability of each class that is answered, where a text can have several; None for 0.5."""
        return getattr(self.model.config, "label_thresholds", None)

    def decide(self, logits: np.ndarray) -> np.ndarray:
        """Which classes are the answer, bool (N, C), of logits (N, C)."""
        return decide(logits, self.problem_type, self.label_thresholds)

    def predictions(self, labels: Any, logits: np.ndarray, num_words: np.ndarray | None = None) -> Predictions:
        """Its answers to labelled texts; see `Predictions` for arguments and errors."""
        return Predictions(labels, logits, self.problem_type, self.label_names, num_words, self.label_thresholds)

    @property
    def cells(self) -> int:
        """Texts times tokens that the device reads best at once."""
        return cells_of_call(self.model.device.type)

    @property
    def limit(self) -> int | None:
        """Tokens of a text that the model reads; None for all."""
        return token_limit(self.model, self.tokenizer)

    def documents(self, texts: Sequence[str]) -> list[Document]:
        """Tokenize texts, cut at `limit`, and find each token in its text.

        Raises:
            UserError: The tokenizer is a slow one.
        """
        if not self.tokenizer.is_fast:
            name = type(self.tokenizer).__name__
            raise UserError(f"{name} doesn't tell where tokens stand in a text: a fast tokenizer is needed")
        found: list[Document] = []
        for part in portions(texts):
            encoding = self._encode(part)
            found += [Document.of(text, encoding, row) for row, text in enumerate(part)]
        return found

    def token_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Tokenize texts, cut at `limit`: each (T,), special tokens included. Any tokenizer of the model will do."""
        return [np.array(ids, dtype=int) for part in portions(texts) for ids in self._encode(part)["input_ids"]]

    def _encode(self, texts: Sequence[str]) -> BatchEncoding:
        cut = {"truncation": self.limit is not None, "max_length": self.limit}
        if (broken := next((text for text in texts if not is_utf8(text)), None)) is not None:
            raise UserError(f"the text {one_line(repr(broken), 60)} has half a character; write texts in UTF-8")
        encoding = self.tokenizer(list(texts), verbose=False, **cut)
        highest = max((max(ids, default=0) for ids in encoding["input_ids"]), default=0)
        if fault := foreign_tokenizer(self.model, self.tokenizer, highest):
            raise UserError(f"--model {self.model.name_or_path}: {fault}")
        self._tell_unknown(encoding["input_ids"])
        return encoding

    def _tell_unknown(self, texts: Sequence[Sequence[int]]) -> None:
        """Warn once where most tokens of texts are unknown: they are of another kind, or the tokenizer is."""
        unknown = self.tokenizer.unk_token_id
        tokens = sum(map(len, texts)) - len(texts) * self.tokenizer.num_special_tokens_to_add()
        if self.has_told or unknown is None or tokens < FEW_TOKENS:
            return
        share = sum(list(ids).count(unknown) for ids in texts) / tokens
        if share > 0.5:
            self.has_told = True
            says = "--model %s knows %.0f %% of the tokens here: are these its texts and its tokenizer?"
            logger.warning(says, self.model.name_or_path, 100 * (1 - share))

    def logits(self, ids: Sequence[np.ndarray], progress: str | None = None) -> np.ndarray:
        """Answers to texts given as token ids: (N, C) float32.

        Args:
            ids: Each (T,), special tokens included.
            progress: What a progress bar says; None for no bar.
        """
        logits = np.zeros((len(ids), len(self.label_names)), np.float32)
        for rows in self.batches(ids, progress):
            logits[rows] = [reading.logits for reading in self.read_batch([ids[row] for row in rows])]
        return logits

    def read(
        self, ids: Sequence[np.ndarray], cross_attention: bool = False, progress: str | None = None
    ) -> list[Reading]:
        """Answers and weights for texts given as token ids, in their order.

        Args:
            ids: Each (T,), special tokens included.
            cross_attention: Ask a hierarchical model for it; words times sentences numbers for each text.
            progress: What a progress bar says; None for no bar.
        """
        readings: dict[int, Reading] = {}
        for rows in self.batches(ids, progress):
            readings |= zip(rows, self.read_batch([ids[row] for row in rows], cross_attention), strict=True)
        return [readings[row] for row in range(len(ids))]

    def batches(self, ids: Sequence[np.ndarray], progress: str | None = None) -> Iterator[list[int]]:
        """Numbers of the texts of each batch, like lengths together; see `batches`.

        Args:
            ids: Each (T,), special tokens included.
            progress: What a progress bar says; None for no bar.
        """
        with tqdm(total=len(ids), desc=progress, unit="text", disable=progress is None) as bar:
            for rows in batches(ids, self.batch_size, self.cells):
                yield rows
                bar.update(len(rows))

    @torch.no_grad()  # in inference mode, weights gathered from several processes could not be trained afterwards
    def read_batch(self, ids: Sequence[np.ndarray], cross_attention: bool = False) -> list[Reading]:
        """Answers and weights for texts that the model reads at once, as they are given: a hook meets them so.

        Args:
            ids: Each (T,), special tokens included.
            cross_attention: See `read`.
        """
        batch = padded(self.tokenizer, ids).to(self.model.device)
        options = {"output_attentions": True} if cross_attention else {}
        outputs = self.model(**batch, **options)
        # Padding is behind or before the text, as the tokenizer does it.
        is_token = batch["attention_mask"].bool().cpu().numpy()
        columns = {name: self._rows(outputs, name) for name in ("pooling_weights", "sentence_ids")}
        attention = self._rows(outputs, "cross_attentions") if cross_attention else None
        logits = outputs.logits.float().cpu().numpy()
        return [
            Reading(
                logits=logits[row],
                weights=None if columns["pooling_weights"] is None else columns["pooling_weights"][row][is_token[row]],
                sentence_of=None if columns["sentence_ids"] is None else columns["sentence_ids"][row][is_token[row]],
                cross_attention=None if attention is None else attention[row][:, is_token[row]],
            )
            for row in range(len(ids))
        ]

    @staticmethod
    def _rows(outputs: Any, name: str) -> np.ndarray | None:
        values = outputs.get(name)
        if values is None:
            return None
        return (values.float() if values.is_floating_point() else values).cpu().numpy()
