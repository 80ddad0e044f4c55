"""The benchmark's results as tables for people."""

from typing import Any

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
        f"torch {versions['torch']}, transformers {versions['transformers']}; "
        f"median (lowest-highest) of {environment['repetitions']} interleaved repetitions; "
        "ratios are taken within each repetition"
    )


def busy_text(environment: Row) -> str:
    """One line on how busy the machine is, and whether it lets us go first."""
    load = environment["load_average"]["before"]
    busy = "unknown" if load is None else f"{load:.2f} on {environment['platform']['cores']} cores"
    could = "raised" if environment["priority_raised"] else "not raised, which isn't permitted here"
    return f"load average before: {busy}; own priority: {could}"


def limits_text(limits: Row) -> str:
    """One line on what the machine can do at most."""
    return (
        f"machine: {limits['fp32_flops'] / 1e9:,.0f} GFLOP/s in float32 and {limits['bf16_flops'] / 1e9:,.0f} in "
        f"bfloat16 (products of matrices), {limits['bytes_per_second'] / 1e9:,.1f} GB/s of memory"
    )


def seconds_text(spread: Spread) -> str:
    """Median and range of seconds: `12.3 s (11.9-14.0)`."""
    return f"{spread['median']:.3g} s ({spread['low']:.3g}-{spread['high']:.3g})"


def percent(value: float) -> str:
    """A share, in percent with a digit."""
    return f"{100 * value:.1f} %"


def first_of(ratios: Row) -> str:
    """The ratio to the one contestant that others are compared with."""
    for found in ratios.values():
        return f"{found['median']:.3g} ({found['low']:.3g}-{found['high']:.3g})"
    return "-"


# Column -> what it says of a row; it is left out where no row has the value.
RACE_COLUMNS: dict[str, tuple[str, Any]] = {
    "time": ("seconds", seconds_text),
    "x": ("ratios", first_of),
    "x per one": ("ratios_per_one", first_of),
    "texts/s": ("texts_per_second", "{:.1f}".format),
    "tokens/s": ("tokens_per_second", "{:.0f}".format),
    "of fp32": ("share_fp32", percent),
    "of bf16": ("share_bf16", percent),
    "validation": ("validation_accuracy", "{:.4f}".format),
    "test": ("test_accuracy", "{:.4f}".format),
    "as fp32": ("same", percent),
    "margin": ("margin", "{:.4f}".format),
    "MB": ("megabytes", lambda spread: f"{spread['high']:.0f}"),
    "slow": ("slow", str),
}


def race_tables(results: Row) -> str:
    """A table for each kind of texts, what its ratios mean, what each contestant is, and who is absent."""
    text, rows = ["", limits_text(results["limits"])], results["rows"]
    for batches in dict.fromkeys(row["batches"] for row in rows):
        own = [row for row in rows if row["batches"] == batches]
        columns = {name: each for name, each in RACE_COLUMNS.items() if any(row.get(each[0]) for row in own)}
        lines = [
            [row["model"], *(say(row[key]) if key in row else "-" for key, say in columns.values())] for row in own
        ]
        header = [name.replace("one", results["unit"].removesuffix("s")) for name in columns]
        text.append(aligned_table(batches, ["", *header], lines))
    text += ["", results["meaning"], SHARES, *(f"{name}: {about}" for name, about in abouts(rows).items())]
    return "\n".join([*text, *(f"ABSENT {name}: {why}" for name, why in results["absent"].items())])


SHARES = (
    "of fp32, of bf16: operations that the encoder needs for the texts without padding, by formula, a second, over the "
    "machine's rate. as fp32: share of answers equal to the same model's in float32; margin: how far apart the two "
    "highest probabilities were, at most, where they aren't. slow: repetitions of three times their median."
)


def abouts(rows: list[Row]) -> dict[str, str]:
    """What each contestant is, by name."""
    return {row["model"]: row["about"] for row in rows}


# Column -> what of a row it shows, and in which unit.
SPEEDS = {
    "tokens/s": ("tokens_per_second", 1),
    "GFLOP/s": ("operations_per_second", 1e9),
    "MB": ("megabytes", 1),
}


def step_tables(results: Row) -> str:
    """Parts `steps` and `pooling`: one table for each mode and kind of batches."""
    text = []
    if "difference" in results:
        text.append(
            f"\nLogits of dense grid and ragged computation differ by {results['difference']:.1e} at most (float64). "
            "Of packed and dense models, each repetition runs one batch only."
        )
    for mode, batches in dict.fromkeys((row["mode"], row["batches"]) for row in results["rows"]):
        rows = [row for row in results["rows"] if (row["mode"], row["batches"]) == (mode, batches)]
        references = list(rows[0]["ratios"])
        speeds = {title: each for title, each in SPEEDS.items() if any(each[0] in row for row in rows)}
        lines = [
            [
                row["model"],
                time_text(row["seconds"]),
                *(ratio_text(row["ratios"][name]) for name in references),
                str(row["slow"]),
                *(f"{row[key] / unit:,.0f}" if key in row else "-" for key, unit in speeds.values()),
            ]
            for row in rows
        ]
        title = f"{mode.capitalize()}, {results['batch_size']} documents, {batches}"
        header = ["model", "one batch", *(f"/ {name}" for name in references), "slow", *speeds]
        text.append(aligned_table(title, header, lines))
    text += ["", results["meaning"]]
    return "\n".join(text)


def growth_tables(results: Row) -> str:
    """Part `growth`: seconds and megabytes by length, then the exponents."""
    lengths, text = results["words"], []
    for what, unit in (("seconds", "s"), ("megabytes", "MiB"), ("peak_megabytes", "MiB of the whole process")):
        lines = []
        for row in results["rows"]:
            known = dict(zip(row["words"], row[what], strict=True))
            cells = [f"{known[length]:.3g}" if length in known else "-" for length in lengths]
            lines.append([f"{row['variant']}, {row['mode']}", *cells])
        text.append(
            aligned_table(f"{unit} by words of one document", ["variant", *(f"{each:,}" for each in lengths)], lines)
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
    text += [aligned_table("Exponents of growth from 1,000 words", header, lines), "", results["meaning"]]
    return "\n".join(text)


def batch_tables(results: Row) -> str:
    """Part `batches`: milliseconds of a document by batch size, and documents a second by their number."""
    text, sizes = [], list(dict.fromkeys(row["batch_size"] for row in results["batch_sizes"]))
    lines = []
    for mode, model in dict.fromkeys((row["mode"], row["model"]) for row in results["batch_sizes"]):
        rows = [row for row in results["batch_sizes"] if (row["mode"], row["model"]) == (mode, model)]
        lines.append([f"{model}, {mode}", *(time_text(row["seconds_per_document"]) for row in rows)])
    text.append(aligned_table("Time of one document by batch size", ["model", *map(str, sizes)], lines))
    lines = [
        [
            f"{row['model']}, {row['documents']} documents",
            f"{row['documents_per_second']:.0f}",
            time_text(row["seconds"]),
        ]
        for row in results["documents"]
    ]
    title = f"Inference by number of documents, in batches of {results['batch_size']}, by length"
    text.append(aligned_table(title, ["model", "documents/s", "all"], lines))
    return "\n".join(text)


TABLES = {
    **dict.fromkeys(("train", "predict", "start"), race_tables),
    **dict.fromkeys(("steps", "pooling"), step_tables),
    "growth": growth_tables,
    "batches": batch_tables,
}
