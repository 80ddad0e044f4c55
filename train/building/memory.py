"""Whether a model fits into the memory of this machine, told before it is built."""

import psutil
from transformers import PreTrainedModel

from salience.configuration.errors import UserError


def refuse_beyond_memory(model: PreTrainedModel) -> None:
    """Refuse sizes whose weights alone are more than the memory that is free.

    Args:
        model: Built on the device `meta`, where nothing is stored.

    Raises:
        UserError: It is too large.
    """
    needed = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"a model of these sizes has {needed / 1e9:,.1f} GB of weights, and {free / 1e9:,.1f} GB of memory are "
            "free; lower sizes such as --hidden_dim, --embedding_dim, --num_layers or --vocab_size"
        )
