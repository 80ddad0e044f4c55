import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from salience.eval.cli import main
from salience.eval.scores.calibration import calibration
from salience.eval.scores.prediction_files import read_predictions
from salience.train.folder.hub_files import hub_files
from tests.helpers.paths import EVAL
from tests.helpers.toy import clean_environment, toy_csv
from tests.helpers.toy_study import wait_for, write_study

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_csv(tmp_path_factory.mktemp("data"), num_train=60, num_test=45)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data):
    """A study that ran without being disturbed: its command and its folder."""
    folder = tmp_path_factory.mktemp("study")
    command = ["study", write_study(folder), "--output_dir", str(folder / "out"), *data]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        assert main(command) == 0
    return command, folder / "out"


def results(folder, with_seconds=False):
    study = json.loads((folder / "study.json").read_text())
    if not with_seconds:
        for row in study["rows"].values():
            for part in (*row["seeds"].values(), row["mean"], row["sd"]):
                del part["train_seconds"], part["texts_per_second"]
    return study


def in_process(command, **options):
    environment = clean_environment(Path(os.environ.get("HF_HOME", "~")).expanduser(), HF_HUB_OFFLINE="1")
    return subprocess.Popen([sys.executable, EVAL, *command], env=environment, **options)


def test_results_are_those_of_the_cells(finished):
    _, folder = finished
    study = results(folder, with_seconds=True)
    assert list(study["rows"]) == ["tfidf_svm", "lstm"]
    assert study["best_sparse"] == "tfidf_svm"
    for name, row in study["rows"].items():
        scores = []
        for seed in ("0", "3"):
            cell = folder / "cells" / name / f"seed_{seed}"
            test, validation = (json.loads((cell / f"{each}_results.json").read_text()) for each in ("test", "eval"))
            found = row["seeds"][seed]
            assert found["accuracy"] == test["test_accuracy"] == read_predictions(cell, "test").is_right().mean()
            assert validation["eval_accuracy"] == read_predictions(cell, "validation").is_right().mean()
            assert found["validation_accuracy"] == validation["eval_accuracy"]
            assert found["f1_macro"] == test["test_f1_macro"]
            assert found["train_seconds"] > 0
            scores.append(found["accuracy"])
            assert found["recall_macro"] == test["test_recall_macro"]
            assert found["validation_recall_macro"] == validation["eval_recall_macro"]
            assert found["network_accuracy"] == test.get("test_network_accuracy")
            assert (found["network_accuracy"] is None) == (name == "tfidf_svm")
            answers = read_predictions(folder / "cells" / name / f"seed_{seed}", "test")
            short, long = answers.num_words < 100, answers.num_words > 500
            assert found["accuracy_short"] == pytest.approx(answers.is_right()[short].mean())
            assert found["accuracy_long"] is None and not long.any()
            table = calibration(answers)
            assert found["ece"] == table["ece_equal_width"]
            assert found["texts_per_second"] > 0
        assert row["mean"]["accuracy"] == pytest.approx(sum(scores) / 2)
        assert row["sd"]["accuracy"] == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
    lstm, svm = (study["rows"][name] for name in ("lstm", "tfidf_svm"))
    difference = lstm["mean"]["accuracy"] - svm["mean"]["accuracy"]
    assert lstm["against"]["tfidf_svm"]["difference"] == pytest.approx(difference)
    assert svm["against"]["lstm"]["difference"] == pytest.approx(-difference)


def test_seeds_decide_weights_and_splits(finished):
    _, folder = finished
    runs = [json.loads((folder / f"cells/lstm/seed_{seed}/run.json").read_text()) for seed in (0, 3)]
    assert [run["seed"] for run in runs] == [0, 3]
    splits = [run["data"]["splits"] for run in runs]
    assert splits[0]["validation"]["sha256"] != splits[1]["validation"]["sha256"]
    sparse = json.loads((folder / "cells/tfidf_svm/seed_3/run.json").read_text())["data"]["splits"]
    assert sparse == splits[1]


def test_models_stay_and_checkpoints_go(finished):
    _, folder = finished
    assert len(list(folder.glob("cells/lstm/*/model.safetensors"))) == 2
    assert not list(folder.glob("cells/*/*/checkpoint-*"))


def test_predictions_are_never_published(finished):
    _, folder = finished
    assert (folder / "cells/lstm/seed_0/test_predictions.parquet").exists()
    published = hub_files(folder / "cells/lstm/seed_0")
    assert "model.safetensors" in published
    assert not [name for name in published if "predictions" in name]


def test_a_figure_is_drawn(finished):
    assert (finished[1] / "study.png").read_bytes().startswith(b"\x89PNG")


def test_table_names_every_row(finished):
    _, folder = finished
    table = (folder / "study.md").read_text()
    assert table.startswith("# Toy &lt;b&gt;study&lt;/b&gt;")
    assert all(f"| {name} | 2 |" in table for name in ("tfidf\\_svm", "lstm"))


def test_finished_cells_are_not_run_again(finished):
    command, folder = finished
    before = {file: file.stat().st_mtime_ns for file in folder.glob("cells/*/*/*")}
    study = (folder / "study.json").read_text()
    assert main(command) == 0
    assert {file: file.stat().st_mtime_ns for file in folder.glob("cells/*/*/*")} == before
    assert (folder / "study.json").read_text() == study


def test_cells_with_other_flags_are_refused(finished, capsys):
    command, folder = finished
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert main([*command, "--learning_rate", "0.02"]) == 2
    assert "holds a run with another learning_rate" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_texts_that_changed_between_two_cells_are_refused(finished, tmp_path, data, capsys):
    out = shutil.copytree(finished[1], tmp_path / "out")
    file = out / "cells/tfidf_svm/seed_0/run.json"
    record = json.loads(file.read_text())
    record["data"]["splits"]["train"]["sha256"] = "of another file"
    file.write_text(json.dumps(record))
    assert main(["study", write_study(tmp_path), "--output_dir", str(out), *data]) == 2
    assert "had other texts by the same flags" in capsys.readouterr().err


def test_a_cell_of_another_seed_is_refused(finished, tmp_path, data, capsys):
    out = shutil.copytree(finished[1], tmp_path / "out")
    file = out / "cells/lstm/seed_3/run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seed": 5}))
    assert main(["study", write_study(tmp_path), "--output_dir", str(out), *data]) == 2
    assert f"{file} tells of seed 5: restore it" in capsys.readouterr().err


@pytest.mark.slow
def test_two_jobs_give_the_same_as_one(finished, tmp_path, data):
    _, folder = finished
    command = ["study", write_study(tmp_path), "--jobs", "2", "--output_dir", str(tmp_path / "out"), *data]
    assert main(command) == 0
    assert results(tmp_path / "out") == results(folder)


@pytest.mark.parametrize("how", ["kill", pytest.param("end", marks=pytest.mark.slow)])
def test_a_stopped_study_continues_to_the_same_results(finished, tmp_path, data, how):
    _, folder = finished
    out = tmp_path / "out"
    command = ["study", write_study(tmp_path), "--output_dir", str(out), *data]
    process = in_process(command, start_new_session=True)
    wait_for(lambda: list(out.glob("cells/lstm/seed_0/checkpoint-*/trainer_state.json")))
    if how == "kill":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.terminate()
    assert process.wait(60) != 0
    assert (out / "cells/tfidf_svm/seed_0/run.json").exists()
    assert not (out / "cells/lstm/seed_0/run.json").exists()
    if how == "end":  # what was finished is told all the same
        assert {name: list(row["seeds"]) for name, row in results(out)["rows"].items()} == {
            "tfidf_svm": ["0"], "lstm": [],
        }  # fmt: skip
    sparse = (out / "cells/tfidf_svm/seed_0/run.json").read_bytes()
    assert main(command) == 0
    assert (out / "cells/tfidf_svm/seed_0/run.json").read_bytes() == sparse
    assert "--resume_from_checkpoint" in json.loads((out / "cells/lstm/seed_0/run.json").read_text())["command"]
    assert results(out) == results(folder)
    assert results(out, with_seconds=True)["rows"]["lstm"]["seeds"]["0"]["train_seconds"] is None


def test_a_failing_cell_is_named_and_the_others_go_on(tmp_path, data, capsys):
    rows = {"bad": {"model": "lstm", "adam_epsilon": 0}}  # it answers with NaN
    study = write_study(tmp_path, seeds=[0], reference="tfidf_svm", rows=rows)
    out = tmp_path / "out"
    assert main(["study", study, "--output_dir", str(out), *data]) == 2
    log = out / "cells/bad/seed_0.log"
    assert f"1 of 2 cells failed, the others are finished; see {log}" in capsys.readouterr().err
    assert "training has diverged" in log.read_text()
    assert list(results(out)["rows"]["tfidf_svm"]["seeds"]) == ["0"]
    assert results(out)["rows"]["bad"]["seeds"] == {}
