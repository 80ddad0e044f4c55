"""What stands between loaded texts and a trainer: their classes counted, the texts tokenized and put in order."""

from collections.abc import Callable
from dataclasses import dataclass

import datasets
import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.errors import UserError
from salience.configuration.problem_types import REGRESSION
from salience.train.building.counts import check_ids, count_documents, known_ids, tell_cut, tell_unread
from salience.train.data.encoded import count_classes, labels_of
from salience.train.data.load import TextData
from salience.train.data.tokens import num_tokens, tokenize, tokenize_parts
from salience.train.loop.losses import LabelStatistics
from salience.train.loop.sampling import DrawnParts


@dataclass(frozen=True)
class PreparedTexts:
    """Tokenized texts.

    Attributes:
        splits: The splits of the data, `tokenize`'s columns.
        orders: For each held-out split, which row of the data each of its rows is, (rows,).
        whole_train: Gives the training texts as `splits` has them, but not cut.
        parts: Where the rows of the training split are parts of texts: how one of each is drawn.
    """

    splits: datasets.DatasetDict
    orders: dict[str, np.ndarray]
    whole_train: Callable[[], datasets.Dataset]
    parts: DrawnParts | None = None


def prepare_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextData,
    max_length: int | None,
    sampled_parts: bool = False,
) -> PreparedTexts:
    """Tokenize all splits, and count of the training texts what the model counts before it is trained.

    Args:
        model: Its counts are set, if it has any.
        tokenizer: The model's.
        data: The texts.
        max_length: Tokens of a text to train on; None for all. Held-out texts are never cut.
        sampled_parts: Whether those tokens are a part drawn anew in each epoch, and not the first ones.

    Raises:
        UserError: `max_length` leaves special tokens only, the tokenizer is another model's, or it can't go on where it
            cut.
    """
    num_special = tokenizer.num_special_tokens_to_add()
    if max_length is not None and max_length <= num_special:
        raise UserError(f"--max_length {max_length} leaves no word beside {num_special} special tokens; raise it")
    if sampled_parts and not tokenizer.is_fast:
        raise UserError(
            f"--sampled_parts needs a tokenizer of the library tokenizers, and {type(tokenizer).__name__} isn't; "
            "leave it out"
        )
    held_out = {name: known_ids(model, tokenizer, rows) for name, rows in data.splits.items() if name != "train"}
    texts, parts = data.splits["train"], None
    if sampled_parts and max_length is not None:
        train_rows, text_P = tokenize_parts(texts, tokenizer, max_length)
        check_ids(model, tokenizer, train_rows)
        parts = DrawnParts(torch.tensor(text_P), torch.tensor(num_tokens(train_rows)))
    else:
        train_rows = known_ids(model, tokenizer, texts, max_length)
    tell_unread(model, train_rows)
    tell_cut(tokenizer, {"training": train_rows, **held_out})
    whole_train = lambda: tokenize(texts, tokenizer) if max_length else train_rows  # noqa: E731
    if (idf := getattr(model.base_model, "idf", None)) is not None:
        count_documents(idf, whole_train())
    # Held-out texts from the longest to the shortest: no score depends on their order, and little is padded.
    orders = {name: np.argsort(-num_tokens(rows), kind="stable") for name, rows in held_out.items()}
    held_out = {name: rows.select(orders[name]) for name, rows in held_out.items()}
    return PreparedTexts(datasets.DatasetDict(train=train_rows, **held_out), orders, whole_train, parts)


def label_statistics(data: TextData) -> LabelStatistics | None:
    """Texts of each class in the training split; None for regression."""
    if data.problem_type == REGRESSION:
        return None
    train = data.splits["train"]
    counts = count_classes(labels_of(train), data.problem_type, len(data.label_names))
    return LabelStatistics(torch.tensor(counts), len(train), data.problem_type, data.label_names)


def balancing_weights(data: TextData, statistics: LabelStatistics) -> torch.Tensor:
    """Chance of each training text to be drawn, the same in sum for every class."""
    return (1 / statistics.counts_C.double())[torch.from_numpy(labels_of(data.splits["train"]))]
