"""What a resumed run must have in common with the one that was stopped."""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from salience.configuration.errors import UserError
from salience.configuration.training_arguments import SalienceTrainingArguments
from salience.configuration.tuning_arguments import TuningArguments
from salience.model_cards.run_folder import STARTED_FILE, STATE_FILE, read_json, write_json
from salience.train.data.load import TextData
from salience.train.folder.output import checkpoints


def run_plan(
    model: PreTrainedModel, data: TextData, tuning: TuningArguments, training: SalienceTrainingArguments
) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was stopped."""
    return {
        "training texts": data.fingerprint("train")["sha256"],
        "model": sha256(model.config.to_json_string().encode()).hexdigest(),
        "tuning flags": vars(tuning),
        "seed": training.seed,
        "batch of a step": training.train_batch_size * training.gradient_accumulation_steps * training.world_size,
        "learning rate": training.learning_rate,
    }


def check_plan(folder: Path, plan: dict[str, Any], resuming: bool) -> None:
    """Note what a run is about, or make sure that a resumed one is about the same.

    Args:
        folder: Output folder.
        plan: By name, what must not change, ready for JSON.
        resuming: Whether a checkpoint of an earlier start is used.

    Raises:
        UserError: Something changed; the message names it.
    """
    file = folder / STARTED_FILE
    if resuming and file.is_file():
        before = read_json(file)
        changed = [name for name, value in json.loads(json.dumps(plan)).items() if before.get(name) != value]
        if changed:
            raise UserError(
                f"--output_dir {folder} holds a run with another {', '.join(changed)}: repeat its command with "
                "--resume_from_checkpoint last, or choose another folder"
            )
    elif int(os.environ.get("RANK", "0")) == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, plan)


def last_checkpoint(folder: Path, wanted: str | None) -> str | None:
    """The checkpoint that `--resume_from_checkpoint` names: a path, or "last"; None starts from the beginning.

    Raises:
        UserError: There is none.
    """
    if wanted is None:
        return None
    if wanted.lower() not in ("last", "true"):
        if not Path(wanted, STATE_FILE).is_file():
            raise UserError(f"--resume_from_checkpoint {wanted} is no complete checkpoint folder")
        if Path(wanted).resolve().parent != folder.resolve():
            raise UserError(f"--resume_from_checkpoint {wanted} lies outside of --output_dir {folder}: name its folder")
        return wanted
    found = checkpoints(folder)
    if not found:
        raise UserError(f"--output_dir {folder} holds no complete checkpoint; leave out --resume_from_checkpoint")
    return str(found[-1])
