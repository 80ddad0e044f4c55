"""What a resumed run must have in common with the one that was stopped, and the checkpoint that it goes on from."""

import copy
import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.trainer_callback import TrainerState

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.parser import Arguments
from salience.model_cards.files import read_json, write_json, write_whole
from salience.model_cards.run_checks import COUNT, EVERY, NUMBER, Rule, Shape, fault
from salience.model_cards.run_folder import STARTED_FILE, STATE_FILE
from salience.train.building.further import Start
from salience.train.building.lora import base_fingerprint
from salience.train.data.load import TextData
from salience.train.folder.output import checkpoints, holds_model, start
from salience.train.folder.record import changed_arguments
from salience.train.folder.redaction import tidy, without_secrets

MAY_CHANGE = {
    # at which commit a data set of the Hub is: its texts are compared
    "dataset_revision",
    # where the run is, and what it is called
    "output_dir", "resume_from_checkpoint", "base_model", "data_name", "language", "license", "run_name", "project",
    # how fast it goes, and on what: their product, the batch of a step, is compared
    "per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size", "max_tokens_per_pass",
    "eval_accumulation_steps", "encoder_cache", "use_cpu", "local_rank", "torch_empty_cache_steps",
    "dataloader_num_workers", "dataloader_pin_memory", "dataloader_prefetch_factor",
    "dataloader_persistent_workers", "dataloader_multiprocessing_context",
    "ddp_backend", "ddp_bucket_cap_mb", "ddp_timeout", "ddp_find_unused_parameters", "ddp_broadcast_buffers",
    "ddp_static_graph",
    # what it keeps and tells
    "save_total_limit", "save_only_model", "save_on_each_node", "enable_jit_checkpoint",
    "logging_dir", "logging_strategy", "logging_first_step", "logging_steps", "logging_nan_inf_filter", "log_level",
    "log_level_replica", "log_on_each_node", "report_to", "disable_tqdm", "skip_memory_metrics",
    "include_num_input_tokens_seen", "include_tokens_per_second", "trackio_space_id", "trackio_bucket_id",
    "trackio_static_space_id",
    # what is sent to the Hub
    "push_to_hub", "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo", "hub_always_push", "hub_revision",
    "hub_handler",
}  # fmt: skip
"""Flags that don't decide what a run computes: all others must be those of the run that is resumed."""
AFTER_TRAINING = {"prior_correction", "ngram_evidence", "calibrate", "target_accuracy", "explained_texts"}
"""Flags that count when training is over: where it isn't, they may be others, as what they ask for may have failed."""
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

FROZEN = "frozen encoder"
"""Key of a plan: the fingerprint of its weights."""
WAY_OUT = "move that checkpoint away and resume from one before it, or start anew in another folder"


def run_plan(
    arguments: Arguments, model: PreTrainedModel, data: TextData, start: Start | None = None
) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was stopped, ready for JSON.

    Args:
        arguments: Of the run.
        model: Before training.
        data: Its splits.
        start: The trained model that it is.
    """
    tuning, training = arguments[2], arguments[3]
    flags = {name: value for name, value in changed_arguments(arguments).items() if name not in MAY_CHANGE}
    # Checkpoints of adapters don't hold what these are trained beside.
    weights = start.sha256 if start else base_fingerprint(model) if tuning.lora else ""
    plan = {
        "kind": "model",
        "arguments": tidy(without_secrets(flags)),
        "texts": {split: data.fingerprint(split)["sha256"] for split in data.splits},
        "batch of a step": training.texts_of_step,
        "model": sha256((computed(model.config) + weights).encode()).hexdigest(),
    }
    if tuning.freeze_encoder:  # whose answers may be kept in a cache
        plan[FROZEN] = base_fingerprint(model)
    return json.loads(json.dumps(plan, default=str))


def computed(config: PretrainedConfig) -> str:
    """A configuration without what says nothing of its model, so that runs go on after an upgrade to this version."""
    if not hasattr(config, "salience_format"):
        return config.to_json_string()
    without = copy.deepcopy(config)
    without.__dict__["salience_format"] = min(config.salience_format, 2)
    if without.label_scale is None:
        del without.__dict__["label_scale"]
    return without.to_json_string()


def start_or_resume(
    folder: Path, plan: dict[str, Any], checkpoint: Path | None, model: PreTrainedModel, is_first: bool
) -> None:
    """Note what a run is about, or make sure that a resumed one is about the same.

    Args:
        folder: Output folder.
        plan: See `run_plan`.
        checkpoint: That it goes on from, see `last_checkpoint`.
        model: Before training.
        is_first: Whether this is the first of the processes of a run, who writes.

    Raises:
        UserError: Something changed, or the checkpoint isn't of this model; the message names it.
    """
    if checkpoint is None:
        if is_first:
            start(folder, plan)
        return
    marks = sorted(folder.glob(f"checkpoint-*/{STARTED_FILE}"))
    for file in [*marks, checkpoint / STARTED_FILE] if checkpoint == folder else marks:
        before = read_json(file, WAY_OUT)
        if FROZEN in plan:
            before.setdefault(FROZEN, plan[FROZEN])  # earlier versions didn't note it
        if {name: type(value) for name, value in before.items()} != {name: type(plan[name]) for name in plan}:
            raise UserError(f"{file} is damaged: {WAY_OUT}")
        may_change = set() if file.parent == folder else AFTER_TRAINING  # whose model is saved, with what was fitted
        if changed := differences(before, plan, may_change):
            raise UserError(
                f"--output_dir {folder} holds a run with another {', '.join(changed)}: repeat its command with "
                "--resume_from_checkpoint last, or choose another folder"
            )
    check_shapes(checkpoint, model)
    if is_first:  # checkpoints may have been moved here
        write_json(folder / STARTED_FILE, plan)
        if checkpoint != folder:
            find_best(checkpoint)


def find_best(checkpoint: Path) -> None:
    """Let a checkpoint know where the best one lies: beside it, wherever they are now."""
    state = read_json(checkpoint / STATE_FILE, WAY_OUT)
    if (step := state.get("best_global_step")) is None:
        return
    best, before = checkpoint.with_name(f"checkpoint-{step}"), state.get("best_model_checkpoint")
    if before is None or Path(before) != best:  # the log may hold NaN, as transformers has written it
        write_whole(checkpoint / STATE_FILE, json.dumps(state | {"best_model_checkpoint": str(best)}, indent=2) + "\n")


# Stand among the flags of runs that an earlier version began, and aren't compared.
OF_EARLIER_RUNS = {"files_flag", "dataset_revision"}


def differences(before: dict[str, Any], now: dict[str, Any], may_change: Set[str] = frozenset()) -> list[str]:
    """What two plans don't have in common: flags, and where they are the same, what the flags led to.

    Args:
        before: Of the run that was stopped.
        now: Of the one that goes on.
        may_change: Flags that aren't compared.
    """
    ours, theirs = now["arguments"], before["arguments"]
    names = sorted({*ours, *theirs} - OF_EARLIER_RUNS - may_change)
    flags = [f"--{name}" for name in names if ours.get(name) != theirs.get(name)]
    texts, read = now["texts"], before["texts"]
    splits = [f"{split} texts" for split in {**texts, **read} if texts.get(split) != read.get(split)]
    if before["batch of a step"] != now["batch of a step"]:
        splits.append("batch of a step (--per_device_train_batch_size)")
    is_other = before["model"] != now["model"] or before.get(FROZEN) != now.get(FROZEN)
    return flags + splits or ["model"] * is_other


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
