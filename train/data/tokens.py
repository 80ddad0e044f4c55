"""From texts to token ids."""

from collections.abc import Iterator
from typing import Any, TypeVar

import datasets
import numpy as np
import pyarrow.compute as pc
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from salience.modeling.tokenizer_loading import length_limit
from salience.modeling.windows import PackedInputs, pack_inputs

Rows = TypeVar("Rows", datasets.Dataset, datasets.DatasetDict)

# Of a batch that is counted: texts, and texts times tokens of the longest, as one can be as long as a book.
TEXTS_AT_A_TIME = 256
CELLS_AT_A_TIME = 2**21
# Whose lengths are read together.
ROWS_AT_A_TIME = 10_000


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


def tokenize_parts(
    rows: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[datasets.Dataset, np.ndarray]:
    """Texts in parts, each with the special tokens that a text of its own would have.

    Args:
        rows: Column `text`, and any others, which each part gets.
        tokenizer: The model's.
        max_length: Tokens of a part at most, special tokens included.

    Returns:
        `tokenize`'s columns, a row for each part, and of which row of `rows` it is, (parts,), ascending.
    """

    def to_parts(batch: dict[str, list[Any]], texts: list[int]) -> dict[str, list[Any]]:
        limit = min(max_length, length_limit(tokenizer) or max_length)
        cut = {"truncation": True, "max_length": limit, "return_overflowing_tokens": True}
        encoding = tokenizer(batch["text"], **cut, verbose=False)
        text_P = encoding.pop("overflow_to_sample_mapping")
        kept = {name: [values[text] for text in text_P] for name, values in batch.items() if name != "text"}
        ids = {name: values for name, values in encoding.items() if name != "attention_mask"}
        return {**ids, **kept, "text_number": [texts[text] for text in text_P]}

    parts = rows.map(
        to_parts, batched=True, with_indices=True, remove_columns=rows.column_names, desc="tokenizing",
        load_from_cache_file=False,
    )  # fmt: skip
    return parts.remove_columns("text_number"), parts.data["text_number"].to_numpy()


def num_tokens(rows: datasets.Dataset) -> np.ndarray:
    """Tokens of each row, (rows,)."""
    batches = rows.select_columns("input_ids").with_format("arrow").iter(ROWS_AT_A_TIME)
    lengths = [pc.list_value_length(batch["input_ids"]).to_numpy() for batch in batches]
    return np.concatenate([np.zeros(0, np.int64), *lengths])


def highest_id(rows: datasets.Dataset) -> int:
    """The highest of all token ids."""
    return pc.max(pc.list_flatten(rows.data["input_ids"])).as_py() or 0


def packed_batches(rows: datasets.Dataset, what: str) -> Iterator[tuple[PackedInputs, np.ndarray]]:
    """The texts, those of like length together, and which rows they are, with a progress bar.

    Args:
        rows: Column `input_ids`.
        what: Is done with them, for the bar.
    """
    length_N = num_tokens(rows)
    order = np.argsort(length_N, kind="stable")
    with tqdm(total=len(order), desc=what, leave=False) as bar:
        while len(order):
            most = min(TEXTS_AT_A_TIME, len(order))
            while most > 1 and most * length_N[order[most - 1]] > CELLS_AT_A_TIME:
                most //= 2
            ids = [torch.tensor(each, dtype=torch.long) for each in rows[order[:most]]["input_ids"]]
            mask_BT = pad_sequence([torch.ones_like(each) for each in ids], batch_first=True)
            yield pack_inputs(mask_BT, input_ids=pad_sequence(ids, batch_first=True)), order[:most]
            order = order[most:]
            bar.update(most)
