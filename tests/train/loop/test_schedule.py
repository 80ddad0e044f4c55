"""Epochs and learning rate, where the flags leave them open."""

import pytest

from salience.train import cli
from salience.train.loop.schedule import epochs_for
from salience.train.loop.trainer import SalienceTrainer
from tests.helpers.toy import toy_csv

LEFT_OPEN = ["--bf16", "false", "--report_to", "none", "--disable_tqdm", "true", "--explained_texts", "0"]


@pytest.mark.parametrize(
    ("texts", "epochs"),
    [(1, 20), (200, 12), (300, 8), (1_516, 3), (6_000, 3), (10_000_000, 3)],
)
def test_few_texts_are_read_more_often(texts, epochs):
    assert epochs_for(texts, texts_of_step=16) == epochs


@pytest.mark.parametrize(
    ("flags", "rate"),
    [
        (["--model", "attn_pool", "--encoder", "ENCODER"], 1e-4 * 384 / 16),
        (["--model", "sequence_classification", "--encoder", "ENCODER"], 1e-4 * 384 / 16),
        (["--model", "attn_pool", "--encoder", "ENCODER", "--freeze_encoder", "true"], 1e-3),
        (["--model", "attn_pool", "--encoder", "ENCODER", "--lora", "true"], 1e-3),
        (["--model", "cnn", "--embedding_dim", "8", "--num_filters", "4"], 1e-3),
        (["--model", "transformer"], 5e-4),
        (["--model", "attn_pool", "--encoder", "ENCODER", "--learning_rate", "0.5"], 0.5),
    ],
)
def test_the_learning_rate_follows_what_is_trained(tmp_path, encoder_folder, monkeypatch, capsys, flags, rate):
    flags = [str(encoder_folder) if flag == "ENCODER" else flag for flag in flags]
    trainers, make_trainer = [], cli.make_trainer

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "make_trainer", lambda *args: (trainers.append(make_trainer(*args)), trainers[0])[1])
    monkeypatch.setattr(SalienceTrainer, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        cli.run_command(["--output_dir", str(tmp_path / "run"), *LEFT_OPEN, *toy_csv(tmp_path), *flags])
    chosen = trainers[0].args
    assert chosen.num_train_epochs == 20 and chosen.learning_rate == pytest.approx(rate)
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("chosen"))
    assert "--num_train_epochs 20" in told and ("--learning_rate" in told) == ("--learning_rate" not in flags)


def test_steps_that_are_counted_need_no_epochs(tmp_path, encoder_folder, capsys):
    flags = ["--model", "attn_pool", "--encoder", encoder_folder, "--max_steps", "1", "--learning_rate", "1e-3"]
    assert cli.main(["--output_dir", str(tmp_path / "run"), *LEFT_OPEN, *toy_csv(tmp_path), *map(str, flags)]) == 0
    assert "chosen" not in capsys.readouterr().out
