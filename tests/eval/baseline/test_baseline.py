import json

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import ComplementNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

from salience.configuration.errors import UserError
from salience.eval.baseline.command import SPARSE_MODELS, run_sparse
from salience.eval.baseline.prior_correction import PriorCorrectedLogistic
from salience.eval.cli import main
from salience.eval.scores.predictions import read_predictions
from salience.train.data.load import TextData
from tests.helpers.toy import TOPICS, toy_csv, toy_texts

BY_HAND = {
    "tfidf_svm": lambda: make_pipeline(TfidfVectorizer(sublinear_tf=True), LinearSVC(random_state=0)),
    "tfidf_logistic": lambda: make_pipeline(
        TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=10_000, tol=1e-6)
    ),
    "tfidf_logistic_prior": lambda: make_pipeline(
        TfidfVectorizer(sublinear_tf=True), PriorCorrectedLogistic(C=10, max_iter=10_000, tol=1e-6)
    ),
    "tfidf_complement_nb": lambda: make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), ComplementNB(alpha=0.1)
    ),
    "tfidf_word_char_svm": lambda: make_pipeline(
        make_union(
            TfidfVectorizer(sublinear_tf=True),
            TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 5), min_df=2),
        ),
        LinearSVC(random_state=0),
    ),
}


def split(num_texts, seed, num_labels, noise=0.3):
    rows = toy_texts(num_texts, seed, list(TOPICS)[:num_labels])
    random = np.random.default_rng(seed)
    names = list(TOPICS)[:num_labels]
    labels = [int(random.integers(num_labels)) if random.random() < noise else names.index(label) for _, label in rows]
    return Dataset.from_dict({"text": [text for text, _ in rows], "labels": labels})


def noisy_data(num_labels=3, problem_type="single_label_classification"):
    splits = {
        "train": split(60, 0, num_labels),
        "validation": split(30, 1, num_labels),
        "test": split(40, 2, num_labels),
    }
    return TextData(DatasetDict(splits), list(TOPICS)[:num_labels], problem_type, "toy", "toy")


@pytest.mark.parametrize("num_labels", [2, 3])
@pytest.mark.parametrize("name", SPARSE_MODELS)
def test_answers_are_those_of_scikit_learn(name, num_labels):
    data = noisy_data(num_labels)
    model = BY_HAND[name]().fit(data.splits["train"]["text"][:], data.splits["train"]["labels"][:])
    run = run_sparse(name, data)
    for each in ("validation", "test"):
        expected = model.predict(data.splits[each]["text"][:])
        assert run.logits[each].shape == (len(expected), num_labels)
        assert run.logits[each].argmax(1).tolist() == expected.tolist()
    assert len(set(run.logits["test"].argmax(1))) == num_labels


def test_every_baseline_has_its_reference():
    assert BY_HAND.keys() == SPARSE_MODELS.keys()


@pytest.mark.parametrize("name", SPARSE_MODELS)
def test_a_second_fit_gives_the_same_scores(name):
    data = noisy_data()
    first, second = run_sparse(name, data), run_sparse(name, data)
    assert np.array_equal(first.logits["test"], second.logits["test"])


def test_a_class_without_training_texts_is_never_answered():
    data = noisy_data()
    data.splits["train"] = data.splits["train"].filter(lambda row: row["labels"] != 1)
    run = run_sparse("tfidf_svm", data)
    assert run.logits["test"].shape == (40, 3)
    assert set(run.logits["test"].argmax(1)) == {0, 2}


@pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression"])
def test_other_labels_are_refused(problem_type):
    with pytest.raises(UserError, match=problem_type):
        run_sparse("tfidf_svm", noisy_data(problem_type=problem_type))


def test_texts_without_a_word_are_refused():
    data = noisy_data()
    data.splits["train"] = data.splits["train"].map(lambda row: {"text": ""})
    with pytest.raises(UserError, match="tfidf_svm can't be fitted"):
        run_sparse("tfidf_svm", data)


def test_command_writes_the_files_of_a_run(tmp_path, capsys):
    out = tmp_path / "out"
    command = ["baseline", "tfidf_complement_nb", *toy_csv(tmp_path), "--output_dir", str(out)]
    assert main(command) == 0
    test = json.loads((out / "test_results.json").read_text())
    assert test["test_accuracy"] == read_predictions(out, "test").is_right().mean()
    assert test["test_samples"] == 12
    run = json.loads((out / "run.json").read_text())
    assert run["model"]["family"] == "tfidf_complement_nb"
    assert run["data"]["splits"]["train"]["rows"] + run["data"]["splits"]["validation"]["rows"] == 48
    assert main(command) == 2
    assert "holds a finished run" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--push_to_hub", "true"], ["--resume_from_checkpoint", "last"]])
def test_what_asks_for_a_model_is_refused(tmp_path, capsys, flag):
    out = tmp_path / "out"
    assert main(["baseline", "tfidf_svm", *toy_csv(tmp_path), "--output_dir", str(out), *flag]) == 2
    assert f"{flag[0]} is for models, and tfidf_svm leaves no model; leave it out" in capsys.readouterr().err
    assert not out.exists()


def test_unknown_baseline_is_one_sentence(capsys):
    assert main(["sparse", "tfidf_svn", "--output_dir", "out"]) == 2
    assert "choose from tfidf_svm" in capsys.readouterr().err
