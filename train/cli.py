"""train.py RECIPE.yaml [--flag value ...]: from labelled texts to a folder that is a Hub model repository.

One process: `python train.py ...`; several: `accelerate launch -q --config_file CONFIG train.py ...`.
"""

import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from salience.configuration.arguments import Arguments, RecipeParser
from salience.configuration.errors import UserError
from salience.configuration.training_arguments import SalienceTrainingArguments
from salience.configuration.tuning_arguments import TuningArguments
from salience.eval.after_training import correct_prior, evaluate
from salience.eval.reading.words import Reading, one_row, read_text
from salience.eval.scores.metrics import make_compute_metrics
from salience.model_cards.card import write_card
from salience.model_cards.run_folder import ADAPTER_FOLDER
from salience.train.building.build import build_model
from salience.train.building.encoder_cache import remember_encoder
from salience.train.building.lora import add_adapters, encoder_of, save_merged
from salience.train.data.load import TextData, load_splits
from salience.train.data.tokens import num_tokens
from salience.train.flag_checks import check_flags, check_labels, check_model
from salience.train.folder.description import describe_model, describe_run, run_plan
from salience.train.folder.output import check_folder, check_plan, last_checkpoint
from salience.train.folder.record import record_run
from salience.train.loop.losses import LabelStatistics, TrainingLoss
from salience.train.loop.preparation import PreparedTexts, balancing_weights, label_statistics, prepare_texts
from salience.train.loop.trainer import SalienceTrainer
from salience.train.publish.hub_access import check_access, check_repo_name

CLASS_SCORES = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted", "roc_auc")
REGRESSION_SCORES = ("r2", "mse", "mae", "pearson")


def main(argv: list[str] | None = None) -> int:
    """Train, evaluate, save, and push if asked. Returns the exit status: 0, or 2 for bad input."""
    argv = sys.argv[1:] if argv is None else argv
    parser = RecipeParser()
    if not argv or {"-h", "--help"} & set(argv):
        parser.print_help()
        return 0 if argv else 2
    try:
        train(parser.parse(argv), argv)
    except UserError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes one speaks
            print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def train(arguments: Arguments, argv: list[str]) -> None:
    """One run, in the order of its steps.

    Raises:
        UserError: Something the user can mend; nothing was overwritten.
    """
    model_args, data_args, tuning, training = arguments
    started = datetime.now(timezone.utc)
    folder = Path(training.output_dir)
    checkpoint = check_start(folder, arguments)

    set_seed(training.seed)
    data = load_splits(data_args)
    statistics = label_statistics(data)
    check_labels(tuning, statistics)
    training = with_best_metric(training, data.problem_type)
    loss = TrainingLoss(tuning, data.problem_type, statistics, training.label_smoothing_factor)
    model, tokenizer = fresh_model(arguments, data)
    texts = prepare_texts(model, tokenizer, data, data_args.max_length)
    trainer = make_trainer(model, tokenizer, data, texts, statistics, loss, tuning, training)
    check_plan(folder, run_plan(model, data, tuning, training), resuming=checkpoint is not None)

    fitted = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_metrics("train", {**fitted.metrics, "train_samples": len(texts.splits["train"])}, combined=False)
    if statistics and tuning.prior_correction:
        correct_prior(trainer.accelerator.unwrap_model(trainer.model), tuning.prior_correction, statistics)
    evaluate(trainer, texts.splits, data, texts.orders, tuning.calibrate)
    num_trainable = trainer.get_num_trainable_parameters()
    trained = save(trainer, tuning, model_args)
    trainer.save_state()
    reading = read_example(trained, tokenizer, data)  # on every process: sharded weights are gathered from all
    if trainer.is_world_process_zero():
        about_model = describe_model(model_args, trained, num_trainable)
        record_run(folder, **describe_run(arguments, argv, data), model=about_model, started=started)
        write_cards(folder, tuning)
        print_summary(folder, reading, data)
        if training.push_to_hub:
            print(f"pushed   {trainer.push_to_hub()}")


def check_start(folder: Path, arguments: Arguments) -> str | None:
    """Refuse what can be refused before anything is read; the checkpoint to resume from, or None.

    Raises:
        UserError: The folder, the flags or the access to the Hub aren't fit for the run.
    """
    model_args, _, tuning, training = arguments
    if training.process_index == 0:
        check_folder(folder, resuming=training.resume_from_checkpoint is not None)
    checkpoint = last_checkpoint(folder, training.resume_from_checkpoint)
    check_flags(model_args, tuning, training)
    if training.push_to_hub:
        check_repo_name(training.hub_model_id or folder.resolve().name)
        check_access(training.hub_token)
    return checkpoint


def fresh_model(arguments: Arguments, data: TextData) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that the flags ask for, its encoder frozen if they say so, and its tokenizer.

    Raises:
        UserError: A flag doesn't fit the model.
    """
    model_args, _, tuning, training = arguments
    model, tokenizer = build_model(model_args, data.splits["train"]["text"], data.label_names, data.problem_type)
    check_model(model, model_args, training)
    if tuning.freeze_encoder:
        encoder_of(model).requires_grad_(False)
        remember_encoder(encoder_of(model), model_args.encoder_cache)
    return model, tokenizer


def make_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TextData,
    texts: PreparedTexts,
    statistics: LabelStatistics | None,
    loss: TrainingLoss,
    tuning: TuningArguments,
    training: SalienceTrainingArguments,
) -> SalienceTrainer:
    """The trainer that the flags ask for; with LoRA the model gets its adapters."""
    return SalienceTrainer(
        lengths=num_tokens(texts.splits["train"]).tolist() if tuning.length_grouped else None,
        text_weights=balancing_weights(data, statistics) if statistics and tuning.balanced_sampling else None,
        adversarial_size=tuning.adversarial_size,
        model=add_adapters(model, tuning) if tuning.lora else model,
        args=training,
        train_dataset=texts.splits["train"],
        eval_dataset=texts.splits["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=make_compute_metrics(data.problem_type, data.label_names),
        compute_loss_func=loss,
        callbacks=[EarlyStoppingCallback(tuning.early_stopping_patience)] if tuning.early_stopping_patience else [],
        optimizer_cls_and_kwargs=plain_adam(training) if tuning.plain_adam else None,
    )


def write_cards(folder: Path, tuning: TuningArguments) -> None:
    """The model's card, and with LoRA that of its adapters."""
    write_card(folder)
    if tuning.lora:
        write_card(folder / ADAPTER_FOLDER)


def with_best_metric(training: SalienceTrainingArguments, problem_type: str) -> SalienceTrainingArguments:
    """Name the metric of the best checkpoint, where the user did not.

    Raises:
        UserError: The user named one that there is not.
    """
    known = ("loss", *(REGRESSION_SCORES if problem_type == "regression" else CLASS_SCORES))
    chosen = str(training.metric_for_best_model).removeprefix("eval_")
    if not training.chooses_best_metric and chosen not in known:
        raise UserError(f"--metric_for_best_model {chosen} is unknown; choose from {', '.join(known)}")
    if training.chooses_best_metric:
        training.metric_for_best_model = "loss" if problem_type == "regression" else "f1_macro"
        training.greater_is_better = problem_type != "regression"
    return training


def plain_adam(training: SalienceTrainingArguments) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """torch.optim.Adam with the arguments' learning rate and weight decay."""
    betas = (training.adam_beta1, training.adam_beta2)
    return torch.optim.Adam, {"lr": training.learning_rate, "betas": betas, "eps": training.adam_epsilon, "fused": True}


def save(trainer: SalienceTrainer, tuning: TuningArguments, model_args: Any) -> PreTrainedModel:
    """Save the model, its code and tokenizer in the run's folder; with LoRA the adapters beside the merged model."""
    folder = Path(trainer.args.output_dir)
    if not tuning.lora:
        trainer.save_model(_internal_call=True)  # else it pushes, before there are results and a card
        return trainer.accelerator.unwrap_model(trainer.model)
    trained = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_world_process_zero():
        trained = save_merged(trained, folder, model_args.encoder, model_args.encoder_revision)
        trainer.processing_class.save_pretrained(folder)
        trainer.processing_class.save_pretrained(folder / ADAPTER_FOLDER)
    return trained


def read_example(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: TextData) -> Reading | None:
    """The first held-out text that isn't empty, classified; None if there is none, or there are no classes."""
    rows = data.splits["test" if "test" in data.splits else "validation"]
    text = next((text for text in rows["text"] if text.strip()), None)
    if text is None or data.problem_type == "regression":
        return None
    return read_text(model, tokenizer, text)


def print_summary(folder: Path, reading: Reading | None, data: TextData) -> None:
    """Where the model is, its scores, and one text with its heaviest words."""
    split, prefix = ("test", "test") if "test" in data.splits else ("validation", "eval")
    results = json.loads(Path(folder, f"{prefix}_results.json").read_text(encoding="utf-8"))
    names = REGRESSION_SCORES if data.problem_type == "regression" else CLASS_SCORES
    scores = [f"{name} {results[key]:.4f}" for name in names if (key := f"{prefix}_{name}") in results]
    print(f"\nmodel    {folder}\n{split:<8} {' · '.join(scores)} ({results[f'{prefix}_samples']} texts)")
    if reading is None:
        return
    print(f"example  {one_row(reading.text)[:200]} ...\nlabel    {one_row(reading.label)} ({reading.score:.3f})")
    if reading.words:
        print(f"words    {' · '.join(f'{one_row(word)} {weight:.3f}' for word, weight in reading.words)}")


if __name__ == "__main__":
    sys.exit(main())
