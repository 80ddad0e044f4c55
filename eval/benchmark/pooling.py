"""What attention pooling costs beside the plain head on the same encoder, and beside models from scratch.

Open question 3 of arXiv 2512.09444: its tables hold accuracy and no time.
"""

from typing import Any

import torch

from salience.configuration.errors import UserError
from salience.configuration.flags.model_arguments import ModelArguments, model_options
from salience.eval.benchmark.models import NUM_LABELS, Corpus, batches_of, contestant
from salience.eval.benchmark.timing import MODES, compared, interleaved
from salience.modeling import AttnPoolConfig
from salience.train.building.build import build_model

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
LABELS = [str(number) for number in range(NUM_LABELS)]
REFERENCES = ("plain head", "Transformer from scratch", "Bi-LSTM from scratch")


def flags_of_models(encoder: str, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The flags of train.py for each model, by the name that it has in the tables."""
    pooling = {"model": "attn_pool", "encoder": encoder, "projection_dim": 512} | options
    return {
        "attention pooling": pooling,
        "mean pooling": pooling | {"alpha": 1.0},
        "plain head": {"model": "sequence_classification", "encoder": encoder},
        "Transformer from scratch": {"model": "transformer"},
        "Bi-LSTM from scratch": {"model": "lstm"},
        "graph attention from scratch": {"model": "gat"},
        "CNN from scratch": {"model": "cnn"},
    }


def measure_pooling(corpus: Corpus, arguments: Any, device: torch.device) -> dict[str, Any]:
    """Part 1 of the suite `attn_pool`: training step and inference, all on the same texts, each in its own tokens.

    Args:
        corpus: Real texts.
        arguments: `BenchmarkArguments`.
        device: Where everything runs.

    Raises:
        UserError: The encoder can't be loaded, or an option is none of `AttnPoolConfig`.
    """
    unknown = sorted(arguments.options.keys() - model_options(AttnPoolConfig).keys())
    if unknown:
        raise UserError(f"--model_options {unknown[0]} is no field of AttnPoolConfig")
    texts = [corpus.texts[number % len(corpus.texts)] for number in range(arguments.num_batches * arguments.batch_size)]
    models, encoder = {}, arguments.encoder or ENCODER
    for name, flags in flags_of_models(encoder, arguments.options).items():
        torch.manual_seed(0)
        model, tokenizer = build_model(ModelArguments(**flags), corpus.texts, LABELS, "single_label_classification")
        ids = tokenizer(texts, truncation=True)["input_ids"]  # as far as the model reads
        models[name] = contestant(model, batches_of(ids, arguments.batch_size), device)
    rows = []
    for mode in MODES:
        calls = {name: each.calls(mode) for name, each in models.items()}
        times = interleaved(calls, arguments.repetitions, device, f"1. {mode}")
        rows += compared(times, REFERENCES, mode=mode, batches="mixed lengths")
    return {"batch_size": arguments.batch_size, "encoder": encoder, "rows": rows}
