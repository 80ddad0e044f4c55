"""The benchmark's results as figures."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from salience.eval.benchmark.tables import number_text
from salience.eval.drawing import BLUE, GREY, bare, new_figure, plain

Row = dict[str, Any]
BARS = "benchmark.png"
# The longest time over the shortest from which bars need a logarithmic scale to be seen.
FAR_LONGER = 20
GROWTH = {"seconds": "growth_seconds.png", "megabytes": "growth_megabytes.png"}
# By suite, the files that it draws.
FIGURES = {
    **dict.fromkeys(("train", "predict", "start", "hierarchical", "scaling"), (BARS,)),
    "growth": tuple(GROWTH.values()),
}


def draw(suite: str, part: str, results: Row, folder: Path) -> None:
    """The figures of a part, if it has any.

    Args:
        suite: Whose part it is.
        part: Its name.
        results: What was measured.
        folder: Where they go.
    """
    if part == "growth":
        growth_figures(results, folder)
    elif part != "batches" and results["rows"]:
        bars(f"{suite}: seconds, median and range", results["rows"], folder / BARS)


def bars(title: str, rows: list[Row], file: Path) -> None:
    """A bar for each row, with its accuracy where it has one; on a logarithmic scale where some take far longer."""
    figure, axes = new_figure(9, 1 + 0.3 * len(rows))
    for place, row in enumerate(rows):
        middle, low, high = (row["seconds"][name] for name in ("median", "low", "high"))
        color = GREY if row["model"] in row["ratios"] else BLUE
        axes.barh(place, middle, color=color, xerr=[[middle - low], [high - middle]], ecolor="black")
        accuracy = f", accuracy {row['test_accuracy']:.4f}" if "test_accuracy" in row else ""
        axes.annotate(f"  {middle:.3g} s{accuracy}", (high, place), va="center", fontsize=8)
    names = [" · ".join(filter(None, (row["model"], row.get("mode"), row["batches"]))) for row in rows]
    axes.set_yticks(range(len(rows)), [plain(name, 60) for name in names])
    axes.invert_yaxis()
    medians = [row["seconds"]["median"] for row in rows]
    if max(medians) > FAR_LONGER * min(medians):
        axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.set_title(title, fontsize=10)
    figure.savefig(file, dpi=150)


def growth_figures(results: Row, folder: Path) -> None:
    """`growth_seconds.png` and `growth_megabytes.png`: log-log by words, one panel for each mode."""
    for what, unit in (("seconds", "seconds"), ("megabytes", "MB above the model's own")):
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        modes = list(dict.fromkeys(row["mode"] for row in results["rows"]))
        for axes, mode in zip(figure.subplots(1, len(modes), sharey=True, squeeze=False)[0], modes, strict=True):
            bare(axes)
            for row in (row for row in results["rows"] if row["mode"] == mode):
                exponent = number_text(row["time_exponent" if what == "seconds" else "memory_exponent"])
                axes.loglog(row["words"], row[what], marker="o", label=f"{row['variant']}: {exponent}")
            axes.set_title(mode)
            axes.set_xlabel("words of the document")
            axes.legend(title="exponent from 1,000 words", fontsize="small")
        figure.axes[0].set_ylabel(unit)
        figure.savefig(folder / GROWTH[what], dpi=150)
