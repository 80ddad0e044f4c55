"""Which method explains a model most faithfully, measured on texts that it wasn't trained on."""

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
from salience.eval.explain.sampling import Sample, draw
from salience.eval.reading.reader import Reader
from salience.modeling.attributions import METHODS
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

    Args:
        reader: The classifier.
        texts: It wasn't trained on them.
        num_texts: Texts that are drawn.
        seed: Of the draws.

    Returns:
        None where there are no classes, or no text of two words.
    """
    few = np.random.default_rng(seed).permutation(len(texts))[: 4 * num_texts]  # some may be too short
    documents = reader.documents([texts[row] for row in few])
    try:
        sample = draw(reader, documents, reader.read([each.ids for each in documents]), num_texts, MAX_TOKENS, seed)
    except UserError:
        return None
    falls: dict[str, float] = {}
    found: dict[str, list[np.ndarray]] = {}
    for name, attribution in ATTRIBUTIONS.items():
        try:
            found[name] = attribution(reader, sample.documents, sample.readings)
            falls[name] = float(erasure(reader, sample.documents, sample.readings, found[name], seed)[0].mean())
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
        "texts": len(sample.documents),
        "naopc": normalized_figures(reader, sample, {name: found[name] for name in of_methods}, seed),
    }


def normalized_figures(
    reader: Reader, sample: Sample, importances: Mapping[str, Sequence[np.ndarray]], seed: int
) -> NormalizedFigures | None:
    """NAOPC of each method and of random orders on some of the texts; None where no text has two orders that differ.

    Args:
        reader: The classifier.
        sample: The texts.
        importances: Of the methods, by name.
        seed: Of the draws.
    """
    scale = Scale(reader, sample.documents[:NUM_NORMALIZED], sample.readings[:NUM_NORMALIZED], seed)
    if not scale.is_defined.any():
        return None
    return {
        "methods": {name: float(scale.naopc(each[:NUM_NORMALIZED]).mean()) for name, each in importances.items()},
        "random": float(scale.random().mean()),
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
