"""Finished cells that may not stand in one table: of another baseline, or of data that changed between two seeds."""

import shutil

import pytest

from salience.eval.cli import main
from salience.eval.study.file import read_study
from tests.helpers.toy import toy_csv

STUDY = (
    "arguments: {{train_file: data.csv, test_size: 0.3, drop_leaked: {}}}\nseeds: {}\nrows:\n  counts: {{model: {}}}\n"
)


@pytest.fixture
def study(tmp_path, monkeypatch, capsys):
    """Write a study, make the cells that aren't finished, and say what the study itself answers."""
    monkeypatch.chdir(tmp_path)
    toy_csv(tmp_path, num_train=120)
    shutil.move("train.csv", "data.csv")

    def run(model="tfidf_logistic", seeds=(0, 1), drop_leaked="false"):
        (tmp_path / "study.yaml").write_text(STUDY.format(drop_leaked, list(seeds), model))
        for cell in read_study("study.yaml", {}).cells(tmp_path / "out"):
            if not cell.folder.exists():
                cell.prepare()
                assert main(["baseline", model, str(cell.recipe_file)]) == 0
        capsys.readouterr()
        return main(["study", "study.yaml", "--output_dir", str(tmp_path / "out")]), capsys.readouterr().err

    return run


def test_a_cell_of_another_baseline_is_refused(study):
    assert study()[0] == 0
    status, error = study("tfidf_complement_nb")
    assert status == 2 and "holds a run with another model: choose another --output_dir" in error


@pytest.mark.parametrize("drop_leaked", ["false", "true"])
def test_seeds_of_other_data_are_refused(study, tmp_path, drop_leaked):
    assert study(seeds=[0], drop_leaked=drop_leaked)[0] == 0
    toy_csv(tmp_path, num_train=60)
    shutil.move("train.csv", "data.csv")
    status, error = study(drop_leaked=drop_leaked)
    assert status == 2 and "are parts of other data, by the same flags: files have changed since" in error
