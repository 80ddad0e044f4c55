"""eval.py compare on runs of train.py that were trained here, with tiny models and noisy toy texts."""

import shutil

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from scipy.stats import binomtest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.naive_bayes import ComplementNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from salience.configuration.flags.data_arguments import DataArguments
from salience.eval import UserError, compare_runs
from salience.eval.cli import main
from salience.eval.compare.page import MAX_NAME, write_figure
from salience.eval.scores.prediction_files import read_predictions
from salience.train import train_model
from salience.train.data.load import load_splits
from tests.helpers.toy import TOPICS, toy_texts, write_csv
from tests.helpers.training import read, train

HOSTILE = "$x_{ <script>alert(1)<" + "\x1b[31m" + "very_long_" * 12 + "$ | end"
BASELINES = {
    "tfidf_svm": lambda: make_pipeline(TfidfVectorizer(sublinear_tf=True), LinearSVC(random_state=0)),
    "tfidf_logistic": lambda: make_pipeline(
        TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=10_000, tol=1e-6)
    ),
    "tfidf_complement_nb": lambda: make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), ComplementNB(alpha=0.1)
    ),
}
SIZES = ["--embedding_dim", "8", "--hidden_dim", "8", "--learning_rate", "0.02"]


def noisy_texts(num_texts, seed):
    """A quarter of the labels is drawn anew, so that no model is always right."""
    random = np.random.default_rng(seed)
    rows = toy_texts(num_texts, seed)
    return [(text, random.choice(list(TOPICS)) if random.random() < 0.25 else label) for text, label in rows]


def train_lstm(folder, *flags):
    return train(folder, "--model", "lstm", *SIZES, *flags)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data/train.csv, data/test.csv, data/other.csv and two runs, which name the data relative to it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "data").mkdir()
    write_csv(folder / "data/train.csv", noisy_texts(90, 0))
    write_csv(folder / "data/test.csv", noisy_texts(60, 1))
    write_csv(folder / "data/other.csv", noisy_texts(30, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        files = ["--train_file", "data/train.csv", "--test_file", "data/test.csv"]
        train_lstm(folder / "runs/weak", *files, "--max_steps", 2)
        train_lstm(folder / f"runs/{HOSTILE}", *files, "--num_train_epochs", 6, "--max_train_samples", 60)
    return folder


@pytest.fixture(autouse=True)
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def compared(home):
    """What a first call left, and what it printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["compare", "runs/weak", f"runs/{HOSTILE}"]) == 0
    return home / "runs/comparison"


def test_numbers_are_those_of_scikit_learn(compared, home):
    results = read(compared / "results/model_comparison.json")
    data = load_splits(DataArguments(train_file=["data/train.csv"], test_file="data/test.csv"))
    texts, labels = ({name: rows[column][:] for name, rows in data.splits.items()} for column in ("text", "labels"))
    answers, validation = {}, {}
    for name, make in BASELINES.items():
        model = make().fit(texts["train"], labels["train"])
        answers[name] = model.predict(texts["test"])
        validation[name] = model.score(texts["validation"], labels["validation"])
    for name, shown in (("weak", "weak"), (HOSTILE, HOSTILE.replace("\x1b", " "))):
        answers[shown] = read_predictions(home / "runs" / name, "test").logits.argmax(1)
    rows = {row["name"]: row for row in results["rows"]}
    assert list(rows) == ["weak", HOSTILE.replace("\x1b", " "), *BASELINES]
    best = max(validation, key=validation.get)
    assert results["best_sparse"] == best
    assert results["first"] == "weak"
    truth = np.array(labels["test"])
    for name, row in rows.items():
        assert row["accuracy"] == pytest.approx(accuracy_score(truth, answers[name]))
        assert row["f1_macro"] == pytest.approx(f1_score(truth, answers[name], average="macro"))
        if name in BASELINES:
            assert row["validation_accuracy"] == pytest.approx(validation[name])
        for other, found in ((best, row["against_best_sparse"]), ("weak", row["against_first"])):
            if name == other:
                assert found is None
                continue
            check_difference(found, answers[name] == truth, answers[other] == truth)
    assert len({row["accuracy"] for row in rows.values()}) > 2


def check_difference(found, ours, theirs):
    assert found["difference"] == pytest.approx(ours.mean() - theirs.mean())
    assert found["low"] <= found["difference"] <= found["high"]
    ours_only, theirs_only = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    p_value = binomtest(ours_only, ours_only + theirs_only).pvalue if ours_only + theirs_only else 1
    assert found["mcnemar"] == {
        "only_this_right": ours_only,
        "only_other_right": theirs_only,
        "p_value": pytest.approx(p_value),
    }


def test_cost_is_what_the_runs_measured(compared, home):
    results = read(compared / "results/model_comparison.json")
    weak, strong, svm = results["rows"][:3]
    trained, tested, run = (read(home / f"runs/weak/{name}.json") for name in ("train_results", "test_results", "run"))
    assert weak["train_seconds"] == trained["train_runtime"]
    assert weak["texts_per_second"] == tested["test_samples_per_second"]
    assert weak["parameters"] == run["model"]["parameters"]
    tested = read(compared / "sparse/tfidf_svm/test_results.json")
    assert svm["texts_per_second"] == tested["test_samples_per_second"]
    assert svm["texts_per_second"] == pytest.approx(60 / tested["test_runtime"], rel=0.1)
    assert [row["kind"] for row in results["rows"]] == ["model"] * 2 + ["sparse"] * 3
    assert [row["same_training_texts"] for row in results["rows"]] == [True, False, True, True, True]
    assert results["data"]["splits"] == {"train": 76, "validation": 14, "test": 60}
    assert results["test_sha256"] == run["data"]["splits"]["test"]["sha256"]


def test_a_second_call_takes_the_baselines_as_they_are(compared, home, monkeypatch, capsys):
    files = list(compared.glob("sparse/*/*"))
    assert {file.parent.name for file in files} == set(BASELINES)
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}
    results = (compared / "results/model_comparison.json").read_bytes()
    monkeypatch.chdir(home / "data")  # the files that run.json names aren't found from here
    runs = [str(home / "runs" / name) for name in ("weak", HOSTILE)]
    assert main(["compare", *runs, "--output_dir", str(compared)]) == 0
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files} == before
    assert (compared / "results/model_comparison.json").read_bytes() == results
    named = ["--train_file", "other.csv", "--test_file", "test.csv", "--output_dir", str(compared)]
    assert main(["compare", *runs, *named]) == 2
    assert "the train texts of" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("given", ["kept", "among the runs"])
def test_data_that_are_named_are_looked_at_where_no_baseline_is_made(compared, tmp_path, capsys, given):
    out = tmp_path / "out"
    if given == "kept":
        shutil.copytree(compared, out)
    runs = ["runs/weak", *(str(compared / "sparse" / name) for name in BASELINES if given != "kept")]
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    for flags in (["--train_file", "data/other.csv"], ["--test_file", "data/other.csv"], ["--split_seed", "5"]):
        assert main(["compare", *runs, "--output_dir", str(out), *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "texts of runs/weak were others than those that its data flags give now" in line
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    assert main(["compare", *runs, "--output_dir", str(out), "--train_file", "data/train.csv"]) == 0


def test_baselines_among_the_runs_are_not_made_again(compared, tmp_path):
    given = [str(compared / "sparse" / name) for name in BASELINES]
    assert main(["compare", given[0], "runs/weak", *given[1:], "--output_dir", str(tmp_path / "out")]) == 0
    found, before = (read(folder / "results/model_comparison.json") for folder in (tmp_path / "out", compared))
    assert not (tmp_path / "out/sparse").exists()
    rows = {row["name"]: row for row in before["rows"]}
    assert [row["name"] for row in found["rows"]] == ["tfidf_svm", "weak", "tfidf_logistic", "tfidf_complement_nb"]
    assert all(row == rows[row["name"]] | {"against_first": row["against_first"]} for row in found["rows"])
    assert found["first"] == "tfidf_svm" and found["rows"][0]["against_first"] is None


def test_table_is_printed_aligned_and_written_escaped(compared, capsys):
    assert main(["compare", "runs/weak", f"runs/{HOSTILE}"]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    title, header, *rows = printed.strip().splitlines()[:7]
    assert title == "train: 60 test texts"
    assert {len(line) for line in rows} == {len(header)}
    assert "points from tfidf_" in header and "points from weak" in header
    accuracies = [float(row[MAX_NAME + 2 :].split()[0]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert "†: trained on other texts than the baselines." in printed
    assert [" †" in row for row in rows] == ["script" in row for row in rows]
    markdown = (compared / "model_comparison.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown and "&lt;script&gt;" in markdown
    assert all(f"| {name} |" in markdown for name in ("weak", "tfidf\\_svm"))
    assert "](visualizations/model_comparison.png)" in markdown


def test_figure_has_a_line_for_each_row(compared, tmp_path):
    assert imread(compared / "visualizations/model_comparison.png").shape == (225 + 5 * 48, 1500, 4)
    results = read(compared / "results/model_comparison.json")
    results["rows"] = [row | {"name": f"{row['name']} {copy}"} for row in results["rows"] for copy in range(4)]
    write_figure(results, tmp_path / "twenty.png")
    picture = imread(tmp_path / "twenty.png")
    assert picture.shape == (225 + 20 * 48, 1500, 4)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):  # models and baselines
        assert (np.abs(picture[..., :3] - np.array(colour) / 255).max(-1) < 0.01).sum() > 1000


def test_other_test_texts_are_refused(home, tmp_path, capsys):
    other = train_lstm(
        tmp_path / "other", "--train_file", "data/train.csv", "--test_file", "data/other.csv", "--max_steps", 1
    )
    capsys.readouterr()
    assert main(["compare", "runs/weak", str(other), "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"error: runs/weak and {other} were tested on different texts: compare runs with the same test split\n"
    )
    assert not (tmp_path / "out").exists()
    out = tmp_path / "kept"
    assert main(["compare", str(other), "--output_dir", str(out)]) == 0
    assert main(["compare", "runs/weak", "--output_dir", str(out)]) == 2
    assert "tfidf_svm was trained or tested on other texts" in capsys.readouterr().err


def test_a_baseline_alone_knows_its_data(home, tmp_path):
    """The others are made from what it was made from, though no data is named behind it."""
    out = str(tmp_path / "nb")
    files = ["--train_file", "data/train.csv", "--test_file", "data/test.csv"]
    assert main(["sparse", "tfidf_complement_nb", *files, "--output_dir", out]) == 0
    assert main(["compare", out, "--output_dir", str(tmp_path / "out")]) == 0
    assert len(read(tmp_path / "out/results/model_comparison.json")["rows"]) == 3


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-40], lambda content: content[::-1]])
def test_damaged_predictions_are_one_sentence(home, tmp_path, capsys, damage):
    shutil.copytree("runs/weak", tmp_path / "run")
    file = tmp_path / "run/test_predictions.parquet"
    file.write_bytes(damage(file.read_bytes()))
    assert main(["compare", str(tmp_path / "run"), "--output_dir", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {file} is damaged: train again")


def test_other_problem_types_are_refused(home, tmp_path, capsys):
    numbers = write_csv(tmp_path / "numbers.csv", [(text, float(len(text)) + 0.5) for text, _ in noisy_texts(30, 3)])
    regression = train_lstm(tmp_path / "regression", "--train_file", numbers, "--test_size", 0.3, "--max_steps", 1)
    assert main(["compare", "runs/weak", str(regression)]) == 2
    assert f"and {regression} regression: compare runs of one problem type" in capsys.readouterr().err
    assert main(["compare", str(regression)]) == 2
    assert "the baselines need classes" in capsys.readouterr().err


def test_missing_and_changed_data_are_one_sentence_and_can_be_named(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["compare", str(home / "runs/weak")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "there is no file or folder 'data/train.csv'" in error and "--train_file FILE" in error
    assert error.count("\n") == 1
    named = ["--train_file", str(home / "data/train.csv"), "--test_file"]
    assert main([*command, *named, str(home / "data/other.csv")]) == 2
    assert "the test texts of" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main([*command, *named, str(home / "data/test.csv")]) == 0
    assert (tmp_path / "runs/comparison/sparse/tfidf_complement_nb/run.json").exists()


@pytest.mark.slow
def test_runs_on_texts_in_memory_are_compared_with_these_texts(home, tmp_path, compared):
    rows = {split: pd.read_csv(home / f"data/{split}.csv") for split in ("train", "test")}
    flags = {"model": "lstm", "embedding_dim": 8, "hidden_dim": 8, "explained_texts": 0, "ngram_evidence": False}
    run = train_model(**rows, max_steps=2, bf16=False, report_to="none", output_dir=str(tmp_path / "run"), **flags)
    with pytest.raises(UserError, match="in Python, give texts in memory as then"):
        compare_runs([run.folder], output_dir=str(tmp_path / "out"))
    found = compare_runs([run.folder], **rows, output_dir=str(tmp_path / "out"))
    expected = {row["name"]: row["accuracy"] for row in read(compared / "results/model_comparison.json")["rows"]}
    accuracies = {row["name"]: row["accuracy"] for row in found["rows"] if row["kind"] == "sparse"}
    assert accuracies == {name: expected[name] for name in BASELINES}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output_dir", "out"], "name the folders of the runs first"),
        (["runs/none"], "run.json can't be read"),
        (["runs/weak", "runs/../runs/weak"], "given twice"),
        (["runs/weak", "--output_dri", "out"], "did you mean --output_dir"),
        (["runs/weak", "--output_dir", "runs/weak"], "holds a finished run"),
        (["runs/weak", "--output_dir", "data/train.csv"], "is a file; name a folder"),
    ],
)
def test_mistakes_are_one_sentence(home, capsys, words, message):
    assert main(["compare", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("place", ["run", "kept"])
@pytest.mark.parametrize("name", ["test_results.json", "eval_results.json", "train_results.json"])
def test_damaged_scores_are_told_before_a_baseline_is_made(compared, tmp_path, capsys, name, place):
    """Of a run that is named last, and of a baseline that an earlier call kept."""
    damaged, out = tmp_path / "damaged", tmp_path / "out"
    if place == "kept":
        damaged = out / "sparse/tfidf_complement_nb"
    shutil.copytree("runs/weak" if place == "run" else compared / "sparse/tfidf_complement_nb", damaged)
    (damaged / name).write_text('{"test_accuracy": "high", "eval_accuracy": NaN, "train_runtime": []}')
    runs = ["runs/weak"] if place == "kept" else [f"runs/{HOSTILE}", str(damaged)]
    assert main(["compare", *runs, "--output_dir", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {damaged / name}: ") and line.endswith("or make this run again")
    assert [path.name for path in out.rglob("run.json")] == ["run.json"] * (place == "kept")


@pytest.mark.parametrize("content", ["[]", "{", "{}", '{"data": {"splits": 3}, "model": {}}'])
def test_a_damaged_run_is_one_sentence(home, tmp_path, capsys, content):
    shutil.copytree(home / "runs/weak", tmp_path / "damaged")
    (tmp_path / "damaged/run.json").write_text(content)
    assert main(["compare", "runs/weak", str(tmp_path / "damaged")]) == 2
    error = capsys.readouterr().err
    assert "make this run again" in error and error.count("\n") == 1
