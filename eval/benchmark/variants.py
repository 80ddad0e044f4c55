"""The suite `growth`: how time and memory grow with a document."""

from dataclasses import fields
from typing import Any

import torch
from tqdm.auto import tqdm

from salience.configuration.flags.model_arguments import ModelArguments
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.configuration.problem_types import SINGLE_LABEL
from salience.eval.benchmark.growth import Curve, Measurer
from salience.eval.benchmark.models import LABELS, Corpus, hierarchical_config
from salience.eval.benchmark.timing import MODES
from salience.train.building.build import build_model

# Of the hierarchical model, without limits on sentences and words; the first is the default.
VARIANTS: dict[str, dict[str, str]] = {
    f"hierarchical, {scope} attention, {kernel}": {"attention_scope": scope, "attention_kernel": kernel}
    for scope in ("sentence", "document")
    for kernel in ("softmax", "linear")
}
ON_ENCODER = "attention pooling on the encoder"
MEANING = (
    "Exponents: slope of log time, or memory, over log words; 1 grows with the length, 2 with its square. Memory is "
    "the document's own, beyond that of the model; peak is all of the process. Training keeps for the gradient what "
    "--max_tokens_per_pass allows by default."
)


def measure_growth(corpus: Corpus, arguments: Any, device: torch.device) -> dict[str, Any]:
    """Part `growth`; variants take turns at each length.

    Raises:
        UserError: The encoder can't be loaded.
    """
    limits = {"max_sentences": 0, "max_words": 0}
    configs: dict[str, Any] = {
        name: hierarchical_config(corpus, **arguments.options | limits | own) for name, own in VARIANTS.items()
    }
    model_args: Any = ModelArguments(model="attn_pool", encoder=arguments.encoder)
    model, tokenizer = build_model(model_args, [], LABELS, SINGLE_LABEL)
    configs = {ON_ENCODER: model.config} | configs
    defaults: dict[str, Any] = {each.name: each.default for each in fields(SalienceTrainingArguments)}
    most_kept = defaults["max_tokens_per_pass"]
    measurer = Measurer(device, arguments.repetitions, arguments.point_seconds, arguments.point_megabytes, most_kept)
    curves = [Curve(variant, mode) for variant in configs for mode in MODES]
    lengths = sorted(set(arguments.words))
    with tqdm(total=len(lengths) * len(curves), desc="growth", leave=False) as progress:
        for length in lengths:
            words = corpus.long_document(length)
            tokens = tokenizer(corpus.long_text(length), verbose=False)["input_ids"]
            for curve in curves:
                document = tokens if curve.variant == ON_ENCODER else words
                measurer.extend(curve, configs[curve.variant], document, length)
                progress.update()
    return {"words": lengths, "rows": [curve.row() for curve in curves], "meaning": MEANING}
