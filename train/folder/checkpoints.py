"""Checkpoints that a stopped run has left: which one it goes on from, and whether it can."""

import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel
from transformers.trainer_callback import TrainerState

from salience.configuration.errors import UserError, one_line
from salience.model_cards.files import read_json, write_whole
from salience.model_cards.run_checks import COUNT, EVERY, NUMBER, Rule, Shape, fault
from salience.model_cards.run_folder import STATE_FILE
from salience.train.folder.output import checkpoints, holds_model

NEEDED = {
    "model.safetensors": ("*.safetensors", "pytorch_model_fsdp*", "global_step*"),
    "optimizer.pt": ("optimizer*", "global_step*"),
    "scheduler.pt": ("scheduler.pt",),
    "rng_state.pth": ("rng_state*.pth",),
}
"""What a run can't go on without: name on one process -> names under which several, FSDP or DeepSpeed write it."""

STATE: Shape = {
    "global_step": COUNT,
    "max_steps": COUNT,
    **{f"{name}?": NUMBER for name in ("epoch", "num_train_epochs", "total_flos", "num_input_tokens_seen")},
    "log_history": Rule("a list", lambda value: isinstance(value, list)),
    "best_metric?": Rule("a finite number or null", lambda value: value is None or NUMBER.holds(value)),
    "best_global_step?": Rule("a whole number or null", lambda value: value is None or COUNT.holds(value)),
    "best_model_checkpoint?": Rule("a folder or null", lambda value: value is None or isinstance(value, str)),
    "stateful_callbacks?": {EVERY: Rule("an object or a list", lambda value: isinstance(value, dict | list))},
}
"""What a checkpoint says of where its training was, as far as training goes on with it."""

WAY_OUT = "move that checkpoint away and resume from one before it, or start anew in another folder"


def last_checkpoint(folder: Path, wanted: str | None) -> Path | None:
    """The checkpoint that `--resume_from_checkpoint` names: a path, or "last"; None starts from the beginning.

    Where the run was stopped after its model was saved, the last one is its folder itself.

    Raises:
        UserError: There is none, or it lies elsewhere.
    """
    if wanted is None:
        return None
    found = [folder] if holds_model(folder) else checkpoints(folder)
    if wanted.lower() in ("last", "true"):
        if not found:
            raise UserError(f"--output_dir {folder} holds no complete checkpoint; leave out --resume_from_checkpoint")
        return found[-1]
    path = Path(wanted)
    if same := [each for each in found if each.resolve() == path.resolve()]:
        return same[0]
    if path.resolve().parent != folder.resolve() and (path / STATE_FILE).is_file():
        raise UserError(f"--resume_from_checkpoint {wanted} lies outside of --output_dir {folder}: name its folder")
    way_out = (
        f"choose from {', '.join(map(str, found))}, or say last" if found else f"{folder} holds none, leave it out"
    )
    raise UserError(f"--resume_from_checkpoint {wanted} is no complete checkpoint of this run: {way_out}")


def check_checkpoint(checkpoint: Path, is_saved_model: bool = False, needs_best: bool = False) -> None:
    """Refuse a checkpoint from which a run would go on differently, or not at all.

    Args:
        checkpoint: Its folder.
        is_saved_model: Whether that is the folder of a run whose model is saved.
        needs_best: Whether the run ends with the weights of its best checkpoint.

    Raises:
        UserError: A file is missing or damaged.
    """
    if not is_saved_model:
        state = check_state(checkpoint)
        if needs_best and (step := state.get("best_global_step")) is not None:
            best = checkpoint.with_name(f"checkpoint-{step}")
            if not best.is_dir():
                raise UserError(f"{best}, the best so far, is gone: put it back, or start anew in another folder")
    if (checkpoint / "config.json").exists():
        read_json(checkpoint / "config.json", WAY_OUT)
    for file in sorted(checkpoint.iterdir()):
        if reason := damage(file):
            raise UserError(f"{file} is damaged ({one_line(reason)}): {WAY_OUT}")


def check_state(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of where its training was.

    Raises:
        UserError: A file is missing, or of another step.
    """
    for name, patterns in NEEDED.items():
        if not any(next(checkpoint.glob(pattern), None) for pattern in patterns):
            raise UserError(f"{checkpoint} has no {name}: {WAY_OUT}")
    state = read_json(checkpoint / STATE_FILE, WAY_OUT)
    if state.get("global_step") != int(checkpoint.name.rpartition("-")[2]):
        raise UserError(f"{checkpoint / STATE_FILE} is of another step: {WAY_OUT}")
    if found := fault(state, STATE):
        raise UserError(f"{checkpoint / STATE_FILE} is damaged ({found}): {WAY_OUT}")
    try:
        TrainerState.load_from_json(str(checkpoint / STATE_FILE))
    except (TypeError, ValueError) as error:
        raise UserError(f"{checkpoint / STATE_FILE} is damaged ({one_line(error)}): {WAY_OUT}") from error
    return state


def check_shapes(checkpoint: Path, model: PreTrainedModel) -> None:
    """Refuse a checkpoint whose weights don't fit into the model that is going to go on from it.

    Raises:
        UserError: One has another shape, or is missing.
    """
    if next(checkpoint.glob("global_step*"), None):  # DeepSpeed reads files of its own
        return
    own, stored = model.state_dict(), set()
    for file in sorted(checkpoint.glob("model*.safetensors")):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118  it is no dict
                stored.add(name)
                found, expected = weights.get_slice(name).get_shape(), list(own[name].shape) if name in own else None
                if found != (expected or found):
                    raise UserError(f"{file}: {name} has the shape {found}, the model's {expected}: {WAY_OUT}")
    places = {own[name].data_ptr() for name in stored & own.keys()}  # of tied weights one is stored
    missing = [name for name in own if name not in stored and own[name].data_ptr() not in places]
    if stored and stored <= own.keys() and missing:  # else they have other names in files
        raise UserError(f"{checkpoint} has no weights {missing[0]}: {WAY_OUT}")


def damage(file: Path) -> str:
    """What is wrong with a file of tensors; empty if nothing is."""
    if not file.is_file():
        return ""
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as weights:
                return _first(not_finite(weights.get_tensor(name), name) for name in weights.keys())  # noqa: SIM118
        if file.suffix in (".pt", ".pth", ".bin"):
            with zipfile.ZipFile(file) as archive:  # torch saves archives with checksums
                broken = archive.testzip()
            if broken:
                return f"{broken} in it"
            if file.name in NEEDED and file.suffix == ".pt":  # the state of random numbers has classes of numpy
                return not_finite(torch.load(file, "cpu", weights_only=True, mmap=True))
    except (
        SafetensorError, zipfile.BadZipFile, zlib.error, UnpicklingError, OSError, EOFError, RuntimeError, ValueError,
    ) as error:  # fmt: skip
        return str(error) or type(error).__name__
    return ""


def not_finite(content: Any, name: str = "") -> str:
    """Which numbers, within what a checkpoint's file holds, no training can go on with; empty if there are none.

    Args:
        content: Of the file; infinity is a limit where it isn't in a tensor.
        name: How the content is called: the keys on the way to it.
    """
    if isinstance(content, Tensor):
        return "" if content.isfinite().all() else f"{name} holds NaN or infinity"
    if isinstance(content, float):
        return f"{name} is NaN" if math.isnan(content) else ""
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return _first(not_finite(part, f"{name}.{key}".lstrip(".")) for key, part in parts)


def _first(faults: Iterable[str]) -> str:
    return next(filter(None, faults), "")


@contextmanager
def readable(checkpoint: str | None) -> Iterator[None]:
    """While a checkpoint is being read, whatever fails is a `UserError`: its files may be those of another run."""
    try:
        yield
    except Exception as error:  # torch has another one for each thing that can be wrong in an archive
        raise UserError(f"{checkpoint} can't be gone on from ({one_line(error, 300)}): {WAY_OUT}") from error


def find_best(checkpoint: Path) -> None:
    """Let a checkpoint know where the best one lies: beside it, wherever they are now."""
    state = read_json(checkpoint / STATE_FILE, WAY_OUT)
    if (step := state.get("best_global_step")) is None:
        return
    best, before = checkpoint.with_name(f"checkpoint-{step}"), state.get("best_model_checkpoint")
    if before is None or Path(before) != best:  # the log may hold NaN, as transformers has written it
        write_whole(checkpoint / STATE_FILE, json.dumps(state | {"best_model_checkpoint": str(best)}, indent=2) + "\n")
