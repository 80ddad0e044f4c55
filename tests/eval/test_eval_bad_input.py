"""What every command of eval.py refuses before it reads anything."""

import json
import shutil
from pathlib import Path

import pytest

from salience.configuration.errors import UserError
from salience.eval.cli import COMMANDS as COMMANDS_OF_ALL
from salience.eval.cli import main
from salience.eval.compare.command import compare_runs
from salience.eval.study.file import read_study
from salience.eval.study.results import check_out, mark_as_own
from salience.train.folder.output import held
from tests.helpers.paths import ROOT

COMMANDS = {
    "study": "study study.yaml --train_file train.csv --test_file test.csv",
    "baseline": "baseline tfidf_svm --train_file train.csv --test_file test.csv",
    "score": "score --model run --test_file test.csv",
    "report": "report --model run --test_file test.csv",
    "benchmark": "benchmark --suite growth --test_file test.csv",
    "compare": "compare runs/a",
}


@pytest.mark.parametrize("folder", ["mine.csv", "mine.csv/out"])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_folder_that_can_not_be_made_is_told_before_the_work(tmp_path, monkeypatch, capsys, command, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("seeds: [0]\nsparse: tfidf_svm\n")
    (tmp_path / "mine.csv").write_text("text,label\n")
    assert main([*command.split(), "--output_dir", folder]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --output_dir {folder} can't be made: ") and line.endswith(
        "is a file; name a folder"
    )
    assert (tmp_path / "mine.csv").read_text() == "text,label\n"


@pytest.mark.parametrize("folder", ["/", ".", "..", "link", str(ROOT), str(ROOT.parent)])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_writes_into_a_folder_with_the_home_or_the_package_in_it(
    tmp_path, monkeypatch, capsys, command, folder
):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    (home / "study.yaml").write_text("seeds: [0]\nsparse: tfidf_svm\n")
    (home / "link").symlink_to(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main([*command.split(), "--output_dir", folder]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --output_dir {folder} is or holds ")
    assert sorted(tmp_path.rglob("*")) == before


IDLE = {
    "report --model run --test_file test.csv --validation_size 0.3": "--validation_size 0.3 has no effect here",
    "report --model run --test_file test.csv --max_train_samples 9": "--max_train_samples 9 has no effect here",
    "report --model run --max_length 3": "--max_length 3 has no effect here: held-out texts are read whole",
    "compare runs/a --max_length 3": "--max_length 3 has no effect here: texts are read whole; leave it out",
    "benchmark --suite growth --max_length 9": "--max_length has no effect here: write --train_flags",
}


@pytest.mark.parametrize(("command", "sentence"), IDLE.items())
def test_flags_of_texts_without_effect_are_refused(tmp_path, monkeypatch, capsys, command, sentence):
    monkeypatch.chdir(tmp_path)
    assert main([*command.split(), "--output_dir", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {sentence}")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"study"}))
def test_two_commands_at_once_do_not_write_into_one_folder(tmp_path, monkeypatch, capsys, command):
    """Two studies may: each cell has a folder of its own."""
    monkeypatch.chdir(tmp_path)
    with held(tmp_path / "out"):
        assert main([*COMMANDS[command].split(), "--output_dir", "out"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: another command is working in --output_dir out: wait for its end")


OURS = {
    "results/model_comparison.json": {"test_sha256": "", "best_sparse": "", "rows": []},
    "study.json": {"name": "study", "rows": {}, "reference": None, "best_sparse": None},
}
TAKEN = {
    "report": (
        *("report.html", "report.json", "failure_analysis.json", "visualizations/length.png"),
        "visualizations/word_attention/0.png",
    ),
    "compare": (
        "model_comparison.md",
        "results/model_comparison.json",
        "visualizations/model_comparison.png",
        "run.json",
    ),
    "study": ("study.json", "study.md", "study.png", "run.json"),
    "baseline": ("test_results.json", "eval_results.json", "test_predictions.parquet", "started.json", "run.json"),
    "score": ("scores.json",),
    "benchmark": ("benchmark.json", "growth_seconds.png", "growth_megabytes.png"),
}


@pytest.mark.parametrize(("command", "name"), [(command, name) for command, names in TAKEN.items() for name in names])
@pytest.mark.parametrize("content", ["mine", '{"mine": 1}'])
def test_no_command_replaces_a_file_that_it_did_not_make(tmp_path, monkeypatch, capsys, command, name, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("seeds: [0]\nsparse: tfidf_svm\n")
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text(content)
    words = COMMANDS[command].split()
    assert main([*words, "--output_dir", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "out" in line and ("move" in line or "choose another" in line)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "study.yaml"] == [file]
    assert file.read_text() == content


@pytest.mark.parametrize("command", ["study", "baseline", "compare"])
def test_no_command_makes_an_unfinished_run_a_finished_one(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("seeds: [0]\nsparse: tfidf_svm\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/started.json").write_text('{"kind": "model", "arguments": {}}')
    words = COMMANDS[command].split()
    assert main([*words, "--output_dir", "out"]) == 2
    assert "holds an unfinished run of another kind" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["started.json"]


def test_a_figure_of_the_users_beside_the_card_is_not_replaced_by_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/reliability.png").write_text("mine")
    assert main(["report", "--model", "run", "--test_file", "test.csv"]) == 2
    assert capsys.readouterr().err.startswith("error: run/reliability.png exists")
    assert (tmp_path / "run/reliability.png").read_text() == "mine" and not (tmp_path / "run/report").exists()


def open_study(file, folder):
    """What `eval.py study` does before its first cell."""
    study = read_study(str(file), {})
    check_out(study, Path(folder))
    mark_as_own(study, Path(folder))


def test_studies_of_one_name_do_not_share_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, row in (("a", "lstm"), ("b", "cnn")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "grid.yaml").write_text(f"seeds: [0]\nrows: {{{row}: {{model: {row}}}}}\n")
    open_study("a/grid.yaml", "runs/studies/grid")
    before = sorted((tmp_path / "runs").rglob("*"))
    assert main(["study", "b/grid.yaml", "--train_file", "no.csv"]) == 2
    sentence = "error: runs/studies/grid holds the study of a/grid.yaml: choose another --output_dir"
    assert capsys.readouterr().err.splitlines() == [sentence]
    assert sorted((tmp_path / "runs").rglob("*")) == before
    open_study("a/grid.yaml", "runs/studies/grid")  # again
    open_study("b/grid.yaml", "runs/studies/b")
    shutil.copy("a/grid.yaml", "grid.yaml")  # a copy is the same study
    open_study("grid.yaml", "runs/studies/grid")
    (tmp_path / "moved").mkdir()
    for name in ("a", "grid.yaml", "runs"):
        shutil.move(name, f"moved/{name}")
    monkeypatch.chdir(tmp_path / "moved")
    open_study("a/grid.yaml", "runs/studies/grid")


def test_results_of_an_earlier_version_are_written_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("seeds: [0]\nsparse: tfidf_svm\n")
    for name, content in OURS.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(json.dumps(content))
    (tmp_path / "out/study.md").write_text("of an earlier version")
    assert main(["compare", "runs/a", "--output_dir", "out"]) == 2
    assert "runs/a/run.json can't be read" in capsys.readouterr().err  # the folder was not refused
    open_study("study.yaml", "out")


def test_one_folder_in_place_of_a_list_is_told():
    for runs in ("runs/weak", Path("runs/weak")):
        with pytest.raises(UserError, match=r"takes a list of folders: write compare_runs\(\['runs/weak'\]\)"):
            compare_runs(runs)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *(("baseline", name) for name in ("README.md", "test_results.json", "started.json", "trainer_state.json")),
        *(("compare", name) for name in TAKEN["compare"][:3]),
        *(("study", name) for name in ("study.md", "study.json", "study.png", "started.json")),
        *(("report", name) for name in ("report.html", "report.json", "failure_analysis.json")),
        ("score", "scores.json"), ("benchmark", "benchmark.json"),
    ],
)  # fmt: skip
def test_a_folder_where_a_file_goes_is_told_before_the_work(tmp_path, monkeypatch, capsys, command, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("seeds: [0]\nsparse: tfidf_svm\n")
    (tmp_path / "out" / name).mkdir(parents=True)
    if command == "study" and name != "study.json":  # its own, of an earlier call
        (tmp_path / "out/study.json").write_text(json.dumps(OURS["study.json"]))
    before = sorted(tmp_path.rglob("*"))
    assert main([*COMMANDS[command].split(), "--output_dir", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: out/{name} ") and line.endswith("move it away")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *(("compare", name) for name in ("visualizations", "results", "sparse")),
        ("study", "cells"), ("report", "visualizations"), ("baseline", "adapter"),
    ],
)  # fmt: skip
def test_a_file_where_a_folder_goes_is_told_before_the_work(tmp_path, monkeypatch, capsys, command, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("seeds: [0]\nsparse: tfidf_svm\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    assert main([*COMMANDS[command].split(), "--output_dir", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: out/{name} is a file, and a folder goes there: choose another --output_dir, or move it away"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.parametrize("words", ["", "runs/a", "runs/a user/name more", "runs/a user/name --privat"])
def test_push_ends_in_one_sentence_as_other_commands(capsys, words):
    assert main(["push", *words.split()], "salience", COMMANDS_OF_ALL) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and line.endswith("; see salience push --help")
