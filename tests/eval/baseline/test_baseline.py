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
from salience.configuration.flags.model_arguments import ModelArguments
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.eval.baseline.command import predictions_of
from salience.eval.baseline.models import SPARSE_MODELS, build_baseline, run_baseline
from salience.eval.baseline.prior_correction import PriorCorrectedLogistic
from salience.eval.cli import main
from salience.eval.scores.label_thresholds import fit_label_thresholds
from salience.eval.scores.prediction_files import read_predictions
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
    run = run_baseline(name, data)
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
    first, second = run_baseline(name, data), run_baseline(name, data)
    assert np.array_equal(first.logits["test"], second.logits["test"])


def test_a_class_without_training_texts_is_never_answered():
    data = noisy_data()
    data.splits["train"] = data.splits["train"].filter(lambda row: row["labels"] != 1)
    run = run_baseline("tfidf_svm", data)
    assert run.logits["test"].shape == (40, 3)
    assert set(run.logits["test"].argmax(1)) == {0, 2}


def test_numbers_are_refused():
    with pytest.raises(UserError, match="regression"):
        run_baseline("tfidf_svm", noisy_data(problem_type="regression"))


def data_of_several(kept=(0, 1, 2), in_training=lambda labels: labels):
    """Each text of `noisy_data` has its label and, if its length is odd, the last one too; some labels are kept."""
    data = noisy_data(problem_type="multi_label_classification")
    splits = {}
    for split, rows in data.splits.items():
        has = [{row["labels"], 2} if len(row["text"]) % 2 else {row["labels"]} for row in rows]
        labels = [[float(number in each) for number in kept] for each in has]
        labels = list(map(in_training, labels)) if split == "train" else labels
        splits[split] = rows.remove_columns("labels").add_column("labels", labels)
    names = [data.label_names[number] for number in kept]
    return TextData(DatasetDict(splits), names, data.problem_type, "toy", "toy")


@pytest.mark.parametrize(
    ("name", "kept"),
    [("tfidf_svm", (0, 1, 2)), ("tfidf_svm", (2,)), ("tfidf_logistic", (0, 1, 2)), ("tfidf_word_char_svm", (0, 1, 2))],
)
def test_each_of_several_labels_is_a_classifier_of_scikit_learn(name, kept):
    data = data_of_several(kept)
    run = run_baseline(name, data)
    train, test = data.splits["train"], data.splits["test"]
    for number, _ in enumerate(kept):
        is_given = [int(labels[number]) for labels in train["labels"]]
        expected = BY_HAND[name]().fit(train["text"][:], is_given).decision_function(test["text"][:])
        assert np.allclose(run.logits["test"][:, number], expected)
    assert (run.logits["test"] > 0).any(0).all()


def test_labels_may_be_found_by_the_vectors_of_a_frozen_encoder(encoder_folder):
    data, arguments = data_of_several(), ModelArguments(model="attn_pool", encoder=str(encoder_folder))
    run = run_baseline("frozen_logistic", data, arguments)
    model = build_baseline("frozen_logistic", "single_label_classification", arguments)
    is_given = [int(labels[0]) for labels in data.splits["train"]["labels"]]
    expected = model.fit(data.splits["train"]["text"][:], is_given).decision_function(data.splits["test"]["text"][:])
    assert np.allclose(run.logits["test"][:, 0], expected, atol=1e-5)
    assert run.num_weights == model[0].num_weights + 3 * model[-1].coef_.size


@pytest.mark.parametrize("kept", [(0, 1, 2), (2,)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_labels_of_no_or_all_training_texts_are_answered_so(kept, value, caplog):
    data = data_of_several(kept, in_training=lambda labels: [*labels[:-1], value])
    found = predictions_of(run_baseline("tfidf_svm", data), data, TuningArguments())
    assert 0 < found["validation"].truths[:, -1].mean() < 1
    for predictions in found.values():
        assert (predictions.answers[:, -1] == bool(value)).all()
    says = "all training texts have these labels, or none, so nothing is learned of them: "
    assert caplog.messages == [says + data.label_names[-1]]


def test_thresholds_of_several_labels_are_fitted_on_validation():
    data = data_of_several()
    run = run_baseline("tfidf_logistic", data)
    found = predictions_of(run, data, TuningArguments())
    expected = fit_label_thresholds(found["validation"])
    assert found["test"].label_thresholds == expected == found["validation"].label_thresholds
    assert any(each != 0.5 for each in expected)
    precise = predictions_of(run, data, TuningArguments(target_precision=0.9))["test"].label_thresholds
    assert precise == fit_label_thresholds(found["validation"], 0.9) != expected
    assert predictions_of(run, data, TuningArguments(fit_thresholds=False))["test"].label_thresholds is None


@pytest.mark.parametrize("name", ["tfidf_complement_nb", "tfidf_logistic_prior"])
def test_baselines_for_one_class_refuse_several(name):
    with pytest.raises(
        UserError, match=f"{name} needs exactly one class for each text; for several take one of tfidf_svm"
    ):
        run_baseline(name, data_of_several())


def test_texts_without_a_word_are_refused():
    data = noisy_data()
    data.splits["train"] = data.splits["train"].map(lambda row: {"text": ""})
    with pytest.raises(UserError, match="tfidf_svm can't be fitted"):
        run_baseline("tfidf_svm", data)


def test_command_writes_the_files_of_a_run(tmp_path, capsys, caplog):
    out = tmp_path / "out"
    command = ["baseline", "tfidf_complement_nb", *toy_csv(tmp_path), "--output_dir", str(out)]
    assert main([*command, "--max_length", "9", "--encoder", "no/such", "--seed", "3", "--learning_rate=1"]) == 0
    said = capsys.readouterr().out
    assert (
        "tfidf_complement_nb has no use for --encoder, --learning_rate, --max_length; texts are read whole"
        in caplog.text
    )
    test = json.loads((out / "test_results.json").read_text())
    assert test["test_accuracy"] == read_predictions(out, "test").is_right().mean()
    assert test["test_samples"] == 12
    assert f"test     accuracy {test['test_accuracy']:.4f}" in said and "(12 texts)" in said
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
