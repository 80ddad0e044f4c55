"""Who works in an output folder, and what may be in it."""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from salience.configuration.errors import UserError
from salience.model_cards.run_folder import LOCK_FILE
from salience.train.folder.marked import SAVED_FOLDER, SAVING_FOLDER, mark_checkpoint, saved, saving_folder
from salience.train.folder.new import new_folder
from salience.train.folder.output import (
    UNPUBLISHED_FILES,
    check_writable,
    checkpoints,
    claimed,
    held,
    holds_model,
    is_claimed,
    start,
)

PLAN = {"kind": "model", "arguments": {}}
HOLD = "import sys, time, pathlib; from salience.train.folder.output import claimed\n"
HOLD += "with claimed(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(100)"


def unfinished(folder, *steps, state="{}"):
    start(folder, PLAN)
    for step in steps:
        mark_checkpoint(folder, step)
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(state)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_in_a_folder_is_refused_until_the_first_ends_in_any_way(tmp_path):
    folder = tmp_path / "out"
    command = [sys.executable, "-c", HOLD, str(folder)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n" and is_claimed(folder)
    for resuming in (False, True):
        with (
            pytest.raises(UserError, match="another command is working in"),
            claimed(folder, "model", resuming),
        ):
            raise AssertionError("two runs in one folder")
    with claimed(folder, is_first=False):  # further processes of one job share the folder
        assert is_claimed(folder)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not is_claimed(folder)
    with claimed(folder):
        assert is_claimed(folder)
    assert not is_claimed(folder) and not (folder / LOCK_FILE).exists()


@pytest.mark.parametrize("error", [None, UserError("wrong"), KeyboardInterrupt()])
def test_a_run_that_writes_nothing_leaves_no_folder(tmp_path, error):
    folder = tmp_path / "a" / "b"
    try:
        with claimed(folder):
            assert folder.is_dir()
            if error:
                raise error
    except (UserError, KeyboardInterrupt):
        pass
    assert list(tmp_path.iterdir()) == []
    with claimed(folder):
        (folder / "notes.txt").write_text("mine")
    assert contents(tmp_path) == {"a/b/notes.txt": b"mine"}


def test_a_folder_that_was_there_stays(tmp_path):
    with claimed(tmp_path):
        pass
    assert tmp_path.is_dir()


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint-1/model.safetensors",
        "checkpoint-best/pytorch_model.bin",
        "checkpoint-7/trainer_state.json",
        "checkpoint-2-old/notes.txt",
        "checkpoint-3",
        f"{SAVING_FOLDER}/thesis.txt",
        f"{SAVED_FOLDER}/config.json",
        LOCK_FILE,
    ],
)
@pytest.mark.parametrize("is_unfinished", [False, True])
@pytest.mark.parametrize("resuming", [False, True])
def test_what_is_called_like_a_folder_of_a_run_is_refused_and_stays(tmp_path, name, is_unfinished, resuming):
    if is_unfinished:
        unfinished(tmp_path, 5)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=name.split("/")[0]), claimed(tmp_path, resuming=resuming):
        raise AssertionError
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["checkpoint-best", SAVING_FOLDER, SAVED_FOLDER, LOCK_FILE])
@pytest.mark.parametrize("target", [None, "elsewhere", "nowhere"])
def test_empty_folders_and_links_of_such_names_are_refused_too(tmp_path, name, target):
    start(tmp_path / "elsewhere", PLAN)  # marked as a run's, and not within its folder
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / target) if target else (folder / name).mkdir()
    with pytest.raises(UserError, match=f"holds {name}, which no run"), claimed(folder):
        raise AssertionError
    assert [path.name for path in folder.iterdir()] == [name] and not (tmp_path / "nowhere").exists()
    assert (tmp_path / "elsewhere/started.json").exists()


def test_files_of_others_whose_names_no_run_uses_stay(tmp_path):
    for name in (".lock", ".checkpoint-3", ".salience.lock.old"):
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with claimed(tmp_path):
        unfinished(tmp_path, 3)
    assert before.items() <= contents(tmp_path).items()


@pytest.mark.parametrize("content", ["", "1234567\nhost\n"])  # the second of a file system without locks
def test_a_lock_that_a_killed_run_has_left_is_taken(tmp_path, content):
    (tmp_path / LOCK_FILE).write_text(content)
    assert not is_claimed(tmp_path)
    with claimed(tmp_path):
        assert is_claimed(tmp_path)
    assert not (tmp_path / LOCK_FILE).exists()


@pytest.mark.parametrize("name", ["link", "link/deeper"])
def test_a_link_to_nothing_is_no_folder(tmp_path, name):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="link is a link to nothing; name a folder"), claimed(tmp_path / name):
        raise AssertionError
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


OVERWRITTEN = (*UNPUBLISHED_FILES, "started.json", "README.md", "config.json", "model.safetensors", "vocab.txt")


@pytest.mark.parametrize("name", OVERWRITTEN)
@pytest.mark.parametrize("kind", ["model", "sparse", "frozen"])
def test_files_that_a_run_would_overwrite_are_refused(tmp_path, name, kind):
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(UserError, match=f"holds {name}, which the run would overwrite"), claimed(tmp_path, kind):
        raise AssertionError
    assert contents(tmp_path) == {name: b'{"mine": 1}'}


@pytest.mark.parametrize("name", ["README.md", "tokenizer.json", "adapter/adapter_config.json", "model.py"])
def test_files_that_a_resumed_run_would_overwrite_are_refused(tmp_path, name):
    unfinished(tmp_path, 2)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"holds {name}, which the run would"), claimed(tmp_path, resuming=True):
        raise AssertionError
    assert contents(tmp_path) == before


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_model_that_is_saved_is_not_moved_where_the_run_is_refused(tmp_path, is_finished, monkeypatch):
    start(tmp_path, PLAN)
    part = saving_folder(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (part / name).write_text("{}")
    monkeypatch.setattr(type(tmp_path), "replace", lambda *_: 1 / 0)  # a kill
    with suppress(ZeroDivisionError):
        saved(tmp_path)
    monkeypatch.undo()
    (tmp_path / "config.json").write_text("mine")
    if is_finished:
        (tmp_path / "run.json").write_text("{}")
    before = contents(tmp_path)
    words = "a finished run" if is_finished else "config.json, which the run would overwrite"
    with pytest.raises(UserError, match=f"holds {words}"), claimed(tmp_path, resuming=True):
        raise AssertionError
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("kind", "other"), [("model", "sparse"), ("sparse", "model"), ("frozen", "study")])
def test_a_run_does_not_finish_an_unfinished_one_of_another_kind(tmp_path, kind, other):
    start(tmp_path, {"kind": other})
    before = contents(tmp_path)
    with pytest.raises(UserError, match="holds a"), claimed(tmp_path, kind):
        raise AssertionError
    assert contents(tmp_path) == before


def test_a_run_that_was_stopped_before_a_checkpoint_starts_anew(tmp_path):
    unfinished(tmp_path, 3, state='{"cut')
    for name in (*UNPUBLISHED_FILES, "notes.txt"):
        (tmp_path / name).write_text("{}")
    assert checkpoints(tmp_path) == []
    with claimed(tmp_path):
        start(tmp_path, PLAN | {"arguments": {"seed": 1}})
    assert contents(tmp_path).keys() == {"started.json", "notes.txt"}
    assert json.loads((tmp_path / "started.json").read_text())["arguments"] == {"seed": 1}


def test_weights_of_a_run_that_was_stopped_are_not_overwritten(tmp_path):
    start(tmp_path, PLAN)
    (tmp_path / "model.safetensors").write_text("hours of work")
    with pytest.raises(UserError, match="continue it with --resume_from_checkpoint last"), claimed(tmp_path):
        raise AssertionError
    assert (tmp_path / "model.safetensors").read_text() == "hours of work"


@pytest.mark.parametrize("num_moved", range(4))
def test_a_model_is_saved_as_a_whole_or_not_at_all(tmp_path, num_moved, monkeypatch):
    start(tmp_path, PLAN)
    part = saving_folder(tmp_path)
    (part / "adapter").mkdir()
    names = ["adapter/adapter_model.safetensors", "tokenizer.json", "model.safetensors"]
    for name in names:
        (part / name).write_text(name)
    assert [name for name in names if (tmp_path / name).exists()] == [] and not holds_model(tmp_path)
    moves = iter(range(num_moved))
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, target: next(moves) + 1 and self.rename(target))
    with suppress(StopIteration):  # a kill
        saved(tmp_path)
    assert holds_model(tmp_path) and (tmp_path / "model.safetensors").exists() == (num_moved == 3)
    monkeypatch.undo()
    before = contents(tmp_path)
    with pytest.raises(UserError, match="continue it with --resume_from_checkpoint last"), claimed(tmp_path):
        raise AssertionError
    assert contents(tmp_path) == before
    with claimed(tmp_path, resuming=True):
        pass
    assert all((tmp_path / name).read_text() == name for name in names)
    assert contents(tmp_path).keys() == {"started.json", *names}


def test_weights_may_be_read_by_those_who_may_read_the_rest(tmp_path):
    start(tmp_path, {"kind": "model"})
    part = saving_folder(tmp_path)
    (part / "adapter").mkdir()
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        (part / name).touch(0o600)
    saved(tmp_path)
    expected = (tmp_path / "started.json").stat().st_mode
    assert (tmp_path / "model.safetensors").stat().st_mode == expected
    assert (tmp_path / "adapter/adapter_model.safetensors").stat().st_mode == expected


def test_a_folder_in_a_current_folder_that_was_deleted_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match="the current folder was deleted: change into another one"):
        check_writable(Path("out"))


def test_a_model_that_was_not_saved_to_its_end_is_written_anew(tmp_path):
    start(tmp_path, PLAN)
    (saving_folder(tmp_path) / "model.safetensors").write_text("half of the we")
    assert [path.name for path in saving_folder(tmp_path).iterdir()] == ["started.json"]
    with claimed(tmp_path):
        start(tmp_path, PLAN)
    assert contents(tmp_path).keys() == {"started.json"}


@pytest.mark.parametrize("mark", ["{", "[]", None])
def test_checkpoints_tell_of_their_run_where_its_folder_does_not(tmp_path, mark):
    unfinished(tmp_path, 3, state="{cut")
    (tmp_path / "train_results.json").write_text("{}")
    (tmp_path / "started.json").unlink() if mark is None else (tmp_path / "started.json").write_text(mark)
    with pytest.raises(UserError, match="unfinished run of another kind"), claimed(tmp_path, "sparse"):
        raise AssertionError
    with claimed(tmp_path):
        start(tmp_path, PLAN)
    assert contents(tmp_path).keys() == {"started.json"}


def test_an_unfinished_run_is_resumed_or_refused(tmp_path):
    unfinished(tmp_path, 3, 12)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-12"]
    with pytest.raises(UserError, match="continue it with --resume_from_checkpoint last"), claimed(tmp_path):
        raise AssertionError
    before = contents(tmp_path)
    with claimed(tmp_path, resuming=True):
        pass
    assert contents(tmp_path) == before


def test_a_new_folder_is_whole_or_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with new_folder(str(tmp_path / "link")) as folder:
        (folder / "a").touch()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "empty" / "a").exists()
    with pytest.raises(UserError, match="exists; choose another folder"), new_folder(str(tmp_path / "link")):
        pass
    with pytest.raises(UserError, match="was filled or taken away meanwhile"), new_folder(str(tmp_path / "b")):
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "theirs").touch()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b", "empty", "link"]


def test_what_a_kill_left_of_a_new_folder_is_removed_and_what_is_at_work_stays(tmp_path):
    left, at_work, of_a_user = (f".b.unfinished-{number}" for number in range(3))
    for name in (left, at_work, of_a_user):
        (tmp_path / name / "b").mkdir(parents=True)
        (tmp_path / name / LOCK_FILE).touch()
    (tmp_path / of_a_user / "notes.txt").touch()
    with held(tmp_path / at_work), new_folder(str(tmp_path / "b")) as folder:
        (folder / "a").touch()
    assert sorted(each.name for each in tmp_path.iterdir()) == [at_work, of_a_user, "b"]
    assert [each.name for each in (tmp_path / "b").iterdir()] == ["a"]
