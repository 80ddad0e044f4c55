"""From texts to token ids."""

from typing import Any, TypeVar

import datasets
import numpy as np
import pyarrow.compute as pc
from transformers import AutoTokenizer, PreTrainedTokenizerBase

Rows = TypeVar("Rows", datasets.Dataset, datasets.DatasetDict)


def read_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, which can pad; no code of its repository is run.

    Args:
        name: Folder or Hub id.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        OSError, ValueError: There is none, or it can't be read.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError):
        raise
    except TypeError:  # transformers 4 looks for a vocabulary that isn't there; 5 makes an empty one
        tokenizer = None
    except Exception as error:  # of a broken file, tokenizers raises nothing more special
        raise ValueError(f"its tokenizer is damaged: {error}") from error
    if tokenizer is None or set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
        raise ValueError("it has no tokenizer; add its tokenizer.json")
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ValueError("its tokenizer has no pad_token: set one and save it again")
        tokenizer.pad_token = tokenizer.eos_token  # decoders have none; masked positions are never read
    return tokenizer


def tokenize(rows: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> Rows:
    """Replace `text` by `input_ids` (and `token_type_ids`, if there are any).

    A text is cut only at `max_length`, or at the limit of a plain head.

    Args:
        rows: Column `text`, and any others, which stay.
        tokenizer: The model's.
        max_length: Tokens kept of a text, special tokens included; None for all that the model reads.
    """
    longest = min(max_length or tokenizer.model_max_length, tokenizer.model_max_length)
    limit = longest if longest < 1_000_000 else None

    def to_ids(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoding = tokenizer(batch["text"], truncation=limit is not None, max_length=limit, verbose=False)
        return {name: ids for name, ids in encoding.items() if name != "attention_mask"}  # padding brings it back

    return rows.map(to_ids, batched=True, remove_columns=["text"], desc="tokenizing", load_from_cache_file=False)


def num_tokens(rows: datasets.Dataset) -> np.ndarray:
    """Tokens of each row, (rows,)."""
    return pc.list_value_length(rows.data["input_ids"]).to_numpy()
