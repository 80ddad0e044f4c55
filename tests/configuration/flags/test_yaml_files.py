"""Recipes that could be read in two ways, or never to their end, are one sentence."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.flags.yaml_files import read_yaml
from salience.eval.study.file import read_study

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train_file: &a [*a]", "refers to itself, or holds more than 100,000 values"),
        (BOMB, "refers to itself, or holds more than 100,000 values"),
        ("model: " + "[" * 20_000 + "]" * 20_000, "is nested too deeply"),
        ("class_names: [a, null]", "class_names: None in a list is no text; quote it if it is one"),
        ("class_names: [[a]]", "class_names: ['a'] in a list is no text"),
        ("class_names: {a: 1}", "class_names takes no map of keys ({'a': 1}); write text, or quote it"),
        ("class_weights: {a: 1, b: 2.5}", "takes no map of keys ({'a': 1, 'b': 2.5}); write a list, ['a=1', 'b=2.5']"),
        ("data_name: [a, b]", "data_name takes one value and no list"),
        ("train_file: [f.csv, '--seed=5']", "train_file: --seed=5 in a list begins with a dash, as flags do; of a"),
        ("train_file: [f.csv, '--seed=5 x']", "train_file: --seed=5 x in a list begins with a dash"),
        ("seed: 010", "010 is another number in YAML than it looks like; write it with decimal digits only"),
        ("seed: 1:30", "1:30 is another number in YAML than it looks like"),
        ("lr_scheduler_kwargs: {min_lr: 1:30.5}", "1:30.5 is another number in YAML than it looks like"),
        ("seed: 0x" + "f" * 5_000, "seed: what it holds can't be written as text: Exceeds the limit"),
        ("lr_scheduler_kwargs: {a: 0x" + "f" * 5_000 + "}", "kwargs: what it holds can't be written as text"),
        ("class_names: [-x, y]", "class_names: -x in a list begins with a dash"),
    ],
)
def test_what_has_no_end_or_two_meanings_is_refused(tmp_path, text, message):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        RecipeParser().read_recipe(str(tmp_path / "recipe.yaml"))
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


SCALARS = (
    "1.10",
    "1_000",
    "010",
    "0x10",
    "12:30:00",
    "1e3",
    "no",
    "Yes",
    "2020-01-01",
    "7",
    "'1.10'",
    '"no"',
    "-1",
    ".5",
)


def test_texts_are_what_is_written(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    for scalar in SCALARS:
        written = scalar.strip("'\"")
        recipe.write_text(f"output_dir: out\ndata_name: {scalar}\ntext_column: {scalar}\nclass_names: [{scalar}, x]\n")
        data = RecipeParser().parse([str(recipe)])[1]
        assert (data.data_name, data.text_column, data.class_names) == (written, [written], [written, "x"])
        study = tmp_path / "study.yaml"
        study.write_text(
            f"rows: {{one: {{data_name: {scalar}}}}}\narguments: {{class_names: [{scalar}]}}\nseeds: [1]\n"
        )
        found = read_study(str(study), {})
        assert found.rows["one"] == {"data_name": written} and found.arguments == {"class_names": [written]}
    recipe.write_text("output_dir: out\ndata_name: null\ntext_separator: ~\nlabel_separator:\n")
    data = RecipeParser().parse([str(recipe)])[1]
    assert data.data_name is data.text_separator is data.label_separator is None


def test_values_from_python_are_what_could_be_typed():
    parse = RecipeParser().parse_flags
    given = {"output_dir": Path("out"), "train_file": ("a.csv", Path("b.csv")), "class_names": ["-1", "- a", "-"]}
    numbers = {"learning_rate": np.float32(0.5), "seed": np.int64(3), "class_weights": [1.5, 2]}
    (_, data, tuning, training), _ = parse({**given, **numbers})
    assert (data.train_file, data.class_names) == (["a.csv", "b.csv"], ["-1", "- a", "-"])
    assert (training.learning_rate, training.seed, tuning.class_weights) == (0.5, 3, ["1.5", "2"])
    for name, value, message in (
        ("train_file", ["f.csv", "--seed=5"], "begins with a dash"),
        ("train_file", ["f.csv", "--seed", "5"], "begins with a dash"),
        ("output_dir", ["a", "b"], "output_dir takes one value and no list"),
        ("output_dir", "a\0b", "has a character that no name of a file can have"),
        ("output_dir", "a\ud800", "has a character that no name of a file can have"),
        ("class_names", {"a", "b"}, "class_names is of the type set"),
        ("data_name", b"x", "data_name is of the type bytes"),
        ("data_name", [b"x"], "data_name is of the type bytes"),
        ("lr_scheduler_kwargs", {"a": object()}, "can't be written as text"),
    ):
        with pytest.raises(UserError, match=message):
            parse({"output_dir": "out", name: value})


def test_an_alias_that_ends_is_read(tmp_path):
    (tmp_path / "study.yaml").write_text("a: &a {model: lstm}\nb: {<<: *a, model: cnn}\n")
    assert read_yaml(tmp_path / "study.yaml", "study") == {"a": {"model": "lstm"}, "b": {"model": "cnn"}}


def test_a_pipe_or_device_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match="is no regular file"):
            read_yaml(file, "recipe")
