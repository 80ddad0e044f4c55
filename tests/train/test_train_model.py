"""Training from Python: the same run as by the command line, from files and from memory."""

import random
import subprocess
import sys

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from torch.testing import assert_close

import salience.configuration
import salience.eval
import salience.train
from salience.train import UserError, cli, train_model
from tests.helpers.run_folders import read
from tests.helpers.toy import toy_texts, write_csv
from tests.helpers.training import QUIET
from tests.helpers.training import train as train_by_command

FLAGS = {
    "model": "lstm", "embedding_dim": 8, "hidden_dim": 8, "learning_rate": 0.01,
    "num_train_epochs": 3, "per_device_train_batch_size": 8,
    "bf16": False, "report_to": "none", "disable_tqdm": True, "explained_texts": 0, "ngram_evidence": False,
}  # fmt: skip
COLUMNS = ("text", "label")


@pytest.fixture(autouse=True)
def no_precision_of_an_earlier_run(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # transformers 4 leaves it in the environment


def columns(rows):
    texts, labels = zip(*rows, strict=True)
    return list(texts), list(labels)


def as_lists(rows):
    return columns(rows)


def as_frame(rows):
    return pd.DataFrame(rows, columns=COLUMNS)


def as_dataset(rows):
    return datasets.Dataset.from_dict(dict(zip(COLUMNS, columns(rows), strict=True)))


def as_dict(rows):
    return dict(zip(COLUMNS, columns(rows), strict=True))


@pytest.fixture(scope="module")
def by_command(tmp_path_factory):
    """The same run by train.py, from files."""
    folder = tmp_path_factory.mktemp("command")
    train, test = (write_csv(folder / f"{name}.csv", toy_texts(size, seed=seed)) for name, size, seed in
                   (("train", 48, 0), ("test", 12, 1)))  # fmt: skip
    given = {name: value for name, value in FLAGS.items() if f"--{name}" not in QUIET}
    flags = [word for name, value in given.items() for word in (f"--{name}", value)]
    return train_by_command(folder / "run", "--train_file", train, "--test_file", test, *flags)


@pytest.mark.parametrize("given", [as_lists, as_frame, as_dataset, as_dict])
def test_texts_in_memory_give_the_run_of_the_same_files(by_command, tmp_path, given):
    rows, tested = toy_texts(48), toy_texts(12, seed=1)
    run = train_model(given(rows), test=given(tested), output_dir=tmp_path / "run", **FLAGS)
    assert run.folder == tmp_path / "run" and run.split == "test" and run.scores["samples"] == 12
    ours, theirs = read(run.folder, "test_results.json"), read(by_command, "test_results.json")
    speed = ("runtime", "per_second")
    assert {k: v for k, v in ours.items() if not k.endswith(speed)} == {
        k: v for k, v in theirs.items() if not k.endswith(speed)
    }
    ours, theirs = read(run.folder, "run.json"), read(by_command, "run.json")
    assert ours["data"]["splits"] == theirs["data"]["splits"]
    assert ours["command"].startswith("train_model --output_dir") or ours["command"].startswith("train_model --model")
    encoded = run.tokenizer(["bank profit ."], return_tensors="pt")
    answers = run.model.eval()(**encoded).logits
    from transformers import AutoModelForSequenceClassification

    assert_close(AutoModelForSequenceClassification.from_pretrained(run.folder).eval()(**encoded).logits, answers)


def test_splits_of_a_dataset_dict_are_used_as_they_are(tmp_path):
    splits = {"train": toy_texts(30), "validation": toy_texts(9, seed=2), "test": toy_texts(6, seed=1)}
    given = datasets.DatasetDict({name: as_dataset(rows) for name, rows in splits.items()})
    run = train_model(given, output_dir=tmp_path / "run", **FLAGS)
    found = read(run.folder, "run.json")["data"]["splits"]
    assert {name: each["rows"] for name, each in found.items()} == {"train": 30, "validation": 9, "test": 6}


def test_files_and_recipes_are_taken_by_the_names_of_the_flags(tmp_path):
    file = write_csv(tmp_path / "train.csv", toy_texts(30))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: lstm\nembedding_dim: 4\nhidden_dim: 8\n")
    flags = {name: value for name, value in FLAGS.items() if name != "model"}
    run = train_model(recipe=recipe, train_file=str(file), output_dir=str(tmp_path / "run"), **flags)
    assert run.split == "validation" and run.model.config.embedding_dim == 8  # flags win over recipes
    assert {"accuracy", "f1_macro", "loss"} <= run.scores.keys()


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"learn_rate": 0.1}, "unknown argument learn_rate; did you mean learning_rate?"),
        ({"help": True}, "unknown argument help; see train.py --help"),
        ({"model": "bert"}, "--model bert is unknown"),
        ({"num_train_epochs": "many"}, "--num_train_epochs: invalid float value: 'many'"),
        ({"train_file": "there_is_none.csv"}, "both texts in memory and --train_file are given"),
        ({"output_dir": ""}, "--output_dir is missing"),
    ],
)
def test_a_mistake_is_the_sentence_of_the_command_line(tmp_path, flags, message):
    arguments = {"output_dir": str(tmp_path / "run"), **FLAGS, **flags}
    with pytest.raises(UserError) as error:
        train_model(columns(toy_texts(12)), **arguments)
    assert str(error.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_what_a_recipe_sets_is_not_taken_back_in_silence(tmp_path):
    (tmp_path / "recipe.yaml").write_text("test_size: 0.2\n")
    with pytest.raises(UserError, match="test_size=None doesn't take back what .*recipe.yaml sets"):
        train_model(
            columns(toy_texts(12)), recipe=tmp_path / "recipe.yaml", test_size=None, output_dir=str(tmp_path / "run")
        )


def test_the_caller_draws_on_and_nobody_trains_beside_another(tmp_path):
    def draws():
        return random.random(), np.random.rand(), torch.rand(1).item()

    seeds = random.seed, np.random.seed, torch.manual_seed
    for seed in seeds:
        seed(7)
    expected = draws(), draws()
    for seed in seeds:
        seed(7)
    assert draws() == expected[0]
    train_model(columns(toy_texts(24)), output_dir=str(tmp_path / "run"), **FLAGS)
    assert draws() == expected[1]
    with cli.random_states_kept(), pytest.raises(UserError, match="another thread of this process is training"):
        train_model(columns(toy_texts(24)), output_dir=str(tmp_path / "other"), **FLAGS)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "given, message",
    [
        ("train.csv", "'train (a str)' can't be read; give a pandas data frame"),
        ((["one", "two"], ["a"]), "'train (lists)' has columns of several lengths (2 in 'text', 1 in 'label')"),
        (
            {"train": as_frame(toy_texts(9)), "test": as_dict(toy_texts(9))},
            "'train' is a dict of splits (train, test), and",
        ),
        ({"text": ["one", "two"]}, "'train (a dict of columns)' has no column 'label'"),
        (pd.DataFrame({"text": [], "label": []}), "'train (a pandas data frame)'"),
        (None, "no data is given"),
    ],
)
def test_data_that_is_none_is_refused_in_one_sentence(tmp_path, given, message):
    with pytest.raises(UserError) as error:
        train_model(given, output_dir=str(tmp_path / "run"), **FLAGS)
    assert str(error.value).startswith(message), error.value
    assert not (tmp_path / "run").exists()


def test_the_public_face_is_imported_without_torch_or_transformers():
    code = (
        "import sys, salience.train, salience.eval\n"
        "assert {'train_model', 'load_splits', 'load_adapter', 'push_folder'} <= set(dir(salience.train))\n"
        "assert not {'torch', 'transformers', 'datasets', 'pandas', 'numpy'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_is_there_and_documented():
    for package in (salience.train, salience.eval, salience.configuration):
        for name in package.__all__:
            assert getattr(package, name).__doc__, name
        assert sorted(package.__all__) == dir(package)
        with pytest.raises(AttributeError, match="nothing"):
            package.nothing  # noqa: B018
