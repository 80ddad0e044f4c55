"""Which texts come in which order, and which process reads them."""

from collections.abc import Callable, Iterator
from math import ceil

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class DrawnParts:
    """Of texts that are kept in parts: which part of each is read, with a chance in proportion to its tokens.

    Args:
        text_P: Of which text each part is, ascending, every text with one at least; P = parts.
        tokens_P: Tokens of each part, special tokens included.
    """

    def __init__(self, text_P: torch.Tensor, tokens_P: torch.Tensor) -> None:
        self.end_P = tokens_P.double().cumsum(0)
        self.size_N = torch.zeros(int(text_P[-1]) + 1, dtype=torch.double).index_add(0, text_P, tokens_P.double())
        self.start_N = self.size_N.cumsum(0) - self.size_N
        count_N = text_P.bincount()
        self.last_N = count_N.cumsum(0) - 1
        self.first_N = self.last_N - count_N + 1

    def __len__(self) -> int:
        return len(self.size_N)

    def draw(self, texts: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A part of each of these texts."""
        share = torch.rand(len(texts), generator=generator, dtype=torch.double)
        found = torch.searchsorted(self.end_P, self.start_N[texts] + share * self.size_N[texts], right=True)
        # A part without tokens has no place between the ends, and a place may be rounded to the next text's.
        return torch.minimum(torch.maximum(found, self.first_N[texts]), self.last_N[texts])


class EpochSampler(Sampler[int]):
    """An order of texts that depends on the seed and the epoch only: not on what ran before, nor on how many processes.

    Args:
        num_texts: Texts of the training set.
        lengths: Tokens of each text, to put texts of like length into one batch; None for a random order.
        batch_size: Texts of one optimizer step, on all processes.
        seed: Seed.
        weights: Chance of each text to be drawn, with replacement; None for each text once an epoch.
        current_epoch: Tells the epoch, counted from 0. `set_epoch`, which Trainer calls, doesn't reach a sampler when
            several processes resume in the middle of an epoch.
        parts: Where rows are parts of texts, one of which is read in an epoch; None where a row is a text. `lengths`
            are then those of parts.
    """

    def __init__(
        self,
        num_texts: int,
        lengths: list[int] | None,
        batch_size: int,
        seed: int,
        weights: torch.Tensor | None,
        current_epoch: Callable[[], int],
        parts: DrawnParts | None = None,
    ) -> None:
        self.num_texts, self.lengths, self.batch_size = num_texts, lengths, batch_size
        self.seed, self.weights, self.current_epoch, self.parts = seed, weights, current_epoch, parts

    def __len__(self) -> int:
        return self.num_texts

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.current_epoch())
        if self.weights is None:
            drawn = torch.randperm(self.num_texts, generator=generator)
        else:
            drawn = torch.multinomial(self.weights, self.num_texts, replacement=True, generator=generator)
        if self.parts is not None:
            drawn = self.parts.draw(drawn, generator)
        if self.lengths is None:
            return iter(drawn.tolist())
        lengths = torch.tensor(self.lengths)[drawn].tolist()
        grouped = get_length_grouped_indices(lengths, self.batch_size, generator=generator)
        return iter(drawn[torch.tensor(grouped)].tolist())


class StepBatches(Sampler[list[int]]):
    """Divides the texts of each optimizer step into batches, as many for every process, all of one step of like size.

    The last step of an epoch has fewer texts. A plain sampler gives the processes unequal shares of them, which
    accelerate makes equal with texts from the epoch's beginning: then two processes train on something else than one.
    Here they share what there is; only where that is less than a text for each batch do some of them count twice.

    Args:
        sampler: The order of the texts.
        batch_size: Texts of a batch at most.
        num_processes: Processes; they take the batches in turn.
        num_accumulated: Batches that a process accumulates for an optimizer step.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, num_processes: int, num_accumulated: int) -> None:
        self.sampler = sampler
        self.num_processes, self.round_size = num_processes, batch_size * num_processes
        self.step_size = self.round_size * num_accumulated

    @property
    def num_steps(self) -> int:
        """Optimizer steps of an epoch."""
        return ceil(len(self.sampler) / self.step_size)

    def num_batches(self, num_texts: int) -> int:
        """Batches, of all processes, for so many texts of one step."""
        return self.num_processes * ceil(num_texts / self.round_size)

    def __len__(self) -> int:
        num_full, rest = divmod(len(self.sampler), self.step_size)
        return num_full * self.num_batches(self.step_size) + self.num_batches(rest)

    def __iter__(self) -> Iterator[list[int]]:
        step: list[int] = []
        for text in self.sampler:
            step.append(text)
            if len(step) == self.step_size:
                yield from self.divide(step)
                step = []
        yield from self.divide(step)

    def divide(self, step: list[int]) -> Iterator[list[int]]:
        """The batches of one step."""
        count = self.num_batches(len(step))
        step = [step[index % len(step)] for index in range(max(len(step), count))]
        for number in range(count):
            yield step[number * len(step) // count : (number + 1) * len(step) // count]
