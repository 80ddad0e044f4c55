"""A comparison of runs as Markdown, as plain text, and as a figure."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from salience.configuration.errors import one_line
from salience.configuration.problem_types import MULTI_LABEL
from salience.eval.drawing import short_names
from salience.eval.runs import HOW_SEVERAL_COUNT
from salience.model_cards.markdown import aligned_table, difference_text, escape, p_text, table

MAX_NAME = 40  # characters of a name in a table or figure
SCORES = {"accuracy": "test accuracy", "f1_macro": "test macro F1"}
# Okabe and Ito's blue, vermilion and green: different for all kinds of colour vision.
COLOURS = {"model": "#0072B2", "sparse": "#D55E00", "frozen": "#009E73"}
KINDS = {"model": "run", "sparse": "TF-IDF baseline", "frozen": "baseline on a frozen encoder"}
WIDTH, HEIGHT, ROW_HEIGHT, DPI = 10.0, 1.5, 0.32, 150  # inches; dots per inch


def render(results: Mapping[str, Any], figure_file: Path) -> str:
    """A comparison as Markdown, best test accuracy first; names from data are escaped.

    Args:
        results: The content of model_comparison.json, see `salience.eval.compare.command`.
        figure_file: Where its figure lies, seen from the Markdown file.
    """
    header, lines = _cells(results)
    title = f"# {escape(results['data']['name'])}: {results['data']['splits']['test']:,} test texts"
    figure = f"![Accuracy and macro F1 of each run, with intervals]({figure_file.as_posix()})"
    return f"{title}\n\n{table(header, lines)}\n\n{_legend(results, escape)}\n\n{figure}\n"


def text_table(results: Mapping[str, Any]) -> str:
    """A comparison as aligned columns, best test accuracy first.

    Args:
        results: The content of model_comparison.json.
    """
    header, lines = _cells(results)
    title = f"{one_line(results['data']['name'], 100)}: {results['data']['splits']['test']:,} test texts"
    return f"{aligned_table(title, header, lines)}\n\n{_legend(results, str)}"


def write_figure(results: Mapping[str, Any], file: Path) -> None:
    """Test accuracy and macro F1 of each run as a dot with its interval, best accuracy on top.

    The picture is 1,500 dots wide and 225 + 48 for each row high.

    Args:
        results: The content of model_comparison.json.
        file: Where the PNG goes.
    """
    rows = _ranked(results)
    size = (WIDTH, HEIGHT + ROW_HEIGHT * len(rows))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.06))
    panels = figure.subplots(1, len(SCORES), sharey=True)
    for axes, score in zip(panels, SCORES, strict=True):
        _draw(axes, rows, score, results["best_sparse"])
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    names = short_names([row["name"] for row in results["rows"]], MAX_NAME)
    # Names come from folders: no $ in them starts a formula.
    panels[0].set_yticks(range(len(rows)), [names[row["name"]] for row in rows], parse_math=False)
    for label, row in zip(panels[0].get_yticklabels(), rows, strict=True):
        label.set_color(COLOURS[row["kind"]])
    title = f"{one_line(results['data']['name'], 60)}: {results['data']['splits']['test']:,} test texts"
    figure.suptitle(title, fontsize="medium", parse_math=False)
    there = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    marks = [Line2D([], [], color=COLOURS[kind], marker="o", label=KINDS[kind]) for kind in there]
    marks.append(Line2D([], [], color=COLOURS["sparse"], linestyle=":", label="best baseline by validation"))
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False, fontsize="small")
    figure.savefig(file, dpi=DPI)


def _draw(axes: Axes, rows: list[dict[str, Any]], score: str, best_sparse: str) -> None:
    for place, row in enumerate(rows):
        value, (low, high) = 100 * row[score], (100 * end for end in row["intervals"][score])
        colour = COLOURS[row["kind"]]
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(value, place, "o", color=colour, markersize=6)
        axes.annotate(
            f"{value:.1f}", (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
            va="center", color=colour, fontsize="small", annotation_clip=False,
        )  # fmt: skip
        if row["name"] == best_sparse:
            axes.axvline(value, color=colour, linestyle=":", linewidth=1, zorder=0)
    axes.set_xlabel(f"{SCORES[score]}, %, with 95 % interval", fontsize="small")
    axes.grid(axis="y", alpha=0.25)
    axes.tick_params(axis="both", length=0, labelsize="small")
    axes.spines[["left", "right", "top"]].set_visible(False)


def _ranked(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    return sorted(results["rows"], key=lambda row: -row["accuracy"])


def _cells(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    scores = [f"{name} (95 %)" for name in SCORES.values()]
    names = short_names([row["name"] for row in results["rows"]], MAX_NAME)
    others = {"against_best_sparse": results["best_sparse"], "against_first": results["first"]}
    if results["first"] == results["best_sparse"]:
        del others["against_first"]
    differences = [head for name in others.values() for head in (f"points from {names[name]}", "McNemar p")]
    header = ["run", *scores, *differences, "parameters", "training s", "texts/s"]
    return header, [_line(row, names[row["name"]], list(others)) for row in _ranked(results)]


def _line(row: Mapping[str, Any], name: str, others: Sequence[str]) -> list[str]:
    scores = []
    for score in SCORES:
        low, high = row["intervals"][score]
        scores.append(f"{100 * row[score]:.2f} ({100 * low:.2f} to {100 * high:.2f})")
    differences = []
    for found in (row[other] for other in others):
        differences += [difference_text(found), p_text(found["mcnemar"]["p_value"]) if found else ""]
    return [
        name + ("" if row["same_training_texts"] else " †"),
        *scores,
        *differences,
        f"{row['parameters']:,}",
        "" if row["train_seconds"] is None else f"{row['train_seconds']:,.1f}",
        "" if row["texts_per_second"] is None else f"{row['texts_per_second']:,.0f}",
    ]


def _legend(results: Mapping[str, Any], show: Callable[[str], str]) -> str:
    best = show(short_names([row["name"] for row in results["rows"]], MAX_NAME)[results["best_sparse"]])
    first = "" if results["first"] == results["best_sparse"] else ", and from the first run"
    legend = (
        "Accuracy and macro F1 in percent, with bootstrap intervals over the test texts. Points: difference of the "
        f"accuracies from the best TF-IDF baseline by validation accuracy, {best}{first}, with "
        "interval and p-value by a paired bootstrap; McNemar's test is the exact one; no p-value is corrected for the "
        "number of rows. Seconds (without what follows the training of a "
        "network: counting n-grams, weighing, calibration) and texts per second were measured where each run ran."
    )
    if results["data"]["problem_type"] == MULTI_LABEL:
        legend += f" {HOW_SEVERAL_COUNT}"
    others = any(not row["same_training_texts"] for row in results["rows"])
    return legend + (" †: trained on other texts than the baselines." if others else "")
