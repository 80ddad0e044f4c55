"""From arguments to a trainer, and from a trained model to its folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from salience.configuration.errors import UserError
from salience.configuration.families import names_a_run
from salience.configuration.flags.parser import Arguments
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.configuration.problem_types import REGRESSION
from salience.model_cards.run_folder import ADAPTER_FOLDER
from salience.modeling.encoders import pretrained_encoder
from salience.modeling.salience_base import SaliencePreTrainedModel
from salience.train.building.encoder_cache import attach_cache, detach_cache
from salience.train.building.lora import add_adapters, encoder_of, save_merged
from salience.train.data.load import TextData
from salience.train.data.tokens import num_tokens
from salience.train.folder.marked import SAVING_FOLDER, saved, saving_folder
from salience.train.loop.adversarial import check_embeddings
from salience.train.loop.losses import LabelStatistics, TrainingLoss
from salience.train.loop.preparation import PreparedTexts, balancing_weights
from salience.train.loop.schedule import choose_schedule
from salience.train.loop.trainer import SalienceTrainer

CLASS_SCORES = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted", "roc_auc")
REGRESSION_SCORES = ("r2", "mse", "mae", "pearson")
OF_LABELS = ("mse", "mae")  # as large or small as these are


def score_line(split: str, scores: Mapping[str, Any]) -> str:
    """The scores of a split as a line in a terminal."""
    known = [name for name in (*CLASS_SCORES, *REGRESSION_SCORES) if name in scores]
    said = " · ".join(f"{name} {scores[name]:{'.4g' if name in OF_LABELS else '.4f'}}" for name in known)
    return f"{split:<8} {said} ({scores['samples']} texts)"


def settle_training(model: PreTrainedModel, arguments: Arguments, num_texts: int, scratch_rate: float) -> list[str]:
    """Freeze what shall stay as it is, and choose what the flags leave open.

    Args:
        model: As it was built.
        arguments: Of the run; get what is chosen.
        num_texts: Training texts.
        scratch_rate: Learning rate of a model without a pretrained encoder.

    Returns:
        What was chosen, as flags.

    Raises:
        UserError: The model has no encoder to freeze.
    """
    model_args, _, tuning, training = arguments
    if tuning.freeze_encoder:
        freeze_encoder(model, model_args.encoder_cache)
    is_new = model_args.encoder is None and not names_a_run(model_args.model)
    rate = scratch_rate if is_new or pretrained_encoder(model) is None else None
    return choose_schedule(training, model, num_texts, rate, tuning.lora)


def freeze_encoder(model: PreTrainedModel, cache: str | None) -> None:
    """Leave the encoder as it is in training, and keep what it says of each text in a file if one is named.

    Raises:
        UserError: There is no encoder, or the file can't be used.
    """
    encoder_of(model).requires_grad_(False)
    attach_cache(encoder_of(model), cache)


def make_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextData,
    texts: PreparedTexts,
    statistics: LabelStatistics | None,
    loss: TrainingLoss,
    tuning: TuningArguments,
    training: SalienceTrainingArguments,
    compute_metrics: Callable[[EvalPrediction], dict[str, float]],
) -> SalienceTrainer:
    """The trainer that the flags ask for; with LoRA the model gets its adapters.

    Raises:
        UserError: The encoder has no embeddings that could be changed.
    """
    if tuning.adversarial_size:
        check_embeddings(model)
    if isinstance(model, SaliencePreTrainedModel):
        cast(SaliencePreTrainedModel, model.base_model).keep_at_most = training.max_tokens_per_pass or None
    return SalienceTrainer(
        lengths=num_tokens(texts.splits["train"]).tolist() if tuning.length_grouped else None,
        text_weights=balancing_weights(data, statistics) if statistics and tuning.balanced_sampling else None,
        parts=texts.parts,
        adversarial_size=tuning.adversarial_size,
        model=add_adapters(model, tuning) if tuning.lora else model,
        args=training,
        train_dataset=texts.splits["train"],
        eval_dataset=texts.splits["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=compute_metrics,
        compute_loss_func=loss,
        callbacks=[EarlyStoppingCallback(tuning.early_stopping_patience)] if tuning.early_stopping_patience else [],
        optimizer_cls_and_kwargs=plain_adam(training) if tuning.plain_adam else None,
    )


def name_best_metric(training: SalienceTrainingArguments, problem_type: str) -> None:
    """Name the metric of the best checkpoint, where the user did not.

    Raises:
        UserError: The user named one that there is not.
    """
    known = ("loss", *(REGRESSION_SCORES if problem_type == REGRESSION else CLASS_SCORES))
    chosen = str(training.metric_for_best_model).removeprefix("eval_")
    if not training.chooses_best_metric and chosen not in known:
        raise UserError(f"--metric_for_best_model {chosen} is unknown; choose from {', '.join(known)}")
    if training.chooses_best_metric:
        training.metric_for_best_model = "loss" if problem_type == REGRESSION else "f1_macro"
        training.greater_is_better = problem_type != REGRESSION


def plain_adam(training: SalienceTrainingArguments) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """torch.optim.Adam with the arguments' learning rate and weight decay."""
    betas = (training.adam_beta1, training.adam_beta2)
    return torch.optim.Adam, {"lr": training.learning_rate, "betas": betas, "eps": training.adam_epsilon, "fused": True}


def save(trainer: SalienceTrainer, tuning: TuningArguments, model_args: Any) -> PreTrainedModel:
    """Save the model, its code and tokenizer in the run's folder; with LoRA the adapters beside the merged model."""
    folder = Path(trainer.args.output_dir)
    is_first, trained = trainer.is_world_process_zero(), trainer.accelerator.unwrap_model(trainer.model)
    part = saving_folder(folder) if is_first else folder / SAVING_FOLDER
    if not tuning.lora:
        trainer.save_model(str(part), _internal_call=True)  # else it pushes, before there are results and a card
    elif is_first:
        trained = save_merged(trained, part, model_args.encoder, model_args.encoder_revision)
        trainer.processing_class.save_pretrained(part)
        trainer.processing_class.save_pretrained(part / ADAPTER_FOLDER)
    trainer.accelerator.wait_for_everyone()  # several may write
    if is_first:
        saved(folder)
    if tuning.freeze_encoder:
        detach_cache(encoder_of(trained))
    return trained
