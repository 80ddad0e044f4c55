"""Flags that don't go together, or with the labels, told before anything heavy starts."""

from typing import Any

from transformers import PreTrainedModel, Trainer
from transformers.training_args import OptimizerNames

from salience.configuration.errors import UserError, one_line
from salience.configuration.training_arguments import SalienceTrainingArguments
from salience.configuration.tuning_arguments import TuningArguments
from salience.model_cards.run_folder import is_hub_id
from salience.train.building.build import MODELS, chosen_options
from salience.train.loop.losses import BALANCING_LOSSES, LabelStatistics


def check_flags(model_args: Any, tuning: TuningArguments, training: SalienceTrainingArguments) -> None:
    """Refuse flags that don't go together, before anything is read."""
    chosen_options(model_args)
    if (tuning.lora or tuning.freeze_encoder) and model_args.encoder is None:
        flag = "--lora" if tuning.lora else "--freeze_encoder"
        raise UserError(f"{flag} needs a pretrained encoder, and --encoder names none")
    if model_args.encoder_cache is not None:
        check_encoder_cache(model_args, tuning, training)
    if tuning.prior_correction:
        check_prior_correction(model_args, tuning)
    if training.push_to_hub and tuning.lora and not is_hub_id(model_args.base_model or model_args.encoder):
        raise UserError("--push_to_hub with --lora needs --base_model USER/NAME: the adapter names its base on the Hub")
    if tuning.lora and training.fsdp:
        raise UserError("--lora is not offered with FSDP: the merged model is put together by one process")
    if tuning.adversarial_size:
        check_adversarial(tuning, training)
    for name, (used, where) in conditional_flags(tuning).items():
        if not used and getattr(tuning, name) != TuningArguments.__dataclass_fields__[name].default:
            raise UserError(f"--{name} belongs to {where}; leave it out")
    if tuning.early_stopping_patience and training.eval_strategy == "no":
        raise UserError("--early_stopping_patience needs evaluations: set --eval_strategy to epoch or steps")


def check_prior_correction(model_args: Any, tuning: TuningArguments) -> None:
    """Refuse `--prior_correction` where there is nothing to correct, or no place to keep it."""
    if MODELS[model_args.model].config is None:
        raise UserError("--prior_correction is kept in our models' configuration; the plain head has no place for it")
    if tuning.balanced_sampling or tuning.loss in BALANCING_LOSSES:
        other = "--balanced_sampling" if tuning.balanced_sampling else f"--loss {tuning.loss}"
        raise UserError(f"--prior_correction and {other} correct the same twice; leave one of them out")


def check_encoder_cache(model_args: Any, tuning: TuningArguments, training: SalienceTrainingArguments) -> None:
    """Refuse `--encoder_cache` where the encoder's answers can't be kept."""
    if not tuning.freeze_encoder:
        raise UserError("--encoder_cache belongs to --freeze_encoder true: what is trained can't be kept")
    if MODELS[model_args.model].config is None:
        raise UserError("--encoder_cache is for our models; leave it out with the plain head")
    if training.fsdp or training.torch_compile:
        raise UserError("--encoder_cache is not offered with FSDP or --torch_compile")


def check_adversarial(tuning: TuningArguments, training: SalienceTrainingArguments) -> None:
    """Refuse `--adversarial_size` where a batch can't be trained twice, or its embeddings can't be changed."""
    if tuning.freeze_encoder:
        raise UserError("--adversarial_size changes what the encoder reads: leave out --freeze_encoder")
    if training.torch_compile or training.deepspeed or training.fsdp:
        raise UserError("--adversarial_size is not offered with --torch_compile, --deepspeed or FSDP")
    if training.n_gpu > 1:  # replicas of one process would mix up their embeddings
        raise UserError("--adversarial_size needs a process for each GPU: start it with accelerate launch")


def conditional_flags(tuning: TuningArguments) -> dict[str, tuple[bool, str]]:
    """Flags that only count beside another one: whether it is there, and which one."""
    loss = {
        "focal_gamma": "focal", "class_balanced_beta": "class_balanced", "logit_adjustment_tau": "logit_adjusted",
        "ldam_max_margin": "ldam",
    }  # fmt: skip
    lora = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")
    of_loss = {name: (tuning.loss == which, f"--loss {which}") for name, which in loss.items()}
    return of_loss | {name: (tuning.lora, "--lora true") for name in lora}


def check_labels(tuning: TuningArguments, statistics: LabelStatistics | None) -> None:
    """Refuse flags that the labels have no place for, before a model is loaded."""
    if statistics is None and tuning.prior_correction:
        raise UserError("--prior_correction needs classes, and the labels are numbers")
    if tuning.balanced_sampling and (statistics is None or statistics.is_multi_label):
        raise UserError("--balanced_sampling needs exactly one class for each text")


def check_model(model: PreTrainedModel, model_args: Any, training: SalienceTrainingArguments) -> None:
    """Refuse flags that the model, once built, has no place for."""
    if training.gradient_checkpointing and not any(hasattr(part, "gradient_checkpointing") for part in model.modules()):
        raise UserError(f"--gradient_checkpointing is for Transformers; leave it out with --model {model_args.model}")
    try:
        Trainer.get_optimizer_cls_and_kwargs(training, model)
    except (ValueError, ImportError) as error:
        options = f" --optim_args {training.optim_args}" if training.optim_args else ""
        name = OptimizerNames(training.optim).value
        raise UserError(f"--optim {name}{options} can't be made: {one_line(error)}") from error
