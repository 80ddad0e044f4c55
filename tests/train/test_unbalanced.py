"""Classes made rare on purpose, the baselines for them, and the scores of rare and frequent classes apart."""

import json

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_fscore_support
from sklearn.preprocessing import StandardScaler

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.configuration.flags.model_arguments import ModelArguments
from salience.eval.baseline.frozen import LOGISTIC, frozen_vectors
from salience.eval.baseline.models import run_baseline
from salience.eval.baseline.prior_correction import PriorCorrectedLogistic
from salience.eval.cli import main
from salience.eval.scores.prediction_files import read_predictions
from salience.eval.study.scores import group_score
from salience.train.data.load import load_splits
from salience.train.data.splits import thin_classes
from tests.helpers.tiny import save_tiny_encoder
from tests.helpers.toy import toy_csv, toy_texts, write_csv


def load(folder, **flags):
    files = {"train_file": str(folder / "train.csv"), "test_file": str(folder / "test.csv")}
    return load_splits(DataArguments(**files, validation_size=0.2, **flags))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("data")
    toy_csv(made, num_train=150, num_test=30)
    save_tiny_encoder(made / "encoder")
    return made


def counts(data, split):
    return list(data.fingerprint(split)["labels"].values())


def test_named_classes_become_rare_in_training_and_validation_alone(folder):
    data = load(folder, minority_labels=["culture"], minority_ratio=4)
    assert data.label_names == ["business", "culture", "sport"]
    assert counts(data, "train") == [40, 10, 40]
    assert counts(data, "validation") == [10, 2, 10]
    assert counts(data, "test") == [10, 10, 10]
    again = load(folder, minority_labels=["culture"], minority_ratio=4)
    assert again.fingerprint("train") == data.fingerprint("train")
    other = load(folder, minority_labels=["culture"], minority_ratio=4, split_seed=1)
    assert other.fingerprint("train") != data.fingerprint("train")


def test_samples_are_drawn_from_the_thinned_texts(folder):
    data = load(folder, minority_labels=["culture"], minority_ratio=4, max_train_samples=45)
    assert counts(data, "train") == [20, 5, 20]
    control = load(folder, minority_labels=["culture"], max_train_samples=45)
    assert counts(control, "train") == [15, 15, 15]


@pytest.mark.parametrize("ratio", [1, 1.5, 3, 7, 1000])
def test_what_stays_at_a_high_ratio_stays_at_lower_ones(ratio):
    classes = np.random.default_rng(0).integers(0, 3, 200)
    rows = thin_classes(classes, [0, 2], ratio, seed=3)
    for each in (0, 2):
        assert (classes[rows] == each).sum() == max(1, round((classes == each).sum() / ratio))
    assert set(np.flatnonzero(classes == 1)) <= set(rows) <= set(thin_classes(classes, [2, 0], ratio / 2 + 0.5, seed=3))
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"minority_labels": ["cultur"], "minority_ratio": 2}, "--minority_labels cultur is no label"),
        ({"minority_labels": ["sport", "culture", "business"]}, "names every class"),
        ({"minority_ratio": 2}, "--minority_ratio needs --minority_labels"),
        ({"minority_labels": ["sport"], "minority_ratio": 0.5}, "--minority_ratio 0.5 must be a number of at least 1"),
        (
            {"minority_labels": ["sport"], "minority_ratio": float("nan")},
            "--minority_ratio nan must be a finite",
        ),
        (
            {"minority_labels": ["sport"], "problem_type": "multi_label_classification", "label_separator": "|"},
            "--minority_labels needs exactly one class",
        ),
    ],
)
def test_mistakes_are_one_sentence(folder, flags, message):
    with pytest.raises(UserError, match=message) as error:
        load(folder, **flags)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_correction_subtracts_the_log_of_class_frequencies(num_labels):
    random = np.random.default_rng(0)
    classes = random.choice(num_labels, 300, p=[0.8, 0.2] if num_labels == 2 else [0.7, 0.2, 0.1])
    features = random.normal(size=(300, 4)) + classes[:, None]
    plain = LogisticRegression().fit(features, classes)
    corrected = PriorCorrectedLogistic().fit(features, classes)
    balanced = plain.predict_proba(features) / (np.bincount(classes) / 300)
    np.testing.assert_allclose(
        corrected.predict_proba(features), balanced / balanced.sum(1, keepdims=True), rtol=1e-9, atol=1e-12
    )
    assert (corrected.predict(features) == balanced.argmax(1)).all()
    assert (corrected.predict(features) != plain.predict(features)).any()


def test_vectors_are_means_over_tokens_whatever_the_batch(folder):
    vectors = frozen_vectors(str(folder / "encoder"))
    vectors.bf16 = False
    texts = [text for text, _ in toy_texts(7, seed=5)] + ["cup"]
    found = vectors.transform(texts)
    assert found.shape == (8, 16) and found.dtype == np.float32
    for row in (0, 3, 7):
        inputs = vectors.tokenizer(texts[row], return_tensors="pt", truncation=True, max_length=24)
        if len(vectors.tokenizer(texts[row])["input_ids"]) <= 24:  # one window: the encoder's own output
            hidden = vectors.model.pretrained(**inputs).last_hidden_state[0]
            np.testing.assert_allclose(found[row], hidden.mean(0).detach().numpy(), atol=1e-5)
        np.testing.assert_allclose(vectors.transform([texts[row]])[0], found[row], atol=1e-5)


@pytest.mark.parametrize("name", ["frozen_logistic", "frozen_logistic_prior", "frozen_smote"])
def test_frozen_baselines_answer_what_scikit_learn_does(folder, name):
    data = load(folder, minority_labels=["culture"], minority_ratio=4)
    encoder = str(folder / "encoder")
    run = run_baseline(name, data, ModelArguments(encoder=encoder))
    vectors = frozen_vectors(encoder)
    scaler = StandardScaler()
    features = scaler.fit_transform(vectors.transform(data.splits["train"]["text"][:]))
    labels = np.asarray(data.splits["train"]["labels"][:])
    if name == "frozen_smote":
        features, labels = SMOTE(random_state=0).fit_resample(features, labels)
        assert np.bincount(labels).tolist() == [40, 40, 40]
    model = LogisticRegression(**LOGISTIC).fit(features, labels)
    scores = model.decision_function(scaler.transform(vectors.transform(data.splits["test"]["text"][:])))
    if name == "frozen_logistic_prior":
        scores -= np.log(np.bincount(labels) / len(labels))
    np.testing.assert_allclose(run.logits["test"], scores, atol=1e-4)
    assert run.num_weights == 16 * 3 + vectors.num_weights


def test_frozen_baselines_need_an_encoder_and_smote_needs_neighbours(folder):
    with pytest.raises(UserError, match="frozen_smote needs --encoder"):
        run_baseline("frozen_smote", load(folder))
    rare = load(folder, minority_labels=["culture"], minority_ratio=40)
    with pytest.raises(UserError, match="frozen_smote can't be fitted on these training texts"):
        run_baseline("frozen_smote", rare, ModelArguments(encoder=str(folder / "encoder")))


def test_group_scores_are_means_over_their_classes():
    random = np.random.default_rng(1)
    truths, answers = random.integers(0, 3, 90), random.integers(0, 4, 90)
    columns = precision_recall_fscore_support(truths, answers, labels=range(4), zero_division=0)
    table = [
        dict(zip(("precision", "recall", "f1", "support"), each, strict=True)) for each in zip(*columns, strict=True)
    ]
    per_class = dict(zip("abcd", table, strict=True))  # no text has class d
    assert group_score(per_class, {"a", "c"}, "minority", "recall") == pytest.approx(columns[1][[0, 2]].mean())
    assert group_score(per_class, {"a", "c"}, "majority", "precision") == pytest.approx(columns[0][1])
    assert group_score(per_class, {"d"}, "minority", "f1") is None


@pytest.mark.slow
def test_a_study_shows_rare_and_frequent_classes_apart(folder, tmp_path):
    file = tmp_path / "rare.yaml"
    file.write_text(
        f"""
arguments:
  train_file: {folder / "train.csv"}
  test_file: {folder / "test.csv"}
  minority_labels: [culture]
  encoder: {folder / "encoder"}
seeds: [0]
reference: balanced
scores: [recall_macro, minority_recall, majority_precision]
rows:
  balanced: {{model: tfidf_logistic}}
  rare: {{model: tfidf_logistic, minority_ratio: 8}}
  corrected: {{model: tfidf_logistic_prior, minority_ratio: 8}}
  vectors: {{model: frozen_logistic, minority_ratio: 8}}
"""
    )
    out = tmp_path / "out"
    assert main(["study", str(file), "--output_dir", str(out)]) == 0
    study = json.loads((out / "study.json").read_text())
    assert [row["kind"] for row in study["rows"].values()] == ["sparse", "sparse", "sparse", "frozen"]
    assert study["best_sparse"] is None and study["scores"] == ["recall_macro", "minority_recall", "majority_precision"]
    for name, row in study["rows"].items():
        answers = read_predictions(out / f"cells/{name}/seed_0", "test")
        is_rare, found = answers.labels == 1, row["seeds"]["0"]
        assert found["minority_recall"] == row["mean"]["minority_recall"]
        assert found["minority_recall"] == pytest.approx(answers.is_right()[is_rare].mean())
        recalls = [answers.is_right()[answers.labels == each].mean() for each in range(3)]
        assert found["recall_macro"] == pytest.approx(np.mean(recalls))
    assert set(study["rows"]["rare"]["against"]) == {"balanced"}
    assert "test minority recall" in (out / "study.md").read_text()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("scores: [minority_recal]\nrows: {a: {model: lstm}}", "score minority_recal is unknown"),
        ("scores: minority_recall\nrows: {a: {model: lstm}}", "row a: score minority_recall needs minority_labels"),
        ("rows: {a: {model: tfidf_svm, loss: focal}}", "row a: loss has no effect on tfidf_svm"),
        ("rows: {frozen_smote: {}}", "no name of a sparse baseline"),
    ],
)
def test_mistakes_in_such_studies_are_one_sentence(folder, tmp_path, capsys, lines, message):
    file = tmp_path / "study.yaml"
    file.write_text(f"seeds: [0]\n{lines}\n")
    assert (
        main(["study", str(file), "--output_dir", str(tmp_path / "out"), "--train_file", str(folder / "train.csv")])
        == 2
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_class_that_is_named_by_a_number(tmp_path):
    file = write_csv(tmp_path / "a.csv", [(f"text {row}", row % 2) for row in range(80)])
    data = load_splits(DataArguments(train_file=str(file), minority_labels="1", minority_ratio=4, validation_size=0.2))
    assert counts(data, "train") == [32, 8]
