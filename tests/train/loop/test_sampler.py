import datasets
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler
from transformers import DataCollatorWithPadding

from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.train.loop.sampling import DrawnParts, EpochSampler, StepBatches
from salience.train.loop.trainer import SalienceTrainer
from tests.helpers.tiny import tiny_model

NUM_TEXTS = 160
LENGTHS = torch.randint(1, 500, (NUM_TEXTS,), generator=torch.Generator().manual_seed(0)).tolist()
RARE = torch.tensor([1.0] * 150 + [15.0] * 10)  # ten texts of a rare class weigh as much as the others together
KINDS = {"random": (None, None), "grouped": (LENGTHS, None), "balanced": (None, RARE), "both": (LENGTHS, RARE)}


def sampler(kind: str = "random", seed: int = 0, epoch: int = 0, batch_size: int = 16) -> EpochSampler:
    lengths, weights = KINDS[kind]
    return EpochSampler(NUM_TEXTS, lengths, batch_size, seed, weights, current_epoch=lambda: epoch)


def first_epoch() -> int:
    return 0


@pytest.mark.parametrize("kind", KINDS)
def test_order_depends_on_seed_and_epoch_only(kind):
    orders = {(seed, epoch): list(sampler(kind, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len({tuple(order) for order in orders.values()}) == 9
    torch.manual_seed(99)
    torch.rand(7)
    resumed = sampler(kind, seed=1)
    list(resumed), list(resumed)
    resumed.current_epoch = lambda: 2
    assert list(resumed) == list(resumed) == orders[1, 2]
    assert len(resumed) == NUM_TEXTS == len(orders[1, 2])


@pytest.mark.parametrize("kind", ["random", "grouped"])
def test_every_text_once_an_epoch(kind):
    for epoch in range(3):
        assert sorted(sampler(kind, epoch=epoch)) == list(range(NUM_TEXTS))


@pytest.mark.parametrize("weights", [None, RARE.repeat(20)])
def test_grouping_puts_like_lengths_together(weights):
    lengths = torch.randint(1, 500, (20 * NUM_TEXTS,), generator=torch.Generator().manual_seed(0)).tolist()

    def padding(known_lengths: list[int] | None) -> int:
        order = EpochSampler(len(lengths), known_lengths, 16, 0, weights, first_epoch)
        batches = [[lengths[text] for text in batch] for batch in BatchSampler(order, 16, drop_last=False)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    assert padding(lengths) < 0.1 * padding(None)


def test_the_longest_text_comes_first():
    # the longest text comes first, so that memory that doesn't suffice shows at once
    assert LENGTHS[next(iter(sampler("grouped")))] == max(LENGTHS)


@pytest.mark.parametrize("kind", ["balanced", "both"])
def test_balanced_weights_draw_classes_equally(kind):
    drawn = torch.tensor([text for epoch in range(50) for text in sampler(kind, epoch=epoch)])
    assert 0.47 < (drawn >= 150).float().mean() < 0.53


def steps(order: EpochSampler, batch_size: int, num_processes: int, num_accumulated: int) -> list[list[int]]:
    """The texts of each optimizer step, as accelerate gives its batches to the processes."""
    shards = [
        list(
            BatchSamplerShard(
                StepBatches(order, batch_size, num_processes, num_accumulated),
                num_processes,
                process,
                even_batches=False,
            )
        )
        for process in range(num_processes)
    ]
    assert len({len(shard) for shard in shards}) == 1  # no process waits for another
    rounds = [[text for batch in batches for text in batch] for batches in zip(*shards, strict=True)]
    return [sum(rounds[first : first + num_accumulated], []) for first in range(0, len(rounds), num_accumulated)]


@pytest.mark.parametrize("num_texts", [NUM_TEXTS, 150, 147, 37])
@pytest.mark.parametrize(("batch_size", "num_processes", "num_accumulated"), [(16, 1, 1), (8, 2, 1), (2, 2, 4)])
def test_any_number_of_processes_takes_the_same_steps(num_texts, batch_size, num_processes, num_accumulated):
    order = EpochSampler(num_texts, LENGTHS[:num_texts], 16, seed=0, weights=None, current_epoch=first_epoch)
    expected = [list(order)[first : first + 16] for first in range(0, num_texts, 16)]
    assert [sorted(step) for step in steps(order, batch_size, num_processes, num_accumulated)] == [
        sorted(step) for step in expected
    ]


def test_the_batches_of_a_step_are_of_like_size():
    order = EpochSampler(37, None, 16, seed=0, weights=None, current_epoch=first_epoch)
    batches = StepBatches(order, 4, 2, 2)
    assert [len(batch) for batch in batches] == [4] * 8 + [2, 3]
    assert len(list(batches)) == len(batches) == 10
    # one text for two processes: each reads it
    assert list(StepBatches(EpochSampler(1, None, 16, 0, None, first_epoch), 8, 2, 1)) == [[0], [0]]


@pytest.mark.parametrize(("batch_size", "accumulation"), [(16, 1), (4, 4)])
def test_the_trainer_loads_in_this_order(batch_size, accumulation, tmp_path, tokenizer):
    texts = datasets.Dataset.from_dict({"input_ids": [[5] * n for n in LENGTHS], "labels": [0] * NUM_TEXTS})
    arguments = SalienceTrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=batch_size, gradient_accumulation_steps=accumulation,
        report_to="none", data_seed=3, seed=0, use_cpu=True,
    )  # fmt: skip
    trainer = SalienceTrainer(
        lengths=LENGTHS,
        model=tiny_model("cnn"),
        args=arguments,
        train_dataset=texts,
        eval_dataset=texts,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    loader = trainer.get_train_dataloader()
    for epoch in range(2):
        trainer.state.global_step = epoch * NUM_TEXTS // 16
        lengths = [length for batch in loader for length in batch["attention_mask"].sum(1).tolist()]
        assert lengths == [LENGTHS[text] for text in sampler("grouped", seed=3, epoch=epoch)]


def test_of_each_text_a_part_is_drawn_by_its_tokens():
    text_P, tokens_P = torch.tensor([0, 1, 1, 1, 2]), torch.tensor([7, 10, 10, 5, 3])
    parts, drawn = DrawnParts(text_P, tokens_P), []
    for epoch in range(400):
        order = list(EpochSampler(len(parts), tokens_P.tolist(), 2, 0, None, lambda epoch=epoch: epoch, parts))
        assert sorted(text_P[order].tolist()) == [0, 1, 2] == list(range(len(order)))
        drawn += order
    counts_P = torch.tensor(drawn).bincount(minlength=5)
    assert counts_P[0] == counts_P[4] == 400
    torch.testing.assert_close(counts_P[1:4] / 400, torch.tensor([0.4, 0.4, 0.2]), atol=0.07, rtol=0)


def test_parts_are_drawn_by_seed_and_epoch_only():
    parts = DrawnParts(torch.arange(50).repeat_interleave(3), torch.full((150,), 8))
    orders = {
        (seed, epoch): tuple(EpochSampler(50, None, 4, seed, None, lambda epoch=epoch: epoch, parts))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
    torch.rand(3)
    assert tuple(EpochSampler(50, None, 4, 1, None, lambda: 1, parts)) == orders[1, 1]


def test_a_text_without_tokens_is_drawn_like_others():
    """Also as the first and the last one, and where the sums of tokens are so large that a share is rounded away."""
    parts = DrawnParts(torch.tensor([0, 1, 2, 2, 3]), torch.tensor([0, 10**15, 1, 1, 0]))
    for epoch in range(50):
        order = sorted(EpochSampler(len(parts), None, 2, 0, None, lambda epoch=epoch: epoch, parts))
        assert [order[0], order[1], order[3]] == [0, 1, 4] and order[2] in (2, 3)
