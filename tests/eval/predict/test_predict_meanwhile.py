"""`eval.py predict`: what others do to its input, its parts and its output while it runs or is stopped."""

import os

import pandas as pd
import pytest

from salience.eval import UserError, predict_files
from salience.eval.predict.job import Job
from tests.helpers.predicting import Stopped, before, files_of, many_texts, save_model, stop_before, write_texts


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("meanwhile") / "run")


@pytest.fixture
def source(tmp_path):
    return write_texts(tmp_path / "in.jsonl", 100)


def write_ids(path, count, mark=""):
    rows = pd.DataFrame({"id": range(count), "text": [mark + text for text in many_texts(count)]})
    if path.suffix == ".parquet":
        rows.to_parquet(path, row_group_size=7)
    elif path.suffix == ".jsonl":
        rows.to_json(path, orient="records", lines=True)
    else:
        rows.to_csv(path, index=False)
    return path


CHANGES = {
    "other rows": lambda path: write_ids(path, 60, "x"),
    "fewer rows": lambda path: write_ids(path, 20),
    "no text any more": lambda path: path.write_bytes(b"\xff\x00" * 3000),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "name, out", [("in.csv", "out.csv"), ("in.csv.gz", "out"), ("in.jsonl", "out.jsonl"), ("in.parquet", "out")]
)
def test_input_that_changes_while_it_is_read_is_refused(run, tmp_path, monkeypatch, name, out, change):
    path, flags = write_ids(tmp_path / name, 60), {"bf16": False, "rows_per_part": 10}
    old, whole = path.read_bytes(), files_of(predict_files(run, path, tmp_path / "whole" / out, **flags).output)
    with monkeypatch.context() as patch:
        before(patch, 2, lambda: CHANGES[change](path))
        with pytest.raises(UserError, match=f"{name}' was changed while it was read"):
            predict_files(run, path, tmp_path / out, **flags)
    path.write_bytes(old)
    assert files_of(predict_files(run, path, tmp_path / out, **flags).output) == whole


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_damaged_parts_are_made_again(run, source, tmp_path, monkeypatch, name):
    flags = {"bf16": False, "rows_per_part": 15, "max_rejected": 0.2}
    whole = files_of(predict_files(run, source, tmp_path / "whole" / name, **flags).output)
    with monkeypatch.context() as patch:
        stop_before(patch, 6)
        with pytest.raises(Stopped):
            predict_files(run, source, tmp_path / name, **flags)
    parts = tmp_path / name if name == "out" else tmp_path / f".{name}.parts"
    files = [next(parts.glob(f"part-0000{number}.*")) for number in range(4)]
    files[0].write_bytes(files[1].read_bytes())
    files[1].write_bytes(b"")
    files[2].write_bytes(files[2].read_bytes()[:-20])
    (parts / "rejected-00004.jsonl").unlink()
    (parts / "done-00003.json").write_bytes(b"")
    done = []
    with monkeypatch.context() as patch:
        run_of = Job.run
        patch.setattr(Job, "run", lambda self, each, advance: (done.append(each), run_of(self, each, advance))[1])
        output = predict_files(run, source, tmp_path / name, **flags).output
    assert done == [0, 1, 2, 3, 4, 6] and files_of(output) == whole


@pytest.mark.parametrize("taken", ["out.jsonl", "out.jsonl.rejected.jsonl"])
def test_a_file_that_is_made_meanwhile_stays(run, source, tmp_path, monkeypatch, taken):
    flags = {"bf16": False, "rows_per_part": 15, "max_rejected": 0.2}
    whole = files_of(predict_files(run, source, tmp_path / "whole.jsonl", **flags).output)
    output, mine = tmp_path / "out.jsonl", tmp_path / taken
    with monkeypatch.context() as patch:
        before(patch, 6, lambda: mine.write_text("mine"))
        with pytest.raises(UserError, match=f"{taken} was made by something else meanwhile: move it away and give"):
            predict_files(run, source, output, **flags)
    with pytest.raises(UserError, match="exists; choose another --output, or move it away|something else meanwhile"):
        predict_files(run, source, output, **flags)
    assert mine.read_text() == "mine"
    mine.unlink()
    monkeypatch.setattr(Job, "run", lambda *_: pytest.fail("the parts were lost"))
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError("no links here")))
    assert files_of(predict_files(run, source, output, **flags).output) == whole
