"""Evidence of n-grams, learned of token ids."""

import datasets
import numpy as np
import torch

from salience.modeling.ngram_evidence import NgramEvidence
from salience.modeling.windows import PackedInputs, pack_inputs
from salience.train.building.evidence import attach, learn, learn_table, tf_idf_matrix
from tests.helpers.tiny import random_batch


def pack(batch: dict[str, torch.Tensor]) -> PackedInputs:
    """What the model makes of a batch."""
    return pack_inputs(batch["attention_mask"], input_ids=batch["input_ids"])


def rows_of(batch: dict[str, torch.Tensor]) -> datasets.Dataset:
    """The texts of a batch, without padding, as `tokenize` gives them."""
    ids = [ids[mask > 0].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    return datasets.Dataset.from_dict({"input_ids": ids})


def learned(
    batch: dict[str, torch.Tensor], classes: list[int], kind: str = "naive Bayes", size: int = 2, limit: int = 10**6
) -> NgramEvidence:
    """Evidence of three classes, learned of a batch.

    Args:
        batch: Texts.
        classes: Of the texts.
        kind: One of `LEARNERS`.
        size: Longest n-gram.
        limit: N-grams at most.
    """
    rows = rows_of(batch)
    table = learn_table(rows, 3, size, limit)
    truths = np.array(classes)[:, None] == np.arange(3)
    return table.with_weights(torch.from_numpy(learn(kind, tf_idf_matrix(table, rows), truths, False)))


def give_evidence(model: torch.nn.Module, weight: float, damping: float = 0.5) -> None:
    """Evidence of three random texts, for a tiny model."""
    attach(model, learned(random_batch([9, 12, 20]), [0, 1, 2]), weight, damping)
