"""eval.py compare on texts that can have several labels."""

import pytest
from sklearn.metrics import accuracy_score

from salience.eval.cli import main
from salience.eval.scores.prediction_files import read_predictions
from tests.helpers.toy import toy_texts, write_jsonl
from tests.helpers.training import read, train


def test_texts_with_several_labels_are_compared_by_all_their_labels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [(text, [label, "long"] if len(text) % 3 else [label]) for text, label in toy_texts(80, 0)]
    write_jsonl(tmp_path / "several.jsonl", rows)
    data = ["--train_file", "several.jsonl", "--test_size", "0.3", "--validation_size", "0.3"]
    train(tmp_path / "lstm", "--model", "lstm", "--embedding_dim", 8, "--hidden_dim", 8, *data, "--max_steps", 2)
    assert main(["compare", "lstm", "--output_dir", "out"]) == 0
    found = {row["name"]: row for row in read(tmp_path / "out/results/model_comparison.json")["rows"]}
    assert found.keys() == {"lstm", "tfidf_svm", "tfidf_logistic"}
    answers = read_predictions(tmp_path / "out/sparse/tfidf_svm", "test")
    assert found["tfidf_svm"]["accuracy"] == accuracy_score(answers.truths, answers.answers)
    ours = read_predictions(tmp_path / "lstm", "test")
    assert answers.label_thresholds is not None and ours.label_thresholds is not None
    best = read(tmp_path / "out/results/model_comparison.json")["best_sparse"]
    theirs = read_predictions(tmp_path / "out/sparse" / best, "test")
    difference = ours.is_right().mean() - theirs.is_right().mean()
    assert found["lstm"]["against_best_sparse"]["difference"] == pytest.approx(difference)
    legend = "an answer is right if it gives all of them and no other"
    assert legend in capsys.readouterr().out
    assert legend in (tmp_path / "out/model_comparison.md").read_text(encoding="utf-8")
    train(tmp_path / "half", "--model", "cnn", "--num_filters", 8, *data, "--max_steps", 2, "--fit_thresholds", "false")
    assert main(["compare", "half", "--output_dir", "out"]) == 2
    assert "gives labels by another --fit_thresholds" in capsys.readouterr().err
    assert main(["compare", "lstm", "out/sparse/tfidf_svm", "--output_dir", "out"]) == 0
