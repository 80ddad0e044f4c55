"""Data that a study can't compare is refused before the first cell is trained."""

import json
from pathlib import Path

import pytest

from salience.eval.cli import main
from salience.eval.scores.prediction_files import read_predictions
from salience.eval.study.file import read_study
from tests.helpers.toy import toy_csv
from tests.helpers.toy_study import write_study


def numbers(folder):
    rows = "".join(f"a text of {n} words,{n / 7}\n" for n in range(40))
    (folder / "numbers.csv").write_text(f"text,label\n{rows}")
    return ["--train_file", str(folder / "numbers.csv"), "--test_size", "0.2", "--problem_type", "regression"]


def several(folder):
    rows = "".join(
        f'{{"text": "text {n}", "label": ["a", "b"]}}\n{{"text": "t {n}", "label": []}}\n' for n in range(20)
    )
    (folder / "several.jsonl").write_text(rows)
    return ["--train_file", str(folder / "several.jsonl"), "--test_size", "0.2"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            lambda folder: toy_csv(folder)[:2],
            "row tfidf_svm: a study compares scores of test texts, and there are none",
        ),
        (lambda folder: [*toy_csv(folder)[:2], "--test_file", "no.csv"], "no.csv"),
        (numbers, "need classes; these labels are regression"),
    ],
)
def test_data_that_cannot_be_compared_is_refused_at_the_start(tmp_path, capsys, flags, message):
    out = tmp_path / "out"
    words = map(str, flags(tmp_path))
    assert main(["study", write_study(tmp_path), "--output_dir", str(out), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and "row tfidf_svm: " in error and error.count("\n") == 1
    assert not out.exists()


OTHER_DATA = {
    "train_file: gone.csv": "gone.csv",
    "test_file: gone.csv": "gone.csv",
    "test_file: unseen.csv": "has the label 'chess'",
    "text_column: body": "has no column 'body'",
    "label_column: topic": "has no column 'topic'",
    "test_file: train.csv": "its test texts are others than those of row same",
    "train_file: numbers.csv, test_file: null, test_size: 0.2": "these labels are regression",
    "test_file: null, test_size: 0.2": "its test texts are others than those of row same",
}


SPLIT_HERE = "arguments: {train_file: train.csv, test_size: 0.3}\nseeds: [0, 1]\nrows:\n  a: {model: tfidf_svm}\n"
OTHER_TEXTS = "error: rows.yaml, row {}: its test texts are others than those of row {}, so they can't be compared"


@pytest.mark.parametrize("compared", ["sparse: tfidf_svm\n", "reference: same\n", ""])
@pytest.mark.parametrize("flags", OTHER_DATA)
def test_the_data_of_every_row_are_looked_at_before_the_first_cell(tmp_path, monkeypatch, capsys, flags, compared):
    monkeypatch.chdir(tmp_path)
    toy_csv(tmp_path)
    numbers(tmp_path)
    (tmp_path / "unseen.csv").write_text("text,label\na text,chess\n")
    rows = f"rows: {{same: {{model: tfidf_logistic}}, other: {{model: tfidf_svm, {flags}}}}}"
    (tmp_path / "rows.yaml").write_text(
        f"arguments: {{train_file: train.csv, test_file: test.csv}}\nseeds: [0, 1]\n{compared}{rows}\n"
    )
    assert main(["study", "rows.yaml", "--output_dir", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line.startswith("error: rows.yaml, row other: ")
        and OTHER_DATA[flags].replace("row same", "row tfidf_svm" if "sparse" in compared else "row same") in line
    )
    assert not (tmp_path / "out").exists()


def test_rows_that_split_the_same_data_otherwise_are_not_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toy_csv(tmp_path)
    for split_seed, rows in ((0, "ab"), (5, "ba")):
        (tmp_path / "rows.yaml").write_text(f"{SPLIT_HERE}  b: {{model: tfidf_svm, split_seed: {split_seed}}}\n")
        assert main(["study", "rows.yaml", "--output_dir", "out"]) == 2
        assert capsys.readouterr().err.splitlines() == [OTHER_TEXTS.format(*rows)]
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_row_that_is_finished_is_not_compared_with_other_texts_either(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toy_csv(tmp_path)
    (tmp_path / "rows.yaml").write_text(SPLIT_HERE)
    assert main(["study", "rows.yaml", "--output_dir", "out"]) == 0
    (tmp_path / "rows.yaml").write_text(f"{SPLIT_HERE}  b: {{model: tfidf_svm, split_seed: 5}}\n")
    assert main(["study", "rows.yaml", "--output_dir", "out"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == OTHER_TEXTS.format(*"ba")


def test_a_training_file_that_changed_is_told_before_the_next_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toy_csv(tmp_path)
    study = "arguments: {train_file: train.csv, test_file: test.csv}\nseeds: [0]\nrows:\n  a: {model: tfidf_svm}\n"
    (tmp_path / "rows.yaml").write_text(study)
    (cell,) = read_study("rows.yaml", {}).cells(Path("out"))
    cell.prepare()
    assert main(["baseline", "tfidf_svm", str(cell.recipe_file)]) == 0
    assert main(["study", "rows.yaml", "--output_dir", "out"]) == 0
    (tmp_path / "rows.yaml").write_text(f"{study}  b: {{model: tfidf_logistic}}\n")
    lines = (tmp_path / "train.csv").read_text().splitlines(keepends=True)
    (tmp_path / "train.csv").write_text("".join(lines[:-4]))
    assert main(["study", "rows.yaml", "--output_dir", "out"]) == 2
    assert "out/cells/a/seed_0 had other texts by the same flags: files have changed" in capsys.readouterr().err
    assert not (tmp_path / "out/cells/b/seed_0/run.json").exists()


@pytest.mark.slow
def test_texts_with_several_labels_are_studied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    several(tmp_path)
    arguments = "{train_file: several.jsonl, test_size: 0.3, validation_size: 0.3}"
    (tmp_path / "rows.yaml").write_text(f"arguments: {arguments}\nseeds: [0]\nsparse: [tfidf_logistic]\n")
    assert main(["study", "rows.yaml", "--output_dir", "out"]) == 0
    rows = json.loads((tmp_path / "out/study.json").read_text())["rows"]
    assert rows.keys() == {"tfidf_logistic"}
    for name, row in rows.items():
        for seed, scores in row["seeds"].items():
            answers = read_predictions(tmp_path / f"out/cells/{name}/seed_{seed}", "test")
            assert answers.label_thresholds is not None
            assert scores["accuracy"] == (answers.answers == answers.truths).all(1).mean()
    assert "gives all of them and no other" in (tmp_path / "out/study.md").read_text(encoding="utf-8")


def test_a_baseline_for_one_class_is_refused_at_the_start(tmp_path, capsys):
    study = write_study(tmp_path, sparse=["tfidf_svm", "tfidf_complement_nb"], rows={}, reference="tfidf_svm")
    assert main(["study", study, "--output_dir", str(tmp_path / "out"), *several(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "row tfidf_complement_nb: tfidf_complement_nb needs exactly one class for each text; for several take one of "
        "tfidf_svm, tfidf_logistic, tfidf_word_char_svm, frozen_logistic"
    )
    assert not (tmp_path / "out").exists()
