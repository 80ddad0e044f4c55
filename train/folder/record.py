"""What a run leaves behind so that anyone can repeat it: run.json with versions, data, command and seed."""

import json
import os
import platform
import re
import shlex
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RUN_FILE = "run.json"
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
REDACTED = "REDACTED"
# hub_token, push-to-hub-token, token_file; not tokenizer, max_tokens
SECRET_NAME = re.compile(r"token(?!iz|s)", re.IGNORECASE)
# A Hub token wherever it stands, and the password in https://user:password@host
SECRET_VALUE = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?<=://)[^/\s@]+(?=@)")
# /folder/name or ~/folder/name where a word begins; not the path of an address such as https://hf.co/a/b
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~-])~?(?:/[\w.+@~-]+){2,}/?")


def record_run(
    output_dir: str | Path,
    *,
    command: Sequence[str],
    arguments: Mapping[str, Any],
    data: Mapping[str, Any],
    model: Mapping[str, Any],
    precision: str,
    seed: int,
    started: datetime,
) -> Path:
    """Write `run.json` into a run folder, atomically.

    Tokens are replaced by `REDACTED` and the home directory by `~`, wherever they stand.

    Args:
        output_dir: the run folder, which exists.
        command: `sys.argv`.
        arguments: the flags that differ from their defaults.
        data: name, source and splits {split: {rows, sha256, labels {name: count}}}.
        model: family, class, encoder, parameters and trainable_parameters.
        precision: `bf16` or `fp32`.
        seed: the seed of the run.
        started: when the run began, with its time zone; the seconds until now are recorded.

    Returns:
        The path of the file.
    """
    record = {
        "salience_version": version("salience"),
        "command": redact_command(command),
        "seed": seed,
        "started": started.astimezone(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round((datetime.now(timezone.utc) - started).total_seconds(), 1),
        "precision": precision,
        "versions": versions(),
        "platform": describe_platform(),
        "data": _tidy(data),
        "model": _tidy(model),
        "arguments": _tidy(_without_secrets(arguments)),
    }
    path = Path(output_dir) / RUN_FILE
    write_json(path, record)
    return path


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that is complete or not there at all, also after a kill.

    Args:
        path: the file; its folder exists.
        content: what `json` can write; NaN and infinity are refused with ValueError, other programs can't read them.
    """
    # Numpy scalars become numbers; anything else unknown to JSON becomes its text.
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # process ids are unique on one machine only
    try:
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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
    available = getattr(os, "sched_getaffinity", None)
    return {
        "system": platform.system(),
        "cpu": _cpu_name(),
        "cores": len(available(0)) if available else os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def redact_command(command: Sequence[str]) -> str:
    """The command as one line for a shell, without tokens and without the folders of absolute paths.

    Args:
        command: `sys.argv`; of the first word only the file name is kept.

    Returns:
        For example `train.py recipe.yaml --hub_token REDACTED --train_file news.csv`.
    """
    words = [Path(command[0]).name]
    secret = False
    for word in command[1:]:
        flag, equals, _ = word.partition("=")
        if secret and not word.startswith("--"):
            words.append(REDACTED)
            secret = False
            continue
        secret = word.startswith("-") and bool(SECRET_NAME.search(flag))
        words.append(f"{flag}={REDACTED}" if secret and equals else word)
        secret = secret and not equals
    return _clean(shlex.join(words))


def _without_secrets(arguments: Mapping[str, Any]) -> dict[str, Any]:
    safe: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            safe[name] = _without_secrets(value)
        else:
            safe[name] = REDACTED if value and SECRET_NAME.search(name) else value
    return safe


def _tidy(value: Any) -> Any:
    """Clean every string, also inside lists and dictionaries (their keys stay)."""
    if isinstance(value, Mapping):
        return {str(key): _tidy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tidy(item) for item in value]
    return _clean(str(value)) if isinstance(value, str | Path) else value


def _clean(text: str) -> str:
    text = SECRET_VALUE.sub(REDACTED, text)
    # Absolute paths end in what matters; the folders before it say something about this machine only.
    return ABSOLUTE_PATH.sub(lambda match: match.group(0).rstrip("/").rpartition("/")[2], text)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
