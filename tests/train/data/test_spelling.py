"""Codes, numbers, truth values and dates as labels: the same in every format, and none taken for another."""

import datetime
import logging

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.train.data.load import load_splits, load_test
from salience.train.data.sources.memory import read_table
from tests.helpers.data_files import failure, load, write_csv, write_jsonl

CODES = ["2", "2.1", "2.10"]
ONE_LABEL = "single_label_classification"
WRITERS = {
    "csv": lambda frame, file: frame.to_csv(file, index=False),
    "tsv": lambda frame, file: frame.to_csv(file, index=False, sep="\t"),
    "jsonl": lambda frame, file: frame.to_json(file, orient="records", lines=True, date_format="iso"),
    "parquet": lambda frame, file: frame.to_parquet(file),
}


def names_everywhere(labels, tmp_path, kinds=tuple(WRITERS), **flags):
    """Label names by format."""
    frame = pd.DataFrame({"text": [f"t{number}" for number in range(len(labels))], "label": labels})
    found = {}
    for kind in kinds:
        WRITERS[kind](frame, tmp_path / f"a.{kind}")
        found[kind] = load(str(tmp_path / f"a.{kind}"), **flags).label_names
    for kind, rows in {"pandas": frame, "datasets": Dataset.from_pandas(frame)}.items():
        found[kind] = load_splits(DataArguments(**flags), {"train": rows}).label_names
    return found


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (CODES, CODES),
        ([1.0, 0.0, -1.0], ["-1", "0", "1"]),
        ([True, False], ["false", "true"]),
        (["True", "False", "maybe"], ["False", "True", "maybe"]),
        (["01", "1", "1.0"], ["01", "1", "1.0"]),
        (pd.to_datetime(["2020-01-31", "2021-01-31"]), ["2020-01-31", "2021-01-31"]),
        (pd.to_datetime(["2020-01-31 10:00", "2021-01-31 00:00"]), ["2020-01-31 10:00:00", "2021-01-31"]),
        (["NA", "null", "None"], ["NA", "None", "null"]),
    ],
)
def test_labels_are_the_same_in_every_format(labels, names, tmp_path):
    repeated = pd.Series(labels).repeat(6).reset_index(drop=True)
    found = names_everywhere(repeated, tmp_path, problem_type=ONE_LABEL)
    assert found == dict.fromkeys(found, names)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array([0.1, 1.0], pa.float64()).cast(pa.float16()), ["0.1", "1.0"]),
        (pa.array([0.1, 1.0], pa.float32()), ["0.1", "1.0"]),
        (pa.array([datetime.date(2020, 1, 31), datetime.date(2021, 1, 31)]), ["2020-01-31", "2021-01-31"]),
        (pa.array([datetime.time(9), datetime.time(10, 30)]), ["09:00:00", "10:30:00"]),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (pa.array([b"a", b"b"], pa.binary()), ["a", "b"]),
        (pa.array([b"a", b"b"], pa.binary(1)), ["a", "b"]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([7, 10]).dictionary_encode(), ["7", "10"]),
        (pa.array(["1.50", "2.5"]).cast(pa.decimal128(4, 2)), ["1.50", "2.50"]),
    ],
)
def test_types_of_parquet(values, names, tmp_path):
    column = pa.chunked_array([values] * 6)
    pq.write_table(pa.table({"text": ["x"] * 12, "label": column}), tmp_path / "a.parquet")
    assert load(str(tmp_path / "a.parquet"), problem_type=ONE_LABEL).label_names == names


@pytest.mark.parametrize("values", [pa.large_string(), pa.binary(), pa.string()])
@pytest.mark.parametrize("lists", [pa.list_, pa.large_list, lambda kind: pa.list_(kind, 2)])
def test_lists_of_rows_that_were_selected(values, lists):
    given = [["a", "b"], ["b", "c"], ["a", "c"]] * 10
    rows = Dataset(pa.table({"text": ["x"] * 30, "label": pa.array(given, lists(values))}))
    for selected in (rows.select(range(5, 29)), Dataset(rows.data.table.slice(5, 24))):
        part = read_table(selected, "train", DataArguments())
        assert part.label.to_pylist() == given[5:29] and part.label.type == pa.list_(pa.string())


@pytest.mark.parametrize(
    "kind", [pa.string_view(), pa.large_string(), pa.binary(), pa.binary_view(), pa.large_binary()]
)
def test_text_columns_of_parquet(kind, tmp_path):
    texts = (
        pa.array(["é", "b"] * 6).cast(pa.binary()).cast(kind)
        if "binary" in str(kind)
        else pa.array(["é", "b"] * 6, kind)
    )
    pq.write_table(pa.table({"text": texts, "label": ["a", "b"] * 6}), tmp_path / "a.parquet")
    assert set(load(str(tmp_path / "a.parquet")).splits["train"]["text"]) == {"é", "b"}
    dictionary = pa.table({"text": pa.array(["é", "b"] * 6).dictionary_encode(), "label": ["a", "b"] * 6})
    pq.write_table(dictionary, tmp_path / "b.parquet")
    assert set(load(str(tmp_path / "b.parquet")).splits["train"]["text"]) == {"é", "b"}


def test_bytes_that_are_no_text(tmp_path):
    for name, column in (
        ("text", pa.array([b"\xe9", b"b"] * 6)),
        ("label", pa.array([b"\xe9", b"b"] * 6, pa.binary())),
    ):
        columns = {"text": pa.array(["x"] * 12), "label": pa.array(["a", "b"] * 6)} | {name: column}
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        assert f"column '{name}' of" in failure(str(tmp_path / "a.parquet"))
        assert "isn't valid UTF-8" in failure(str(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"text": ["x"] * 2, "label": pa.array([1, 2], pa.duration("s"))}), tmp_path / "b.parquet")
    assert "of the type duration[s]; use words" in failure(str(tmp_path / "b.parquet"))


def test_regression_that_is_guessed_is_told(tmp_path, caplog):
    for name, separator in (("a.csv", ","), ("a.tsv", "\t")):
        file = write_csv(tmp_path / name, [("x", code) for code in CODES * 6], separator=separator)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert load(file).problem_type == "regression"
        assert "(regression)" in caplog.text and "--problem_type single_label_classification" in caplog.text
        caplog.clear()
        assert load(file, problem_type=ONE_LABEL).label_names == CODES
        assert "(regression)" not in caplog.text
    strings = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": code} for code in CODES * 6])
    assert load(strings).label_names == CODES


def test_a_model_s_classes_are_found_in_every_format(tmp_path):
    def score(names, labels, kind):
        if kind == "lists":
            return load_test(DataArguments(), names, ONE_LABEL, (["x"] * len(labels), labels))["labels"][:]
        file = str(tmp_path / f"t.{kind}")
        WRITERS[kind](pd.DataFrame({"text": "x", "label": labels}), file)
        return load_test(DataArguments(test_file=file), names, ONE_LABEL)["labels"][:]

    for kind in ("csv", "tsv", "jsonl", "parquet", "lists"):
        assert score(CODES, CODES, kind) == [0, 1, 2]
        assert score(["0", "1"], [1.0, 0.0], kind) == [1, 0]
        assert score(["false", "true"], [True, False], kind) == [1, 0]
        assert score(["False", "True"], [True, False], kind) == [1, 0]  # as earlier versions named them
        assert score(["2020-01-31", "x"], ["x", "2020-01-31"], kind) == [1, 0]
        with pytest.raises(UserError, match=r"row 2 of .* has the label '2.0'"):
            score(CODES, ["2", "2.0"], kind)
    assert load_test(DataArguments(), CODES, ONE_LABEL, (["x"], [2.1]))["labels"][:] == [1]


LISTS = [
    "['oven', 'hobby']",
    '["a"]',
    "['a' 'b']",
    "('a', 'b')",
    "{'a'}",
    "[]",
    "[1, 0, 0]",
    "[1. 0.]",
    "[True, False]",
    "[np.int64(1), np.int64(0)]",
    "[np.str_('oven')]",
    "{'oven': 1}",
    "array(['oven'], dtype=object)",
    "frozenset({'oven'})",
    "tensor([1, 0])",
    "Index(['a'])",
]


@pytest.mark.parametrize("label", LISTS)
def test_lists_as_text_are_refused(label, tmp_path):
    frame = pd.DataFrame({"text": ["x", "y"] * 6, "label": [label, "b"] * 6})
    for kind, write in WRITERS.items():
        write(frame, tmp_path / f"a.{kind}")
        for flags in ({}, {"label_separator": ","}, {"label_separator": ";"}):
            message = failure(str(tmp_path / f"a.{kind}"), **flags)
            assert "is a list written as text" in message and "--label_separator" in message
    with pytest.raises(UserError, match="list written as text"):
        load_splits(DataArguments(), {"train": frame})


@pytest.mark.parametrize(
    "labels",
    [["(1, 0)", "(0, 1)"], ["{1, 2}", "{1}"], ["[oven, hobby]", "[oven]", "[hobby]"], ["(a, b)", "(b, a)", "c"]],
)
def test_labels_of_which_most_look_like_lists_are_refused(labels, tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": label} for label in labels * 6])
    assert f"the label {labels[0]} of" in failure(file)


def test_spans_of_numbers_and_names_in_brackets_are_names(tmp_path):
    labels = ["(0, 18]", "(18, 65]", "(other)", "[deleted]", "f(x)"]
    file = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": label} for label in labels * 6])
    assert load(file).label_names == sorted(labels)


def test_words_in_brackets_are_words(tmp_path):
    rows = [("x", label) for label in ("[deleted]", "(other)", "{x}", "[a, b]")] * 6
    file = write_csv(tmp_path / "a.csv", [(text, f'"{label}"') for text, label in rows])
    assert load(file).label_names == ["(other)", "[a, b]", "[deleted]", "{x}"]


def test_two_spellings_of_a_number_in_one_file_are_told(tmp_path, caplog):
    file = write_csv(tmp_path / "a.csv", [("x", "2"), ("y", "2.0")] * 6)
    assert load(file).label_names == ["2", "2.0"]
    assert "'2' and '2.0' look alike and are two classes" in caplog.text


def test_numbers_that_are_not_exact_are_no_classes(tmp_path):
    rows = [{"text": "x", "label": number} for number in (10**20, 10**20 + 1)] * 5
    assert "too large to be told apart" in failure(write_jsonl(tmp_path / "a.jsonl", rows))
    frame = pd.DataFrame({"text": "x", "label": pd.period_range("2020", periods=9, freq="D")})
    with pytest.raises(UserError, match="of the type extension"):
        load_splits(DataArguments(), {"train": frame})


def test_numbers_too_large_for_float32(tmp_path):
    file = write_csv(tmp_path / "a.csv", [("x", "0.5"), ("y", "1.5")] * 5)
    large = write_csv(tmp_path / "b.csv", [("x", "0.5"), ("y", "1e39")])
    for number in ("2.9e38", "-1.1e15", "1e400"):
        assert f"label '{number}' in row 2" in failure(write_csv(tmp_path / "c.csv", [("x", "0.5"), ("y", number)]))
    for flags in ({"test_file": large}, {"validation_file": large}):
        assert "label '1e39' in row 2 of" in failure(file, **flags)
    assert "is too large a number" in failure(large)


def test_minus_zero_is_zero(tmp_path):
    for kind, names in names_everywhere([0.0, -0.0, 1.0] * 8, tmp_path).items():
        assert names == ["0", "1"], kind


def test_decimal_classes_are_the_same_where_they_can_be_told_apart_and_bare_ones_of_json_are_refused(tmp_path):
    for labels, names in (
        ([1.5, 2.0], ["1.5", "2.0"]),
        ([1e-5, 1.5e10, 0.1], ["0.1", "15000000000.0", "1e-05"]),
    ):
        found = names_everywhere(labels * 6, tmp_path, kinds=("csv", "tsv", "parquet"), problem_type=ONE_LABEL)
        assert found == dict.fromkeys(found, names)
    rows = [f'{{"text": "x", "label": {code}}}' for code in ("2.1", "2.10")] * 6
    for name, text in (("a.jsonl", "\n".join(rows)), ("a.json", f"[{','.join(rows)}]")):
        (tmp_path / name).write_text(text)
        assert "the label 2.1 in row 1 of" in failure(str(tmp_path / name), problem_type=ONE_LABEL)
    rows = [{"text": "x", "label": number} for number in (1.0, 2.0)] * 6
    assert load(write_jsonl(tmp_path / "b.jsonl", rows), problem_type=ONE_LABEL).label_names == ["1", "2"]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([2**30, 0] * 20, pa.date32()),
        pa.array([316516204800000000, 0] * 20, pa.timestamp("us")),
        pa.array([-(10**14), 0] * 20, pa.timestamp("s", "UTC")),
        pa.array([[2**30], [0]] * 20, pa.list_(pa.date32())),
    ],
)
@pytest.mark.parametrize("problem_type", [None, "regression"])
def test_dates_beyond_the_year_9999_are_refused(labels, problem_type, tmp_path):
    pq.write_table(pa.table({"text": [f"t{number}" for number in range(40)], "label": labels}), tmp_path / "a.parquet")
    message = failure(str(tmp_path / "a.parquet"), problem_type=problem_type)
    assert "column 'label' of" in message and "has dates before the year 1 or after 9999" in message
