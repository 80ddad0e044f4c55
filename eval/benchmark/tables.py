"""The benchmark's results as tables for people, and as figures."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from salience.eval.benchmark.timing import Spread
from salience.model_cards.markdown import aligned_table

Row = dict[str, Any]


def time_text(spread: Spread) -> str:
    """Median and range of seconds: `123 ms (119-140)`."""
    digits = 0 if spread["median"] >= 0.1 else 1
    median, low, high = (f"{1000 * value:.{digits}f}" for value in (spread["median"], spread["low"], spread["high"]))
    return f"{median} ms ({low}-{high})"


def ratio_text(spread: Spread) -> str:
    """Median and range of a ratio: `1.10 (1.05-1.21)`."""
    return f"{spread['median']:.2f} ({spread['low']:.2f}-{spread['high']:.2f})"


def number_text(value: float | None) -> str:
    """Two decimals, or a dash for nothing."""
    return "-" if value is None else f"{value:.2f}"


def environment_text(environment: Row) -> str:
    """One line on what everything ran on."""
    versions = environment["versions"]
    return (
        f"{environment['device']} ({environment['device_name']}), {environment['threads']} threads, "
        f"torch {versions['torch']}, transformers {versions['transformers']}, {environment['dtype']}; "
        f"median (lowest-highest) of {environment['repetitions']} interleaved repetitions; "
        "ratios are taken within each repetition"
    )


def step_tables(results: Row) -> str:
    """Part 1: one table for each mode and kind of batches."""
    text = []
    if "difference" in results:
        text.append(
            f"\nLogits of dense grid and ragged computation differ by {results['difference']:.1e} at most (float64). "
            "Of packed and dense models, each repetition runs one batch only."
        )
    for mode, batches in dict.fromkeys((row["mode"], row["batches"]) for row in results["rows"]):
        rows = [row for row in results["rows"] if (row["mode"], row["batches"]) == (mode, batches)]
        references = list(rows[0]["ratios"])
        lines = [
            [row["model"], time_text(row["seconds"]), *(ratio_text(row["ratios"][name]) for name in references)]
            for row in rows
        ]
        title = f"1. {mode.capitalize()}, {results['batch_size']} documents, {batches}"
        text.append(aligned_table(title, ["model", "one batch", *(f"/ {name}" for name in references)], lines))
    return "\n".join(text)


def growth_tables(results: Row) -> str:
    """Part 2: seconds and megabytes by length, then the exponents."""
    lengths, text = results["words"], []
    for what, unit in (("seconds", "s"), ("megabytes", "MB")):
        lines = []
        for row in results["rows"]:
            known = dict(zip(row["words"], row[what], strict=True))
            cells = [f"{known[length]:.3g}" if length in known else "-" for length in lengths]
            lines.append([f"{row['variant']}, {row['mode']}", *cells])
        text.append(
            aligned_table(f"2. {unit} by words of one document", ["variant", *(f"{each:,}" for each in lengths)], lines)
        )
    lines = [
        [
            f"{row['variant']}, {row['mode']}",
            *(number_text(row[f"{what}_exponent{end}"]) for what in ("time", "memory") for end in ("", "_from_10000")),
            row["stopped"] or "",
        ]
        for row in results["rows"]
    ]
    header = ["variant", "time", "from 10,000", "memory", "from 10,000", "not measured"]
    text.append(
        aligned_table("2. Exponents of growth from 1,000 words (1: with the length, 2: with its square)", header, lines)
    )
    return "\n".join(text)


def batch_tables(results: Row) -> str:
    """Part 3: milliseconds of a document by batch size, and documents a second by their number."""
    text, sizes = [], list(dict.fromkeys(row["batch_size"] for row in results["batch_sizes"]))
    lines = []
    for mode, model in dict.fromkeys((row["mode"], row["model"]) for row in results["batch_sizes"]):
        rows = [row for row in results["batch_sizes"] if (row["mode"], row["model"]) == (mode, model)]
        lines.append([f"{model}, {mode}", *(time_text(row["seconds_per_document"]) for row in rows)])
    text.append(aligned_table("3. Time of one document by batch size", ["model", *map(str, sizes)], lines))
    lines = [
        [
            f"{row['model']}, {row['documents']} documents",
            f"{row['documents_per_second']:.0f}",
            time_text(row["seconds"]),
        ]
        for row in results["documents"]
    ]
    title = f"3. Inference by number of documents, in batches of {results['batch_size']}, by length"
    text.append(aligned_table(title, ["model", "documents/s", "all"], lines))
    return "\n".join(text)


TABLES = {"1": step_tables, "2": growth_tables, "3": batch_tables}


GROWTH_FIGURES = {"seconds": "growth_seconds.png", "megabytes": "growth_megabytes.png"}


def growth_figures(results: Row, folder: Path) -> None:
    """`growth_seconds.png` and `growth_megabytes.png`: log-log by words, one panel for each mode."""
    for what, unit in (("seconds", "seconds"), ("megabytes", "MB above the model's own")):
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        modes = list(dict.fromkeys(row["mode"] for row in results["rows"]))
        for axes, mode in zip(figure.subplots(1, len(modes), sharey=True, squeeze=False)[0], modes, strict=True):
            for row in (row for row in results["rows"] if row["mode"] == mode):
                exponent = number_text(row["time_exponent" if what == "seconds" else "memory_exponent"])
                axes.loglog(row["words"], row[what], marker="o", label=f"{row['variant']}: {exponent}")
            axes.set_title(mode)
            axes.set_xlabel("words of the document")
            axes.grid(which="both", alpha=0.2)
            axes.legend(title="exponent from 1,000 words", fontsize="small")
        figure.axes[0].set_ylabel(unit)
        figure.savefig(folder / GROWTH_FIGURES[what], dpi=150)
