"""Attention in float32 in training on CPUs: the loss and gradients of torch's attention, where it is meant to be."""

import copy

import pytest
import torch

from salience.train import train_model
from salience.train.loop import cpu_attention
from salience.train.loop.cpu_attention import LONGEST, NAME, faster_attention
from tests.helpers.tiny import random_batch, tiny_model
from tests.helpers.toy import toy_texts


def loss_and_gradient(model, lengths, in_bfloat16):
    model.train()
    batch = random_batch(lengths) | {"labels": torch.zeros(len(lengths), dtype=torch.long)}
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
        loss = model(**batch).loss
    loss.backward()
    return loss.item(), torch.cat([weight.grad.flatten() for weight in model.encoder.parameters()])


@pytest.fixture
def models():
    plain = tiny_model("attn_pool")
    for module in plain.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    faster = copy.deepcopy(plain)
    with faster_attention(faster):
        yield plain, faster


@pytest.mark.parametrize("lengths", [[9, 9], [9, 2, 5]])
def test_it_gives_the_loss_and_the_gradient_of_the_attention_that_it_replaces(models, lengths):
    (loss, gradient), (fast_loss, fast_gradient) = (loss_and_gradient(each, lengths, False) for each in models)
    assert fast_loss == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(fast_gradient, gradient, atol=1e-6, rtol=1e-4)


def test_under_autocast_it_is_as_near_to_float32_as_the_attention_that_it_replaces(models):
    plain, faster = models
    _, wanted = loss_and_gradient(copy.deepcopy(plain), [9, 5], False)
    errors = [(loss_and_gradient(each, [9, 5], True)[1] - wanted).norm() for each in (plain, faster)]
    assert errors[1] <= 1.5 * errors[0] and errors[0] > 0


def test_only_short_windows_and_training_are_computed_in_float32(models, monkeypatch):
    seen = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(query, *arguments, **options):
        seen.append(query.dtype)
        return attend(query, *arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    _, faster = models
    monkeypatch.setattr("salience.train.loop.cpu_attention.LONGEST", 5)
    for lengths, is_training in ([5, 5], True), ([6, 6], True), ([5, 5], False):
        faster.train(is_training)
        with torch.autocast("cpu", torch.bfloat16):
            faster(**random_batch(lengths))
    layers = faster.encoder.config.num_hidden_layers
    assert seen == [torch.float32] * layers + [torch.bfloat16] * 2 * layers and LONGEST > 5


def test_it_is_given_back_and_models_from_scratch_stay_as_they_are():
    model = tiny_model("attn_pool")
    with faster_attention(model):
        assert model.encoder.config._attn_implementation == NAME
    assert model.encoder.config._attn_implementation == "sdpa"
    with faster_attention(tiny_model("hierarchical")):
        pass


def test_training_on_a_cpu_in_bfloat16_attends_so_and_leaves_no_trace(tmp_path, monkeypatch, encoder_folder):
    seen = []
    attend = cpu_attention.float32_attention
    monkeypatch.setattr(cpu_attention, "float32_attention", lambda *a, **o: seen.append(1) or attend(*a, **o))
    flags = {"model": "attn_pool", "encoder": str(encoder_folder), "max_steps": 1, "report_to": "none", "use_cpu": True}
    for bf16 in (False, True):
        run = train_model(
            tuple(map(list, zip(*toy_texts(30), strict=True))), output_dir=tmp_path / str(bf16), bf16=bf16, **flags
        )
        assert bool(seen) is bf16
        assert run.model.encoder.config._attn_implementation == "sdpa"
        assert NAME not in (run.folder / "config.json").read_text()
