"""Which method explains a model most faithfully, measured on texts that it wasn't trained on."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict

import numpy as np
from accelerate.utils import broadcast_object_list

from salience.configuration.configuration_salience import SalienceConfig
from salience.configuration.errors import UserError
from salience.configuration.problem_types import REGRESSION
from salience.eval.explain.attributions import ATTRIBUTIONS
from salience.eval.explain.faithfulness import NUM_NORMALIZED, erasure
from salience.eval.explain.normalized import Scale
from salience.eval.explain.sampling import draw
from salience.eval.reading.reader import Reader, Reading
from salience.eval.scores.paired import bootstrap
from salience.modeling.attributions import METHODS
from salience.modeling.documents import Document
from salience.modeling.encoders import pretrained_encoder
from salience.modeling.windows import is_sharded
from salience.train.building.lora import trained_model
from salience.train.data.load import TextData
from salience.train.loop.trainer import SalienceTrainer

MAX_TOKENS = 64
"""Of a text, of which the first ones are looked at: `leave_one_out` is quadratic in them."""


class NormalizedFigures(TypedDict):
    """What NAOPC says of each method, and of random orders; see `salience.eval.explain.normalized`."""

    methods: dict[str, float]
    p_values: dict[str, float]
    random: float
    texts: int


class Explanation(TypedDict):
    """The field `explanation` of a configuration."""

    method: str
    comprehensiveness: dict[str, float]
    random: float
    texts: int
    naopc: NormalizedFigures | None


def keep_most_faithful(trainer: SalienceTrainer, data: TextData, num_texts: int, seed: int) -> None:
    """Store in a trained model's configuration which method explains it most faithfully, on its validation texts.

    Nothing is stored where there is nothing to measure: no classes, no place in the configuration, texts of one word,
    a tokenizer that doesn't tell where tokens stand, or weights that are spread over processes.

    Args:
        trainer: Trained.
        data: With its validation split.
        num_texts: Texts that are drawn; 0 for none.
        seed: Of the draw.
    """
    model, tokenizer = trained_model(trainer.accelerator.unwrap_model(trainer.model)), trainer.processing_class
    config: Any = model.config
    has_classes = data.problem_type != REGRESSION and isinstance(config, SalienceConfig)
    if not (num_texts and has_classes and tokenizer.is_fast) or is_sharded(model):
        return
    found = None
    if trainer.is_world_process_zero():
        with reading_anew(model):
            reader = Reader(model, tokenizer, trainer.args.per_device_eval_batch_size)
            found = most_faithful(reader, data.splits["validation"]["text"], num_texts, seed)
    config.explanation = broadcast_object_list([found])[0]


def most_faithful(reader: Reader, texts: Sequence[str], num_texts: int, seed: int = 0) -> Explanation | None:
    """The method of highest comprehensiveness, see `faithfulness`, with the figures of all that are possible.

    It is compared with random orders on other texts than those that chose it: the best of several is ahead by chance.

    Args:
        reader: The classifier.
        texts: It wasn't trained on them.
        num_texts: Texts that choose; up to `NUM_NORMALIZED` more are drawn for the comparison, of few texts a third.
        seed: Of the draws.

    Returns:
        None where there are no classes, or no text of two words.
    """
    wanted = num_texts + NUM_NORMALIZED
    few = np.random.default_rng(seed).permutation(len(texts))[: 4 * wanted]  # some may be too short
    documents = reader.documents([texts[row] for row in few])
    try:
        sample = draw(reader, documents, reader.read([each.ids for each in documents]), wanted, MAX_TOKENS, seed)
    except UserError:
        return None
    choosing = min(num_texts, math.ceil(len(sample.documents) * 2 / 3))
    chosen_by = sample.documents[:choosing], sample.readings[:choosing]
    apart = sample.documents[choosing:], sample.readings[choosing:]
    falls: dict[str, float] = {}
    found: dict[str, list[np.ndarray]] = {}
    for name, attribution in ATTRIBUTIONS.items():
        try:
            falls[name] = float(erasure(reader, *chosen_by, attribution(reader, *chosen_by), seed)[0].mean())
            found[name] = attribution(reader, *apart)
        except UserError:
            continue  # not possible with this model
    of_methods = {name: fall for name, fall in falls.items() if name in METHODS}
    if not of_methods:
        return None
    best = max(of_methods, key=lambda name: of_methods[name])
    return {
        "method": best,
        "comprehensiveness": of_methods,
        "random": falls["random"],
        "texts": choosing,
        "naopc": normalized_figures(reader, *apart, {name: found[name] for name in of_methods}, seed),
    }


def normalized_figures(
    reader: Reader,
    documents: Sequence[Document],
    readings: Sequence[Reading],
    importances: Mapping[str, Sequence[np.ndarray]],
    seed: int,
) -> NormalizedFigures | None:
    """NAOPC of each method and of random orders, and p-values of their difference; None where no two orders differ.

    Args:
        reader: The classifier.
        documents: N texts of two words or more.
        readings: What it says of them.
        importances: Of the methods, by name: of each text (W,).
        seed: Of the draws.
    """
    scale = Scale(reader, documents, readings, seed) if documents else None
    if scale is None or not scale.is_defined.any():
        return None
    random, found = scale.random(), {name: scale.naopc(each) for name, each in importances.items()}
    return {
        "methods": {name: float(each.mean()) for name, each in found.items()},
        "p_values": {name: bootstrap([each - random])["p_value"] for name, each in found.items()},
        "random": float(random.mean()),
        "texts": int(scale.is_defined.sum()),
    }


@contextmanager
def reading_anew(model: Any) -> Iterator[None]:
    """Let a model's encoder read all texts itself: a cache would keep every part of a text that is looked at."""
    encoder = pretrained_encoder(model)
    cached = None if encoder is None else encoder.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if encoder is not None and cached is not None:
            encoder.forward = cached
