"""What is read of a finished run: its scores, which follow from its predictions."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import RecipeParser
from salience.eval.reading.load import ClassifierArguments, load_reader
from salience.eval.runs import read_run, read_scores
from salience.eval.scores.prediction_files import read_predictions, write_predictions
from salience.model_cards.files import write_json
from tests.helpers.paths import DATA
from tests.helpers.run_folders import read


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(DATA / "run_0_1/attn_pool", tmp_path / "run")


def test_the_home_folder_is_found_behind_an_equals_sign_and_from_python(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.parent))
    (arguments,) = RecipeParser((ClassifierArguments,)).parse(["--model=~/run"])
    assert arguments.model == str(run)
    for model in ("~/run", arguments.model):
        assert load_reader(ClassifierArguments(model)).model.config.num_labels == 3
    assert read_run("~/run").folder == run


def test_scores_of_an_earlier_version_are_read(run):
    assert read_scores(run)["accuracy"] == read(run, "test_results.json")["test_accuracy"]


@pytest.mark.parametrize(
    ("name", "changed", "other"),
    [
        ("test_results.json", {"test_accuracy": 0.99}, "accuracy = 0.99"),
        ("test_results.json", {"test_f1_macro": 0.99}, "f1_macro = 0.99"),
        (
            "test_results.json",
            {"test_per_class": {"x": dict.fromkeys(["precision", "recall", "f1", "support"], 1)}},
            "x",
        ),
        ("eval_results.json", {"eval_accuracy": 0.99}, "accuracy = 0.99"),
        ("test_results.json", {"test_samples": 5}, "samples = 5"),
        ("eval_results.json", {"eval_samples": 5}, "samples = 5"),
    ],
)
def test_scores_that_do_not_follow_from_the_predictions_are_refused(run, name, changed, other):
    write_json(run / name, read(run, name) | changed)
    with pytest.raises(UserError, match=rf"{name} has .*{other}.* and the answers in .*_predictions.parquet beside it"):
        read_scores(run)


def test_predictions_of_another_run_are_refused(run):
    theirs = read_predictions(run, "test")
    write_predictions(run, "test", np.arange(len(theirs)), replace(theirs, logits=-theirs.logits))
    with pytest.raises(UserError, match=r"test_results.json has accuracy = 1, and the answers in test_predictions"):
        read_scores(run)
