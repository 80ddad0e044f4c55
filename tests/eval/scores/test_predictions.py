"""The currency of evaluation: what it holds, what it refuses, and how a run keeps it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from salience.configuration.errors import UserError
from salience.eval.scores.prediction_files import METADATA, predictions_file, read_predictions, write_predictions
from salience.eval.scores.predictions import Predictions, decide

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
OLD_RUNS = Path(__file__).parents[2] / "data/run_0_1"


def names(count):
    return [f"class {i}" for i in range(count)]


def drawn(seed, num_texts, num_classes, problem_type):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(num_texts, num_classes)).astype(np.float32)
    labels = {
        SINGLE: random.integers(0, num_classes, num_texts),
        MULTI: (random.random(logits.shape) < 0.5).astype(np.float32),
        REGRESSION: random.normal(size=logits.shape),
    }[problem_type]
    return Predictions(labels, logits, problem_type, names(num_classes), random.integers(0, 9, num_texts))


sizes = given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 5))


@settings(max_examples=30, deadline=None)
@sizes
def test_one_class_each_is_the_likeliest(seed, num_texts, num_classes):
    found = drawn(seed, num_texts, num_classes, SINGLE)
    expected = softmax(found.logits, axis=1)
    np.testing.assert_allclose(found.probabilities, expected)
    np.testing.assert_allclose(found.confidence, expected.max(1))
    assert (found.answers.sum(1) == 1).all() and (found.truths.sum(1) == 1).all()
    assert (found.answers.argmax(1) == found.logits.argmax(1)).all() and (found.truths.argmax(1) == found.labels).all()
    assert (found.is_right() == (found.logits.argmax(1) == found.labels)).all()
    assert (found.decisions().is_right == found.is_right()).all()
    assert (found.decisions().confidence == found.confidence).all()


@settings(max_examples=30, deadline=None)
@sizes
def test_several_labels_are_those_of_at_least_a_half(seed, num_texts, num_classes):
    found = drawn(seed, num_texts, num_classes, MULTI)
    expected = expit(found.logits)
    np.testing.assert_allclose(found.probabilities, expected)
    assert (found.answers == (expected >= 0.5)).all() and (found.truths == found.labels).all()
    assert (found.is_right() == (found.answers == found.labels).all(1)).all()
    sure = np.maximum(expected, 1 - expected)
    np.testing.assert_allclose(found.confidence, sure.min(1))
    np.testing.assert_allclose(found.decisions().confidence, sure.ravel())
    assert (found.decisions().is_right == (found.answers == found.labels).ravel()).all()


def test_a_probability_of_one_half_is_a_yes():
    assert decide(np.array([[0.0, -1e-9, 1e-9]]), MULTI).tolist() == [[True, False, True]]


def test_of_equal_classes_the_first_is_the_answer():
    assert decide(np.zeros((1, 3)), SINGLE).tolist() == [[True, False, False]]


@pytest.mark.parametrize(
    "ask",
    [
        lambda numbers: numbers.probabilities,
        lambda numbers: numbers.answers,
        lambda numbers: numbers.truths,
        lambda numbers: numbers.is_right(),
        lambda numbers: numbers.confidence,
        lambda numbers: numbers.decisions(),
    ],
)
def test_numbers_are_neither_right_nor_sure(ask):
    numbers = drawn(0, 4, 2, REGRESSION)
    assert numbers.labels.dtype.kind == "f" and len(numbers) == 4
    with pytest.raises(ValueError, match="regression has none"):
        ask(numbers)


def test_ids_are_whole_numbers_and_answers_are_exact():
    found = Predictions([0.0, 1.0], [[1, 2], [3, 4]], SINGLE, names(2), [5, 6])
    assert found.labels.dtype == np.int64 and found.logits.dtype == np.float64
    assert found.num_words.tolist() == [5, 6]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("problem_type", [SINGLE, MULTI, REGRESSION])
def test_a_diverged_model_is_named_as_such(broken, problem_type):
    labels = np.array([0, 1]) if problem_type == SINGLE else np.eye(2)
    with pytest.raises(UserError, match="diverged"):
        Predictions(labels, np.full((2, 2), broken), problem_type, names(2))


@pytest.mark.parametrize(
    ("labels", "logits", "problem_type", "label_names"),
    [
        (np.zeros(0, int), np.zeros((0, 2)), SINGLE, names(2)),
        (np.zeros(3, int), np.zeros((2, 2)), SINGLE, names(2)),
        (np.array([0, 2]), np.zeros((2, 2)), SINGLE, names(2)),
        (np.array([0, -100]), np.zeros((2, 2)), SINGLE, names(2)),
        (np.array([0, 0.5]), np.zeros((2, 2)), SINGLE, names(2)),
        (np.array([0, 1]), np.zeros((2, 2)), SINGLE, ["same", "same"]),
        (np.array([0, 1]), np.zeros((2, 2)), SINGLE, names(3)),
        (np.array([0, 1]), np.zeros(2), SINGLE, names(1)),
        (np.array([0, 1]), np.zeros((2, 2)), MULTI, names(2)),
        (np.full((2, 2), 2), np.zeros((2, 2)), MULTI, names(2)),
        (np.array([0, 1]), np.zeros((2, 2)), "ranking", names(2)),
    ],
)
def test_what_does_not_belong_together_is_refused(labels, logits, problem_type, label_names):
    with pytest.raises(ValueError):
        Predictions(labels, logits, problem_type, label_names)


def test_lengths_of_other_texts_are_refused():
    with pytest.raises(ValueError, match="num_words has the shape"):
        Predictions(np.zeros(3, int), np.zeros((3, 2)), SINGLE, names(2), np.ones(2))


# --- in a run's folder ---


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI, REGRESSION])
def test_what_is_written_comes_back_in_the_order_of_the_rows(problem_type, tmp_path):
    written = drawn(3, 5, 4, problem_type)
    rows = np.array([3, 0, 4, 1, 2])
    write_predictions(tmp_path, "test", rows, written)
    found = read_predictions(tmp_path, "test")
    assert (found.problem_type, found.label_names) == (problem_type, names(4))
    for name in ("labels", "logits", "num_words"):
        np.testing.assert_array_equal(getattr(found, name)[rows], getattr(written, name))
        assert getattr(found, name).dtype == getattr(written, name).dtype


def test_single_numbers_and_unknown_lengths_come_back(tmp_path):
    written = Predictions(np.array([0.5, 1.5]), np.array([1.0, 2.0]), REGRESSION, [])
    write_predictions(tmp_path, "validation", np.arange(2), written)
    found = read_predictions(tmp_path, "validation")
    assert found.labels.tolist() == [0.5, 1.5] and found.logits.tolist() == [[1], [2]]
    assert found.problem_type == REGRESSION and found.num_words is None


@pytest.mark.parametrize("name", ["exp:1", "s3://bucket/run"])
def test_a_folder_whose_name_looks_like_an_address_is_a_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir(parents=True)
    write_predictions(name, "test", np.arange(5), drawn(3, 5, 4, SINGLE))
    assert len(read_predictions(name, "test")) == 5


@pytest.mark.parametrize("model", ["attn_pool", "hierarchical_attn"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_run_of_version_0_1_is_told_by_its_configuration(model, split):
    found = read_predictions(OLD_RUNS / model, split)
    results = json.loads((OLD_RUNS / model / f"{'test' if split == 'test' else 'eval'}_results.json").read_text())
    prefix = "test" if split == "test" else "eval"
    assert (found.problem_type, found.label_names) == (SINGLE, ["business", "culture", "sport"])
    assert found.is_right().mean() == results[f"{prefix}_accuracy"] and len(found) == results[f"{prefix}_samples"]
    assert found.num_words.min() > 0


def without_metadata(folder, split="test"):
    """Make a predictions file one of an earlier version."""
    file = predictions_file(folder, split)
    pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)


def test_a_baseline_of_version_0_1_is_told_by_what_it_counted(tmp_path):
    shutil.copy(OLD_RUNS / "attn_pool/test_predictions.parquet", tmp_path)
    shutil.copy(OLD_RUNS / "attn_pool/run.json", tmp_path)
    found = read_predictions(tmp_path, "test")
    assert (found.problem_type, found.label_names) == (SINGLE, ["business", "culture", "sport"])


@pytest.mark.parametrize("problem_type", [MULTI, REGRESSION])
def test_other_runs_of_version_0_1_are_told_by_their_labels(problem_type, tmp_path):
    written = drawn(0, 5, 1 if problem_type == REGRESSION else 3, problem_type)
    if problem_type == REGRESSION:
        written = Predictions(written.labels[:, 0], written.logits, REGRESSION, ["LABEL_0"])
    write_predictions(tmp_path, "test", np.arange(5), written)
    without_metadata(tmp_path)
    id2label = {str(number): name for number, name in enumerate(written.label_names)}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": id2label, "problem_type": None}))
    found = read_predictions(tmp_path, "test")
    assert (found.problem_type, found.label_names) == (problem_type, written.label_names)


def test_eleven_classes_keep_their_order(tmp_path):
    written = drawn(0, 5, 11, SINGLE)
    write_predictions(tmp_path, "test", np.arange(5), written)
    without_metadata(tmp_path)
    id2label = {str(number): name for number, name in enumerate(names(11))}
    (tmp_path / "config.json").write_text(json.dumps({"id2label": id2label}, sort_keys=True))  # "10" before "2"
    assert read_predictions(tmp_path, "test").label_names == names(11)


def test_a_run_of_version_0_1_that_names_no_classes_is_one_sentence(tmp_path):
    write_predictions(tmp_path, "test", np.arange(5), drawn(0, 5, 3, SINGLE))
    without_metadata(tmp_path)
    with pytest.raises(UserError, match="test_predictions.parquet is damaged"):
        read_predictions(tmp_path, "test")


EDITED = {
    "row": ([0, 1, 2, 3, 3], [1, 2, 3, 4, 5], [None] * 5, list("01234")),
    "label": ([5] * 5, [-1] * 5, [None] * 5, list("abcde")),
    "logits": ([[float("nan")] * 3] * 5, [[1.0] * 2] * 5, [[1.0] * 3] * 4 + [[1.0]], [None] * 5, ["a"] * 5),
    "words": (list("abcde"), [None] * 5, [0.5] * 5),
    "label_names": (["a", "b"], [1, 2, 3], "abc", 5, None),
    "problem_type": (None, [], "nonsense"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in EDITED.items() for value in values])
def test_predictions_that_were_edited_by_hand_are_one_sentence(tmp_path, name, value):
    write_predictions(tmp_path, "test", np.arange(5), drawn(0, 5, 3, SINGLE))
    file = predictions_file(tmp_path, "test")
    table = pq.read_table(file)
    if name in table.column_names:
        metadata = table.schema.metadata
        table = table.set_column(table.column_names.index(name), name, pa.array(value)).replace_schema_metadata(
            metadata
        )
    else:
        about = json.loads(table.schema.metadata[METADATA]) | {name: value}
        table = table.replace_schema_metadata({METADATA: json.dumps(about)})
    pq.write_table(table, file)
    with pytest.raises(UserError, match="test_predictions.parquet is damaged: train again, or name another run"):
        read_predictions(tmp_path, "test")


@pytest.mark.parametrize("about", ["[]", "5", "{}", "{"])
def test_predictions_that_do_not_say_what_they_are_are_one_sentence(tmp_path, about):
    write_predictions(tmp_path, "test", np.arange(5), drawn(0, 5, 3, SINGLE))
    file = predictions_file(tmp_path, "test")
    pq.write_table(pq.read_table(file).replace_schema_metadata({METADATA: about}), file)
    with pytest.raises(UserError, match="test_predictions.parquet is damaged"):
        read_predictions(tmp_path, "test")


def test_missing_predictions_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="test_predictions.parquet is missing"):
        read_predictions(tmp_path, "test")


def test_scores_are_read_and_compared_without_torch():
    """A table of results shouldn't wait for it; the module that `evaluate` loads by its path is no part of it."""
    modules = ["breakdown", "calibration", "doubtful_labels", "guarantee", "intervals", "label_thresholds", "metrics"]
    modules += ["paired", "prediction_files", "predictions", "review"]
    code = "import sys\n" + "".join(f"import salience.eval.scores.{name}\n" for name in modules)
    code += "print(*sorted({'torch', 'transformers', 'evaluate'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    found = {file.stem for file in Path(sys.modules[Predictions.__module__].__file__).parent.glob("*.py")}
    assert found == {"__init__", *modules}
