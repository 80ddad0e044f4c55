"""What attention pooling costs beside the plain head on the same encoder, and beside models from scratch.

Open question 3 of arXiv 2512.09444: its tables hold accuracy and no time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.errors import UserError
from salience.configuration.flags.model_arguments import ModelArguments
from salience.configuration.flags.training_arguments import does_bf16_well
from salience.eval.benchmark.machine import TRAINING_PASSES, Yardstick
from salience.eval.benchmark.models import LABELS, Corpus, batches_of, contestant
from salience.eval.benchmark.timing import MODES, compared, interleaved
from salience.train.building.build import build_model
from salience.train.building.encoder_loading import encoder_path

# The flags of `salience train` for each model; both on the encoder without attention dropout.
FLAGS: dict[str, dict[str, Any]] = {
    "attention pooling": {"model": "attn_pool", "attention_dropout": 0.0},
    "mean pooling": {"model": "attn_pool", "alpha": 1.0, "attention_dropout": 0.0},
    "plain head": {"model": "sequence_classification", "attention_dropout": 0.0},
    "Transformer from scratch": {"model": "transformer"},
    "Bi-LSTM from scratch": {"model": "lstm"},
}
REFERENCES = ("plain head", "Transformer from scratch", "Bi-LSTM from scratch")
MEANING = (
    "/ plain head: seconds of a batch over those of the plain head on the same encoder for texts of as many tokens in "
    "the same repetition; above 1, the plain head is faster. The others likewise."
)


def measure_pooling(corpus: Corpus, arguments: Any, device: torch.device) -> dict[str, Any]:
    """Part `pooling`: training step and inference on texts of exactly so many tokens.

    Args:
        corpus: Real texts, which are laid end to end and cut.
        arguments: `BenchmarkArguments`.
        device: Where everything runs.

    Raises:
        UserError: The encoder can't be loaded, or can't read that many tokens.
    """
    yardstick = Yardstick(encoder_path(arguments.encoder))
    if max(arguments.lengths) > yardstick.limit:
        raise UserError(f"--lengths {max(arguments.lengths)} is more than the {yardstick.limit} tokens of the encoder")
    built = {name: _build(flags, arguments.encoder, corpus) for name, flags in FLAGS.items()}
    precisions = {"float32": None} | ({"bfloat16": torch.bfloat16} if does_bf16_well(device.type == "cpu") else {})
    rows, count = [], arguments.num_batches * arguments.batch_size
    for length in arguments.lengths:
        ids = {name: chunks(tokenizer, corpus.texts, length, count) for name, (_, tokenizer) in built.items()}
        for precision, dtype in precisions.items():
            models = {
                name: contestant(model, batches_of(ids[name], arguments.batch_size), device, dtype)
                for name, (model, _) in built.items()
            }
            for mode in MODES:
                calls = {name: each.calls(mode) for name, each in models.items()}
                batches = f"{length} tokens, {precision}"
                times = interleaved(calls, arguments.repetitions, device, f"{mode}, {batches}")
                found = [dict(row) for row in compared(times, REFERENCES, mode=mode, batches=batches)]
                rows += [row | _speed(row, yardstick, np.full(arguments.batch_size, length)) for row in found]
    return {"batch_size": arguments.batch_size, "encoder": arguments.encoder, "rows": rows, "meaning": MEANING}


def _build(flags: dict[str, Any], encoder: str, corpus: Corpus) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    torch.manual_seed(0)
    own = {"encoder": encoder} if "attention_dropout" in flags else {}
    arguments: Any = ModelArguments(**flags, **own)
    return build_model(arguments, corpus.texts, LABELS, "single_label_classification")


def chunks(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int, count: int) -> list[list[int]]:
    """Token ids of texts laid end to end, cut to `count` pieces of `length`, and from the beginning again."""
    ids: list[int] = tokenizer(" ".join(texts), add_special_tokens=False, verbose=False)["input_ids"]
    ids = ids * (length // len(ids) + 1)
    pieces = [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]
    return [pieces[number % len(pieces)] for number in range(count)]


def _speed(row: dict[str, Any], yardstick: Yardstick, lengths_N: np.ndarray) -> dict[str, float]:
    """Tokens a second, and of models on the encoder its operations a second."""
    seconds, flags = row["seconds"]["median"], FLAGS[row["model"]]
    found = {"tokens_per_second": float(lengths_N.sum()) / seconds}
    if "attention_dropout" in flags:
        window = yardstick.window if flags["model"] == "attn_pool" else yardstick.limit
        passes = TRAINING_PASSES if row["mode"] == "training" else 1
        found["operations_per_second"] = passes * yardstick.operations(lengths_N, window) / seconds
    return found
