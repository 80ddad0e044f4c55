"""The files of a run's folder: their names, and what stands in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, cast

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from salience.model_cards.files import read_json, write_json
from salience.model_cards.run_checks import MAKE_ANEW, RECORD, RESULTS, checked

RUN_FILE = "run.json"
"""How a run was made. It is written last: where it is, the run is finished."""
STARTED_FILE = "started.json"
"""What a run is about, written before it trains; each of its checkpoints has a copy."""
LOCK_FILE = ".salience.lock"
"""Held by the run that works in the folder, and gone when it ends."""
STATE_FILE = "trainer_state.json"
"""The curves of a training; in a checkpoint the last file that is written."""
CARD_FILE = "README.md"
TRAIN_RESULTS_FILE = "train_results.json"
ADAPTER_FOLDER = "adapter"
REPORT_FOLDER = "report"
"""Where `eval.py report` puts the report of a run."""
REPORT_FILE = "report.json"
"""The report as JSON. It is written last: where it is, the report is complete."""
FAILURES_FILE = "failure_analysis.json"
RELIABILITY_FILE = "reliability.png"
"""The figure of that report which a card shows, beside the card."""
PREFIXES = {"validation": "eval", "test": "test"}
"""What stands before a held-out split's scores, and before the name of their file: transformers' words for them."""


class SplitRecord(TypedDict, total=False):
    """Of one split: its number of texts, the fingerprint of texts and labels, and of classes how often each comes."""

    rows: int
    sha256: str
    labels: dict[str, int]


class DataRecord(TypedDict):
    """What a run was trained and tested on."""

    name: str
    source: str
    splits: dict[str, SplitRecord]


class NgramsRecord(TypedDict):
    """Of a model's evidence of n-grams, which is learned apart from its network."""

    kind: str  # how it was learned; of several kinds joined by " + ", their sum
    weight: float  # of that sum, damped
    damping: float  # see `damping_factor`; runs of before have none
    num_ngrams: int
    share: float  # of what sets classes apart on the validation texts, the network's part being the rest


ModelRecord = TypedDict(
    "ModelRecord",
    {
        "family": str,  # value of --model, or name of the baseline
        "class": str,
        "encoder": str | None,
        "parameters": int,
        "trainable_parameters": int,
        "attention_dropout": float,  # of a pretrained encoder
        "word_vectors_found": float,  # share of the words
        "ngrams": NgramsRecord,
        "start": dict[str, Any],  # what it went on from: name, commit on the Hub, sha256 of the weights, and
        # `split_otherwise` and the splits, `perhaps_seen`, where held-out texts may be among those of its training
    },
    total=False,
)


class RunRecord(TypedDict):
    """The content of run.json."""

    salience_version: str
    kind: str  # "model", "sparse" (TF-IDF) or "frozen" (vectors of a frozen encoder)
    command: str
    seed: int
    started: str
    seconds: float
    peak_memory_mb: dict[str, int]  # of the first process: "ram", and "gpu" where there is one
    precision: str
    versions: dict[str, str]
    platform: dict[str, Any]
    data: DataRecord
    model: ModelRecord
    arguments: dict[str, Any]


def results_file(split: str) -> str:
    """Name of the file with the scores of `validation` or `test`."""
    return f"{PREFIXES[split]}_results.json"


def with_prefix(split: str, results: Mapping[str, Any]) -> dict[str, Any]:
    """Results of a split under the names of its file; the epoch is of the whole run and has no prefix."""
    return {name if name == "epoch" else f"{PREFIXES[split]}_{name}": value for name, value in results.items()}


def without_prefix(split: str, results: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `with_prefix`."""
    return {name.removeprefix(f"{PREFIXES[split]}_"): value for name, value in results.items()}


def write_results(folder: Path, split: str, results: Mapping[str, Any]) -> None:
    """Write the scores and costs of a split.

    Args:
        folder: The run folder, which exists.
        split: `validation` or `test`.
        results: By name, without a prefix.
    """
    write_json(folder / results_file(split), with_prefix(split, results))


def read_results(folder: Path, split: str) -> dict[str, Any]:
    """What `write_results` wrote, without the prefix.

    Raises:
        UserError: It isn't there, is damaged, or holds what no run writes.
    """
    file = folder / results_file(split)
    way_out = MAKE_ANEW if file.exists() else f"train again, with a {split} split"
    return checked(file, without_prefix(split, read_json(file, way_out)), RESULTS)


def read_record(folder: Path) -> RunRecord:
    """The run.json of a finished run, also of an earlier version.

    Raises:
        UserError: There is none, or it is damaged.
    """
    file = folder / RUN_FILE
    record = read_json(file, MAKE_ANEW if file.exists() else f"{folder} holds no finished run")
    model = record.get("model")
    family = model.get("family") if isinstance(model, dict) else None
    of_earlier = {"kind": kind_of_earlier_run(str(family)), "arguments": {}}
    return cast(RunRecord, checked(file, of_earlier | record, RECORD))


def read_training(folder: Path) -> dict[str, Any]:
    """Loss, time and speed of a run's training, without the prefix `train_`.

    Raises:
        UserError: They aren't there, or the file is damaged or holds what no run writes.
    """
    file = folder / TRAIN_RESULTS_FILE
    results = {name.removeprefix("train_"): value for name, value in read_json(file).items()}
    return checked(file, results, RESULTS)


def kind_of_earlier_run(family: str) -> str:
    """The kind of a run whose run.json doesn't tell it: all baselines had one of two beginnings of a name."""
    beginnings = {"tfidf_": "sparse", "frozen_": "frozen"}
    return next((kind for start, kind in beginnings.items() if family.startswith(start)), "model")


@dataclass(frozen=True)
class RunFolder:
    """The files of a run that a card is made of; a file that isn't there is an empty dictionary.

    Args:
        path: the `output_dir` of a run, or the adapter folder in it; results are then taken from the run around it.
        record: the content of run.json, where it isn't written yet.
    """

    path: Path
    record: RunRecord | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        return self._read("config.json")

    @cached_property
    def adapter(self) -> dict[str, Any]:
        """The adapter_config.json of the folder itself or of its adapter folder."""
        return self._read("adapter_config.json") or self._read(f"{ADAPTER_FOLDER}/adapter_config.json")

    @cached_property
    def run(self) -> dict[str, Any]:
        """How the run was made."""
        return self._result(RUN_FILE) if self.record is None else dict(self.record)

    @cached_property
    def train(self) -> dict[str, Any]:
        """Loss, time and speed of the training."""
        return self._result(TRAIN_RESULTS_FILE)

    @cached_property
    def validation(self) -> dict[str, Any]:
        """Scores on the validation split, without their prefix."""
        return self._scores("validation")

    @cached_property
    def test(self) -> dict[str, Any]:
        """Scores on the test split, without their prefix."""
        return self._scores("test")

    @cached_property
    def report(self) -> dict[str, Any]:
        """What `eval.py report` found."""
        return self._result(f"{REPORT_FOLDER}/{REPORT_FILE}")

    @cached_property
    def failures(self) -> dict[str, Any]:
        """The failure modes that `eval.py report` found."""
        return self._result(f"{REPORT_FOLDER}/{FAILURES_FILE}")

    @property
    def is_adapter(self) -> bool:
        """Whether the folder itself is an adapter, without the weights of its base."""
        return (self.path / "adapter_config.json").is_file()

    def _scores(self, split: str) -> dict[str, Any]:
        name = results_file(split)
        return checked(self.path / name, without_prefix(split, self._result(name)), RESULTS)

    def _result(self, name: str) -> dict[str, Any]:
        beside = self.path.parent if self.path.name == ADAPTER_FOLDER and self.is_adapter else self.path
        return self._read(name) or RunFolder(beside)._read(name)

    def _read(self, name: str) -> dict[str, Any]:
        file = self.path / name
        return read_json(file) if file.is_file() else {}


def is_hub_id(name: Any) -> bool:
    """Whether the name can be a repo of the Hub: `user/name`, and no folder here."""
    if not isinstance(name, str) or name.count("/") != 1:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()
