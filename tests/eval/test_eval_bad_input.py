"""What every command of eval.py refuses before it reads anything."""

import pytest

from salience.eval.cli import main

COMMANDS = {
    "study": "study study.yaml --train_file train.csv --test_file test.csv",
    "sparse": "sparse tfidf_svm --train_file train.csv --test_file test.csv",
    "score": "score --model run --test_file test.csv",
    "report": "report --model run --test_file test.csv",
    "benchmark": "benchmark --test_file test.csv",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_folder_that_can_not_be_made_is_told_before_the_work(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("seeds: [0]\nsparse: tfidf_svm\n")
    (tmp_path / "mine.csv").write_text("text,label\n")
    assert main([*command.split(), "--output_dir", "mine.csv"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: --output_dir mine.csv can't be made: mine.csv is a file; name a folder"
    ]
    assert (tmp_path / "mine.csv").read_text() == "text,label\n"
