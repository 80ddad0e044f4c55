"""What all figures have in common.

Names of classes and words come from outside: they are shortened, and `$` doesn't start a formula.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from salience.configuration.errors import one_line

INK, MUTED, GRID = "#1c2733", "#66727f", "#dde3e9"
BLUE, ORANGE, GREEN, GREY = "#1f6feb", "#d9730d", "#2a9d5c", "#9aa5b1"
HEAT = LinearSegmentedColormap.from_list("heat", ["#ffffff", "#cfe2ff", "#1f6feb", "#0b2f6b"])
MAX_NAME = 28


def plain(name: Any, length: int = MAX_NAME) -> str:
    """A name on one line, at most `length` characters long, that Matplotlib takes literally."""
    return one_line(name, length).replace("\\", "/").replace("$", r"\$")


def short_names(names: Sequence[str], length: int = MAX_NAME) -> dict[str, str]:
    """By name: its beginning and end, `length` characters; all of it where another would look the same."""
    half = length // 2
    short = {name: name if len(name) <= length else f"{name[: half - 1]}…{name[-half:]}" for name in names}
    times = Counter(short.values())
    return {name: each if times[each] == 1 else name for name, each in short.items()}


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes, in inches."""
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))  # inches
    axes = figure.subplots()
    bare(axes)
    return figure, axes


def bare(axes: Axes) -> None:
    """Take away what says nothing."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=MUTED, labelsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
