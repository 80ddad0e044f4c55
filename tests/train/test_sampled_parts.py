"""--sampled_parts: of a long training text, a part drawn anew in each epoch."""

import json

import pytest
from transformers import PreTrainedTokenizerFast

from salience.train.cli import main
from tests.helpers.slow import others_slow
from tests.helpers.toy import TOPICS, write_csv, write_jsonl
from tests.helpers.training import QUIET

MODELS = {
    "attn_pool": ["--model", "attn_pool", "--encoder", "ENCODER"],
    "cnn": ["--model", "cnn", "--embedding_dim", "12", "--num_filters", "8"],
}


@pytest.fixture
def train(tmp_path, encoder_folder):
    """Only the last of each text's five words tells its class; the first four are the same in all."""
    words = [(word, label) for label in ("business", "sport") for word in TOPICS[label]]
    rows = [(f"the of and to {word}", label) for word, label in 5 * words]
    file = write_csv(tmp_path / "late.csv", rows)

    def run(name, *flags):
        data = ["--train_file", str(file), "--validation_size", "0.3", "--ngram_evidence", "false", "--output_dir"]
        flags = [str(encoder_folder) if flag == "ENCODER" else flag for flag in flags]
        return main([*data, str(tmp_path / name), *QUIET, *flags]), tmp_path / name

    return run


@pytest.mark.parametrize("name", others_slow(MODELS, "attn_pool"))
def test_it_trains_on_what_stands_behind_the_beginning(train, name):
    flags = [*MODELS[name], "--max_length", "3", "--learning_rate", "0.01"]
    accuracies = []
    # Beginnings are the same in all texts: no number of epochs tells their classes apart.
    for run, epochs, more in (("first", 2, []), ("parts", 25, ["--sampled_parts", "true"])):
        status, folder = train(run, *flags, "--num_train_epochs", str(epochs), *more)
        assert status == 0
        accuracies.append(json.loads((folder / "eval_results.json").read_text())["eval_accuracy"])
        trained = json.loads((folder / "train_results.json").read_text())
        assert trained["train_samples"] == 49
        # Texts, not their parts, are counted for the speed, too.
        assert trained["train_samples_per_second"] * trained["train_runtime"] == pytest.approx(49 * epochs, rel=0.02)
    assert accuracies[0] < 0.8 and accuracies[1] == 1


def test_without_a_length_it_is_refused(train, capsys):
    status, folder = train("run", *MODELS["cnn"], "--sampled_parts", "true")
    assert status == 2 and not folder.exists()
    assert "--sampled_parts needs --max_length" in capsys.readouterr().err


def test_empty_texts_and_several_labels_have_parts_too(train, tmp_path, encoder_folder):
    rows = [
        ("the of and to goal match team", ["sport"]),
        ("", ["none"]),
        ("market of and to the bank goal", ["sport", "money"]),
    ]
    file = write_jsonl(tmp_path / "several.jsonl", 8 * rows)
    for name in ("cnn", "attn_pool"):
        flags = [str(encoder_folder) if flag == "ENCODER" else flag for flag in MODELS[name]]
        flags += ["--keep_empty_texts", "true", "--max_length", "3", "--sampled_parts", "true"]
        given = ["--train_file", str(file), "--validation_size", "0.25", "--output_dir", str(tmp_path / name)]
        assert main([*given, *QUIET, *flags]) == 0


def test_a_slow_tokenizer_is_refused(train, capsys, monkeypatch):
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    status, _ = train("run", *MODELS["attn_pool"], "--max_length", "3", "--sampled_parts", "true")
    assert status == 2 and "--sampled_parts needs a tokenizer of the library tokenizers" in capsys.readouterr().err
