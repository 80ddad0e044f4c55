"""What is counted over the training texts before a model is trained: document frequencies, and what isn't read."""

import logging
from collections.abc import Mapping

import datasets
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.errors import UserError
from salience.modeling.tokenizer_loading import foreign_tokenizer, length_limit
from salience.modeling.word_filter import InverseDocumentFrequency
from salience.train.data.tokens import highest_id, num_tokens, packed_batches, tokenize

logger = logging.getLogger(__name__)


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


def tell_cut(tokenizer: PreTrainedTokenizerBase, splits: Mapping[str, datasets.Dataset]) -> None:
    """Warn of texts that are cut where their model's limit is, which only models of transformers have.

    Args:
        tokenizer: The model's.
        splits: Tokenized: column `input_ids`.
    """
    limit = length_limit(tokenizer)
    counts = {split: int((num_tokens(rows) >= limit).sum()) for split, rows in splits.items()} if limit else {}
    if any(counts.values()):
        says = "of longer texts this model reads the first %d tokens only (%s)"
        listed = (f"{count} of {len(splits[split])} {split} texts have as many" for split, count in counts.items())
        logger.warning(says, limit, ", ".join(listed))


def tell_unread(model: PreTrainedModel, rows: datasets.Dataset) -> None:
    """Warn of texts of which a model reads the first sentences, or the first words of a sentence, only.

    Boundaries that are learned aren't known yet.

    Args:
        model: Before training.
        rows: The training texts: column `input_ids`.
    """
    config, segment = model.config, getattr(model.base_model, "segment", None)
    is_limited = any(getattr(config, name, 0) for name in ("max_sentences", "max_words"))
    if segment is None or not is_limited or getattr(segment, "chooses_by_embeddings", False):
        return
    count = 0
    for packed, _ in packed_batches(rows, "finding sentences"):
        is_read = torch.zeros(packed.mask_BT.numel(), dtype=torch.bool)
        is_read[segment(packed, torch.empty(0)).token_N] = True
        count += int((packed.mask_BT & ~is_read.view_as(packed.mask_BT)).any(1).sum())
    if count:
        slides = config.segmentation == "sliding_window"
        num_words, further = (config.segment_size, "") if slides else (config.max_words or "any", " --max_words 0")
        logger.warning(
            "%d of %d training texts, or parts of them, have more than the model reads, which are %s sentences of %s "
            "words at most; a new model reads all with --max_sentences 0%s",
            count, len(rows), config.max_sentences or "any", num_words, further,
        )  # fmt: skip
