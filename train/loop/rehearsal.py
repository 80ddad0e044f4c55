"""Everything that the libraries build of training flags, built once for a toy model before data is read."""

import copy
from collections.abc import Set
from dataclasses import fields
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer
from transformers.utils import is_liger_kernel_available

from salience.configuration.flags.library_errors import blame
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.train.loop.schedule import FEWEST_EPOCHS, NEW_RATE

TOY_SIZES: dict[str, Any] = {
    "vocab_size": 2, "hidden_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 2,
    "max_position_embeddings": 2,
}  # fmt: skip


def rehearse(training: SalienceTrainingArguments) -> None:
    """Build what a run needs of flags whose values only transformers, accelerate and torch know.

    A trainer with its callbacks, its loader of batches, some steps of its learning rate, and what compiles or
    recomputes a model. Nothing is trained or written; optimizers are tried on the real model (`check_model`).

    Raises:
        UserError: It can't be built; the sentence names the flag.
    """
    try:
        _build(training)
    except Exception:
        _find_flag(training)


def _find_flag(training: SalienceTrainingArguments) -> None:
    """Tell which flag `_build` fails for. Only then: with transformers 4, new arguments change the precision of all."""
    plain = SalienceTrainingArguments(output_dir=training.output_dir)
    names = [each.name for each in fields(training) if each.init and each.name != "output_dir"]
    changed = {name: value for name in names if (value := getattr(training, name)) != getattr(plain, name)}

    def attempt(left_out: Set[str]) -> None:
        arguments = copy.copy(training)
        for name in left_out:
            setattr(arguments, name, getattr(plain, name))
        _build(arguments)

    blame(attempt, changed)


def _build(training: SalienceTrainingArguments) -> None:
    arguments: Any = copy.copy(training)
    with TemporaryDirectory() as folder:  # Trainer makes it
        arguments.output_dir, arguments.push_to_hub = folder, False
        if arguments.learning_rate is None:  # chosen later
            arguments.learning_rate = NEW_RATE
        if arguments.num_train_epochs is None:
            arguments.num_train_epochs = FEWEST_EPOCHS
        model, rows = BertForSequenceClassification(BertConfig(**TOY_SIZES)), [{"labels": 0}, {"labels": 1}]
        optimizer = torch.optim.SGD(model.parameters(), lr=arguments.learning_rate)
        toy: dict[str, Any] = {"train_dataset": rows, "eval_dataset": rows, "optimizers": (optimizer, None)}
        trainer = Trainer(model, arguments, **toy)
    trainer.get_train_dataloader()
    scheduler: Any = trainer.create_scheduler(num_training_steps=4, optimizer=optimizer)
    for _ in range(3):
        optimizer.step()
        scheduler.step(*([0.0] if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))
    if arguments.torch_compile:
        torch.compile(model, backend=arguments.torch_compile_backend or "inductor", mode=arguments.torch_compile_mode)
    if arguments.use_liger_kernel and not is_liger_kernel_available():
        raise ImportError("a package is missing; run: pip install liger-kernel")
    if arguments.gradient_checkpointing:
        model.gradient_checkpointing_enable(arguments.gradient_checkpointing_kwargs)
        model.train()(input_ids=torch.ones(1, 1, dtype=torch.long, device=model.device))
