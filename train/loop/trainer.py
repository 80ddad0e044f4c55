"""transformers' Trainer with our order of texts, and a Hub repository that holds finished models only."""

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate.utils import DistributedType
from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase, Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import EvalLoopOutput, PredictionOutput

from salience.configuration.errors import UserError
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.modeling.encoders import pretrained_encoder
from salience.modeling.precision import hold_in_bfloat16
from salience.modeling.ragged import give_back_free_memory
from salience.train.building.lora import trained_model
from salience.train.folder.checkpoints import readable
from salience.train.folder.marked import mark_checkpoint
from salience.train.loop.adversarial import adversarial_step
from salience.train.loop.cpu_attention import faster_attention
from salience.train.loop.passes import joined, of_rows, rows_of_passes
from salience.train.loop.sampling import DrawnParts, EpochSampler, StepBatches


class SalienceTrainer(Trainer):
    """Trainer whose training order, card and uploads are ours.

    Args:
        lengths: See `EpochSampler`.
        text_weights: See `EpochSampler`.
        parts: See `EpochSampler`.
        adversarial_size: See `adversarial.worst_changes`; 0 for plain training.
        arguments: Everything that `Trainer` takes.
    """

    args: SalienceTrainingArguments
    train_dataset: datasets.Dataset
    processing_class: PreTrainedTokenizerBase

    def __init__(
        self,
        *,
        lengths: list[int] | None = None,
        text_weights: torch.Tensor | None = None,
        parts: DrawnParts | None = None,
        adversarial_size: float = 0.0,
        **arguments: Any,
    ) -> None:
        self.lengths, self.text_weights, self.parts = lengths, text_weights, parts
        self.adversarial_size = adversarial_size
        self.cells_since_tidy = 0
        self.evaluated: dict[int, EvalLoopOutput] = {}  # by optimizer step: the last one's, and the best one's
        # Single learned numbers have no reason to be near zero. Sharded weights no longer tell which they are.
        numbers = [name for name, weight in arguments["model"].named_parameters() if weight.ndim == 0]
        self.scalars = tuple(name.rpartition(".")[2] for name in numbers)
        super().__init__(**arguments)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; arguments and result are those of `Trainer.train`."""
        is_slow = self.args.bf16 and self.args.device.type == "cpu"
        model = trained_model(self.accelerator.unwrap_model(self.model))
        with faster_attention(model) if is_slow else nullcontext():
            return super().train(*args, **kwargs)

    @property
    def num_texts(self) -> int:
        """Training texts, of which the rows may be parts."""
        return len(self.train_dataset if self.parts is None else self.parts)

    def num_examples(self, dataloader: DataLoader) -> int:
        """Texts that a loader gives in an epoch; argument and result are those of `Trainer.num_examples`."""
        return self.num_texts if dataloader.dataset is self.train_dataset else super().num_examples(dataloader)

    def get_train_dataloader(self) -> DataLoader:
        """Batches of the training texts for this process, in the order of `EpochSampler`."""
        args, batch_size = self.args, self._train_batch_size
        step_size = batch_size * args.gradient_accumulation_steps * args.world_size
        seed = args.seed if args.data_seed is None else args.data_seed
        order = EpochSampler(
            self.num_texts, self.lengths, step_size, seed, self.text_weights,
            current_epoch=lambda: self.state.global_step // max(batches.num_steps, 1), parts=self.parts,
        )  # fmt: skip
        batches = StepBatches(order, batch_size, args.world_size, args.gradient_accumulation_steps)
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
        )
        evens_batches = self.accelerator.even_batches
        self.accelerator.even_batches = False  # they are: it would fill them up with texts of other batches
        try:
            return self.accelerator.prepare(loader)
        finally:
            self.accelerator.even_batches = evens_batches

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Forward and backward passes on a batch, and with `adversarial_size` on its worst change: the mean of both."""
        rows = rows_of_passes(inputs, self.args.max_tokens_per_pass, self.accelerator)
        passes = [of_rows(inputs, each) for each in rows] if rows else [inputs]
        self.tidy_up(inputs["attention_mask"].numel())
        train = super().training_step

        def step() -> torch.Tensor:
            with self.accumulating(model, len(passes) > 1):
                losses = [train(model, each, num_items_in_batch) for each in passes[:-1]]
            return torch.stack([*losses, train(model, passes[-1], num_items_in_batch)]).sum()

        if not self.adversarial_size:
            return step()
        embedding = self.accelerator.unwrap_model(model).get_input_embeddings()
        return adversarial_step(embedding, self.adversarial_size, len(inputs["labels"]), step)

    def tidy_up(self, num_cells: int) -> None:
        """On a CPU, give free memory back after each `max_tokens_per_pass`: the next batches wouldn't fit into it.

        Args:
            num_cells: Of the batch that comes next.
        """
        self.cells_since_tidy += num_cells
        if self.args.device.type == "cpu" and 0 < self.args.max_tokens_per_pass <= self.cells_since_tidy:
            self.cells_since_tidy = 0
            give_back_free_memory()

    def accumulating(self, model: nn.Module, is_first_part: bool) -> AbstractContextManager:
        """Gradients stay in their process until the last pass; sharded ones would then be held whole."""
        is_sharded = self.accelerator.distributed_type == DistributedType.FSDP
        return self.accelerator.no_sync(model) if is_first_part and not is_sharded else nullcontext()

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Any, Any, Any]:
        """Answers to a batch, pass by pass; arguments and result are those of `Trainer.prediction_step`."""
        predict = super().prediction_step
        rows = rows_of_passes(inputs, self.args.max_tokens_per_pass, self.accelerator)
        if rows is None or prediction_loss_only:
            return predict(model, inputs, prediction_loss_only, ignore_keys)
        losses, answers, _ = zip(
            *(predict(model, of_rows(inputs, each), prediction_loss_only, ignore_keys) for each in rows), strict=True
        )
        texts = torch.tensor([len(each) for each in rows], device=losses[0].device)
        labels = inputs["labels"].to(losses[0].device)
        return (torch.stack(losses) * texts).sum() / texts.sum(), joined(answers, rows), labels

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> Any:
        """All labels count: to Trainer -100 is none, and it may be a number of a regression."""
        present = [{"labels": torch.ones_like(batch["labels"])} for batch in batch_samples]
        return super()._get_num_items_in_batch(present, device)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The loss of a batch; in adversarial training half of it, as each batch is trained twice."""
        loss: Any = super().compute_loss(model, inputs, *args, **kwargs)
        return loss / 2 if self.adversarial_size and model.training else loss

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Score a split; the loss is that of its texts, however many processes share them.

        Trainer's own is a mean over batches, in which several processes have texts twice to fill the last ones up. In
        bfloat16, an encoder that is trained is cast once and not by each batch.
        """
        encoder = pretrained_encoder(trained_model(self.accelerator.unwrap_model(self.model)))
        is_trained = encoder is not None and any(weight.requires_grad for weight in encoder.parameters())
        undo = hold_in_bfloat16(encoder if self.args.bf16 and is_trained else None)
        try:
            output = super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        finally:
            undo()
        if output.predictions is not None and output.metrics is not None and self.compute_loss_func is not None:
            logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
            output.metrics[f"{metric_key_prefix}_loss"] = self.loss_of(logits, np.asarray(output.label_ids))
        if dataloader.dataset is self.eval_dataset:
            kept = {self.state.global_step, self.state.best_global_step}
            self.evaluated[self.state.global_step] = output
            self.evaluated = {step: each for step, each in self.evaluated.items() if step in kept}
        return output

    def validation_output(self) -> EvalLoopOutput | PredictionOutput:
        """What the trained model answers to the validation texts: as it was read in training, or now."""
        best = self.state.best_global_step if self.args.load_best_model_at_end else None
        known = self.evaluated.get(best or self.state.global_step)
        return known or self.predict(self.eval_dataset, metric_key_prefix="eval")  # type: ignore[arg-type]  # is given

    def loss_of(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Mean loss of texts, without penalties: logits (N, C) float32 against labels (N,) or (N, C)."""
        outputs = {"logits": torch.from_numpy(logits)}
        return self.compute_loss_func(outputs, torch.from_numpy(labels)).item()  # type: ignore[misc]  # it was given

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Weights that decay: Trainer's choice without learned scalars; all of them for plain Adam (paper, 8.1)."""
        if self.optimizer_cls_and_kwargs is not None:
            return [name for name, _ in model.named_parameters()]
        return [name for name in super().get_decay_parameter_names(model) if not name.endswith(self.scalars)]

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        wanted = self.args.metric_for_best_model
        if wanted is not None and f"eval_{wanted.removeprefix('eval_')}" not in metrics:
            raise UserError(
                f"--metric_for_best_model {wanted} is not defined for these validation texts; choose another"
            )
        is_best = super()._determine_best_metric(metrics, trial)
        if is_best or not self.is_as_good_as_best(metrics):
            return is_best
        self.state.best_global_step = self.state.global_step
        return True

    def is_as_good_as_best(self, metrics: dict[str, float]) -> bool:
        """Whether the default score of a later checkpoint is below the highest one by less than its standard error.

        The learning rate falls to the end of training, so that what is level by chance is better later. A score counts
        as a share of the validation texts, of standard error sqrt(p (1 - p) / N).
        """
        best = self.state.best_metric
        is_default = self.args.chooses_best_metric and self.args.greater_is_better
        if not is_default or best is None or not self.state.best_global_step:
            return False
        error = math.sqrt(best * (1 - best) / len(self.eval_dataset))  # type: ignore[arg-type]  # is given
        return metrics[f"eval_{self.args.metric_for_best_model}"] >= best - error

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if self.is_world_process_zero():
            mark_checkpoint(Path(self.args.output_dir), self.state.global_step)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with readable(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with readable(checkpoint):
            super()._load_rng_state(checkpoint)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # What is written next, the trainer's state, marks a checkpoint as complete: on all processes.
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        # A pickle that nothing reads: run.json holds the arguments.
        Path(output_dir or self.args.output_dir, TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def init_hf_repo(self, *args: Any, **kwargs: Any) -> None:
        """The repository is made when there is a model to put into it, by `push_folder`."""

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """The Hub gets the finished model only (hub_strategy="end")."""
