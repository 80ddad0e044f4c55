"""Figures of attention and of what it explains, drawn from the JSON of a report or from one text.

Shapes
    W = words of one text, H = heads, S = sentences of one text
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from salience.eval.drawing import BLUE, GREEN, GREY, HEAT, INK, MUTED, ORANGE, bare, new_figure, plain

LINE_LENGTH = 96
MAX_SHOWN_WORDS, MAX_SHOWN_SENTENCES = 40, 12
COLOURS = {
    "attention": BLUE,
    "gradient_x_input": INK,
    "integrated_gradients": ORANGE,
    "leave_one_out": GREEN,
    "random": GREY,
}
KIND_NAMES = {"stop_word": "stop words", "content": "content words"}


def distributions_figure(profile: Mapping[str, Any]) -> Figure:
    """How even attention is, for right and wrong answers; words' weights; and on which kinds of words it lies.

    Args:
        profile: What `attention_profile` returned.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    entropy, weights, kinds = figure.subplots(1, 3)
    for axes in (entropy, weights, kinds):
        bare(axes)
    edges = profile["entropy"]["edges"]
    for answers, colour in (("right", BLUE), ("wrong", ORANGE)):
        counts = np.array(profile["entropy"][answers])
        label = f"{answers} ({counts.sum()})"
        entropy.stairs(counts / max(counts.sum(), 1), edges, color=colour, label=label, linewidth=1.6)
    entropy.set_xlabel("entropy (1: even, 0: one word)", color=MUTED)
    entropy.set_ylabel("share of the texts", color=MUTED)
    entropy.legend(frameon=False, fontsize=9)
    counts = np.array(profile["weights"]["counts"])
    edges = [f"{edge:g}" for edge in profile["weights"]["edges"]]
    weights.bar(range(len(counts)), counts / max(counts.sum(), 1), color=BLUE)
    weights.set_xticks(range(len(counts)), [f"{low}–{high}" for low, high in pairwise(edges)], rotation=40, ha="right")
    weights.set_xlabel("weight over the even weight", color=MUTED)
    weights.set_ylabel("share of the words", color=MUTED)
    shares = profile["kinds"] | {"first and last 3": profile["ends"]["both"]}
    places = np.arange(len(shares))
    for shift, key, colour, label in ((0.2, "weight", BLUE, "attention"), (-0.2, "even_weight", GREY, "even weights")):
        kinds.barh(places + shift, [each[key] for each in shares.values()], height=0.38, color=colour, label=label)
    kinds.set_yticks(places, [KIND_NAMES.get(name, name.replace("_", " ")) for name in shares])
    kinds.set_xlabel("share of the weight", color=MUTED)
    kinds.legend(frameon=False, fontsize=9)
    return figure


def faithfulness_figure(tested: Mapping[str, Any]) -> Figure:
    """What removing, and keeping, the most important words does to the predicted class's probability.

    Args:
        tested: What `faithfulness` returned.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    titles = {
        "comprehensiveness": "without the most important words",
        "sufficiency": "with nothing but the most important words",
    }
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        bare(axes)
        for method, colour in COLOURS.items():
            if method in tested["attributions"]:
                curve = tested["attributions"][method][name]["curve"]
                label = method.replace("_", " ")
                axes.plot(tested["fractions"], curve, color=colour, label=label, marker="o", markersize=4)
        axes.set_title(title, fontsize=10, color=INK)
        axes.set_xlabel("share of the words", color=MUTED)
    panels[0].set_ylabel("fall of the probability", color=MUTED)
    panels[0].legend(frameon=False, fontsize=9)
    return figure


def words_figure(words: Sequence[tuple[str, float]], title: str) -> Figure:
    """A text in which the words' background tells their attention.

    Args:
        words: Each with its share of the attention.
        title: What stands above.
    """
    largest = max((weight for _, weight in words), default=0) or 1
    places, line, column = [], 0, 0
    for word, weight in words:
        shown = plain(word, LINE_LENGTH)
        if column and column + len(shown) > LINE_LENGTH:
            line, column = line + 1, 0
        places.append((column, line, shown, weight / largest))
        column += len(shown) + 1
    figure, axes = new_figure(10, 0.7 + 0.27 * (line + 1))
    axes.set(xlim=(-0.5, LINE_LENGTH + 0.5), ylim=(line + 0.6, -0.6))
    axes.axis("off")
    for column, line, shown, share in places:
        axes.add_patch(Rectangle((column - 0.3, line - 0.42), len(shown) + 0.6, 0.84, color=HEAT(share), linewidth=0))
        style: dict[str, Any] = {
            "family": "DejaVu Sans Mono",
            "fontsize": 8.6,
            "color": "white" if share > 0.6 else INK,
        }
        # Spread over its cells: the font's own width depends on the picture's.
        for place, character in enumerate(shown.replace(r"\$", "$")):
            escaped = r"\$" if character == "$" else character
            axes.text(column + place + 0.5, line, escaped, ha="center", va="center", in_layout=False, **style)
    axes.set_title(plain(title, LINE_LENGTH), fontsize=10, color=INK, loc="left")
    return figure


def cross_attention_figure(words: Sequence[str], attention_HWS: np.ndarray, title: str) -> Figure:
    """What share of its attention each kept word gives to each sentence, by head.

    Args:
        words: The W kept words; the first 40 are shown.
        attention_HWS: (H, W, S); the first 12 sentences are shown.
        title: What stands above.
    """
    shown = attention_HWS[:, :MAX_SHOWN_WORDS, :MAX_SHOWN_SENTENCES]
    heads, num_words, num_sentences = shown.shape
    width = 1.8 + heads * (0.5 + 0.24 * num_sentences)
    figure = Figure(figsize=(width, 1.2 + 0.2 * num_words), layout="constrained")
    panels = figure.subplots(1, heads, sharey=True, squeeze=False)[0]
    scale = Normalize(0, max(float(shown.max()), 1e-9))
    for head, axes in enumerate(panels):
        bare(axes)
        axes.grid(visible=False)
        axes.imshow(shown[head], cmap=HEAT, norm=scale, aspect="auto")
        axes.set_xticks(range(num_sentences), [str(each + 1) for each in range(num_sentences)])
        axes.set_title(f"head {head + 1}", fontsize=9, color=INK)
        axes.set_xlabel("sentence", color=MUTED)
    panels[0].set_yticks(range(num_words), [plain(word, 18) for word in words[:num_words]])
    figure.colorbar(ScalarMappable(scale, HEAT), ax=list(panels), label="share of the attention", fraction=0.05)
    figure.suptitle(plain(title, 60), fontsize=10, color=INK)
    return figure
