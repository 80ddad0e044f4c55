"""What a run leaves behind so that anyone can repeat it: run.json with versions, data, command and seed."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import PreTrainedModel

from salience.configuration.flags.parser import Arguments
from salience.configuration.flags.rule_kinds import changed_flags
from salience.model_cards.run_folder import DataRecord, ModelRecord, RunRecord, read_results
from salience.modeling.encoders import ATTENTION_DROPOUTS
from salience.train.building.encoder_loading import public_name
from salience.train.building.further import Start
from salience.train.data.load import TextData
from salience.train.folder.redaction import redact_command, tidy, without_secrets

PACKAGES = (
    "salience",
    "torch",
    "transformers",
    "datasets",
    "evaluate",
    "accelerate",
    "peft",
    "huggingface_hub",
    "tokenizers",
    "safetensors",
    "scikit-learn",
)


def make_record(
    *,
    kind: str,
    command: Sequence[str],
    arguments: Mapping[str, Any],
    data: DataRecord,
    model: ModelRecord,
    precision: str,
    seed: int,
    started: datetime,
) -> RunRecord:
    """The content of a run's run.json.

    Tokens are replaced by `REDACTED` and absolute paths by their names, wherever they stand.

    Args:
        kind: `model`, `sparse` or `frozen`; see `RunRecord`.
        command: `sys.argv`.
        arguments: the flags that differ from their defaults.
        data: see `describe_data`.
        model: see `describe_model`.
        precision: `bf16`, `fp16`, `fp32` or `fp64`.
        seed: the seed of the run.
        started: when the run began, with its time zone; the seconds until now are recorded.
    """
    return {
        "salience_version": version("salience"),
        "kind": kind,
        "command": redact_command(command),
        "seed": seed,
        "started": started.astimezone(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round((datetime.now(timezone.utc) - started).total_seconds(), 1),
        "peak_memory_mb": peak_memory_mb(),
        "precision": precision,
        "versions": versions(),
        "platform": describe_platform(),
        "data": tidy(data),
        "model": tidy(model),
        "arguments": tidy(without_secrets({name: as_typed(value) for name, value in arguments.items()})),
    }


def record_of_training(
    arguments: Arguments, command: list[str], data: TextData, model: ModelRecord, started: datetime
) -> RunRecord:
    """The record of a run of train.py.

    Args:
        arguments: Of the run.
        command: The words that make it again.
        data: What it was trained and tested on.
        model: See `describe_model`.
        started: When it began, with its time zone.
    """
    training = arguments[3]
    if ngrams := read_results(Path(training.output_dir), "validation").get("ngrams"):
        model["ngrams"] = ngrams
    return make_record(
        kind="model",
        command=command,
        arguments=changed_arguments(arguments),
        data=describe_data(data),
        model=model,
        precision="bf16" if training.bf16 else "fp16" if training.fp16 else "fp32",
        seed=training.seed,
        started=started,
    )


def describe_data(data: TextData) -> DataRecord:
    """Name and source of the data, and the fingerprint of each split."""
    splits: Any = {name: data.fingerprint(name) for name in data.splits}
    for name, count in data.leaked.items():
        splits[name]["also_in_training"] = count
    return {"name": data.name, "source": data.source, "splits": splits}


def describe_model(
    model_args: Any, model: PreTrainedModel, num_trainable: int, start: Start | None = None
) -> ModelRecord:
    """What run.json says of a trained model.

    Args:
        model_args: `ModelArguments` of the run.
        model: The model.
        num_trainable: How many of its weights were trained.
        start: The trained model that it was before.
    """
    found = getattr(model, "word_vectors_found", None)
    record: ModelRecord = {
        "family": start.family if start else model_args.model,
        "class": type(model).__name__,
        "encoder": start.encoder if start else model_args.base_model or public_name(model_args.encoder),
        "parameters": num_weights(model),
        "trainable_parameters": num_trainable,
    }
    encoder_config = getattr(model.config, "encoder_config", None) or model.config
    for name in ATTENTION_DROPOUTS:
        if hasattr(encoder_config, name):
            record["attention_dropout"] = getattr(encoder_config, name)
    if start:
        record["start"] = start.record()
    if found is not None:
        record["word_vectors_found"] = found
    return record


def peak_memory_mb() -> dict[str, int]:
    """The most memory that this process has held until now, and of a GPU if it uses one, in units of 10**6 bytes."""
    gpu = {"gpu": torch.cuda.max_memory_allocated() // 10**6} if torch.cuda.is_available() else {}
    return {"ram": _peak_bytes() // 10**6} | gpu


def _peak_bytes() -> int:
    info, status = psutil.Process().memory_info(), Path("/proc/self/status")
    if hasattr(info, "peak_wset"):  # Windows
        return int(info.peak_wset)
    if status.is_file():  # what `getrusage` says begins with the peak of the process that started this one
        return next(int(line.split()[1]) * 1024 for line in status.open() if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def num_weights(model: PreTrainedModel) -> int:
    """All weights of a model: those that are trained or frozen, and the counts of n-grams, which are neither."""
    ngrams = getattr(model, "ngrams", None)
    return model.num_parameters() + (0 if ngrams is None else ngrams.weight_GC.numel())


def changed_arguments(arguments: Sequence[Any]) -> dict[str, Any]:
    """Every flag that differs from its default."""
    changed = {name: value for group in arguments for name, value in changed_flags(group).items()}
    return {name: value for name, value in changed.items() if isinstance(value, str | int | float | bool | list | dict)}


def as_typed(value: Any) -> Any:
    """A flag's value as it is typed: of a choice, its word."""
    return value.value if isinstance(value, Enum) else value


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe_platform() -> dict[str, Any]:
    """Operating system, processor, usable cores and GPUs; no host name."""
    return {
        "system": platform.system(),
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def usable_cores() -> int:
    """Cores that this process may use."""
    available = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(available(0)) if available else os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
