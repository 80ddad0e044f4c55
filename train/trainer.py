"""transformers' Trainer with our order of texts, and a Hub repository that holds finished models only."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler
from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_pt_utils import get_length_grouped_indices

from salience.model_cards.card import write_card

from .push import push_folder


class EpochSampler(Sampler[int]):
    """An order of texts that depends on the seed and the epoch only: not on what ran before, nor on how many processes.

    Args:
        lengths: Tokens of each text, to put texts of like length into one batch; None for a random order.
        batch_size: Texts of one optimizer step, on all processes.
        seed: Seed.
        weights: Chance of each text to be drawn, with replacement; None for each text once an epoch.
        num_texts: Texts of the training set.
    """

    def __init__(
        self, num_texts: int, lengths: list[int] | None, batch_size: int, seed: int, weights: torch.Tensor | None
    ) -> None:
        self.num_texts, self.lengths, self.batch_size = num_texts, lengths, batch_size
        self.seed, self.weights, self.epoch = seed, weights, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_texts

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        if self.weights is None:
            drawn = torch.randperm(self.num_texts, generator=generator)
        else:
            drawn = torch.multinomial(self.weights, self.num_texts, replacement=True, generator=generator)
        if self.lengths is None:
            return iter(drawn.tolist())
        lengths = torch.tensor(self.lengths)[drawn].tolist()
        grouped = get_length_grouped_indices(lengths, self.batch_size, generator=generator)
        return iter(drawn[torch.tensor(grouped)].tolist())


class SalienceTrainer(Trainer):
    """Trainer whose training order, card and uploads are ours.

    Args:
        lengths: See `EpochSampler`.
        text_weights: See `EpochSampler`.
        arguments: Everything that `Trainer` takes.
    """

    def __init__(
        self, *, lengths: list[int] | None = None, text_weights: torch.Tensor | None = None, **arguments: Any
    ) -> None:
        self.lengths, self.text_weights = lengths, text_weights
        super().__init__(**arguments)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> EpochSampler:
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return EpochSampler(len(self.train_dataset), self.lengths, batch_size, seed, self.text_weights)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        # A pickle that nothing reads: run.json holds the arguments.
        Path(output_dir or self.args.output_dir, TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """The Hub gets the finished model only (hub_strategy="end")."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write our card, from the results files in `output_dir`."""
        if self.is_world_process_zero():
            write_card(self.args.output_dir)

    def push_to_hub(self, commit_message: str = "End of training", **kwargs: Any) -> str | None:
        """Push the finished run folder: weights, code, tokenizer, results and card.

        Returns:
            Address of the commit, on the main process.
        """
        if not self.is_world_process_zero():
            return None
        return push_folder(
            self.args.output_dir,
            self.args.hub_model_id or os.path.basename(os.path.normpath(self.args.output_dir)),
            private=bool(self.args.hub_private_repo),
            revision=self.args.hub_revision,
            commit_message=commit_message,
            token=self.args.hub_token,
            **kwargs,
        )
