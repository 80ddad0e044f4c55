"""The pictures of a report, by the names of their files."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from salience.eval.failures.internals import has_filter
from salience.eval.reading.reader import Reader
from salience.eval.report.attention_figures import (
    cross_attention_figure,
    distributions_figure,
    faithfulness_figure,
    words_figure,
)
from salience.eval.report.content import MAX_CROSS_TOKENS, Example
from salience.eval.report.figures import (
    confusion_figure,
    length_figure,
    per_class_figure,
    reliability_figure,
    risk_coverage_figure,
    training_figure,
)
from salience.eval.report.texts import Texts

DPI = 130
MAX_CLASSES = 60
"""More don't fit into a picture; report.json has them all."""
NUM_CROSS_ATTENTION = 3
PICTURES = (
    "confusion_matrix.png",
    "per_class_performance.png",
    "reliability.png",
    "risk_coverage.png",
    "length.png",
    "training_curves.png",
    "faithfulness.png",
    "attention_distributions.png",
    "word_attention",
    "cross_attention",
)
"""All that `draw` may give: files, and folders of them."""


def draw(results: Mapping[str, Any], reader: Reader, texts: Texts) -> Iterator[tuple[str, Figure]]:
    """The pictures that these results give, each with the name of its file without `.png`.

    Args:
        results: The content of report.json.
        reader: The model, which is asked for the cross-attention of some examples.
        texts: What it was tested on.
    """
    names = results["data"]["classes"]
    if results["confusion"] and len(names) <= MAX_CLASSES:
        yield "confusion_matrix", confusion_figure(np.array(results["confusion"]), names)
    if len(names) <= MAX_CLASSES:
        yield "per_class_performance", per_class_figure(results["scores"]["per_class"])
    calibration = results["calibration"]
    counted = "texts" if results["confusion"] else "labels of all texts"  # with several, each is a yes or no
    bins, error = calibration["reliability_equal_mass"], calibration["ece_equal_mass"]
    yield "reliability", reliability_figure(bins, error, counted)
    yield "risk_coverage", risk_coverage_figure(calibration["risk_coverage"], counted)
    yield "length", length_figure(results["length"]["bins"])
    if results["training"]:
        yield "training_curves", training_figure(results["training"])
    if "reason" not in results["faithfulness"]:
        yield "faithfulness", faithfulness_figure(results["faithfulness"])
    if "reason" not in results["attention"]:
        yield "attention_distributions", distributions_figure(results["attention"])
        for example in results["examples"]:
            yield f"word_attention/{example['row']}", words_figure(example["words"], example_title(example))
    if has_filter(reader.model):
        yield from draw_cross_attention(results["examples"], reader, texts)


def draw_cross_attention(examples: Sequence[Example], reader: Reader, texts: Texts) -> Iterator[tuple[str, Figure]]:
    """Word-to-sentence maps of the first examples that have two sentences or more."""
    drawn = 0
    for example in examples:
        document = texts.documents[example["row"]]
        if drawn == NUM_CROSS_ATTENTION or len(document.ids) > MAX_CROSS_TOKENS:
            continue
        attention_HTS = reader.read([document.ids], cross_attention=True)[0].cross_attention
        if attention_HTS is None or attention_HTS.shape[2] < 2:
            continue
        is_kept_T = (attention_HTS.sum((0, 2)) > 0) & (document.word_of >= 0)
        words = [document.text[start:end] for start, end in document.spans[is_kept_T]]
        if words:
            drawn += 1
            title = example_title(example)
            yield f"cross_attention/{example['row']}", cross_attention_figure(words, attention_HTS[:, is_kept_T], title)


def example_title(example: Example) -> str:
    """One line above a text."""
    truth = "" if example["right"] else f", in truth {example['true'] or 'none'}"
    return f"row {example['row']}: {example['predicted'] or 'none'} ({example['confidence']:.2f}){truth}"


def as_png(figures: Iterator[tuple[str, Figure]]) -> dict[str, bytes]:
    """Each figure as a PNG, by name."""
    pictures = {}
    for name, figure in figures:
        stream = BytesIO()
        with warnings.catch_warnings():  # a script that the font doesn't have is drawn as boxes
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(stream, format="png", dpi=DPI)
        pictures[name] = stream.getvalue()
    return pictures
