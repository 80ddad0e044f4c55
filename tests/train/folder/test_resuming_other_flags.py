"""What counts only when training is over may be asked for otherwise by the command that goes on."""

import pytest

from salience.model_cards.files import read_json
from salience.train import cli
from salience.train.folder.resuming import differences
from tests.helpers.toy import toy_csv
from tests.helpers.training import QUIET, train

TINY = ["--model", "lstm", "--embedding_dim", "8", "--hidden_dim", "8", "--num_train_epochs", "2"]
RESUME = ["--resume_from_checkpoint", "last"]


def stop(folder, step, words):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cli, step, interrupt)
        patch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        cli.run_command(["--output_dir", str(folder), *QUIET, *words])


def test_until_the_model_is_saved(tmp_path, capsys):
    words, other = [*TINY, *toy_csv(tmp_path)], ["--target_accuracy", "0.5", "--prior_correction", "0.5"]
    stop(tmp_path / "run", "evaluate", words)
    stop(tmp_path / "run", "read_example", [*words, *RESUME, *other])
    assert cli.main(["--output_dir", str(tmp_path / "run"), *QUIET, *words, *RESUME]) == 2
    told = capsys.readouterr().err
    assert "holds a run with another --" in told and "--target_accuracy" in told and "--prior_correction" in told
    train(tmp_path / "run", *words, *RESUME, *other)
    assert read_json(tmp_path / "run/run.json")["arguments"]["target_accuracy"] == 0.5
    config = read_json(tmp_path / "run/config.json")
    assert config["review_threshold"] is not None and config["prior_correction"] is not None


def test_a_data_set_is_compared_by_its_texts_and_not_by_its_commit():
    before = {"arguments": {"dataset_revision": "main"}, "texts": {"train": "a"}, "batch of a step": 8, "model": "m"}
    assert differences(before, before | {"arguments": {}}) == []
    assert differences(before, before | {"arguments": {}, "texts": {"train": "b"}}) == ["train texts"]
