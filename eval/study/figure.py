"""A study's results as a figure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salience.eval.drawing import BLUE, GREY, INK, MUTED, bare, plain
from salience.eval.study.scores import score_title

NUMBERED = re.compile(r"(.+)_(\d+(?:\.\d+)?)")
MARKERS = "osD^vP*X<>"
DASHES, ACROSS = ("--", ":", "-."), (GREY, INK, BLUE)  # of lines across
NUM_COLUMNS = 3
Rows = Mapping[str, Mapping[str, Any]]
Curves = dict[str, dict[float, str]]


def draw_study(study: Mapping[str, Any]) -> Figure:
    """Test accuracy and further scores of each row, mean ± standard deviation over the seeds.

    Rows whose names end in the same numbers, as `focal_2, focal_6, weighted_2, weighted_6`, become curves over that
    number, and other rows lines across. Without such rows, each row is a point.

    Args:
        study: The content of study.json.
    """
    rows = {name: row for name, row in study["rows"].items() if row["seeds"]}
    scores = ["accuracy", *study["scores"]]
    scores = [score for score in scores if any(row["mean"][score] is not None for row in rows.values())]
    curves = find_curves(list(rows))
    columns = min(NUM_COLUMNS, len(scores))
    lines = -(-len(scores) // columns)
    height = 3.2 if curves else 0.8 + 0.26 * len(rows)
    legend = 0.5 + 0.22 * -(-len(rows) // 4) if curves else 0
    figure = Figure(figsize=(max(4.2 * columns, 7.5), height * lines + 0.5 + legend), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=not curves).flatten()
    for axes, score in zip(panels, scores, strict=False):
        bare(axes)
        draw_curves(axes, rows, score, curves) if curves else draw_points(axes, rows, score, study["reference"])
    for axes in panels[len(scores) :]:
        axes.set_visible(False)
    if curves:
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8
        )
    figure.suptitle(plain(study["name"], 80), color=INK, fontsize=11)
    return figure


def find_curves(names: Sequence[str]) -> Curves:
    """Rows by the name and the number that their names are made of; empty unless they have numbers in common."""
    found: Curves = {}
    for name in names:
        if match := NUMBERED.fullmatch(name):
            curve = found.setdefault(match[1], {})
            if float(match[2]) in curve:  # as a_1 and a_01: one would hide the other
                return {}
            curve[float(match[2])] = name
    several = [set(curve) for curve in found.values() if len(curve) > 1]
    return found if len(several) > 1 and set.intersection(*several) else {}


def draw_curves(axes: Axes, rows: Rows, score: str, curves: Curves) -> None:
    """A curve for each name, and a line across for each row without a number."""
    colours = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]  # of a listed map
    for number, (name, curve) in enumerate(curves.items()):
        points = [(x, rows[row]) for x, row in sorted(curve.items()) if rows[row]["mean"][score] is not None]
        axes.errorbar(
            [x for x, _ in points],
            [100 * row["mean"][score] for _, row in points],
            yerr=[100 * (row["sd"][score] or 0) for _, row in points],
            label=name, color=colours[number % 20], marker=MARKERS[number % len(MARKERS)], markersize=4, linewidth=1.2,
            capsize=2,
        )  # fmt: skip
    inside = {row for curve in curves.values() for row in curve.values()}
    across = {name: row for name, row in rows.items() if name not in inside and row["mean"][score] is not None}
    for number, (name, row) in enumerate(across.items()):
        style, colour = DASHES[number % len(DASHES)], ACROSS[number // len(DASHES) % len(ACROSS)]
        axes.axhline(100 * row["mean"][score], color=colour, linestyle=style, linewidth=1, label=name)
    numbers = sorted({x for curve in curves.values() for x in curve})
    if numbers[0] > 0 and numbers[-1] >= 8 * numbers[0]:
        axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{x:g}" for x in numbers])
    axes.set_xlabel("the number at the end of a row's name", color=MUTED, fontsize=9)
    axes.minorticks_off()
    axes.set_ylabel(f"{score_title(score)}, %", color=MUTED, fontsize=9)


def draw_points(axes: Axes, rows: Rows, score: str, reference: str | None) -> None:
    """A point for each row, the first on top."""
    for place, row in enumerate(rows.values()):
        if (mean := row["mean"][score]) is not None:
            colour = BLUE if row["kind"] == "model" else MUTED
            axes.errorbar(100 * mean, place, xerr=100 * (row["sd"][score] or 0), color=colour, marker="o", capsize=2)
    if reference in rows and (mean := rows[str(reference)]["mean"][score]) is not None:
        axes.axvline(100 * mean, color=GREY, linestyle=":", linewidth=1, zorder=0)
    axes.set_yticks(range(len(rows)), [plain(name, 40) for name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"{score_title(score)}, %", color=MUTED, fontsize=9)
