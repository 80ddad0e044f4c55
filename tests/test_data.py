import hashlib
import json
import logging
import sys
from types import SimpleNamespace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import _twenty_newsgroups as newsgroups
from transformers import HfArgumentParser

from salience.configuration.data_arguments import DataArguments
from salience.train import labels as labels_module
from salience.train.data import load_splits
from salience.train.errors import UserError
from salience.train.labels import LabelScheme
from salience.train.paths import resolve_path
from salience.train.splits import hold_out, sample_rows

ROWS = [(f"text {i}", "sport" if i % 3 else "news") for i in range(30)]


def write_csv(path, rows=ROWS, header=("text", "label"), separator=",", encoding="utf-8"):
    lines = [separator.join(header), *(separator.join(row) for row in rows)]
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return str(path)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def load(train_file, **kwargs):
    return load_splits(DataArguments(train_file=train_file, **kwargs))


def failure(*args, **kwargs):
    """What the user reads: always one line."""
    with pytest.raises(UserError) as error:
        load(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def rows_of(split, data):
    return list(zip(split["text"], [data.label_names[i] for i in split["labels"]], strict=True))


def all_rows(data):
    return sorted(row for split in data.splits.values() for row in rows_of(split, data))


# --- files ---


def write_parquet(path):
    pq.write_table(pa.table({"text": [t for t, _ in ROWS], "label": [n for _, n in ROWS], "more": range(30)}), path)
    return str(path)


def write_folder(path):
    for i, (text, name) in enumerate(ROWS):
        (path / name).mkdir(parents=True, exist_ok=True)
        (path / name / f"{i}.txt").write_text(text)
    (path / ".hidden").mkdir()
    (path / ".hidden" / "x.txt").write_text("not a class")
    return str(path)


WRITERS = {
    "a.csv": write_csv,
    "a.tsv": lambda path: write_csv(path, separator="\t"),
    "a.jsonl": lambda path: write_jsonl(path, [{"text": t, "label": n, "more": [1]} for t, n in ROWS]),
    "a.json": lambda path: (path.write_text(json.dumps([{"text": t, "label": n} for t, n in ROWS])), str(path))[1],
    "a.parquet": write_parquet,
    "a": write_folder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_data(name, tmp_path):
    data = load(WRITERS[name](tmp_path / name))
    assert all_rows(data) == sorted(ROWS)
    assert list(data.splits) == ["train", "validation"]
    assert data.splits["train"].features == {"text": Value("string"), "labels": Value("int64")}
    assert data.label_names == ["news", "sport"]
    assert data.problem_type == "single_label_classification"
    assert (data.name, data.source) == ("a", name)


def test_several_files_and_all_three_splits(tmp_path):
    first, second = write_csv(tmp_path / "1.csv", ROWS[:10]), write_csv(tmp_path / "2.csv", ROWS[10:])
    data = load(
        [first, second],
        validation_file=write_csv(tmp_path / "v.csv", [("x", "news")]),
        test_file=write_csv(tmp_path / "t.csv", [("y", "sport")]),
        data_name="My News",
    )
    assert rows_of(data.splits["train"], data) == ROWS
    assert rows_of(data.splits["validation"], data) == [("x", "news")]
    assert rows_of(data.splits["test"], data) == [("y", "sport")]
    assert (data.name, data.source) == ("My News", "1.csv, 2.csv, v.csv, t.csv")


def test_words_that_look_like_nulls_dates_or_numbers_stay_text(tmp_path):
    rows = [(word, name) for word in ("NA", "null", "None", "nan", "2020-01-01", "7", '""') for name in ("a", "b")]
    data = load(write_csv(tmp_path / "a.csv", rows), validation_size=0.2)
    assert {text for text, _ in all_rows(data)} == {"NA", "null", "None", "nan", "2020-01-01", "7", ""}
    rows = [{"text": "2020-01-01", "label": i % 2} for i in range(10)]
    assert set(load(write_jsonl(tmp_path / "a.jsonl", rows)).splits["train"]["text"]) == {"2020-01-01"}


def test_quotes_line_breaks_and_very_long_texts_in_csv(tmp_path):
    long = "word " * 500_000
    rows = [('"one\n""two"", three"', "a"), (f'"{long}"', "b")] * 4
    texts = {text for text, _ in all_rows(load(write_csv(tmp_path / "a.csv", rows), validation_size=0.3))}
    assert texts == {'one\n"two", three', long}


def test_a_changed_file_is_read_again(tmp_path):
    file = write_csv(tmp_path / "a.csv")
    load(file)
    write_csv(tmp_path / "a.csv", [(text.upper(), name) for text, name in ROWS])
    assert all(text.isupper() or text.startswith("TEXT") for text, _ in all_rows(load(file)))


def test_encodings_are_tried_in_order(tmp_path):
    file = write_csv(tmp_path / "a.csv", [("£5", "a"), ("£6", "b")] * 3, encoding="latin-1")
    message = failure(file)
    assert "a.csv" in message and "--encoding utf-8 latin-1" in message
    assert all(text.startswith("£") for text, _ in all_rows(load(file, encoding=["utf-8", "latin-1"])))
    for name, encoding in (("a", "utf-8"), ("b", "latin-1")):
        (tmp_path / "f" / name).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "f" / name / f"{i}.txt").write_text("£", encoding=encoding)
    assert "b/0.txt' is not valid utf-8" in failure(str(tmp_path / "f"))
    data = load(str(tmp_path / "f"), encoding=["utf-8", "latin-1"])
    assert {text for text, _ in all_rows(data)} == {"£"}
    assert "--encoding" in failure(file, encoding="no-such")
    (tmp_path / "u.csv").write_bytes("\ufefftext,label\né,a\nè,b\né,a\nè,b\n".encode("utf-16-le"))
    assert len(all_rows(load(str(tmp_path / "u.csv"), encoding="utf-16", validation_size=0.5))) == 4


def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path):
    rows = write_csv(tmp_path / "a.csv", encoding="utf-8-sig")
    assert all_rows(load(rows)) == sorted(ROWS)
    jsonl = tmp_path / "a.jsonl"
    jsonl.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in ROWS), encoding="utf-8-sig")
    assert all_rows(load(str(jsonl))) == sorted(ROWS)


def test_package_paths_are_found_without_importing(tmp_path, monkeypatch):
    (tmp_path / "some_pkg" / "data").mkdir(parents=True)
    (tmp_path / "some_pkg" / "__init__.py").write_text("raise RuntimeError('imported')")
    write_csv(tmp_path / "some_pkg" / "data" / "a.csv")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_path("package:some_pkg/data") == tmp_path / "some_pkg" / "data"
    data = load("package:some_pkg/data/a.csv")
    assert data.source == "package:some_pkg/data/a.csv"
    assert "some_pkg" not in sys.modules
    assert "pip install no-such-pkg" in failure("package:no_such_pkg/data")
    assert "no file or folder 'datas'" in failure("package:some_pkg/datas")


# --- bad files ---


def test_missing_file_names_the_nearest(tmp_path):
    write_csv(tmp_path / "train.csv")
    assert "trian.csv'; did you mean 'train.csv'?" in failure(str(tmp_path / "trian.csv"))


def test_missing_and_doubled_columns(tmp_path):
    file = write_csv(tmp_path / "a.csv", header=("texts", "label"))
    message = failure(file)
    assert "no column 'text' (--text_column)" in message
    assert "'texts', 'label'; did you mean 'texts'?" in message
    assert "no column 'lable'" in failure(file, text_column="texts", label_column="lable")
    assert "name two columns" in failure(file, text_column="label")
    double = write_csv(tmp_path / "b.csv", [("a", "b", "c")], header=("text", "text", "label"))
    assert "more than one column 'text'" in failure(double)
    assert "no column 'text'" in failure(write_jsonl(tmp_path / "a.jsonl", [{"t": "x", "label": "a"}]))
    assert "no column 'label'" in failure(write_jsonl(tmp_path / "b.jsonl", [{"text": "x"}]))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    assert "its columns are 'x'" in failure(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"text,label\n", "has no rows"),
        ("a.csv", b"\n\n", "malformed"),
        ("a.csv", b"text,label\na,b\n\nc,d,e\n", "ends in line 4 has 3 cells and the header 2"),
        ("a.csv", b'text,label\na,b\n"c,d\n', "ends in line 3 has 1 cells"),
        ("a.jsonl", b"", "is empty"),
        ("a.json", b"[]", "has no rows"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n\n{"text": \n', "line 3 is not valid JSON"),
        ("a.json", b'[{"text": "x", "label": "a"},\n{]', "line 2 is not valid JSON"),
        ("a.jsonl", b'{"text": "\xe9", "label": "a"}\n', "UTF-8"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n[1]\n', "row 2 is not a JSON object"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n{"text": 5, "label": "a"}\n', "row 2 has something else than text"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n{"text": "y", "label": [1]}\n', "mixes types"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl"),
        ("a.parquet", b"PAR1 not really", "not a readable parquet file"),
        ("a.xlsx", b"x", "no known file ending; use .csv, .tsv"),
    ],
)
def test_broken_files(name, content, expected, tmp_path):
    (tmp_path / name).write_bytes(content)
    message = failure(str(tmp_path / name))
    assert name in message and expected in message


def test_unrelated_columns_may_hold_anything(tmp_path):
    rows = [{"text": t, "label": n, "x": i if i % 2 else str(i)} for i, (t, n) in enumerate(ROWS)]
    assert all_rows(load(write_jsonl(tmp_path / "a.jsonl", rows))) == sorted(ROWS)


def test_empty_folder(tmp_path):
    (tmp_path / "a").mkdir()
    assert "CLASS/ANY.txt" in failure(str(tmp_path))


def test_text_that_is_not_text(tmp_path):
    pq.write_table(pa.table({"text": [1, 2], "label": ["a", "b"]}), tmp_path / "a.parquet")
    assert "holds int64, not text" in failure(str(tmp_path / "a.parquet"))
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], "<i4")), pa.py_buffer(b"\xe9")])
    pq.write_table(pa.table({"text": bad, "label": ["a"]}), tmp_path / "b.parquet")
    assert "valid UTF-8" in failure(str(tmp_path / "b.parquet"))


def test_missing_texts(tmp_path):
    file = write_csv(tmp_path / "a.csv", [('"two\nlines"', "a"), ("", "b"), ('""', "a"), ("x", "b")])
    message = failure(file)
    assert "a.csv' has no text in row 2 (ends in line 4)" in message and "--keep_empty_texts true" in message
    data = load(file, keep_empty_texts=True, validation_size=0.5)
    assert [text for text, _ in all_rows(data)].count("") == 2
    file = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": "a"}, {"text": None, "label": "b"}])
    assert "no text in row 2; fill it in" in failure(file)


@pytest.mark.parametrize("label", [None, "", "  ", float("nan")])
def test_missing_labels(label, tmp_path):
    other = 1.0 if isinstance(label, float) else "a"
    pq.write_table(pa.table({"text": ["x", "y"], "label": [other, label]}), tmp_path / "a.parquet")
    assert "no label in row 2" in failure(str(tmp_path / "a.parquet"))


def test_missing_label_in_csv(tmp_path):
    assert "no label in row 1 (ends in line 2)" in failure(write_csv(tmp_path / "a.csv", [("x", ""), ("y", "b")]))


# --- labels ---


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["10", "9", "2"], ["2", "9", "10"]),
        ([10, 9, 2], ["2", "9", "10"]),
        ([1.0, 0.0, -1.0], ["-1", "0", "1"]),
        ([True, False], ["false", "true"]),
        (["b", "a", "C"], ["C", "a", "b"]),
        (["1", "x", "10"], ["1", "10", "x"]),
        (["01", "1", "2"], ["01", "1", "2"]),
    ],
)
def test_label_names(values, names):
    scheme = LabelScheme.find([pa.chunked_array([values, values])], "f")
    assert scheme.names == names
    assert scheme.problem_type == "single_label_classification"


def test_labels_may_be_written_differently_in_each_file(tmp_path):
    train = write_csv(tmp_path / "a.csv", [("x", "1"), ("y", "0")] * 5)
    test = write_jsonl(tmp_path / "t.jsonl", [{"text": "z", "label": 1}])
    decimal = write_csv(tmp_path / "v.csv", [("z", "1.0")])
    data = load(train, test_file=test, validation_file=decimal)
    assert data.splits["test"]["labels"][0] == data.splits["validation"]["labels"][0] == 1


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(st.text(min_size=1).map(str.strip).filter(bool), st.integers(-(2**60), 2**60).map(str)),
        min_size=2,
        unique=True,
    )
)
def test_labels_survive_the_round_trip(names):
    # Arrow's idea of white space is wider than Python's by a few control characters.
    names = list(dict.fromkeys(pa.compute.utf8_trim_whitespace(pa.array(names)).to_pylist()))
    names = [name for name in names if name]
    if len(names) < 2:
        return
    column = pa.chunked_array([names[::-1], names])
    scheme = LabelScheme.find([column], "f")
    assert sorted(scheme.names) == sorted(names)
    assert [scheme.names[i] for i in scheme.encode(column, "f").to_pylist()] == column.to_pylist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True), min_size=1).filter(any), st.integers(1, 4))
def test_label_lists_survive_the_round_trip(rows, rows_at_once):
    column = pa.chunked_array([rows[:1], rows[1:]], pa.list_(pa.string()))
    scheme = LabelScheme.find([column], "f")
    assert scheme.problem_type == "multi_label_classification"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels_module, "_ROWS_AT_ONCE", rows_at_once)
        encoded = scheme.encode(column, "f").to_pylist()
    decoded = [{name for name, value in zip(scheme.names, row, strict=True) if value} for row in encoded]
    assert decoded == [set(row) for row in rows]


def test_multi_label_by_separator(tmp_path):
    rows = [("x", "b; a"), ("y", ""), ("z", "c;"), ("w", "a")] * 5
    data = load(write_csv(tmp_path / "a.csv", rows), label_separator=";")
    assert data.problem_type == "multi_label_classification"
    assert data.label_names == ["a", "b", "c"]
    found = dict(zip(data.splits["train"]["text"], data.splits["train"]["labels"], strict=True))
    assert found == {"x": [1, 1, 0], "y": [0, 0, 0], "z": [0, 0, 1], "w": [1, 0, 0]}
    assert data.splits["train"].features["labels"].feature == Value("float32")


def test_multi_label_integers_sort_by_number(tmp_path):
    rows = [{"text": f"t{i}", "label": [i % 3, 10]} for i in range(10)]
    data = load(write_jsonl(tmp_path / "a.jsonl", rows))
    assert data.label_names == ["0", "1", "2", "10"]


def test_regression(tmp_path):
    rows = [(f"t{i}", str(i / 4)) for i in range(20)]
    data = load(write_csv(tmp_path / "a.csv", rows), test_file=write_csv(tmp_path / "t.csv", [("x", "3")]))
    assert (data.problem_type, data.label_names) == ("regression", [])
    assert dict(zip(*data.splits["train"][:].values(), strict=True)).items() <= {t: float(v) for t, v in rows}.items()
    assert data.splits["test"]["labels"] == [3.0]
    assert data.splits["train"].features["labels"] == Value("float32")


def test_whole_numbers_are_regression_only_on_demand(tmp_path):
    file = write_csv(tmp_path / "a.csv", [(f"t{i}", str(i % 5)) for i in range(40)])
    assert load(file).problem_type == "single_label_classification"
    assert load(file, problem_type="regression").problem_type == "regression"
    versions = write_csv(tmp_path / "b.csv", [("x", "1.5"), ("y", "2.0")] * 5)
    assert load(versions, problem_type="single_label_classification").label_names == ["1.5", "2"]


def test_regression_needs_numbers(tmp_path):
    file = write_csv(tmp_path / "a.csv", [("x", "1.5"), ("y", "much")])
    assert "label 'much' in row 2" in failure(file, problem_type="regression")
    pq.write_table(pa.table({"text": ["x", "y"], "label": [0.5, float("inf")]}), tmp_path / "a.parquet")
    assert "label 'inf' in row 2" in failure(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("split", ["validation_file", "test_file"])
def test_a_label_that_training_never_saw(split, tmp_path):
    other = write_csv(tmp_path / "b.csv", [("x", "news"), ("y", "music")])
    message = failure(write_csv(tmp_path / "a.csv"), **{split: other})
    assert "row 2 of '" in message and "b.csv' has the label 'music'" in message
    multi = write_csv(tmp_path / "c.csv", [("x", "a;b"), ("y", "b")] * 5)
    other = write_csv(tmp_path / "d.csv", [("x", "a"), ("y", "a;q")])
    message = failure(multi, label_separator=";", **{split: other})
    assert "row 2 of '" in message and "d.csv' has the label 'q'" in message


def test_one_class_only(tmp_path):
    message = failure(write_csv(tmp_path / "a.csv", [("x", "news"), ("y", "news")]))
    assert "a.csv' has only the label 'news'" in message
    assert "no label at all" in failure(write_csv(tmp_path / "b.csv", [("x", ""), ("y", ";")]), label_separator=";")


def test_labels_that_do_not_fit_the_problem_type(tmp_path):
    file = write_csv(tmp_path / "a.csv")
    assert "--label_separator" in failure(file, problem_type="multi_label_classification")
    lists = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": ["a"]}, {"text": "y", "label": ["b"]}] * 5)
    assert "doesn't fit" in failure(lists, problem_type="single_label_classification")
    assert "write them alike" in failure(lists, test_file=file)
    assert "write them alike" in failure(file, test_file=lists)
    nested = write_jsonl(tmp_path / "b.jsonl", [{"text": "x", "label": {"a": 1}}, {"text": "y", "label": {"a": 2}}])
    assert "use words, numbers or lists" in failure(nested)


# --- splits ---


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


def test_single_examples_stay_in_train(tmp_path, caplog):
    data = load(write_csv(tmp_path / "a.csv", [*ROWS, ("only", "one")]), test_size=0.1)
    assert ("only", "one") in rows_of(data.splits["train"], data)
    assert "1 classes have a single row" in caplog.text


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


# --- cleaning ---

POST = "From: a@b\nSubject: x\n\nIn article <1> c writes:\n> quoted\nMy answer.\n\n-- \nMe, Inc."


def test_cleaning_is_scikit_learns(tmp_path):
    rows = [{"text": POST, "label": "a"}, {"text": "Subject: only a header", "label": "b"}] * 5
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    texts = set(load(file, clean=["quotes", "footers", "headers"]).splits["train"]["text"])
    remove = (
        newsgroups.strip_newsgroup_header,
        newsgroups.strip_newsgroup_footer,
        newsgroups.strip_newsgroup_quoting,
    )
    expected = set()
    for row in rows:
        text = row["text"]
        for rule in remove:
            text = rule(text)
        expected.add(text)
    assert texts == expected == {"My answer.\n", ""}  # an empty text is legal
    assert "quoted" in load(file, clean=["headers"]).splits["train"]["text"][0]


# --- Hub data sets ---


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    """What a data repo on the Hub holds; load_dataset reads a folder as it reads a repo."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    names = ["World", "Business", "Unused"]
    features = Features({"text": Value("string"), "label": ClassLabel(names=names), "id": Value("int64")})

    def write(split, label_ids):
        columns = {"text": [f"{split} {i}" for i in range(len(label_ids))], "label": label_ids, "id": label_ids}
        (tmp_path / "news").mkdir(exist_ok=True)
        Dataset.from_dict(columns, features).to_parquet(tmp_path / "news" / f"{split}-00000-of-00001.parquet")

    return SimpleNamespace(path=str(tmp_path / "news"), write=write)


def from_hub(path, **kwargs):
    return load_splits(DataArguments(dataset_name=path, **kwargs))


def test_hub_data_sets_keep_their_label_names(hub_folder):
    hub_folder.write("train", [0, 1] * 20)
    hub_folder.write("test", [1, 0, 1])
    data = from_hub(hub_folder.path)
    assert data.label_names == ["World", "Business", "Unused"]
    assert data.splits["test"][:] == {"text": ["test 0", "test 1", "test 2"], "labels": [1, 0, 1]}
    assert [len(split) for split in data.splits.values()] == [34, 6, 3]
    assert data.name == "news"
    assert data.fingerprint("train")["labels"] == {"World": 17, "Business": 17, "Unused": 0}


def test_an_unlabelled_hub_test_split_is_left_out(hub_folder, caplog):
    hub_folder.write("train", [0, 1] * 20)
    hub_folder.write("test", [-1, -1])
    assert list(from_hub(hub_folder.path).splits) == ["train", "validation"]
    assert "has no labels" in caplog.text


def test_missing_hub_labels_are_an_error(hub_folder):
    hub_folder.write("train", [0, 1, -1] * 20)
    with pytest.raises(UserError, match="split train' has no label in row 3"):
        from_hub(hub_folder.path)


def test_multi_label_hub_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = Features({"text": Value("string"), "label": datasets.Sequence(ClassLabel(names=["joy", "anger"]))})
    (tmp_path / "emotions").mkdir()
    Dataset.from_dict({"text": ["x", "y", "z", "w"] * 5, "label": [[0], [1, 0], [], [1]] * 5}, features).to_parquet(
        tmp_path / "emotions" / "train-00000-of-00001.parquet"
    )
    data = from_hub(str(tmp_path / "emotions"))
    assert data.label_names == ["joy", "anger"]
    found = dict(zip(data.splits["train"]["text"], data.splits["train"]["labels"], strict=True))
    assert found == {"x": [1, 0], "y": [1, 1], "z": [0, 0], "w": [0, 1]}


def test_hub_errors(hub_folder, tmp_path):
    hub_folder.write("test", [0, 1])
    for path, expected in ((hub_folder.path, "no split named train"), (str(tmp_path / "nothing"), "can't be loaded")):
        with pytest.raises(UserError, match=expected) as error:
            from_hub(path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no column 'body'"):
        from_hub(hub_folder.path, text_column="body")
    with pytest.raises(UserError, match="--test_file"):
        from_hub(hub_folder.path, test_file="t.csv")


def test_exactly_one_source():
    assert "no data is given" in failure(None)
    assert "both --train_file and --dataset_name" in failure("a.csv", dataset_name="user/name")


# --- fingerprint ---


def test_fingerprints_depend_on_content_alone(tmp_path):
    split = write_csv(tmp_path / "v.csv", [("v", "news")])
    (tmp_path / "elsewhere").mkdir()
    print_of = {}
    for key, rows in {
        "same": ROWS,
        "elsewhere/b": ROWS,
        "text": [("other", "news"), *ROWS[1:]],
        "label": [(ROWS[0][0], "sport"), *ROWS[1:]],
        "order": ROWS[::-1],
        "border": [("text 0t", "news"), ("ext 1", "sport"), *ROWS[2:]],
    }.items():
        data = load(write_csv(tmp_path / f"{key}.csv", rows), validation_file=split)
        print_of[key] = data.fingerprint("train")
    assert print_of["same"] == print_of["elsewhere/b"]
    assert print_of["same"]["rows"] == 30 and print_of["same"]["labels"] == {"news": 10, "sport": 20}
    assert len({found["sha256"] for found in print_of.values()}) == 5

    def sha256(data):
        return hashlib.sha256(data).digest()

    texts = "".join(text for text, _ in ROWS).encode()
    lengths = b"".join(len(text).to_bytes(8, "little") for text, _ in ROWS)
    labels = b"".join((name == "sport").to_bytes(8, "little") for _, name in ROWS)
    by_hand = sha256(sha256(texts) + sha256(lengths) + sha256(labels) + b'["news", "sport"]')
    assert print_of["same"]["sha256"] == by_hand.hex()


def test_fingerprint_does_not_depend_on_batches(tmp_path, monkeypatch):
    data = load(write_csv(tmp_path / "a.csv"))
    whole = data.fingerprint("train")
    monkeypatch.setattr("salience.train.data.ROWS_PER_BATCH", 7)
    assert data.fingerprint("train") == whole


def test_fingerprint_of_multi_label_and_regression(tmp_path):
    rows = [("x", "a;b"), ("y", "b")] * 10
    multi = load(write_csv(tmp_path / "a.csv", rows), label_separator=";", validation_size=0.5).fingerprint("train")
    assert multi["rows"] == 10 and multi["labels"]["b"] == 10
    numbers = load(write_csv(tmp_path / "b.csv", [("x", "0.5"), ("y", "1.5")] * 10)).fingerprint("train")
    assert numbers["rows"] == 17 and numbers["labels"] == {}


# --- arguments ---


def test_arguments_parse():
    parser = HfArgumentParser(DataArguments)
    command = "--train_file a.csv b.csv --clean headers quotes --resplit true --max_length 5 --keep_empty_texts"
    (args,) = parser.parse_args_into_dataclasses(command.split())
    assert args.train_file == ["a.csv", "b.csv"] and args.clean == ["headers", "quotes"]
    assert args.resplit is True and args.keep_empty_texts is True
    assert args.max_length == 5 and args.encoding == ["utf-8"] and args.validation_size == 0.15
    (defaults,) = parser.parse_args_into_dataclasses([])
    assert defaults.train_file is None and defaults.max_train_samples is None
    assert all(action.help for action in parser._actions)
    assert DataArguments(train_file="one.csv").train_file == ["one.csv"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"validation_size": 0.0},
        {"validation_size": 1.0},
        {"test_size": -0.1},
        {"test_size": 0.9, "validation_size": 0.2},
        {"problem_type": "clustering"},
        {"clean": ["header"]},
        {"max_train_samples": 0},
        {"max_length": 0},
    ],
)
def test_arguments_out_of_range(wrong):
    with pytest.raises(UserError, match=f"--{next(iter(wrong))}"):
        DataArguments(**wrong)
