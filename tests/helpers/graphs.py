"""Graphs of exported models beside the models."""

import importlib.util

import numpy as np
import torch

from tests.helpers.tiny import random_batch

# One text, several windows, several texts, texts of one token and none, and nothing at all.
LENGTHS = [[5], [100], [2000], [150, 1], [1, 2, 3, 0, 7], [60, 3, 16, 17, 33], [9] * 13, [0]]


@torch.no_grad()
def largest_difference(model, session, lengths, side):
    """Of a logit of random texts of these lengths, padded on one side."""
    batch = random_batch(lengths, side)
    found = session.run(None, {name: value.numpy() for name, value in batch.items()})[0]
    assert found.shape == (len(lengths), 3)
    return np.abs(found - model(**batch).logits.numpy()).max()


def predict_of(folder):
    """The program of an exported folder, as a module."""
    spec = importlib.util.spec_from_file_location("exported_predict", folder / "predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
