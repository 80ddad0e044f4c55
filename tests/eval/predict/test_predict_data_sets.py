"""`eval.py predict --dataset_name`: a data set of the Hub, or a folder that `datasets` reads, in place of files."""

import json
import os
import subprocess
import sys
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salience.eval import UserError
from salience.eval.cli import main
from tests.helpers.hub_server import Hub
from tests.helpers.hub_store import MAIN, Repo
from tests.helpers.paths import EVAL
from tests.helpers.predicting import (
    Stopped,
    failure,
    files_of,
    many_texts,
    predict,
    read_jsonl,
    save_model,
    stop_before,
    write_texts,
)
from tests.helpers.toy import clean_environment


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("data_sets") / "run")


@pytest.fixture(autouse=True)
def here(in_tmp_path):
    """Names of files are relative."""


def save_shards(folder, count=40, shards=2):
    """A data set as the Hub's own: parquet files in a folder, beside those of another split."""
    (folder / "data").mkdir(parents=True)
    texts = [*many_texts(count), None]
    rows = pa.table({"id": range(count + 1), "text": texts, "tags": [["x"]] * (count + 1)})
    size = -(-len(rows) // shards)
    for number in range(shards):
        path = folder / "data" / f"test-{number:05}-of-{shards:05}.parquet"
        pq.write_table(rows.slice(number * size, size), path)
    pq.write_table(rows.slice(0, 3), folder / "data" / "train-00000-of-00001.parquet")
    return rows


def columns_of(folder):
    return pa.concat_tables(pq.read_table(part) for part in sorted(folder.glob("*.parquet"))).to_pydict()


def test_a_split_is_labelled_as_its_files_are_and_goes_on_where_it_was(run, tmp_path, monkeypatch):
    rows = save_shards(tmp_path / "set")
    flags = {"rows_per_part": 10}
    by_files = predict(run, "set/data/test-*", "by_files", **flags)
    data_set = {"dataset_name": "set", "dataset_split": "test", **flags}
    with monkeypatch.context() as patch:
        stop_before(patch, 2)
        with pytest.raises(Stopped):
            predict(run, None, "out", **data_set)
    found = predict(run, None, "out", **data_set)
    assert (found.rows, found.rejected) == (by_files.rows, by_files.rejected) == (41, 1)
    answered = columns_of(tmp_path / "out")
    assert answered == columns_of(tmp_path / "by_files")
    assert {name: answered[name] for name in rows.column_names} == rows.to_pydict()
    name = "set/data/test-00001-of-00002.parquet"
    assert read_jsonl(found.rejected_file) == [{"file": name, "row": 20, "reason": "it has no text in column 'text'"}]
    manifest = json.loads((tmp_path / "out" / ".manifest.json").read_text())
    assert [each["name"] for each in manifest["inputs"]] == [name.replace("00001-of", "00000-of"), name]


def test_the_rows_of_another_split_are_other_input(run, tmp_path, monkeypatch):
    save_shards(tmp_path / "set")
    with monkeypatch.context() as patch:
        stop_before(patch, 1)
        with pytest.raises(Stopped):
            predict(run, None, "out", dataset_name="set", dataset_split="test", rows_per_part=10)
    before = files_of(tmp_path / "out")
    told = failure(run, None, "out", dataset_name="set", dataset_split="train", rows_per_part=10)
    assert "was begun with other input" in told and files_of(tmp_path / "out") == before


def test_one_file_gives_one_file_with_its_bytes(run, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    write_texts(tmp_path / "set" / "test.jsonl", 40)
    command = ["predict", "--model", str(run), "--dataset_name", "set", "--output", "out.jsonl", "--bf16", "false"]
    assert main(command) == 0 and "rows     40 · 4 without an answer" in capsys.readouterr().out
    predict(run, "set/test.jsonl", "by_file.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "by_file.jsonl").read_bytes()
    assert {each["file"] for each in read_jsonl(tmp_path / "out.jsonl.rejected.jsonl")} == {"set/test.jsonl"}


def test_csv_cells_stay_text_and_the_separator_is_that_of_the_card(run, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "new.csv").write_text("id;text\n007;NA\n008;a, goal\n")
    card = '---\nconfigs:\n- config_name: default\n  sep: ";"\n  data_files:\n  - {split: fresh, path: new.csv}\n---\n'
    (tmp_path / "set" / "README.md").write_text(card)
    found = predict(run, None, "out", dataset_name="set")
    answered = columns_of(found.output)
    assert (answered["id"], answered["text"], found.rejected) == (["007", "008"], ["NA", "a, goal"], 0)
    (tmp_path / "set" / "README.md").write_text(card.replace('sep: ";"', "skiprows: 1"))
    assert "reads its csv files with skiprows, which isn't offered here; give the files by --input" in failure(
        run, None, "other", dataset_name="set"
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"dataset_name": "set"}, r"has the splits .*: name one with --dataset_split"),
        ({"dataset_name": "set", "dataset_split": "dev"}, r"has no split named dev \(--dataset_split\), only"),
        ({"dataset_name": "set", "dataset_revision": "x"}, "--dataset_revision belongs to a Hub id"),
        ({"dataset_split": "test"}, "--dataset_split belongs to --dataset_name; leave it out"),
        ({"dataset_name": "set", "input": "a.csv"}, "--input and --dataset_name exclude each other"),
        ({"dataset_name": "none"}, r"the data set 'none' \(--dataset_name\) can't be loaded; .* or give --input"),
        ({"dataset_name": "csv"}, "is a format and no data set; give the files by --input"),
        ({"dataset_name": "packed"}, "'packed/test.zip' has no known file ending"),
        ({"dataset_name": "lines"}, r"'lines/test.txt' can't be read in parts; give .csv"),
        ({}, "--input is missing"),
    ],
)
def test_what_can_be_read_in_two_ways_or_none_is_refused(run, tmp_path, monkeypatch, flags, says):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    save_shards(tmp_path / "set")
    for name in ("lines", "packed"):
        (tmp_path / name).mkdir()
    (tmp_path / "lines" / "test.txt").write_text("a goal\n")
    with zipfile.ZipFile(tmp_path / "packed" / "test.zip", "w") as archive:
        archive.writestr("test.csv", "text\na goal\n")
    with pytest.raises(UserError, match=says):
        predict(run, flags.pop("input", None), "out", **flags)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_data_set_of_the_hub_by_its_name(run, tmp_path):
    save_shards(tmp_path / "set")
    files = {str(path.relative_to(tmp_path / "set")): path.read_bytes() for path in tmp_path.glob("set/data/*")}
    with Hub() as hub:
        repo = hub.repos["alice/texts"] = Repo("alice/texts", False)
        repo.commit(MAIN, {}, "initial commit")
        commit = hub.add_commit("alice/texts", files, "texts")
        hub.add_commit("alice/texts", {"data/test-00000-of-00002.parquet": b"another"}, "later")
        environment = clean_environment(
            tmp_path / "home", HF_ENDPOINT=hub.url, PYTHONPATH=os.environ.get("PYTHONPATH", "")
        )
        data_set = ["--dataset_name", "alice/texts", "--dataset_revision", commit, "--dataset_split", "test"]
        command = [EVAL, "predict", "--model", run, *data_set, "--output", "out", "--bf16", "false"]
        done = subprocess.run(
            [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[-3000:]
    predict(run, "set/data/test-*", "by_files")
    assert columns_of(tmp_path / "out") == columns_of(tmp_path / "by_files")
    manifest = json.loads((tmp_path / "out" / ".manifest.json").read_text())
    assert manifest["inputs"][0]["name"] == "alice/texts/data/test-00000-of-00002.parquet"
