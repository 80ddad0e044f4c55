"""train.py RECIPE.yaml [--flag value ...]: from labelled texts to a folder that is a Hub model repository.

One process: `python train.py ...`; several: `accelerate launch -q --config_file CONFIG train.py ...`.
"""

import json
import os
import sys
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from salience.configuration.arguments import Arguments, RecipeParser
from salience.configuration.training_arguments import SalienceTrainingArguments
from salience.configuration.tuning_arguments import TuningArguments
from salience.eval.explain import Reading, one_row, read_text
from salience.eval.scoring import make_compute_metrics
from salience.model_cards.card import write_card

from .build import build_model
from .counts import training_rows
from .data import TextData, load_splits
from .encoder_loading import encoder_name
from .errors import UserError
from .final_evaluation import correct_prior, evaluate
from .flag_checks import check_flags, check_labels
from .lora import ADAPTER_FOLDER, add_adapters, encoder_of, save_merged
from .losses import LabelStatistics, TrainingLoss
from .output_folder import check_folder, check_plan, last_checkpoint
from .push import check_access, check_repo_name
from .run_record import record_run
from .tokenize import num_tokens, tokenize
from .trainer import SalienceTrainer

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
    if training.process_index == 0:
        check_folder(folder, resuming=training.resume_from_checkpoint is not None)
    checkpoint = last_checkpoint(folder, training.resume_from_checkpoint)
    check_flags(model_args, tuning, training)
    if training.push_to_hub:
        check_repo_name(training.hub_model_id or folder.resolve().name)
        check_access(training.hub_token)

    set_seed(training.seed)
    data = load_splits(data_args)
    statistics = label_statistics(data)
    check_labels(tuning, statistics)
    training = with_best_metric(training, data.problem_type)
    loss = TrainingLoss(tuning, data.problem_type, statistics, training.label_smoothing_factor)
    model, tokenizer = build_model(model_args, data.splits["train"]["text"], data.label_names, data.problem_type)
    if training.gradient_checkpointing and not any(hasattr(part, "gradient_checkpointing") for part in model.modules()):
        raise UserError(f"--gradient_checkpointing is for Transformers; leave it out with --model {model_args.model}")
    if tuning.freeze_encoder:
        encoder_of(model).requires_grad_(False)
    held_out = {name: tokenize(rows, tokenizer) for name, rows in data.splits.items() if name != "train"}
    train_rows = training_rows(model, tokenizer, data.splits["train"], data_args.max_length)
    # Held-out texts from the longest to the shortest: no score depends on their order, and little is padded.
    orders = {name: np.argsort(-num_tokens(rows), kind="stable") for name, rows in held_out.items()}
    held_out = {name: rows.select(orders[name]) for name, rows in held_out.items()}
    tokenized = datasets.DatasetDict(train=train_rows, **held_out)
    lengths = num_tokens(train_rows).tolist() if tuning.length_grouped else None
    text_weights = balancing_weights(data, statistics) if statistics and tuning.balanced_sampling else None

    trainer = SalienceTrainer(
        lengths=lengths,
        text_weights=text_weights,
        model=add_adapters(model, tuning) if tuning.lora else model,
        args=training,
        train_dataset=tokenized["train"],
        eval_dataset=tokenized["validation"],
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=make_compute_metrics(data.problem_type, data.label_names),
        compute_loss_func=loss,
        callbacks=[EarlyStoppingCallback(tuning.early_stopping_patience)] if tuning.early_stopping_patience else [],
        optimizer_cls_and_kwargs=plain_adam(training) if tuning.plain_adam else None,
    )
    check_plan(folder, run_plan(model, data, tuning, training), resuming=checkpoint is not None)
    fitted = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_metrics("train", {**fitted.metrics, "train_samples": len(tokenized["train"])}, combined=False)
    if statistics and tuning.prior_correction:
        correct_prior(trainer.accelerator.unwrap_model(trainer.model), tuning.prior_correction, statistics)
    evaluate(trainer, tokenized, data, orders, tuning.calibrate)
    num_trainable = trainer.get_num_trainable_parameters()
    trained = save(trainer, tuning, model_args)
    trainer.save_state()
    reading = read_example(trained, tokenizer, data)  # on every process: sharded weights are gathered from all
    if trainer.is_world_process_zero():
        record_run(
            folder,
            command=["train.py", *argv],
            arguments=changed_arguments(arguments),
            data={
                "name": data.name,
                "source": data.source,
                "splits": {name: data.fingerprint(name) for name in data.splits},
            },
            model=describe_model(model_args, trained, num_trainable),
            precision="bf16" if training.bf16 else "fp16" if training.fp16 else "fp32",
            seed=training.seed,
            started=started,
        )
        write_card(folder)
        if tuning.lora:
            write_card(folder / ADAPTER_FOLDER)
        print_summary(folder, reading, data)
        if training.push_to_hub:
            print(f"pushed   {trainer.push_to_hub()}")


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


def label_statistics(data: TextData) -> LabelStatistics | None:
    """Texts of each class in the training split; None for regression."""
    if data.problem_type == "regression":
        return None
    labels = np.asarray(data.splits["train"]["labels"])
    is_multi_label = data.problem_type == "multi_label_classification"
    counts = labels.sum(0) if is_multi_label else np.bincount(labels, minlength=len(data.label_names))
    return LabelStatistics(torch.tensor(counts), len(labels), data.problem_type)


def balancing_weights(data: TextData, statistics: LabelStatistics) -> torch.Tensor:
    """Chance of each training text to be drawn, the same in sum for every class."""
    return (1 / statistics.counts_C.double())[torch.tensor(data.splits["train"]["labels"])]


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


def changed_arguments(arguments: Arguments) -> dict[str, Any]:
    """Every flag that differs from its default."""
    changed = {}
    for group in arguments:
        for name, each in type(group).__dataclass_fields__.items():
            value = getattr(group, name)
            default = each.default_factory() if callable(each.default_factory) else each.default
            if each.init and value != default and isinstance(value, str | int | float | bool | list | dict):
                changed[name] = value
    return changed


def describe_model(model_args: Any, model: PreTrainedModel, num_trainable: int) -> dict[str, Any]:
    """What run.json says of the model."""
    found = getattr(model, "word_vectors_found", None)
    return {
        "family": model_args.model,
        "class": type(model).__name__,
        "encoder": model_args.base_model or encoder_name(model_args.encoder),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trainable_parameters": num_trainable,
        **({} if found is None else {"word_vectors_found": found}),
    }


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
