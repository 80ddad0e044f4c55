"""Adversarial training: the worst change of embeddings, and the step that is trained on it."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import EsmConfig

from salience.configuration.configuration_attn_pool import AttnPoolConfig
from salience.configuration.errors import UserError
from salience.modeling.modeling_attn_pool import AttnPoolForSequenceClassification
from salience.train import cli
from salience.train.loop.adversarial import adversarial_step, check_embeddings, worst_changes
from tests.helpers.slow import others_slow
from tests.helpers.tiny import ENCODER, random_batch, tiny_model
from tests.helpers.toy import toy_texts, write_csv
from tests.helpers.training import read, train

LABELS = torch.tensor([0, 2, 1])


def loss_with(model, batch, change):
    with model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: change(output)):
        return F.cross_entropy(model(**batch).logits, LABELS)


def trained_twice(model, batch, size):
    """The loss that `adversarial_step` returns, and the embeddings of its two passes."""
    seen = []

    def keep(output):
        seen.append(output.detach())
        return output

    def step():
        loss = loss_with(model, batch, keep)
        loss.backward()
        return loss.detach()

    return adversarial_step(model.get_input_embeddings(), size, len(LABELS), step), *seen


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "hierarchical_encoder", "lstm"])
def test_the_change_has_its_length_and_is_worse_than_others_of_it(name):
    model, batch = tiny_model(name), random_batch([9, 5, 30])
    total, before, after = trained_twice(model, batch, 0.05)
    change = after - before
    assert_close(change.norm(), torch.tensor(0.05 * len(LABELS) ** 0.5), rtol=1e-4, atol=0)
    with torch.no_grad():
        clean = loss_with(model, batch, lambda output: output)
        worst = loss_with(model, batch, lambda output: output + change)
        assert_close(total, clean + worst)
        for seed in range(5):
            other = torch.randn(change.shape, generator=torch.Generator().manual_seed(seed)) * (change != 0)
            other *= change.norm() / other.norm()
            assert loss_with(model, batch, lambda output, other=other: output + other) < worst
        opposite = loss_with(model, batch, lambda output: output - change)
    assert opposite < clean < worst


def test_both_passes_leave_their_gradient():
    model, batch = tiny_model("attn_pool"), random_batch([9, 5, 30])
    _, before, after = trained_twice(model, batch, 0.5)
    weight = model.classifier.weight
    losses = [loss_with(model, batch, lambda output, change=each - before: output + change) for each in (before, after)]
    assert_close(weight.grad, torch.autograd.grad(sum(losses), weight)[0])


def test_embeddings_without_a_gradient_stay_as_they_are():
    used = torch.randn(4, 3, requires_grad=True)
    (used * torch.tensor([3.0, 0.0, 4.0])).sum().backward()
    changes = worst_changes([used, torch.randn(2, 3)], 1.0, 4)
    assert_close(changes[0], torch.tensor([[0.6, 0.0, 0.8]]).expand(4, 3))
    assert (changes[1] == 0).all()


@pytest.fixture
def texts(tmp_path):
    return ["--train_file", write_csv(tmp_path / "train.csv", toy_texts(60)), "--validation_size", 0.2,
            "--num_train_epochs", 2, "--per_device_train_batch_size", 8]  # fmt: skip


PLAIN = ["--model", "attn_pool"]
KINDS = [
    PLAIN,
    ["--model", "sequence_classification"],
    [*PLAIN, "--lora", "true"],
    [*PLAIN, "--gradient_accumulation_steps", "2", "--gradient_checkpointing", "true"],
]


@pytest.mark.parametrize("flags", others_slow(KINDS, PLAIN))
def test_every_kind_of_training_takes_it(tmp_path, encoder_folder, texts, flags):
    plain = train(tmp_path / "plain", *texts, "--encoder", encoder_folder, *flags)
    folder = train(tmp_path / "run", *texts, "--encoder", encoder_folder, *flags, "--adversarial_size", 0.5)
    losses = [read(each / "train_results.json")["train_loss"] for each in (plain, folder)]
    assert losses[1] > losses[0]  # half of it is that of worse texts
    assert read(folder / "run.json")["arguments"]["adversarial_size"] == 0.5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--freeze_encoder", "true"], "--adversarial_size changes what the encoder reads"),
        (["--torch_compile", "true"], "--adversarial_size is not offered with --torch_compile"),
        (["--adversarial_size", "-1"], "--adversarial_size -1.0 must lie between 0 and 1000"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tmp_path, encoder_folder, texts, flags, message, capsys):
    flags = ["--encoder", encoder_folder, "--adversarial_size", "0.5", *flags]
    assert cli.main([*map(str, [*texts, *flags]), "--output_dir", str(tmp_path / "run")]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_encoder_that_reads_no_embeddings_is_refused():
    config = EsmConfig(**ENCODER, pad_token_id=1, mask_token_id=3, token_dropout=True)
    with pytest.raises(UserError, match="--adversarial_size needs an encoder that reads embeddings; EsmModel doesn't"):
        check_embeddings(AttnPoolForSequenceClassification(AttnPoolConfig(encoder_config=config, key_dim=8)))
    for name in ("attn_pool", "lstm"):
        check_embeddings(tiny_model(name))
