"""SHA-256 of weights: whether a model, or an encoder, is the one that something was made for."""

from hashlib import sha256

import torch
from torch import nn


def weight_bytes(weight: torch.Tensor) -> memoryview:
    """The numbers of a weight as they lie in memory, of any type and device."""
    found: memoryview = weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
    return found


def fingerprint_of(module: nn.Module, start: str = "") -> str:
    """SHA-256 over the names and the weights of a module, behind `start`."""
    digest = sha256(start.encode())
    for name, weight in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight_bytes(weight))
    return digest.hexdigest()
