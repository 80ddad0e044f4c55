"""What attention pooling costs beside the plain head on the same encoder, and beside models from scratch.

Open question 3 of arXiv 2512.09444: its tables hold accuracy and no time.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.flags.model_arguments import ModelArguments
from salience.configuration.flags.training_arguments import does_bf16_well
from salience.configuration.problem_types import SINGLE_LABEL
from salience.eval.benchmark.machine import TRAINING_PASSES, Yardstick
from salience.eval.benchmark.models import LABELS, Contestant, Corpus, batches_of, contestant
from salience.eval.benchmark.timing import MODES, StepRow, compared, interleaved
from salience.modeling.encoders import can_read_unpadded
from salience.modeling.unpadded import NAME as UNPADDED
from salience.train.building.build import build_model
from salience.train.building.encoder_loading import encoder_path

# The flags of `salience train` for each model; both on the encoder without attention dropout.
FLAGS: dict[str, dict[str, Any]] = {
    "attention pooling": {"model": "attn_pool", "attention_dropout": 0.0},
    "mean pooling": {"model": "attn_pool", "alpha": 1.0, "attention_dropout": 0.0},
    "plain head": {"model": "sequence_classification", "attention_dropout": 0.0},
    "hierarchical on the encoder": {"model": "hierarchical_attn", "attention_dropout": 0.0},
    "Transformer from scratch": {"model": "transformer"},
    "Bi-LSTM from scratch": {"model": "lstm"},
}
# What reads on a GPU with its windows in one row, too.
READ_ANEW = ("attention pooling", "hierarchical on the encoder")
REFERENCES = ("plain head", "Transformer from scratch", "Bi-LSTM from scratch")
MEANING = (
    "/ plain head: seconds of a batch over those of the plain head on the same encoder for texts of as many tokens in "
    "the same repetition; above 1, the plain head is faster. The others likewise."
)


def measure_pooling(corpus: Corpus, arguments: Any, device: torch.device) -> dict[str, Any]:
    """Part `pooling`: training step and inference on texts of exactly so many tokens, and on texts as they come.

    Args:
        corpus: Real texts; they are laid end to end and cut, and, as they come, at what the plain head reads.
        arguments: `BenchmarkArguments`.
        device: Where everything runs. On GPUs, rows also have `megabytes`: the peak of memory during a batch, beyond
            what lay there before.

    Raises:
        UserError: The encoder can't be loaded.
    """
    yardstick = Yardstick(encoder_path(arguments.encoder))
    built = {name: _build(flags, arguments.encoder, corpus) for name, flags in FLAGS.items()}
    readers = {name: (name, *each) for name, each in built.items()}
    if device.type == "cuda":
        for name in READ_ANEW:
            model: Any = deepcopy(built[name][0])
            if can_read_unpadded(model.encoder):
                model.encoder.set_attn_implementation(UNPADDED)
                readers[f"{name}, in one row"] = (name, model, built[name][1])
    precisions: dict[str, torch.dtype | None] = {"float32": None} if device.type == "cpu" else {}
    if does_bf16_well(device.type == "cpu"):
        precisions["bfloat16"] = torch.bfloat16
    rows: list[dict[str, Any]] = []
    count = arguments.num_batches * arguments.batch_size
    for length in (*arguments.lengths, None):
        ids = {name: chunks(tokenizer, corpus.texts, length, count) for name, (_, tokenizer) in built.items()}
        if length is None:
            ids = {name: [each[: yardstick.limit] for each in own] for name, own in ids.items()}
        for precision, dtype in precisions.items():
            models = {
                name: contestant(model, batches_of(ids[kind], arguments.batch_size), device, dtype)
                for name, (kind, model, _) in readers.items()
                if FLAGS[kind]["model"] != "sequence_classification" or (length or 0) <= yardstick.limit
            }
            lengths_N = np.array([len(each) for each in ids["plain head"]])
            for mode in MODES:
                batches = f"{'texts as they come' if length is None else f'{length} tokens'}, {precision}"
                rows += _measured(models, mode, batches, arguments, device, yardstick, lengths_N)
    return {"batch_size": arguments.batch_size, "encoder": arguments.encoder, "rows": rows, "meaning": MEANING}


def _measured(
    models: dict[str, Contestant],
    mode: str,
    batches: str,
    arguments: Any,
    device: torch.device,
    yardstick: Yardstick,
    lengths_N: np.ndarray,
) -> Iterator[dict[str, Any]]:
    """The rows of one mode and one kind of batches."""
    calls = {name: each.calls(mode) for name, each in models.items()}
    times = interleaved(calls, arguments.repetitions, device, f"{mode}, {batches}")
    references = tuple(name for name in REFERENCES if name in models)
    for row in compared(times, references, mode=mode, batches=batches):
        own: dict[str, Any] = {**row, **_speed(row, yardstick, lengths_N, arguments.num_batches)}
        if device.type == "cuda":
            own["megabytes"] = max(gpu_megabytes(call, device) for call in calls[row["model"]])
        yield own


def gpu_megabytes(call: Callable[[], Any], device: torch.device) -> float:
    """Peak of a GPU's memory during a call, beyond what lay there before."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6


def _build(flags: dict[str, Any], encoder: str, corpus: Corpus) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    torch.manual_seed(0)
    own = {"encoder": encoder} if "attention_dropout" in flags else {}
    arguments: Any = ModelArguments(**flags, **own)
    return build_model(arguments, corpus.texts, LABELS, SINGLE_LABEL)


def chunks(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int | None, count: int) -> list[list[int]]:
    """Token ids of texts laid end to end, cut to `count` pieces of `length`, and from the beginning again.

    Args:
        tokenizer: The model's.
        texts: The texts.
        length: Tokens of a piece; None: each text is one.
        count: How many.
    """
    pieces: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    if length is not None:
        ids = [each for piece in pieces for each in piece]
        ids = ids * (length // len(ids) + 1)
        pieces = [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]
    return [pieces[number % len(pieces)] for number in range(count)]


def _speed(row: StepRow, yardstick: Yardstick, lengths_N: np.ndarray, num_batches: int) -> dict[str, float]:
    """Tokens a second, and of models on the encoder its operations a second.

    Args:
        row: Of `compared`.
        yardstick: The encoder's.
        lengths_N: Tokens of each text.
        num_batches: In which they are read.
    """
    seconds, flags = num_batches * row["seconds"]["median"], FLAGS[row["model"].split(",")[0]]
    found = {"tokens_per_second": float(lengths_N.sum()) / seconds}
    if "attention_dropout" in flags:
        is_ours = flags["model"] != "sequence_classification"
        passes = TRAINING_PASSES if row["mode"] == "training" else 1
        operations = yardstick.operations(lengths_N, yardstick.window if is_ours else yardstick.limit)
        found["operations_per_second"] = passes * operations / seconds
    return found
