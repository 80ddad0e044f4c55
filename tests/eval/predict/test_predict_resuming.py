"""A prediction that was stopped goes on, and ends with the bytes of one that wasn't."""

import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from salience.eval import UserError, predict_files
from salience.eval.predict.job import Job
from salience.model_cards.files import TORN
from salience.model_cards.run_folder import LOCK_FILE
from salience.train.folder.record import versions
from tests.helpers.paths import EVAL
from tests.helpers.predicting import Stopped, files_of, many_texts, read_jsonl, save_model, stop_before, write_texts
from tests.helpers.toy import clean_environment

CPU_2 = EVAL.parent / "configuration" / "recipes" / "accelerate" / "cpu_2.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("resuming") / "run")


@pytest.fixture
def source(tmp_path):
    return write_texts(tmp_path / "in.jsonl", 100)


def test_what_is_only_spelled_otherwise_is_the_same(run, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = {"bf16": False, "rows_per_part": 30, "max_rejected": 0.2}
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_before(patch, 2)
        predict_files(run, source, "out.jsonl", **flags)
    predict_files(f"{run}/.", f"./{source.name}", "out.jsonl", **flags)
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 95


def test_a_flag_that_is_left_out_is_another_one(run, tmp_path, monkeypatch):
    pd.DataFrame({"a": many_texts(9), "b": many_texts(9)}).to_csv(tmp_path / "in.csv", index=False)
    flags = {"bf16": False, "rows_per_part": 3, "text_column": ["a", "b"]}
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_before(patch, 1)
        predict_files(run, tmp_path / "in.csv", tmp_path / "out.csv", **flags, text_separator=" / ")
    with pytest.raises(UserError, match="was begun with --text_separator / ;"):
        predict_files(run, tmp_path / "in.csv", tmp_path / "out.csv", **flags)


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_a_kill_while_the_first_file_is_written_leaves_nothing_in_the_way(run, source, tmp_path, name):
    folder = tmp_path / (".out.jsonl.parts" if name == "out.jsonl" else name)
    folder.mkdir()
    for left in (LOCK_FILE, f"{TORN}0123"):
        (folder / left).touch()
    assert predict_files(run, source, tmp_path / name, bf16=False, max_rejected=0.2).rows == 100
    assert not folder.exists() or not list(folder.glob(f"{TORN}*"))


def test_a_pattern_may_fit_the_parts_that_are_begun(run, tmp_path, monkeypatch, caplog):
    for number in range(3):
        pd.DataFrame({"text": many_texts(4)}).to_parquet(tmp_path / f"in_{number}.parquet")
    (tmp_path / "folder.parquet").mkdir()
    call = [run, str(tmp_path / "**" / "*.parquet"), tmp_path / "answers"]
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_before(patch, 2)
        predict_files(*call, bf16=False)
    assert predict_files(*call, bf16=False).rows == 12
    assert "2 files of --input lie in --output" in caplog.text


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_going_on_gives_the_same_bytes(run, source, tmp_path, monkeypatch, name):
    flags = {"bf16": False, "rows_per_part": 15, "max_rejected": 0.2}
    whole = predict_files(run, source, tmp_path / "whole" / name, **flags)
    (tmp_path / "stopped").mkdir()
    output = tmp_path / "stopped" / name
    for number in (0, 2, 3, 6):
        with monkeypatch.context() as patch:
            stop_before(patch, number)
            with pytest.raises(Stopped):
                predict_files(run, source, output, **flags)
    done = []
    with monkeypatch.context() as patch:
        run_of = Job.run
        patch.setattr(Job, "run", lambda self, each, advance: (done.append(each), run_of(self, each, advance))[1])
        found = predict_files(run, source, output, **flags)
    assert done == [6] and (found.rows, found.rejected) == (whole.rows, whole.rejected) == (100, 10)
    assert files_of(output) == files_of(whole.output)
    assert [each["row"] for each in read_jsonl(found.rejected_file)] == sorted([*range(2, 100, 20), *range(3, 100, 20)])
    assert len(list((tmp_path / "stopped").iterdir())) == (2 if output.is_file() else 1)
    with pytest.raises(UserError, match="exists|holds a finished prediction"):
        predict_files(run, source, output, **flags)
    assert files_of(output) == files_of(whole.output)


def test_other_versions_do_not_go_on(run, source, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_before(patch, 2)
        with pytest.raises(Stopped):
            predict_files(run, source, tmp_path / "out", bf16=False, rows_per_part=15)
    known = versions()
    monkeypatch.setattr("salience.eval.predict.planning.versions", lambda: {**known, "torch": "0.1"})
    with pytest.raises(UserError, match="was begun with other versions of the packages"):
        predict_files(run, source, tmp_path / "out", bf16=False, rows_per_part=15)


def test_other_flags_model_or_input_do_not_go_on(run, source, tmp_path, monkeypatch):
    flags = {"bf16": False, "rows_per_part": 15}
    with monkeypatch.context() as patch:
        stop_before(patch, 2)
        with pytest.raises(Stopped):
            predict_files(run, source, tmp_path / "out", **flags)
    before = files_of(tmp_path / "out")
    for changed, told in (
        ({"rows_per_part": 10}, "was begun with --rows_per_part 15; give the same"),
        ({"prefix": "my_"}, "was begun with no --prefix"),
        ({"text_column": "other"}, "has no column 'other'"),
        ({"bf16": True}, "was begun with --bf16 false"),
    ):
        with pytest.raises(UserError, match=told):
            predict_files(run, source, tmp_path / "out", **{**flags, **changed})
    with pytest.raises(UserError, match="was begun with another model"):
        predict_files(save_model(tmp_path / "other", tie_word_embeddings=True), source, tmp_path / "out", **flags)
    source.write_text(source.read_text().replace("goal", "match"))
    with pytest.raises(UserError, match=r"was begun with other input \(.*in.jsonl differs\)"):
        predict_files(run, source, tmp_path / "out", **flags)
    assert files_of(tmp_path / "out") == before


def test_a_stop_between_the_last_steps_is_made_up(run, source, tmp_path, monkeypatch):
    flags = {"bf16": False, "rows_per_part": 15, "max_rejected": 0.2}
    whole = files_of(predict_files(run, source, tmp_path / "whole.jsonl", **flags).output)
    for step in ("join_parts", "shutil.rmtree"):
        output = tmp_path / f"{step}.jsonl"
        with monkeypatch.context() as patch:
            patch.setattr(f"salience.eval.predict.output.{step}", lambda *_: (_ for _ in ()).throw(Stopped))
            with pytest.raises(Stopped):
                predict_files(run, source, output, **flags)
        if not output.exists():
            predict_files(run, source, output, **flags)
        with pytest.raises(UserError, match="exists"):
            predict_files(run, source, output, **flags)
        assert files_of(output) == whole
        assert not (tmp_path / f".{output.name}.parts").exists()


def start(run, source, output, tmp_path, *launcher):
    command = [*launcher, EVAL, "predict", "--model", run, "--input", source, "--output", output, "--bf16", "false",
               "--rows_per_part", "500", "--max_rejected", "0.2"]  # fmt: skip
    environment = clean_environment(tmp_path / "home", HF_HUB_OFFLINE="1", PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    with open(tmp_path / "log.txt", "ab") as log:
        return subprocess.Popen(
            [sys.executable, *map(str, command)], env=environment, stdout=log, stderr=log, start_new_session=True
        )


@pytest.mark.slow
@pytest.mark.parametrize("name, times", [("out.jsonl", 10), ("out", 4)])
def test_a_prediction_that_is_killed_again_and_again_ends_complete(run, tmp_path, name, times):
    source = write_texts(tmp_path / "in.jsonl", 20_000)
    assert start(run, source, tmp_path / "whole" / name, tmp_path).wait() == 0
    (tmp_path / "killed").mkdir()
    moments, output = random.Random(0), tmp_path / "killed" / name
    parts = output if name == "out" else output.with_name(f".{name}.parts")
    kills = 0
    for _ in range(times):
        process = start(run, source, output, tmp_path)
        begun = len(list(parts.glob("part-*")))
        while process.poll() is None and len(list(parts.glob("part-*"))) == begun:
            time.sleep(0.01)
        time.sleep(moments.random() * 0.5)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    finished = output.is_file() or (output / ".rejected.jsonl").exists()
    assert finished or start(run, source, output, tmp_path).wait() == 0, (tmp_path / "log.txt").read_text()[-2000:]
    assert kills > 2 and files_of(output) == files_of(tmp_path / "whole" / name)


@pytest.mark.slow
def test_two_processes_write_the_rows_of_one(run, tmp_path):
    source = write_texts(tmp_path / "in.jsonl", 3_000)
    launcher = ["-m", "accelerate.commands.launch", "-q", "--config_file", CPU_2]
    assert start(run, source, tmp_path / "one.jsonl", tmp_path).wait() == 0
    assert start(run, source, tmp_path / "two.jsonl", tmp_path, *launcher).wait() == 0
    one, two = (read_jsonl(tmp_path / f"{name}.jsonl") for name in ("one", "two"))
    assert [(row.get("id"), row["label"]) for row in one] == [(row.get("id"), row["label"]) for row in two]
    assert [row["score"] for row in two] == pytest.approx([row["score"] for row in one], abs=1e-6)
    rejected = [(tmp_path / f"{name}.jsonl.rejected.jsonl").read_bytes() for name in ("one", "two")]
    assert rejected[0] == rejected[1]
    assert start(run, source, tmp_path / "two.jsonl", tmp_path, *launcher).wait() != 0  # it is there already


# Not by `wait4`: what it tells of a new process begins with the memory of the one that started it.
MEASURED = """
import sys
from salience.eval.cli import main
assert main(["predict", *sys.argv[1:]]) == 0
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


def most_memory(run, source, tmp_path):
    """Kilobytes that a prediction takes at most."""
    flags = ["--bf16", "false", "--rows_per_part", "500", "--output", source.with_name(f"out{source.suffix}")]
    words = [sys.executable, "-c", MEASURED, "--model", run, "--input", source, *flags]
    environment = clean_environment(tmp_path / "home", HF_HUB_OFFLINE="1", PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    process = subprocess.run([*map(str, words)], env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-2000:]
    return int(process.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
def test_memory_does_not_grow_with_the_rows(run, tmp_path, name):
    found = []
    for count in (3_000, 60_000):
        texts = [f"{text} number {number}" for number, text in enumerate(many_texts(count))]
        source = tmp_path / str(count) / name
        source.parent.mkdir()
        rows = pd.DataFrame({"text": texts, "note": [f"something longer {number}" * 50 for number in range(count)]})
        if name == "in.parquet":
            rows.to_parquet(source, row_group_size=10_000)
        elif name == "in.csv":
            rows.to_csv(source, index=False)
        else:
            rows.to_json(source, orient="records", lines=True)
        found.append(most_memory(run, source, tmp_path))
    assert found[1] < 1.1 * found[0]
