"""What a run can't be started with: its folder, or flags that don't go together, or with the labels.

What flags alone can tell stands in `salience.configuration.flags.flag_rules`.
"""

import logging
from copy import copy
from pathlib import Path
from typing import Any

from accelerate.utils import parse_flag_from_env
from transformers import PreTrainedModel, Trainer
from transformers.training_args import OptimizerNames

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.flag_rules import check_together
from salience.configuration.flags.model_arguments import chosen_options
from salience.configuration.flags.parser import Arguments
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.model_cards.run_folder import is_hub_id
from salience.train.building.encoder_loading import refuse_bfloat16
from salience.train.building.label_scale import label_scale
from salience.train.data.load import TextData
from salience.train.folder.checkpoints import check_checkpoint, last_checkpoint
from salience.train.loop.assembly import name_best_metric
from salience.train.loop.losses import LabelStatistics, TrainingLoss, balancing_flag
from salience.train.loop.preparation import label_statistics
from salience.train.loop.rehearsal import rehearse
from salience.train.publish.hub_access import check_access

logger = logging.getLogger(__name__)


def check_start(folder: Path, arguments: Arguments) -> Path | None:
    """Refuse what can be refused before anything is read; the checkpoint to resume from, or None.

    Raises:
        UserError: The folder, the flags or the access to the Hub aren't fit for the run.
    """
    model_args, _, tuning, training = arguments
    checkpoint = last_checkpoint(folder, training.resume_from_checkpoint)
    if checkpoint and training.process_index == 0:
        check_checkpoint(checkpoint, checkpoint == folder, bool(training.load_best_model_at_end))
    check_flags(model_args, tuning, training)
    if training.push_to_hub:
        check_access(
            training.hub_model_id or folder.resolve().name,
            private=bool(training.hub_private_repo),
            revision=training.hub_revision,
            token=training.hub_token,
        )
    return checkpoint


def check_flags(model_args: Any, tuning: TuningArguments, training: SalienceTrainingArguments) -> None:
    """Refuse flags that don't go together, or that the libraries refuse, before anything is read."""
    chosen_options(model_args)
    check_together(model_args, tuning, training)
    if tuning.prior_correction and (balancing := balancing_flag(tuning)):
        raise UserError(f"--prior_correction and {balancing} correct the same twice; leave one of them out")
    if training.push_to_hub and tuning.lora and not is_hub_id(model_args.base_model or model_args.encoder):
        raise UserError("--push_to_hub with --lora needs --base_model USER/NAME: the adapter names its base on the Hub")
    if tuning.adversarial_size and training.n_gpu > 1:  # replicas of one process would mix up their embeddings
        raise UserError("--adversarial_size needs a process for each GPU: start it with accelerate launch")
    _check_launcher(model_args, tuning)
    rehearse(training)


def _check_launcher(model_args: Any, tuning: TuningArguments) -> None:
    """Refuse what isn't offered with that for which `accelerate launch` is configured, and which no flag names."""
    for name, variable, flags in (
        ("FSDP", "ACCELERATE_USE_FSDP", ("lora", "adversarial_size", "encoder_cache")),
        ("DeepSpeed", "ACCELERATE_USE_DEEPSPEED", ("adversarial_size",)),
    ):
        given = [flag for flag in flags if getattr(model_args, flag, None) or getattr(tuning, flag, None)]
        if given and parse_flag_from_env(variable):
            raise UserError(f"--{given[0]} is not offered with {name}, for which accelerate is configured")


def loss_on(
    data: TextData, tuning: TuningArguments, training: SalienceTrainingArguments
) -> tuple[TrainingLoss, LabelStatistics | None]:
    """The loss that the flags ask for, and what it knows of the training texts; the best metric gets its name.

    Raises:
        UserError: The labels have no place for a flag.
    """
    statistics = label_statistics(data)
    if statistics and (unseen := [data.label_names[place] for place in (statistics.seen_C == 0).nonzero().flatten()]):
        logger.warning("no training text has these labels, so that nothing is learned of them: %s", ", ".join(unseen))
    if statistics is None and tuning.prior_correction:
        raise UserError("--prior_correction needs classes, and the labels are numbers")
    if statistics is None and tuning.target_accuracy is not None:
        raise UserError("--target_accuracy needs classes, and the labels are numbers")
    if tuning.target_precision is not None and (statistics is None or not statistics.is_multi_label):
        raise UserError(
            "--target_precision is for texts that can have several labels, and these have "
            + ("numbers" if statistics is None else "one class each")
        )
    if tuning.balanced_sampling and (statistics is None or statistics.is_multi_label):
        raise UserError("--balanced_sampling needs exactly one class for each text")
    name_best_metric(training, data.problem_type)
    _, deviation = label_scale(data) or (0.0, 1.0)
    loss = TrainingLoss(tuning, data.problem_type, statistics, training.label_smoothing_factor, deviation)
    return loss, statistics


def check_model(model: PreTrainedModel, model_args: Any, training: SalienceTrainingArguments) -> None:
    """Refuse flags that the model, once built, has no place for."""
    if training.gradient_checkpointing and not any(hasattr(part, "gradient_checkpointing") for part in model.modules()):
        raise UserError(f"--gradient_checkpointing is for Transformers; leave it out with --model {model_args.model}")
    if training.bf16:
        refuse_bfloat16(model)
    _check_optimizer(model, training)


def _check_optimizer(model: PreTrainedModel, training: SalienceTrainingArguments) -> None:
    name, given = OptimizerNames(training.optim).value, (training.optim_args or "").replace(" ", "")
    pairs = given.split(",") if given else []
    try:
        options = _optimizer_options(model, training, pairs)
    except (ValueError, ImportError) as error:
        args = f" --optim_args {given}" if given else ""
        raise UserError(f"--optim {name}{args} can't be made: {one_line(error)}") from error
    for pair in pairs:  # transformers passes over what the optimizer doesn't know
        if _optimizer_options(model, training, [other for other in pairs if other != pair]) == options:
            raise UserError(f"--optim_args {one_line(pair)} changes nothing of --optim {name}; leave it out")


def _optimizer_options(model: PreTrainedModel, training: SalienceTrainingArguments, pairs: list[str]) -> dict[str, Any]:
    changed = copy(training)
    changed.optim_args = ",".join(pairs)
    _, options = Trainer.get_optimizer_cls_and_kwargs(changed, model)
    return {option: value for option, value in options.items() if option != "weight_decay"}  # --weight_decay is used
