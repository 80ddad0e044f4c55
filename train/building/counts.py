"""What models count over the training texts before they are trained: document frequencies."""

import datasets
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.errors import UserError
from salience.modeling.tokenizer_loading import foreign_tokenizer
from salience.modeling.word_filter import InverseDocumentFrequency
from salience.train.data.tokens import highest_id, packed_batches, tokenize


def known_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: datasets.Dataset, max_length: int | None = None
) -> datasets.Dataset:
    """Texts as token ids that the model knows; arguments and columns are those of `tokenize`.

    Raises:
        UserError: The tokenizer is another model's.
    """
    rows = tokenize(texts, tokenizer, max_length)
    check_ids(model, tokenizer, rows)
    return rows


def check_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: datasets.Dataset) -> None:
    """Refuse token ids that the model doesn't know.

    Raises:
        UserError: The tokenizer is another model's.
    """
    if fault := foreign_tokenizer(model, tokenizer, highest_id(rows)):
        raise UserError(f"{tokenizer.name_or_path}: {fault}")


def count_documents(idf: InverseDocumentFrequency, rows: datasets.Dataset) -> None:
    """Set document frequencies.

    Args:
        idf: Their place.
        rows: The training texts: column `input_ids`.
    """
    size = len(idf.idf_V)
    documents_V = torch.zeros(size, dtype=torch.long)
    for packed, _ in packed_batches(rows, "counting words"):
        in_text = packed.tokens["input_ids"] + torch.arange(len(packed.mask_BT))[:, None] * size
        documents_V += (in_text[packed.mask_BT].unique() % size).bincount(minlength=size)
    idf.set_counts(documents_V, len(rows))
