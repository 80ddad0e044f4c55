"""The rows of a study: what they may say, and which flags they get."""

import re

import pytest
import yaml

from salience.configuration.errors import UserError
from salience.eval.cli import main
from salience.eval.study.file import read_flags, read_study
from salience.eval.study.results import overridden
from tests.helpers.toy import toy_csv
from tests.helpers.toy_study import write_study


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_csv(tmp_path_factory.mktemp("data"), num_train=60, num_test=45)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"lstm": {"model": "lstm"}, "typo": {"learning_rat": 1}}}, "typo: .*did you mean --learning_rate"),
        ({"rows": {"lstm": {"model": "lstm", "focal_gamma": 3.0}}}, "row lstm: --focal_gamma belongs to --loss focal"),
        ({"rows": {"lstm": {"model": "lstm", "window_size": 16}}}, "row lstm: --window_size is not an option of --mod"),
        ({"rows": {"lstm": {"model": "lstm", "encoder": "a/b"}}}, "row lstm: .*from scratch; leave out --encoder"),
        ({"rows": {"lstm": {}}}, "row lstm: --model attn_pool needs --encoder"),
        ({"rows": {"lstm": {}, "../up": {}}}, "'../up' can't be the name of a row"),
        ({"rows": {"lstm": {}, "..": {}}}, "'..' can't be the name of a row"),
        ({"rows": {"lstm": {}, "a/b": {}}}, "'a/b' can't be the name of a row"),
        ({"rows": {"lstm": {}, False: {}}}, "False can't be the name of a row"),
        ({"rows": {"lstm": {}, "tfidf_svm": {}}}, "no name of a sparse baseline"),
        ({"rows": {"lstm": "cnn"}}, "row lstm must hold flags"),
        ({"rows": {"lstm": {"output_dir": "x"}}}, "output_dir can't be set"),
        ({"arguments": {"push_to_hub": True}}, "push_to_hub can't be set"),
        ({"arguments": {"minority_ration": 6}, "rows": {}, "reference": None}, "unknown argument minority_ration"),
        ({"rows": {}, "sparse": []}, "must hold rows"),
        ({"rows": {}, "sparse": [], "grid": [{}]}, "must hold rows"),
        ({"sparse": [["tfidf_svm"]]}, "sparse must be a name or a list of names"),
        ({"recipe": [5]}, "recipe must be a name or a list of names"),
        ({"rows": {"lstm": {"recipe": {"a": 1}}}}, "row lstm: recipe must be a name"),
        ({"grid": ["lstm"]}, "grid must be groups of rows"),
        ({"grid": [{"lstm": "cnn"}]}, "grid must be groups of rows"),
        ({"grid": [{"lstm": {}}]}, "row lstm stands under rows and in the grid"),
        ({"grid": [{"a": {}, "a_b": {}}, {"b_c": {}, "c": {}}]}, "row a_b_c stands twice in the grid"),
        ({"grid": [{"a": {"loss": "focal"}}, {"b": {"loss": "ldam"}}]}, "loss is set in two groups of the grid"),
        ({"grid": [{number: {} for number in range(10)}] * 40}, "more than 10,000 rows"),
        ({"grid": [{"a": {}}, {"b/c": {}}]}, "'a_b/c' can't be the name of a row"),
        ({"reference": "gru"}, "reference gru is no row"),
        ({"sparse": ["tfidf_svn"]}, "tfidf_svn is unknown"),
        ({"seeds": []}, "seeds must be"),
        ({"seeds": [1, 1]}, "seeds must be"),
        ({"seeds": 3}, "seeds can't be 3"),
        ({"seed": [3]}, "unknown key seed"),
        ({"recipe": "missing.yaml"}, "recipe missing.yaml can't be read"),
    ],
)
def test_mistakes_stop_the_study_before_its_first_cell(tmp_path, data, capsys, changes, message):
    out = tmp_path / "out"
    assert main(["study", write_study(tmp_path, **changes), "--output_dir", str(out), *data]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert not out.exists()


def test_thresholds_of_labels_are_those_of_baselines_too(tmp_path):
    study = read_study(write_study(tmp_path, arguments={"fit_thresholds": False}, sparse=["tfidf_svm"]), {})
    recipes = {cell.row: cell.recipe for cell in study.cells(tmp_path / "out")}
    assert recipes["lstm"]["fit_thresholds"] is recipes["tfidf_svm"]["fit_thresholds"] is False


def test_flags_of_the_command_line_are_those_that_a_row_had(tmp_path):
    rows = {"a": {"loss": "focal", "focal_gamma": None}, "b": {"weight_decay": 0.1}}
    study = read_study(write_study(tmp_path, rows=rows, reference="a"), {"loss": "weighted", "focal_gamma": 1.0})
    assert [overridden(study, name) for name in "ab"] == [{"loss": "weighted"}, {}]


def test_flags_of_the_command_line_may_not_make_rows_the_same(tmp_path):
    rows = {"wide": {"hidden_dim": 8}, "narrow": {"hidden_dim": 4}, "other": {"hidden_dim": 4, "dropout": 0.3}}
    file = write_study(tmp_path, rows=rows, reference="wide")
    with pytest.raises(UserError, match="with --hidden_dim on the command line, rows wide and narrow are the same"):
        read_study(file, {"hidden_dim": 6})
    assert list(read_study(file, {"learning_rate": 0.1}).rows) == ["wide", "narrow", "other"]


LATE = {
    "dropout: 1.5": "--model lstm: dropout = 1.5",
    "embedding_dim: 0": "embedding_dim",
    "word_vectors: no.npy": "no.npy",
    "min_frequency: 9999": "no word stands 9999 times in the training texts",
    "metric_for_best_model: foo": "--metric_for_best_model foo is unknown",
    "loss: weighted, class_weights: [foo=1]": "--class_weights foo=1 names no class",
    "gradient_checkpointing: true": "--gradient_checkpointing is for Transformers",
    "optim_args: foo=1": "--optim_args foo=1",
    "model: attn_pool, encoder: ./no": "--encoder ./no: there is no such folder",
    "model: sequence_classification, encoder: ./no": "--encoder ./no: there is no such folder",
    "model: frozen_logistic, encoder: ./no": "--encoder ./no: there is no such folder",
    "model: frozen_logistic": "frozen_logistic needs --encoder",
}


@pytest.mark.parametrize("flags", LATE)
def test_what_training_refuses_is_told_before_the_first_cell(tmp_path, data, capsys, flags):
    """Of the last row, whose model, loss or metric only fails on the data."""
    row = yaml.safe_load(f"{{{flags}}}")
    rows = {"good": {"model": "tfidf_svm"}, "bad": {"model": "lstm"} | row}
    study = write_study(tmp_path, arguments={}, rows=rows, reference="good", sparse=[])
    assert main(["study", study, "--output_dir", str(tmp_path / "out"), *data]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {study}, row bad: ") and LATE[flags] in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--sed", "1"], "unknown flag --sed"), (["more.yaml"], "recipes come first"), (["--jobs", "0"], "--jobs 0"),
     (["--jobs", "two"], "--jobs"), (["--seed", "1"], "seed can't be set")],
)  # fmt: skip
def test_mistakes_behind_the_study_are_one_sentence(tmp_path, capsys, words, message):
    assert main(["study", write_study(tmp_path), "--output_dir", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_flags_of_a_row_come_over_those_of_the_recipe(tmp_path):
    recipe, other = tmp_path / "recipe.yaml", tmp_path / "other.yaml"
    recipe.write_text("model: hierarchical_attn\nmax_words: 100\nseed: 7\noutput_dir: runs/x\nlearning_rate: 1e-3\n")
    other.write_text("model: gat\n")
    rows = {"plain": {}, "lstm": {"model": "lstm", "max_words": None}, "other": {"recipe": str(other)}}
    rows["alone"] = {"recipe": None, "model": "cnn"}
    file = write_study(tmp_path, recipe=str(recipe), arguments={"num_train_epochs": 3}, rows=rows, reference="plain")
    typed = "--learning_rate 0.1 --clean headers quotes --dataset_name= --max_words 9".split()
    study = read_study(file, read_flags(typed))
    common = {"num_train_epochs": 3, "learning_rate": "0.1", "clean": ["headers", "quotes"], "dataset_name": ""}
    assert study.flags(rows["plain"]) == {"model": "hierarchical_attn", "max_words": "9"} | common
    assert study.flags(rows["lstm"]) == {"model": "lstm"} | common, "what a row takes away stays away"
    assert study.flags(rows["other"]) == {"model": "gat", "max_words": "9"} | common
    assert study.flags(rows["alone"]) == {"model": "cnn", "max_words": "9"} | common
    sparse, plain = study.cells(tmp_path / "out")[:2]
    where = {"split_seed": 0, "seed": 0, "output_dir": str(tmp_path / "out/cells/plain/seed_0")}
    assert plain.recipe == {"model": "hierarchical_attn", "max_words": "9"} | common | where
    where["output_dir"] = str(tmp_path / "out/cells/tfidf_svm/seed_0")
    assert sparse.recipe == {"clean": ["headers", "quotes"], "dataset_name": ""} | where


def test_a_grid_takes_a_part_of_each_group(tmp_path):
    groups = [
        {"focal": {"loss": "focal"}, "plain": {}},
        {2: {"minority_ratio": 2}, 6: {"minority_ratio": 6, "learning_rate": 0.1}},
    ]
    file = write_study(tmp_path, rows={"lstm": {}}, grid=groups)
    assert read_study(file, {}).rows == {
        "lstm": {},
        "focal_2": {"loss": "focal", "minority_ratio": 2},
        "focal_6": {"loss": "focal", "minority_ratio": 6, "learning_rate": 0.1},
        "plain_2": {"minority_ratio": 2},
        "plain_6": {"minority_ratio": 6, "learning_rate": 0.1},
    }
    alone = write_study(tmp_path, rows={}, sparse=[], reference="plain", grid=groups[:1])
    assert list(read_study(alone, {}).rows) == ["focal", "plain"]


def test_a_split_seed_of_the_study_counts(tmp_path):
    study = read_study(write_study(tmp_path), {"split_seed": "5"})
    assert {cell.recipe["split_seed"] for cell in study.cells(tmp_path)} == {"5"}
