"""How fast the machine is, how busy, and how much of it a contestant uses."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from salience.modeling.encoder_checks import model_classes
from salience.modeling.encoders import position_limit, trained_length, without_pooler

HIGHEST = -20
AUTOGROUP = Path("/proc/self/autogroup")
"""Linux shares time between terminals first, and between the processes of each only then."""
TRAINING_PASSES = 3
"""Forward, and backward for inputs and for weights, each of which costs as much."""


@contextmanager
def raised_priority() -> Iterator[bool]:
    """Let this process and those that it starts go before others; tells whether that is permitted."""
    if not hasattr(os, "setpriority"):  # Windows
        yield False
        return
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        _set_priority(HIGHEST)
        is_raised = True
    except OSError:
        is_raised = False
    try:
        yield is_raised
    finally:
        with suppress(OSError):
            _set_priority(before)


def _set_priority(value: int) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, value)
    if AUTOGROUP.is_file():
        AUTOGROUP.write_text(str(value), encoding="utf-8")


def load_average() -> float | None:
    """Processes that wanted a core in the last minute, on average; None where the system doesn't say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


class Yardstick:
    """Tokens of texts, and the floating-point operations that an encoder needs for them.

    Both are those of the text itself: a contestant that also computes on padding, or reads tokens twice, uses the
    machine for nothing.

    Args:
        encoder: Folder or Hub id.

    Attributes:
        limit: Tokens that the encoder can read at once, at which others cut texts.
        window: Tokens that ours read at once.
    """

    def __init__(self, encoder: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(encoder)
        config = AutoConfig.from_pretrained(encoder)
        with torch.device("meta"):
            model: Any = AutoModel.from_config(config, **without_pooler(model_classes(config)))
        self.limit = min(self.tokenizer.model_max_length, position_limit(model))
        self.window = min(self.limit, trained_length(encoder, None))
        self.num_weights = sum(each.weight.numel() for each in model.modules() if isinstance(each, torch.nn.Linear))
        self.attention_width = config.num_hidden_layers * config.hidden_size

    def lengths(self, texts: Sequence[str], limit: int | None = None) -> np.ndarray:
        """Tokens of each text that one reads who cuts texts at `limit`: (N,)."""
        ids = self.tokenizer(list(texts), verbose=False)["input_ids"]
        return np.minimum([len(each) for each in ids], limit or np.inf)

    def operations(self, lengths_N: np.ndarray, window: int) -> float:
        """Floating-point operations of reading texts once, by formula.

        Each token meets each weight of a product of matrices (a multiplication and an addition), and in each layer the
        tokens of its window twice, for the attention and for what it gathers.

        Args:
            lengths_N: Tokens of each text.
            window: Tokens that are read at once.
        """
        attention = 2 * self.attention_width * np.minimum(lengths_N, window)
        return float((2 * lengths_N * (self.num_weights + attention)).sum())

    def pieces(self, texts: Sequence[str], length: int, count: int) -> list[str]:
        """Texts of `length` tokens, special ones included, cut from given ones laid end to end.

        Args:
            texts: What they are cut from, from the beginning again where it ends.
            length: Tokens of each.
            count: How many.
        """
        inner = max(1, length - len(self.tokenizer("")["input_ids"]))
        whole = " ".join(texts)
        encoding = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        spans = encoding["offset_mapping"]
        starts = range(0, max(1, len(spans) - inner + 1), inner)
        cut = [whole[spans[start][0] : spans[min(start + inner, len(spans)) - 1][1]] for start in starts]
        return [cut[number % len(cut)] for number in range(count)]
