"""Figures of a report, drawn from its JSON: each function returns a Matplotlib figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from salience.eval.drawing import BLUE, GREY, HEAT, INK, MUTED, ORANGE, bare, new_figure, plain, short_names
from salience.eval.scores.breakdown import NamedLengthScores
from salience.eval.scores.calibration import Bin, Curve
from salience.eval.scores.metrics import ClassScores

LONGEST = 80
"""Characters of a class's name, where its beginning and end are those of another."""


def confusion_figure(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Share of each true class (row) that was predicted as each class (column).

    Args:
        counts: (C, C) texts, true class by row.
        names: The classes.
    """
    size = len(names)
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    labels = [plain(name, LONGEST) for name in short_names(names).values()]
    cells, words = size * min(0.6, max(0.36, 3 / size)), 0.08 * max(map(len, labels))  # inches
    figure, axes = new_figure(1.0 + words + cells, 1.0 + words + cells)
    axes.grid(visible=False)
    axes.imshow(shares, cmap=HEAT, vmin=0, vmax=1)
    if size <= 30:
        for row, column in np.argwhere(shares >= 0.01):
            colour = "white" if shares[row, column] > 0.5 else INK
            text = f"{100 * shares[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(size), labels, rotation=90)
    axes.set_yticks(range(size), labels)
    axes.set_xlabel("predicted", color=MUTED)
    axes.set_ylabel("true", color=MUTED)
    return figure


def per_class_figure(per_class: Mapping[str, ClassScores]) -> Figure:
    """Precision, recall and F1 of each class, the best on top.

    Args:
        per_class: {name: {precision, recall, f1, support}}.
    """
    rows = sorted(per_class.items(), key=lambda item: item[1]["f1"])
    figure, axes = new_figure(7.5, 1.4 + 0.3 * len(rows))
    places = np.arange(len(rows))
    values = np.array([[row["precision"], row["recall"], row["f1"]] for _, row in rows])
    marks = (("precision", ORANGE, "<"), ("recall", BLUE, ">"), ("f1", INK, "o"))
    for column, (score, colour, marker) in zip(values.T, marks, strict=True):
        axes.scatter(column, places, color=colour, marker=marker, label=score, zorder=3, s=26)
    names = short_names([name for name, _ in rows])
    axes.set_yticks(places, [f"{plain(names[name], LONGEST)}  ({row['support']})" for name, row in rows])
    axes.set_xlim(min(0.5, values[:, :2].min()) - 0.02, 1.01)
    axes.set_xlabel("score; texts in brackets", color=MUTED)
    axes.legend(loc="lower right", ncols=3, fontsize=9, frameon=False, bbox_to_anchor=(1, 1))
    return figure


def training_figure(history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss in training and validation, and validation scores, by epoch.

    Args:
        history: `log_history` of a run's trainer_state.json.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    for axes in (losses, scores):
        bare(axes)
        axes.set_xlabel("epoch", color=MUTED)
    for axes, key, colour, label in (
        (losses, "loss", GREY, "training loss"),
        (losses, "eval_loss", BLUE, "validation loss"),
        (scores, "eval_accuracy", INK, "validation accuracy"),
        (scores, "eval_f1_macro", ORANGE, "validation macro F1"),
    ):
        points = [(row["epoch"], row[key]) for row in history if key in row]
        if points:
            marker = None if key == "loss" else "o"
            axes.plot(*zip(*points, strict=True), color=colour, label=label, marker=marker, markersize=4)
            axes.legend(frameon=False, fontsize=9)
    return figure


def reliability_figure(bins: Sequence[Bin], error: float, counted: str) -> Figure:
    """Accuracy by confidence: on the diagonal, a score is a probability.

    Args:
        bins: Each with confidence, accuracy and count.
        error: The expected calibration error of these bins.
        counted: What is in the bins, by name.
    """
    figure, axes = new_figure(4.6, 4.2)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    filled = [row for row in bins if row["count"]]
    largest = max(row["count"] for row in filled)
    sizes = [20 + 300 * row["count"] / largest for row in filled]
    points = [row["confidence"] for row in filled], [row["accuracy"] for row in filled]
    axes.plot(*points, color=BLUE, linewidth=1)
    axes.scatter(*points, s=sizes, color=BLUE, alpha=0.7, clip_on=False)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set_xlabel("confidence", color=MUTED)
    axes.set_ylabel("accuracy", color=MUTED)
    axes.set_title(f"expected calibration error {error:.3f}; area: {counted}", fontsize=10, color=INK)
    return figure


def risk_coverage_figure(curve: Curve, counted: str) -> Figure:
    """Error rate among the answers of highest confidence, by how many of all they are.

    Args:
        curve: Lists of coverage and risk.
        counted: What is answered, by name.
    """
    figure, axes = new_figure(4.6, 4.2)
    axes.plot(curve["coverage"], curve["risk"], color=BLUE)
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.set_xlabel(f"part of the {counted} that is answered, surest first", color=MUTED)
    axes.set_ylabel("errors among them", color=MUTED)
    return figure


def length_figure(bins: Sequence[NamedLengthScores]) -> Figure:
    """Accuracy by length of the text.

    Args:
        bins: Each with name, texts and accuracy (None where there are no texts).
    """
    figure, axes = new_figure(6.5, 1.2 + 0.36 * len(bins))
    places = np.arange(len(bins))[::-1]
    axes.barh(places, [row["accuracy"] or 0 for row in bins], color=BLUE, height=0.6)
    for place, row in zip(places, bins, strict=True):
        text = "no texts" if row["accuracy"] is None else f"{row['accuracy']:.3f}   {row['texts']} texts"
        axes.text((row["accuracy"] or 0) + 0.01, place, text, va="center", fontsize=9, color=INK)
    axes.set_yticks(places, [plain(row["name"]) for row in bins])
    axes.set_xlim(0, 1.3)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xlabel("accuracy", color=MUTED)
    return figure
