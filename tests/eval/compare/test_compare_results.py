"""What runs are called in a comparison, which of them can be compared, and how sure their scores are."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

from salience.configuration.errors import UserError
from salience.eval.compare.command import check_comparable
from salience.eval.compare.page import SCORES, text_table, write_figure
from salience.eval.compare.results import distinct_names, intervals, reference_run
from salience.eval.drawing import short_names
from salience.eval.runs import Run, read_run
from salience.eval.scores.prediction_files import read_predictions, write_predictions
from salience.eval.scores.predictions import Predictions
from salience.model_cards.files import write_json
from tests.helpers.paths import DATA


def test_names_are_what_tells_folders_apart(tmp_path):
    def names(*folders):
        return distinct_names([tmp_path / folder for folder in folders])

    assert names("a", "b/c") == ["a", "c"]
    assert names("a/final", "b/final") == ["a", "b"]
    assert names("x/lstm/seed_0", "x/gat/seed_0") == ["lstm", "gat"]
    assert names("x/lstm/seed_0", "x/gat/seed_1") == ["lstm/seed_0", "gat/seed_1"]
    assert names("lstm/seed_0") == ["lstm/seed_0"]
    assert names("x/a", "y/a", "y/b") == ["x/a", "y/a", "y/b"]
    assert names("a\x1b", "a\x07") == ["a (1)", "a (2)"]


def test_long_names_are_shortened_where_they_stay_different():
    long, *alike = "a" * 99 + "b", *(f"{'x' * 30}_rate_{rate}_{'y' * 30}" for rate in ("1e-4", "2e-4"))
    short = short_names([long, "lstm", *alike], 40)
    assert short == {long: "a" * 19 + "…" + "a" * 19 + "b", "lstm": "lstm"} | {name: name for name in alike}


@pytest.mark.slow
def test_intervals_are_those_of_texts_drawn_one_by_one():
    random = np.random.default_rng(5)
    labels = np.append(random.integers(0, 3, 199), 4)  # class 3 never occurs, class 4 not in every draw
    answers = np.where(random.random(200) < 0.7, labels, random.integers(0, 3, 200))
    found = intervals(Predictions(labels, np.eye(5)[answers], "single_label_classification", list("abcde")))
    draws = [random.integers(0, 200, 200) for _ in range(1000)]
    for score, name in ((accuracy_score, "accuracy"), (lambda *both: f1_score(*both, average="macro"), "f1_macro")):
        expected = np.percentile([score(labels[draw], answers[draw]) for draw in draws], [2.5, 97.5])
        assert found[name] == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("change", ["one more", "another name", "another order"])
def test_other_classes_are_named(tmp_path, change):
    """Whose fingerprints of the test texts differ for that reason, too."""
    one, other = (shutil.copytree(DATA / "run_0_1/attn_pool", tmp_path / name) for name in ("one", "other"))
    answers = read_predictions(other, "test")
    names = [*answers.label_names]
    if change == "one more":
        logits = np.column_stack([answers.logits, np.full(len(answers), -9.0)])
        answers = replace(answers, label_names=[*names, "weather"], logits=logits)
    else:
        answers = replace(answers, label_names=names[::-1] if change == "another order" else ["weather", *names[1:]])
    write_predictions(other, "test", np.arange(len(answers)), answers)
    record = read_run(other).record
    record["data"]["splits"]["test"]["sha256"] = "of other names"
    write_json(other / "run.json", record)
    sentence = {
        "one more": rf"have other classes \('weather' only in {other}\)",
        "another name": rf"have other classes \('{names[0]}' only in {one}\)",
        "another order": "have the same classes in another order",
    }[change]
    with pytest.raises(UserError, match=sentence):
        check_comparable([read_run(one), read_run(other)])


def test_the_splits_of_baselines_are_those_of_the_first_model():
    sparse, frozen, model = (Run(Path(kind), {"kind": kind}) for kind in ("sparse", "frozen", "model"))
    assert reference_run([sparse, frozen, model]) is model
    assert reference_run([frozen, sparse]) is frozen


def test_the_legend_and_the_figure_tell_what_is_there(tmp_path):
    shown = {"intervals": dict.fromkeys(SCORES, [0.8, 1.0])} | dict.fromkeys(SCORES, 0.9)
    rest = dict.fromkeys(("against_best_sparse", "against_first", "train_seconds", "texts_per_second"))
    row = shown | rest | {"same_training_texts": True, "parameters": 9}
    rows = [row | {"name": name, "kind": kind} for name, kind in (("tfidf", "sparse"), ("vectors", "frozen"))]
    about = {"name": "News", "splits": {"test": 10}, "problem_type": "single_label_classification"}
    results = {"data": about, "best_sparse": "tfidf", "first": "tfidf", "rows": rows}
    assert "from the first run" not in text_table(results)
    assert "from the first run" in text_table(results | {"first": "vectors"})
    write_figure(results, tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").size[0] == 1500
