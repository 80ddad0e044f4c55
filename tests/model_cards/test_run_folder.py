"""The one reader and writer of a run's files."""

import json
import subprocess
import sys

import pytest

from salience.configuration.errors import UserError
from salience.model_cards.files import read_json, read_whole, write_json
from salience.model_cards.run_folder import RunFolder, read_record, read_results, read_training, write_results

SPLIT = {"rows": 3, "sha256": "ab", "labels": {"a": 3}}
DATA = {"name": "News", "source": "news.csv", "splits": {"train": SPLIT, "test": SPLIT}}
RECORD = {"model": {"family": "lstm", "parameters": 7}, "data": DATA, "seed": 0}
DAMAGED = {
    "{": "is not valid JSON",
    "": "is not valid JSON",
    "[" * 100_000: "is not valid JSON",
    "[]": "holds no JSON object",
    "null": "holds no JSON object",
}


@pytest.mark.parametrize(("split", "prefix"), [("validation", "eval"), ("test", "test")])
def test_results_are_written_with_the_prefix_of_their_split_and_read_without(tmp_path, split, prefix):
    per_class = {"a": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 3}}
    results = {"accuracy": 0.5, "per_class": per_class, "epoch": 3.0}
    write_results(tmp_path, split, results)
    assert json.loads((tmp_path / f"{prefix}_results.json").read_text()) == {
        f"{prefix}_accuracy": 0.5,
        f"{prefix}_per_class": per_class,
        "epoch": 3.0,  # as transformers writes it
    }
    assert read_results(tmp_path, split) == results == getattr(RunFolder(tmp_path), split)


@pytest.mark.parametrize(("text", "sentence"), DAMAGED.items(), ids=range(len(DAMAGED)))
def test_damaged_files_are_refused_by_every_reader_in_one_sentence(tmp_path, text, sentence):
    for name in ("run.json", "test_results.json", "config.json"):
        (tmp_path / name).write_text(text)
    files = RunFolder(tmp_path)
    readers = {
        "config.json": [lambda: files.config, lambda: read_json(tmp_path / "config.json")],
        "run.json": [lambda: files.run, lambda: read_record(tmp_path)],
        "test_results.json": [lambda: files.test, lambda: read_results(tmp_path, "test")],
    }
    for name, each in ((name, each) for name, several in readers.items() for each in several):
        with pytest.raises(UserError, match=sentence) as refused:
            each()
        assert str(refused.value).startswith(f"{tmp_path / name} ") and "\n" not in str(refused.value)
        assert "make this run again" in str(refused.value)
    assert read_whole(tmp_path / "config.json") is None


def test_a_missing_file_is_an_empty_part_of_a_card_and_an_error_elsewhere(tmp_path):
    files = RunFolder(tmp_path)
    assert files.config == files.run == files.test == files.report == {}
    with pytest.raises(UserError, match="can't be read .* holds no finished run"):
        read_record(tmp_path)
    with pytest.raises(UserError, match="train again, with a test split"):
        read_results(tmp_path, "test")
    assert read_whole(tmp_path / "run.json") is None


def of_splits(**changes):
    return {"data": DATA | {"splits": DATA["splits"] | changes}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": None}, "model is 'None', and must be an object"),
        ({"model": []}, "model is '[]', and must be an object"),
        ({"model": {}}, "model.family is missing"),
        ({"model": {"family": 3}}, "model.family is '3', and must be text"),
        ({"model": {"family": "lstm", "parameters": "many"}}, "model.parameters is 'many'"),
        ({"data": {}}, "data.name is missing"),
        ({"data": DATA | {"name": None}}, "data.name is 'None'"),
        ({"data": DATA | {"source": ["a"]}}, "data.source is "),
        ({"data": DATA | {"splits": []}}, "data.splits is '[]', and must be an object"),
        ({"data": DATA | {"splits": {"test": SPLIT}}}, "data.splits.train is missing"),
        (of_splits(test={}), "data.splits.test.rows is missing"),
        (of_splits(validation=5), "data.splits.validation is '5', and must be an object"),
        (of_splits(test=SPLIT | {"sha256": 7}), "data.splits.test.sha256 is '7', and must be text"),
        (of_splits(test=SPLIT | {"rows": 3.5}), "data.splits.test.rows is '3.5', and must be a whole number"),
        (of_splits(train=SPLIT | {"rows": True}), "data.splits.train.rows is 'True'"),
        (of_splits(train=SPLIT | {"labels": {"a": "b"}}), "data.splits.train.labels.a is 'b'"),
        ({"arguments": []}, "arguments is '[]', and must be an object"),
        ({"kind": []}, "kind is '[]', and must be one of model, sparse, frozen"),
        ({"kind": 5}, "kind is '5', and must be one of"),
        ({"kind": "modle"}, "kind is 'modle', and must be one of"),
        ({"seed": None}, "seed is 'None', and must be a whole number of at least 0"),
    ],
)  # fmt: skip
def test_a_record_that_was_edited_by_hand_is_refused(tmp_path, changes, sentence):
    write_json(tmp_path / "run.json", RECORD | changes)
    with pytest.raises(UserError) as refused:
        read_record(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / 'run.json'}: {sentence}")
    assert str(refused.value).endswith("restore the file, or make this run again")


NO_SCORES = ('"x"', "NaN", "1e400", "1" + 400 * "0", "null", "[]", "{}", "true", "-3", "7.5")


@pytest.mark.parametrize("value", NO_SCORES)
@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "roc_auc", "runtime", "samples_per_second"])
def test_scores_that_were_edited_by_hand_are_refused(tmp_path, name, value):
    is_share = name in ("accuracy", "f1_macro", "roc_auc")
    if value == "7.5" and not is_share:
        return
    for split, prefix in (("validation", "eval"), ("test", "test")):
        (tmp_path / f"{prefix}_results.json").write_text(f'{{"{prefix}_{name}": {value}}}')
        with pytest.raises(
            UserError, match=rf"{prefix}_results.json: {name} is .*, and must be a .*: restore the file"
        ):
            read_results(tmp_path, split)
    (tmp_path / "train_results.json").write_text(f'{{"train_{name}": {value}}}')
    with pytest.raises(UserError, match=f"train_results.json: {name} is "):
        read_training(tmp_path)


@pytest.mark.parametrize("content", ["5", '{"a": 5}', '{"a": {}}', '{"a": {"precision": "1", "recall": 1, "f1": 1}}'])
def test_scores_of_classes_that_were_edited_by_hand_are_refused(tmp_path, content):
    (tmp_path / "test_results.json").write_text(f'{{"test_per_class": {content}}}')
    with pytest.raises(UserError, match="test_results.json: per_class.*: restore the file"):
        read_results(tmp_path, "test")


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("lstm", "model"),
        ("sequence_classification", "model"),
        ("tfidf_svm", "sparse"),
        ("tfidf_word_char_svm", "sparse"),
        ("frozen_logistic", "frozen"),
        ("frozen_smote", "frozen"),
    ],
)
def test_a_run_of_an_earlier_version_has_the_kind_of_its_family(tmp_path, family, kind):
    write_json(tmp_path / "run.json", RECORD | {"model": {"family": family}})
    assert read_record(tmp_path)["kind"] == kind
    write_json(tmp_path / "run.json", RECORD | {"model": {"family": family}, "kind": "sparse"})
    assert read_record(tmp_path)["kind"] == "sparse"


@pytest.mark.slow
def test_reading_a_run_needs_neither_the_baselines_nor_the_model_builder():
    code = "import sys, salience.eval.runs; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "salience.eval.runs" in loaded
    rooms = ("baseline", "compare", "explain", "failures", "report", "study", "score", "benchmark")
    assert not [name for name in loaded if name.startswith(tuple(f"salience.eval.{room}." for room in rooms))]
    assert "salience.train.building.build" not in loaded
