"""What a resumed run must have in common with the one that was stopped."""

import copy
import json
from collections.abc import Set
from hashlib import sha256
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import Arguments
from salience.model_cards.files import read_json, write_json
from salience.model_cards.run_folder import STARTED_FILE
from salience.train.building.further import Start
from salience.train.building.lora import base_fingerprint
from salience.train.data.load import TextData
from salience.train.folder.checkpoints import WAY_OUT, check_shapes, find_best
from salience.train.folder.output import start
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
FROZEN = "frozen encoder"
"""Key of a plan: the fingerprint of its weights."""


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
