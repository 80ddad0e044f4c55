"""Recipes that could be read in two ways, or never to their end, are one sentence."""

import os

import pytest

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.flags.yaml_files import read_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train_file: &a [*a]", "refers to itself, or holds more than 100,000 values"),
        (BOMB, "refers to itself, or holds more than 100,000 values"),
        ("model: " + "[" * 20_000 + "]" * 20_000, "is nested too deeply"),
        ("class_names: [no, yes]", "class_names: False in a list of names is no text for YAML; quote it"),
        ("class_names: [1.10, 1.20]", "class_names: 1.1 in a list of names is no text for YAML; quote it"),
        ("class_names: [a, null]", "class_names: None in a list of names is no text for YAML; quote it"),
    ],
)
def test_what_has_no_end_or_two_meanings_is_refused(tmp_path, text, message):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        RecipeParser().read_recipe(str(tmp_path / "recipe.yaml"))
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


def test_quoted_names_and_whole_numbers_are_names(tmp_path):
    (tmp_path / "recipe.yaml").write_text("class_names: [\"no\", '1.10', 7]")
    assert RecipeParser().read_recipe(str(tmp_path / "recipe.yaml")) == {"class_names": ["no", "1.10", 7]}


def test_an_alias_that_ends_is_read(tmp_path):
    (tmp_path / "study.yaml").write_text("a: &a {model: lstm}\nb: {<<: *a, model: cnn}\n")
    assert read_yaml(tmp_path / "study.yaml", "study") == {"a": {"model": "lstm"}, "b": {"model": "cnn"}}


def test_a_pipe_or_device_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match="is no regular file"):
            read_yaml(file, "recipe")
