"""The one reader and writer of a run's files."""

import json
import subprocess
import sys

import pytest

from salience.configuration.errors import UserError
from salience.model_cards.run_folder import (
    RunFolder,
    is_whole,
    read_json,
    read_record,
    read_results,
    write_json,
    write_results,
)

RECORD = {"model": {"family": "lstm"}, "data": {"splits": {"test": {"sha256": "ab"}}}}
DAMAGED = {
    "{": "is not valid JSON",
    "": "is not valid JSON",
    "[" * 100_000: "is not valid JSON",
    "[]": "holds no JSON object",
    "null": "holds no JSON object",
}


@pytest.mark.parametrize(("split", "prefix"), [("validation", "eval"), ("test", "test")])
def test_results_are_written_with_the_prefix_of_their_split_and_read_without(tmp_path, split, prefix):
    results = {"accuracy": 0.5, "per_class": {"a": {"f1": 1.0}}, "epoch": 3.0}
    write_results(tmp_path, split, results)
    assert json.loads((tmp_path / f"{prefix}_results.json").read_text()) == {
        f"{prefix}_accuracy": 0.5,
        f"{prefix}_per_class": {"a": {"f1": 1.0}},
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
    assert not is_whole(tmp_path / "config.json")


def test_a_missing_file_is_an_empty_part_of_a_card_and_an_error_elsewhere(tmp_path):
    files = RunFolder(tmp_path)
    assert files.config == files.run == files.test == files.report == {}
    with pytest.raises(UserError, match="can't be read .* holds no finished run"):
        read_record(tmp_path)
    with pytest.raises(UserError, match="train again, with a test split"):
        read_results(tmp_path, "test")
    assert not is_whole(tmp_path / "run.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None},
        {"model": []},
        {"model": {}},
        {"model": {"family": 3}},
        {"data": {}},
        {"data": {"splits": []}},
        {"data": {"splits": {"test": {}}}},
        {"data": {"splits": {"test": {"sha256": 7}}}},
        {"arguments": []},
    ],
)
def test_a_record_that_was_edited_by_hand_is_refused(tmp_path, changes):
    write_json(tmp_path / "run.json", RECORD | changes)
    with pytest.raises(UserError, match="doesn't describe a run of train.py"):
        read_record(tmp_path)


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
