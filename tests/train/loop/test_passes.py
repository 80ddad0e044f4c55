"""Batches in passes of bounded size: the same loss and gradient, and equally many for several processes."""

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from salience.modeling import attention, windows
from salience.train.loop import trainer
from salience.train.loop.passes import in_passes, joined, of_rows, rows_of_passes
from tests.helpers.tiny import random_batch, tiny_model
from tests.helpers.toy import toy_csv
from tests.helpers.training import train

RECOMPUTED = ["attn_pool", "hierarchical", "hierarchical_encoder"]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(1, 120), st.booleans())
def test_each_text_is_in_one_pass_that_keeps_to_the_limit(lengths, limit, left):
    batch = random_batch(lengths, "left" if left else "right")
    rows = rows_of_passes(batch, limit, Accelerator(cpu=True)) or [list(range(len(lengths)))]
    assert sorted(row for each in rows for row in each) == list(range(len(lengths)))
    for each in rows:
        part = of_rows(batch, each)
        assert len(each) == 1 or part["input_ids"].numel() <= max(limit, len(each)) or len(rows) == 1
        for name in batch:
            for row, tokens in zip(each, part[name], strict=True):
                kept = batch[name][row][batch["attention_mask"][row].bool()]
                assert_close(tokens[part["attention_mask"][each.index(row)].bool()], kept)
    answers = [torch.tensor(each) for each in rows]
    assert joined(answers, rows).tolist() == list(range(len(lengths)))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.data())
def test_processes_make_equally_many_passes(sizes, data):
    numbers = iter(range(sum(sizes)))
    rows = [[next(numbers) for _ in range(size)] for size in sizes]
    count = data.draw(st.integers(1, sum(sizes)))
    divided = in_passes(rows, count)
    assert len(divided) == count and all(divided)
    assert [row for each in divided for row in each] == list(range(sum(sizes)))


@pytest.mark.parametrize("name", [*RECOMPUTED, "attn_pool_cls", "hierarchical_all_options"])
def test_what_is_computed_again_changes_no_loss_and_no_gradient(name, monkeypatch):
    batch, labels, found = random_batch([70, 300]), torch.tensor([0, 1]), []
    for limit in (None, 20):
        model = tiny_model(name).train()
        model.base_model.keep_at_most = limit
        monkeypatch.setattr(attention, "MOST_KEPT", limit or 10**9)
        torch.manual_seed(0)  # what dropout drops
        output = model(**batch, labels=labels)
        output.loss.backward()
        gradients = [each.grad for each in model.parameters() if each.grad is not None]
        found.append([output.loss.detach(), output.logits.detach(), *gradients])
    assert len(found[0]) > 10
    assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", RECOMPUTED)
def test_activations_of_one_group_are_held_at_a_time(name, monkeypatch):
    """Bytes that autograd keeps grow with the text only by what it returns for each token."""
    monkeypatch.setattr(windows, "CELLS_OF_CALL", {"cpu": 64})
    model, kept = tiny_model(name), {}
    for limit in (None, 64):
        model.base_model.keep_at_most = limit
        sizes = []

        def note(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(**random_batch([800])).logits.sum()
        kept[limit] = sum(sizes)
    assert kept[64] < kept[None] / 2


def test_a_long_text_is_read_in_calls_of_half_the_size(monkeypatch):
    """What a call keeps while it is computed again is most of a long text's memory."""
    monkeypatch.setattr(windows, "CELLS_OF_CALL", {"cpu": 64})
    model, largest = tiny_model("attn_pool"), {}
    batch = random_batch([800])
    for limit in (None, 64):
        model.base_model.keep_at_most = limit
        sizes = []
        hook = model.encoder.register_forward_hook(
            lambda module, given, answer, sizes=sizes: sizes.append(answer[0].shape[:2].numel())
        )
        model(**batch)
        hook.remove()
        largest[limit] = max(sizes)
    assert largest[64] <= 32 < largest[None] <= 64


@pytest.mark.parametrize(("name", "most"), [("attn_pool", 1.2), ("hierarchical", 2.5)])
def test_few_vectors_are_kept_for_each_token_of_a_long_text(name, most, monkeypatch):
    """Hidden vectors that lie between forward and backward, of all tokens; without a limit it would be dozens."""
    monkeypatch.setattr(attention, "MOST_KEPT", 64)
    model, num_tokens, kept = tiny_model(name).train(), 4_000, {}
    model.base_model.keep_at_most = 64

    def note(tensor):
        if tensor.is_floating_point() and tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model(**random_batch([num_tokens])).logits.sum()
    vectors = sum(kept.values()) / (num_tokens * model.config.hidden_size * 4)
    loss.backward()
    assert 0 < vectors < most, vectors


@pytest.mark.parametrize(("limit", "times"), [(1, 5), (0, 0), (1_000_000, 0)])
def test_free_memory_is_given_back_after_so_many_tokens(tmp_path, monkeypatch, limit, times):
    calls = []
    monkeypatch.setattr(trainer, "give_back_free_memory", lambda: calls.append(1))
    sizes = ["--model", "lstm", "--embedding_dim", 8, "--hidden_dim", 8, "--max_steps", 5]
    train(tmp_path / "run", *sizes, "--max_tokens_per_pass", limit, "--use_cpu", "true", *toy_csv(tmp_path))
    assert len(calls) == times
