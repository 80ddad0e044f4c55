"""Whether an encoder can be read as our models read one: a vector for each token, whatever else is in the batch.

Shape suffixes
    T = tokens
"""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from .windows import is_sharded


def model_classes(config: PretrainedConfig, auto: Any = AutoModel) -> tuple[Any, ...]:
    """The classes of which an Auto class builds one for a configuration; most have one, some none."""
    found = auto._model_mapping.get(type(config), ())
    return found if isinstance(found, tuple) else (found,)


def takes_a_mask(classes: Sequence[Any]) -> bool:
    """Whether models of all these classes can be told what is padding."""
    return all("attention_mask" in signature(each.forward).parameters for each in classes)


def attend_fully(config: PretrainedConfig) -> None:
    """Let an encoder of sparse attention that gives it up at the first short window (BigBird) begin without it.

    Else its answers would depend on what it read before.
    """
    if getattr(config, "attention_type", None) == "block_sparse":
        config.attention_type = "original_full"


def check_reading(encoder: PreTrainedModel, name_or_path: str | Path) -> None:
    """Make sure that an encoder gives a vector for each token, and that padding beside a text doesn't change them.

    Raises:
        ValueError: It doesn't, as encoders with convolutions over neighbouring tokens, or it wants more than a text.
    """
    if is_sharded(encoder):  # by ZeRO-3 before there is an engine that gathers its weights
        return
    length, most = 4, getattr(encoder.config, "vocab_size", 2**16) - 1
    ids_1T = torch.arange(3, 3 + length)[None].clamp(max=most)
    mask_1T = torch.ones_like(ids_1T)
    # Windows are filled up with tokens of theirs.
    padded = {"input_ids": torch.cat([ids_1T, ids_1T], 1), "attention_mask": torch.cat([mask_1T, 0 * mask_1T], 1)}
    try:
        with torch.no_grad():
            encoder.get_input_embeddings()(ids_1T)
            alone, beside = encoder(input_ids=ids_1T, attention_mask=mask_1T)[0], encoder(**padded)[0]
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{name_or_path} can't be read as an encoder of texts: {reason}") from error
    if alone.shape[:2] != ids_1T.shape:
        raise ValueError(f"{name_or_path} doesn't give a vector for each token; give another encoder")
    if (alone - beside[:, :length]).abs().max() > 1e-3 * alone.abs().max():
        raise ValueError(f"{name_or_path} mixes padding into the tokens beside it; give another encoder")
