"""Splits: held out, sampled, and free of leaked texts."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salience.train.data.splits import hold_out, sample_rows
from tests.helpers.data_files import ROWS, all_rows, failure, load, rows_of, write_csv


def test_validation_is_a_stratified_part_of_train_and_never_of_test(tmp_path):
    rows = [(f"t{i}", "rare" if i % 10 == 0 else "common") for i in range(200)]
    test = write_csv(tmp_path / "t.csv", [(f"test {i}", "rare") for i in range(5)])
    data = load(write_csv(tmp_path / "a.csv", rows), test_file=test, validation_size=0.2)
    assert [len(data.splits[s]) for s in ("train", "validation", "test")] == [160, 40, 5]
    assert data.fingerprint("validation")["labels"] == {"common": 36, "rare": 4}
    assert not any(text.startswith("test") for s in ("train", "validation") for text in data.splits[s]["text"])


def test_held_out_test_split_and_resplit(tmp_path):
    a, b = write_csv(tmp_path / "a.csv", ROWS[:20]), write_csv(tmp_path / "b.csv", ROWS[20:])
    data = load([a, b], test_size=0.2, validation_size=0.2)
    again = load(a, test_file=b, resplit=True, test_size=0.2, validation_size=0.2)
    assert list(data.splits) == ["train", "validation", "test"]
    assert [len(split) for split in data.splits.values()] == [18, 6, 6]
    assert all_rows(data) == sorted(ROWS)
    for split in data.splits:
        assert data.fingerprint(split) == again.fingerprint(split)
    other = load([a, b], test_size=0.2, validation_size=0.2, split_seed=1)
    assert other.fingerprint("test")["sha256"] != data.fingerprint("test")["sha256"]
    assert "--test_size" in failure(a, test_file=b, resplit=True)
    assert "--resplit true has no effect here" in failure(a, resplit=True, test_size=0.2)


def test_single_examples_stay_in_train(tmp_path, caplog):
    data = load(write_csv(tmp_path / "a.csv", [*ROWS, ("only", "one")]), test_size=0.1)
    assert ("only", "one") in rows_of(data.splits["train"], data)
    assert "classes with a single row, which stays in the training data: 1" in caplog.text


def test_too_few_rows_to_split(tmp_path):
    file = write_csv(tmp_path / "a.csv", [("x", "a"), ("y", "b"), ("z", "a")])
    assert "too few to hold out a validation split" in failure(file)
    every_class_once = write_csv(tmp_path / "b.csv", [(f"x{i}", f"c{i}") for i in range(9)])
    assert "too few" in failure(every_class_once)


def test_multi_label_and_regression_are_split_at_random(tmp_path):
    data = load(write_csv(tmp_path / "a.csv", [(f"t{i}", f"{i}.5") for i in range(40)]), test_size=0.25)
    assert [len(split) for split in data.splits.values()] == [24, 6, 10]
    assert len({t for split in data.splits.values() for t in split["text"]}) == 40


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=30, max_size=120), st.floats(0.05, 0.3), st.integers(0, 3))
def test_held_out_rows_are_disjoint_complete_and_proportional(classes, size, seed):
    classes = np.array(classes)
    rest, parts = hold_out(len(classes), classes, {"test": size, "validation": size}, seed)
    everything = np.concatenate([rest, *parts.values()])
    assert sorted(everything) == list(range(len(classes)))
    assert all((np.diff(rows) > 0).all() for rows in (rest, *parts.values()))
    assert set(classes) == set(classes[rest])
    for rows in parts.values():
        assert len(rows) == max(round(size * len(classes)), len(set(classes)))
        for name in set(classes):
            share = len(rows) / len(classes) * (classes == name).sum()
            assert abs((classes[rows] == name).sum() - share) < 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=60), st.integers(5, 60))
def test_samples_keep_every_class(classes, count):
    classes = np.array(classes)
    rows = sample_rows(len(classes), classes, count, 0)
    assert len(rows) == min(count, len(classes)) == len(set(rows))
    assert (rows == sample_rows(len(classes), classes, count, 0)).all()
    assert set(classes[rows]) == set(classes)


def test_max_train_samples(tmp_path):
    file = write_csv(tmp_path / "a.csv", [(f"t{i}", "a" if i % 4 else "b") for i in range(100)])
    data = load(file, max_train_samples=20)
    assert data.fingerprint("train")["labels"] == {"a": 15, "b": 5}
    assert len(data.splits["validation"]) == 15
    assert "number of classes, 2" in failure(file, max_train_samples=1)
    assert len(load(file, max_train_samples=1000).splits["train"]) == 85


def test_texts_with_several_labels_in_several_rows_are_told(tmp_path, caplog):
    twice = [("one", "news"), ("one", "sport"), ("two", "news"), ("two", "news"), ('""', "news"), ('""', "sport")]
    load(write_csv(tmp_path / "a.csv", [*ROWS, *twice[2:]]), keep_empty_texts=True)
    assert "with different labels" not in caplog.text
    load(write_csv(tmp_path / "b.csv", [*ROWS, *twice]), keep_empty_texts=True)
    assert "1 texts stand several times, with different labels" in caplog.text


def test_training_texts_that_are_held_out_too_are_reported_and_can_be_dropped(tmp_path, caplog):
    train = write_csv(tmp_path / "a.csv", [*ROWS, ('""', "news")])
    test = write_csv(tmp_path / "t.csv", [ROWS[0], ROWS[0], ("new", "news"), ('""', "news")])
    validation = write_csv(tmp_path / "v.csv", [ROWS[1], ROWS[0]])
    files = {"test_file": test, "validation_file": validation}
    with caplog.at_level(logging.WARNING):
        kept = load(train, **files)
    assert "2 train texts are held-out texts too" in caplog.text
    assert len(kept.splits["train"]) == len(ROWS) + 1
    dropped = load(train, drop_leaked=True, **files)
    held_out = {ROWS[0][0], ROWS[1][0]}
    assert held_out.isdisjoint(dropped.splits["train"]["text"]) and "" in dropped.splits["train"]["text"]
    assert dropped.splits["validation"]["text"][:] == [ROWS[1][0]]
    assert dropped.splits["test"]["text"][:] == kept.splits["test"]["text"][:]


@pytest.mark.parametrize("name", ["test", "validation"])
def test_the_size_of_a_split_that_is_given_is_refused(name, tmp_path):
    file = write_csv(tmp_path / "a.csv")
    flags = {f"{name}_file": write_csv(tmp_path / "b.csv", [("x", "news"), ("y", "sport")]), f"{name}_size": 0.3}
    assert f"--{name}_size has no effect here: the data have a {name} split already; leave it out" in failure(
        file, **flags
    )
