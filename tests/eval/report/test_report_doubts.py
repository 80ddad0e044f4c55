"""The report of texts some of whose labels were swapped."""

import csv

import pytest

from salience.eval.cli import main
from salience.eval.report.output import write_doubts
from tests.helpers.toy import TOPICS, toy_texts, write_csv
from tests.helpers.training import read, train

SIZES = ["--embedding_dim", 8, "--hidden_dim", 8, "--num_train_epochs", 6, "--learning_rate", 0.02]
SWAPPED = range(0, 60, 10)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a model that is right, and of a test file with six wrong labels."""
    folder = tmp_path_factory.mktemp("doubts")
    names = list(TOPICS)
    rows = [
        (text, names[names.index(label) - 1] if row in SWAPPED else label)
        for row, (text, label) in enumerate(toy_texts(60, seed=1))
    ]
    files = ["--train_file", write_csv(folder / "train.csv", toy_texts(120))]
    files += ["--test_file", write_csv(folder / "test.csv", rows), "--data_name", "toys"]
    train(folder / "run", "--model", "lstm", *SIZES, *files)
    words = ["--num_documents", "10", "--num_explained", "2", *map(str, files[:4])]
    assert main(["report", "--model", str(folder / "run"), *words]) == 0
    return folder / "run" / "report"


def test_swapped_labels_are_listed_on_the_page_and_for_a_spreadsheet(report):
    with (report / "doubtful_labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = [int(row["row"]) for row in rows]
    assert len(set(listed) & set(SWAPPED)) >= 5 and len(set(listed) - set(SWAPPED)) <= 2
    found = read(report / "report.json")["doubtful_labels"]
    assert listed == [each["row"] for each in found["texts"]] and found["estimate"] == pytest.approx(6, abs=2)
    assert {row["file"] for row in rows} == {"test.csv"}
    texts = [text for text, _ in toy_texts(60, seed=1)]
    for row in rows:
        assert row["text"] == texts[int(row["row"])] and row["given"] != row["predicted"]
    assert [float(row["score"]) for row in rows] == pytest.approx([each["score"] for each in found["texts"]], abs=1e-6)
    page = (report / "report.html").read_text(encoding="utf-8")
    assert f"The answers contradict {len(rows)} with confidence" in page


def test_how_well_wrong_labels_would_be_found_is_told(report):
    control = read(report / "report.json")["doubtful_labels"]["control"]
    recall, precision = control["recall"], control["precision"]
    assert control["swapped"] == 3 and control["draws"] == 20
    assert recall["mean"] > 0.6 and 0.2 < precision["mean"] < 0.5  # six of the labels listed were wrong before
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "3 labels (5.0 %) were swapped for another class at random, 20 times: " in page
    for each, says in ((recall, "of them stood in the list, and they were "), (precision, "of it (a lower bound")):
        assert f"{100 * each['mean']:.1f} % (± {100 * each['sd']:.1f}) {says}" in page


def test_no_cell_is_a_formula(tmp_path):
    doubt = {"row": 3, "text": '=HYPERLINK("x")', "given": "@a", "predicted": "b", "score": 0.25}
    write_doubts(tmp_path / "doubts.csv", "a, test", {"estimate": 1, "texts": [doubt], "control": None})
    line = (tmp_path / "doubts.csv").read_text().splitlines()[1]
    assert line == '"a, test",3,"\'=HYPERLINK(""x"")",\'@a,b,0.250000'
