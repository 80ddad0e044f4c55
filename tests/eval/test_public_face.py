"""What eval.py does, called from Python."""

import json
from importlib.metadata import version

import pandas as pd
import pytest

from salience.eval import (
    UserError,
    compare_runs,
    load_classifier,
    predict_files,
    run_study,
    score_model,
    write_report,
)
from salience.eval.cli import COMMANDS, main, salience
from tests.helpers.run_folders import read
from tests.helpers.toy import toy_texts, write_csv
from tests.helpers.training import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("face")
    file = write_csv(folder / "train.csv", toy_texts(48))
    test = write_csv(folder / "test.csv", toy_texts(12, seed=1))
    sizes = ["--embedding_dim", 8, "--hidden_dim", 8, "--num_train_epochs", 3, "--learning_rate", 0.01]
    return train(folder / "run", "--model", "lstm", "--train_file", file, "--test_file", test, *sizes)


@pytest.fixture
def data(run):
    return {"train_file": [str(run.parent / "train.csv")], "test_file": str(run.parent / "test.csv")}


def test_scores_of_a_file_and_of_texts_in_memory_are_those_of_the_run(run, data, tmp_path):
    expected = read(run, "test_results.json")
    texts, labels = zip(*toy_texts(12, seed=1), strict=True)
    by_file = score_model(run, test_file=data["test_file"], output_dir=str(tmp_path / "out"))
    in_memory = score_model(run, (list(texts), list(labels)), batch_size=5)
    assert by_file["accuracy"] == in_memory["accuracy"] == expected["test_accuracy"]
    assert by_file["per_class"] == in_memory["per_class"]
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["accuracy"] == by_file["accuracy"]


def test_texts_that_a_model_was_trained_on_are_told(run, data, caplog):
    score_model(run, test_file=data["test_file"])
    assert "was trained on" not in caplog.text
    score_model(run, test_file=data["train_file"][0])
    assert "is called as what this model was trained on: scores on texts that it has seen are too high" in caplog.text


def test_a_frame_in_the_place_of_a_file_is_refused(run):
    with pytest.raises(UserError, match=r"not a DataFrame: label it with Predictor\(model\)\(it\)"):
        predict_files(run, pd.DataFrame({"text": ["a"]}), "answers.csv")


def test_a_report_is_written_from_python(run, data, tmp_path):
    written = write_report(run, output_dir=str(tmp_path / "report"), num_explained=2, num_documents=6, **data)
    assert written.page.read_text(encoding="utf-8").startswith("<!")
    assert written.results == read(tmp_path / "report", "report.json")
    assert written.results["made"]["command"].startswith("write_report --model=run")
    texts, labels = zip(*toy_texts(12, seed=1), strict=True)
    memory = write_report(run, (list(texts), list(labels)), output_dir=str(tmp_path / "memory"), num_explained=2)
    assert memory.results["scores"] == written.results["scores"]
    assert memory.results["data"]["name"] == "lists"
    with pytest.raises(UserError, match="report.json exists: choose another --output_dir"):
        write_report(run, output_dir=str(tmp_path / "report"), **data)


def test_runs_are_compared_from_python(run, data, tmp_path):
    results = compare_runs([run], output_dir=str(tmp_path / "out"), **data)
    assert [row["name"] for row in results["rows"]][0] == "run"
    assert results == json.loads((tmp_path / "out" / "results" / "model_comparison.json").read_text())
    with pytest.raises(UserError, match="there are no runs to compare"):
        compare_runs([])


@pytest.mark.slow
def test_a_study_is_run_from_python(data, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("seeds: [0]\nsparse: tfidf_svm\n")
    results = run_study(file, output_dir=str(tmp_path / "out"), **data)
    assert results["rows"]["tfidf_svm"]["mean"]["accuracy"] is not None
    with pytest.raises(UserError, match="--jobs 0 must be at least 1"):
        run_study(file, jobs=0, output_dir=str(tmp_path / "out"), **data)
    with pytest.raises(UserError, match="--jobs '2' must be a whole number"):
        run_study(file, jobs="2", output_dir=str(tmp_path / "out"), **data)
    with pytest.raises(UserError, match="unknown flag --help; see"):
        run_study(file, output_dir=str(tmp_path / "out"), **data, help=True)


def test_a_classifier_is_loaded_with_its_tokenizer(run):
    model, tokenizer = load_classifier(run)
    assert model(**tokenizer("a goal", return_tensors="pt")).logits.shape == (1, 3)
    with pytest.raises(UserError, match="can't be loaded"):
        load_classifier(run.parent)


def test_help_of_the_program_is_one_screen(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["salience", "--help"])
    assert salience() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 100
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_usage(command, capsys):
    try:
        status = main([command, "--help"], "salience", COMMANDS)
    except SystemExit as error:  # argparse
        status = error.code
    assert status == 0 and command in capsys.readouterr().out


@pytest.mark.parametrize("command", [name for name, each in COMMANDS.items() if not each.runs_alone])
def test_a_command_without_a_word_behind_it_shows_its_help_and_has_failed(command, capsys):
    assert main([command], "salience", COMMANDS) == 2
    assert command in capsys.readouterr().out


@pytest.mark.parametrize("program, known", [("salience", "train"), ("eval.py", "score")])
def test_an_unknown_command_is_told_with_the_nearest(program, known, capsys):
    commands = {"commands": COMMANDS} if program == "salience" else {}
    assert main([f"{known}x"], program, **commands) == 2
    error = capsys.readouterr().err
    assert error == f'error: "{known}x" is no command of {program}; did you mean {known!r}?\n'


def test_the_version_is_that_of_the_package(capsys):
    for program in ("salience", "eval.py"):
        assert main(["--version"], program=program) == 0
        assert capsys.readouterr().out == f"salience {version('salience')}\n"
