"""Data that a study can't compare is refused before the first cell is trained."""

import pytest

from salience.eval.cli import main
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
        (numbers, "exactly one class for each text; these labels are regression"),
        (several, "exactly one class for each text; these labels are multi_label_classification"),
    ],
)
def test_data_that_cannot_be_compared_is_refused_at_the_start(tmp_path, capsys, flags, message):
    out = tmp_path / "out"
    words = map(str, flags(tmp_path))
    assert main(["study", write_study(tmp_path), "--output_dir", str(out), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and "row tfidf_svm: " in error and error.count("\n") == 1
    assert not out.exists()
