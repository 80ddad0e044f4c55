"""With which checkpoint training ends."""

import pytest

from salience.train import cli
from tests.helpers.toy import toy_texts, write_csv
from tests.helpers.training import read, train

CNN = ["--model", "cnn", "--embedding_dim", "8", "--num_filters", "4", "--calibrate", "false"]


@pytest.mark.parametrize(
    ("scores", "flags", "epoch"),
    [
        ([0.5, 0.9, 0.86], [], 3),  # of 30 texts the standard error is 0.055
        ([0.9, 0.86, 0.83], [], 2),  # from the highest on, however small the steps are
        ([0.9, 0.8, 0.84], [], 1),
        ([1.0, 1.0, 0.99], [], 2),
        ([0.0, 0.0, 0.0], [], 3),
        ([0.5, 0.9, 0.86], ["--metric_for_best_model", "f1_macro"], 2),
    ],
)
def test_of_checkpoints_that_chance_alone_tells_apart_the_last_is_best(tmp_path, monkeypatch, scores, flags, epoch):
    file = write_csv(tmp_path / "train.csv", toy_texts(100))
    left = iter(scores)
    monkeypatch.setattr(cli, "metrics_in_training", lambda *_: lambda _: {"f1_macro": next(left)})
    data = ["--train_file", file, "--validation_size", "0.3"]
    folder = train(tmp_path / "run", *data, *CNN, "--num_train_epochs", "3", *flags)
    state = read(folder / "trainer_state.json")
    losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
    assert state["best_metric"] == max(scores)
    assert state["best_global_step"] == epoch * state["global_step"] // 3
    assert read(folder / "eval_results.json")["eval_loss"] == pytest.approx(losses[epoch - 1], rel=1e-5)
