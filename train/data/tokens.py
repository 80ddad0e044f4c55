"""From texts to token ids."""

from typing import Any, TypeVar

import datasets
import numpy as np
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from salience.modeling.tokenizer_loading import length_limit

Rows = TypeVar("Rows", datasets.Dataset, datasets.DatasetDict)


def tokenize(rows: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> Rows:
    """Replace `text` by `input_ids` (and `token_type_ids`, if there are any).

    A text is cut only at `max_length`, or at the limit of a plain head.

    Args:
        rows: Column `text`, and any others, which stay.
        tokenizer: The model's.
        max_length: Tokens kept of a text, special tokens included; None for all that the model reads.
    """
    limit = min((each for each in (max_length, length_limit(tokenizer)) if each), default=None)

    def to_ids(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoding = tokenizer(batch["text"], truncation=limit is not None, max_length=limit, verbose=False)
        return {name: ids for name, ids in encoding.items() if name != "attention_mask"}  # padding brings it back

    return rows.map(to_ids, batched=True, remove_columns=["text"], desc="tokenizing", load_from_cache_file=False)


def num_tokens(rows: datasets.Dataset) -> np.ndarray:
    """Tokens of each row, (rows,)."""
    return pc.list_value_length(rows.data["input_ids"]).to_numpy()


def highest_id(rows: datasets.Dataset) -> int:
    """The highest of all token ids."""
    return pc.max(pc.list_flatten(rows.data["input_ids"])).as_py() or 0
