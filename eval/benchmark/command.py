"""eval.py benchmark: how fast our models are, beside baselines and, the hierarchical one, beside its dense version."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm.auto import tqdm

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import FileArguments
from salience.configuration.flags.flag_rules import check
from salience.configuration.flags.parser import RecipeParser
from salience.eval.benchmark.growth import Curve, Measurer
from salience.eval.benchmark.models import (
    HUB_DATA,
    VOCAB_SIZE,
    Corpus,
    baseline,
    batches_of,
    check_equal,
    contestant,
    cut_unread,
    dense_contestant,
    hierarchical,
    hierarchical_config,
    packed_lstm,
    read_texts,
)
from salience.eval.benchmark.pooling import ENCODER, measure_pooling
from salience.eval.benchmark.tables import GROWTH_FIGURES, TABLES, environment_text, growth_figures
from salience.eval.benchmark.timing import MODES, compared, interleaved, spread
from salience.model_cards.run_folder import write_json
from salience.train.folder.output import new_file
from salience.train.folder.record import describe_platform, versions

# Without limits on sentences and words; the first is the default.
VARIANTS: dict[str, dict[str, str]] = {
    f"{scope} attention, {kernel}": {"attention_scope": scope, "attention_kernel": kernel}
    for scope in ("sentence", "document")
    for kernel in ("softmax", "linear")
}


def _numbers(values: list[int], help: str) -> list[int]:
    return field(default_factory=lambda: values, metadata={"help": help})


@dataclass
class BenchmarkArguments:
    """What is measured, and how often.

    Raises:
        UserError: A value is out of its range.
    """

    suite: str = field(
        default="hierarchical",
        metadata={
            "help": "hierarchical, or attn_pool: attention pooling beside the plain head and models from scratch."
        },
    )
    parts: list[int] = _numbers(
        [],
        "Unset: all. 1: training step and inference beside other models; of hierarchical also 2: time and memory by "
        "length of a document, and 3: time by batch size and number of documents.",
    )
    encoder: str | None = field(default=None, metadata={"help": f"Encoder of the suite attn_pool; unset: {ENCODER}."})
    repetitions: int = field(default=7, metadata={"help": "Repetitions of each measurement, after a warm-up."})
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for benchmark.json and figures; unset: only print."}
    )
    batch_size: int = field(default=16, metadata={"help": "Documents of a batch, in part 1."})
    num_batches: int = field(default=8, metadata={"help": "Batches of each kind, in part 1."})
    words: list[int] = _numbers([100, 300, 1000, 3000, 10_000, 30_000, 100_000], "Lengths of a document, in part 2.")
    point_seconds: float = field(default=30.0, metadata={"help": "Part 2 leaves out what would take longer."})
    point_megabytes: float = field(default=8000.0, metadata={"help": "Part 2 leaves out what would need more memory."})
    batch_sizes: list[int] = _numbers([1, 4, 16, 64], "Documents of a batch, in part 3.")
    num_documents: list[int] = _numbers([64, 256, 1024], "Numbers of documents, in part 3.")
    model_options: str | None = field(
        default=None, metadata={"help": 'Other fields of the model: \'{"filter": "adaptive", "hidden_dim": 128}\'.'}
    )
    seed: int = field(default=0, metadata={"help": "Seed of the documents that are drawn."})

    def __post_init__(self) -> None:
        check(self)
        if self.suite not in SUITES:
            raise UserError(f'--suite "{self.suite}" is unknown; choose from {", ".join(SUITES)}')
        if self.suite != "attn_pool" and self.encoder is not None:
            raise UserError("--encoder belongs to --suite attn_pool; leave it out")
        own = SUITES[self.suite]
        if not set(self.parts) <= own.keys():
            raise UserError(f"--parts of --suite {self.suite} are {' '.join(map(str, own))}")
        self.parts = sorted(set(self.parts or own))
        try:
            self.options: dict[str, Any] = json.loads(self.model_options or "{}")
        except json.JSONDecodeError as error:
            raise UserError(f"--model_options is no JSON: {error}") from error
        if not isinstance(self.options, dict):
            raise UserError('--model_options must be a JSON object such as {"hidden_dim": 128}')
        size = self.options.get("vocab_size", VOCAB_SIZE)
        if not isinstance(size, int) or size < 1:
            raise UserError(f"--model_options: vocab_size = {size!r} must be a whole number of at least 1")


def main(argv: list[str]) -> None:
    """`eval.py benchmark`: see `benchmark`.

    Raises:
        UserError: See `benchmark`; or a flag is wrong.
    """
    parser = RecipeParser((BenchmarkArguments, FileArguments), program="eval.py benchmark")
    if {"-h", "--help"} & set(argv):
        parser.print_help()
    else:
        benchmark(*parser.parse(argv))


def benchmark(arguments: BenchmarkArguments, file_args: FileArguments) -> dict[str, Any]:
    """Measure, print tables, and write `output_dir/benchmark.json` and figures if that folder is given.

    Args:
        arguments: What is measured.
        file_args: The texts: `test_file`, or else the test texts of 20 Newsgroups (hierarchical) or AG News (attn_pool)
            from the Hub.

    Returns:
        What the file holds: `environment` (device, device_name, threads, dtype, versions, platform, repetitions, seed,
        suite, options) and `parts`, by number. "1": `batch_size`, `rows` with `mode`, `batches`, `model`, `seconds` of
        a batch and `ratios` to some of the models, and `difference` of dense and ragged logits (hierarchical) or
        `encoder` (attn_pool). "2": `words` and `rows` (see `Curve.row`). "3": `batch_sizes`, rows with
        `seconds_per_document`, and `documents`, rows with `seconds` of all and `documents_per_second`.
        All times are seconds with `median`, `low` and `high`, except those of "2".

    Raises:
        UserError: The texts can't be read, an option is wrong, or results are there already.
    """
    target = new_file(arguments.output_dir, "benchmark.json")
    for name in GROWTH_FIGURES.values():
        new_file(arguments.output_dir, name)
    texts = read_texts(file_args, HUB_DATA[arguments.suite])
    corpus = Corpus(texts, arguments.seed, arguments.options.get("vocab_size", VOCAB_SIZE))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    environment = describe(arguments, device)
    print(environment_text(environment))
    results: dict[str, Any] = {"environment": environment, "parts": {}}
    for part in arguments.parts:
        found = results["parts"][str(part)] = SUITES[arguments.suite][part](corpus, arguments, device)
        print(TABLES[str(part)](found), flush=True)
        if target:  # a later part may fail
            target.parent.mkdir(parents=True, exist_ok=True)
            write_json(target, results)
            if part == 2:
                growth_figures(found, target.parent)
    return results


def describe(arguments: BenchmarkArguments, device: torch.device) -> dict[str, Any]:
    """What everything runs on."""
    platform = describe_platform()
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform["cpu"],
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "versions": versions(),
        "platform": platform,
        "repetitions": arguments.repetitions,
        "seed": arguments.seed,
        "suite": arguments.suite,
        "options": arguments.options,
    }


def measure_steps(corpus: Corpus, arguments: BenchmarkArguments, device: torch.device) -> dict[str, Any]:
    """Part 1, on batches of documents as they come, and on batches of like length as `--length_grouped true` makes."""
    config = hierarchical_config(corpus, **arguments.options)
    reader, size, count = hierarchical(config).eval(), arguments.batch_size, arguments.num_batches
    mixed = batches_of(cut_unread(reader, corpus.draw(count * size)), size)
    grouped = batches_of(cut_unread(reader, corpus.draw_grouped(count, size)), size)
    models = {
        "lstm": contestant(baseline("lstm", config), mixed, device),
        "hierarchical": contestant(hierarchical(config), mixed, device),
        "cnn": contestant(baseline("cnn", config), mixed, device),
        "lstm, packed": contestant(packed_lstm(config), mixed, device),
        "dense, to the longest": dense_contestant(config, mixed, device, whole_grid=False),
        "dense, whole grid": dense_contestant(config, mixed, device, whole_grid=True),
    }
    checked = {"dense, to the longest": count, "dense, whole grid": 1}  # in float64, whose whole grids take seconds
    difference = max(check_equal(models["hierarchical"], models[name], number) for name, number in checked.items())
    fast = ("lstm", "hierarchical", "cnn")
    slow = frozenset(models.keys() - fast)
    on_grouped = {name: contestant(models[name].model, grouped, device) for name in fast}
    rows = []
    for mode in MODES:
        for kind, contestants in (("mixed lengths", models), ("grouped by length", on_grouped)):
            calls = {name: each.calls(mode) for name, each in contestants.items()}
            times = interleaved(calls, arguments.repetitions, device, f"1. {mode}, {kind}", one_each=slow)
            rows += compared(times, ("lstm", "hierarchical"), mode=mode, batches=kind)
    return {"batch_size": arguments.batch_size, "difference": difference, "rows": rows}


def measure_growth(corpus: Corpus, arguments: BenchmarkArguments, device: torch.device) -> dict[str, Any]:
    """Part 2; variants take turns at each length."""
    limits = {"max_sentences": 0, "max_words": 0}
    configs = {name: hierarchical_config(corpus, **arguments.options | limits | own) for name, own in VARIANTS.items()}
    measurer = Measurer(device, arguments.repetitions, arguments.point_seconds, arguments.point_megabytes)
    curves = [Curve(variant, mode) for variant in VARIANTS for mode in MODES]
    lengths = sorted(set(arguments.words))
    with tqdm(total=len(lengths) * len(curves), desc="2. growth", leave=False) as progress:
        for length in lengths:
            document = corpus.long_document(length)
            for curve in curves:
                measurer.extend(curve, configs[curve.variant], document)
                progress.update()
    return {"words": lengths, "rows": [curve.row() for curve in curves]}


def measure_batches(corpus: Corpus, arguments: BenchmarkArguments, device: torch.device) -> dict[str, Any]:
    """Part 3; all batch sizes divide the same documents, of which small ones take a few."""
    config = hierarchical_config(corpus, **arguments.options)
    most = max(*arguments.batch_sizes, *arguments.num_documents)
    documents = cut_unread(hierarchical(config).eval(), corpus.draw(most))
    models = {"lstm": baseline("lstm", config), "hierarchical": hierarchical(config)}
    batch_rows = []
    for mode in MODES:
        for size in arguments.batch_sizes:
            own = batches_of(documents[: max(arguments.batch_sizes)], size)[:4]
            calls = {name: contestant(model, own, device).calls(mode) for name, model in models.items()}
            times = interleaved(calls, arguments.repetitions, device, f"3. {mode}, batches of {size}")
            for name, each in times.items():
                row = {
                    "mode": mode,
                    "batch_size": size,
                    "model": name,
                    "seconds_per_document": spread(each.mean(axis=1) / size),
                }
                batch_rows.append(row)
    rows = []
    for count in arguments.num_documents:
        own = batches_of(sorted(documents[:count], key=len), arguments.batch_size)
        calls = {name: contestant(model, own, device).calls("inference") for name, model in models.items()}
        times = interleaved(calls, min(arguments.repetitions, 3), device, f"3. {count} documents")
        for name, each in times.items():
            total = spread(each.sum(axis=1))
            rows.append(
                {"documents": count, "model": name, "seconds": total, "documents_per_second": count / total["median"]}
            )
    return {"batch_size": arguments.batch_size, "batch_sizes": batch_rows, "documents": rows}


SUITES: dict[str, dict[int, Callable[[Corpus, BenchmarkArguments, torch.device], dict[str, Any]]]] = {
    "hierarchical": {1: measure_steps, 2: measure_growth, 3: measure_batches},
    "attn_pool": {1: measure_pooling},
}
