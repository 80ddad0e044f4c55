"""Adversarial training (Miyato et al. 2017): each step is trained once more, on the worst small change of its texts.

What changes are the token embeddings, along the gradient of the loss and by a given length, where it grows most. A
model whose answers hold against that leans less on single words of the training texts.

Shape suffixes
    B = texts of a batch; X = any shape in which a model looks up its tokens' embeddings
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from salience.configuration.errors import UserError
from salience.modeling.encoders import pretrained_encoder
from salience.modeling.windows import takes_embeddings


def check_embeddings(model: PreTrainedModel) -> None:
    """Make sure that a classifier's encoder has embeddings that can be changed before it reads them.

    Raises:
        UserError: It looks them up itself, window by window.
    """
    encoder = pretrained_encoder(model)
    if encoder is not None and not takes_embeddings(encoder):
        raise UserError(f"--adversarial_size needs an encoder that reads embeddings; {type(encoder).__name__} doesn't")


def worst_changes(embeddings: Sequence[Tensor], size: float, num_texts: int) -> list[Tensor]:
    """The changes of embeddings, all together of one length, along which the loss grows fastest.

    Args:
        embeddings: Each (X, E), with the gradient of the batch's loss; one without any stays as it is.
        size: Length of a text's change, as the root of its mean square over the texts.
        num_texts: B.
    """
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad.float() for each in embeddings]
    length = torch.stack([gradient.norm() for gradient in gradients]).norm()
    scale = size * math.sqrt(num_texts) / length.clamp(min=torch.finfo(torch.float32).tiny)
    return [(gradient * scale).to(each.dtype) for gradient, each in zip(gradients, embeddings, strict=True)]


def adversarial_step(embedding: nn.Module, size: float, num_texts: int, step: Callable[[], Tensor]) -> Tensor:
    """Run a forward and backward pass twice: on the texts, and on their worst change.

    Args:
        embedding: Looks up the model's token embeddings, as often in each pass.
        size: See `worst_changes`.
        num_texts: B.
        step: The two passes; returns the loss.

    Returns:
        Sum of both losses, as the gradients are.
    """
    seen: list[Tensor] = []

    def watch(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        output = output if output.requires_grad else output.detach().requires_grad_()  # a frozen table
        output.retain_grad()
        seen.append(output)
        return output

    with embedding.register_forward_hook(watch):
        loss = step()
    changes = iter(worst_changes(seen, size, num_texts))
    with embedding.register_forward_hook(lambda module, inputs, output: output + next(changes)):
        return loss + step()
