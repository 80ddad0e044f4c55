"""What models count over the training texts before they are trained: document frequencies, and evidence of n-grams."""

from collections.abc import Iterator

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.errors import UserError
from salience.modeling.tokenizer_loading import foreign_tokenizer
from salience.modeling.windows import PackedInputs, pack_inputs
from salience.train.data.tokens import highest_id, num_tokens, tokenize

TEXTS_AT_A_TIME = 256


def training_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: datasets.Dataset, max_length: int | None
) -> datasets.Dataset:
    """Training texts as token ids, and, of whole texts, what the model counts before it is trained.

    Args:
        model: Its counts are set, if it has any.
        tokenizer: The model's.
        texts: The training split: columns `text` and `labels`.
        max_length: Tokens of a text to train on; None for all.

    Returns:
        `tokenize`'s columns.

    Raises:
        UserError: See `known_ids`.
    """
    rows = known_ids(model, tokenizer, texts, max_length)
    if getattr(model, "ngrams", None) is not None or getattr(model.base_model, "idf", None) is not None:
        count_texts(model, tokenize(texts, tokenizer) if max_length else rows)
    return rows


def known_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: datasets.Dataset, max_length: int | None = None
) -> datasets.Dataset:
    """Texts as token ids that the model knows; arguments and columns are those of `training_rows`.

    Raises:
        UserError: The tokenizer is another model's.
    """
    rows = tokenize(texts, tokenizer, max_length)
    if fault := foreign_tokenizer(model, tokenizer, highest_id(rows)):
        raise UserError(f"--encoder {tokenizer.name_or_path}: {fault}")
    return rows


def count_texts(model: PreTrainedModel, rows: datasets.Dataset) -> None:
    """Set the model's document frequencies and evidence of n-grams, those of both that it has.

    Args:
        model: Its counts are set.
        rows: The training texts: columns `input_ids` and `labels`.
    """
    if (idf := getattr(model.base_model, "idf", None)) is not None:
        documents_V = torch.zeros(len(idf.idf_V), dtype=torch.long)
        for packed, _ in packed_batches(rows, "counting words"):
            size = len(documents_V)
            in_text = packed.tokens["input_ids"] + torch.arange(len(packed.mask_BT))[:, None] * size
            documents_V += (in_text[packed.mask_BT].unique() % size).bincount(minlength=size)
        idf.set_counts(documents_V, len(rows))
    if (ngrams := getattr(model, "ngrams", None)) is not None:
        ngrams.count(lambda: packed_batches(rows, "counting n-grams"), model.config.max_ngrams)
        model.config.num_ngrams = len(ngrams.key_G)


def packed_batches(rows: datasets.Dataset, what: str) -> Iterator[tuple[PackedInputs, Tensor]]:
    """The texts, those of like length together, and their class ids, with a progress bar."""
    order = np.argsort(num_tokens(rows), kind="stable")
    for start in tqdm(range(0, len(order), TEXTS_AT_A_TIME), desc=what, leave=False):
        batch = rows[order[start : start + TEXTS_AT_A_TIME]]
        ids = [torch.tensor(each, dtype=torch.long) for each in batch["input_ids"]]
        mask_BT = pad_sequence([torch.ones_like(each) for each in ids], batch_first=True)
        packed = pack_inputs(mask_BT, input_ids=pad_sequence(ids, batch_first=True))
        yield packed, torch.tensor(batch["labels"])
