"""Lists of zeros and ones, and one column for each label: named, or refused."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.train.data.load import load_splits, load_test
from tests.helpers.data_files import failure, load, write_csv, write_jsonl

ROWS = [[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]]
NAMES = ["z", "a", "m"]
SENTENCE = "are lists of 3 zeros and ones: name the labels in that order with --class_names"


def rows_of(kind):
    return [[kind(value) for value in row] for row in ROWS] * 5


def texts(count=20):
    return [f"text {number % 4}" for number in range(count)]


def jsonl(path, labels):
    return write_jsonl(path / "a.jsonl", [{"text": t, "label": row} for t, row in zip(texts(), labels, strict=True)])


def json_array(path, labels):
    rows = [{"text": text, "label": row} for text, row in zip(texts(), labels, strict=True)]
    (path / "a.json").write_text(json.dumps(rows))
    return str(path / "a.json")


def parquet(path, labels, kind=None):
    pq.write_table(pa.table({"text": texts(), "label": pa.array(labels, kind)}), path / "a.parquet")
    return str(path / "a.parquet")


def csv(path, labels):
    return write_csv(path / "a.csv", [(t, ";".join(map(str, row))) for t, row in zip(texts(), labels, strict=True)])


FILES = {"jsonl": jsonl, "json": json_array, "parquet": parquet, "csv": csv}
MEMORY = {
    "pandas": lambda labels: pd.DataFrame({"text": texts(), "label": labels}),
    "datasets": lambda labels: Dataset.from_dict({"text": texts(), "label": labels}),
    "columns": lambda labels: {"text": texts(), "label": labels},
    "lists": lambda labels: (texts(), labels),
    "array": lambda labels: (texts(), np.array(labels)),
}


def found(data):
    assert data.problem_type == "multi_label_classification" and data.label_names == NAMES
    return dict(zip(data.splits["train"]["text"], data.splits["train"]["labels"], strict=True))


@pytest.mark.parametrize("kind", [int, float, bool])
@pytest.mark.parametrize("name", FILES)
def test_indicators_in_files_have_the_names_that_are_given_or_are_refused(name, kind, tmp_path):
    file = FILES[name](tmp_path, rows_of(kind))
    flags = {"label_separator": ";"} if name == "csv" else {}
    assert SENTENCE in failure(file, **flags)
    assert "--class_names has 2 names" in failure(file, class_names=["a", "b"], **flags)
    expected = {f"text {number}": row for number, row in enumerate(ROWS)}
    assert found(load(file, class_names=NAMES, validation_file=file, **flags)) == expected


@pytest.mark.parametrize("kind", [int, float, bool])
@pytest.mark.parametrize("name", MEMORY)
def test_indicators_in_memory_have_the_names_that_are_given_or_are_refused(name, kind):
    given = dict.fromkeys(("train", "validation"), MEMORY[name](rows_of(kind)))
    with pytest.raises(UserError, match="zeros and ones"):
        load_splits(DataArguments(), given)
    expected = {f"text {number}": row for number, row in enumerate(ROWS)}
    assert found(load_splits(DataArguments(class_names=NAMES), given)) == expected


@pytest.mark.parametrize("kind", [pa.list_(pa.int8(), 3), pa.large_list(pa.int64()), pa.list_(pa.float32())])
def test_indicators_of_every_list_type_of_parquet(kind, tmp_path):
    file = parquet(tmp_path, rows_of(int), kind)
    assert SENTENCE in failure(file)
    assert len(found(load(file, class_names=NAMES, validation_file=file))) == 4


def test_names_of_a_class_label_column_name_indicators_and_ids(tmp_path):
    features = Features({"text": Value("string"), "label": Sequence(ClassLabel(names=NAMES))})
    of_places = Dataset.from_dict({"text": texts(), "label": rows_of(int)}, features)
    of_ids = Dataset.from_dict({"text": texts(), "label": [[0], [1, 2], [], [0, 1]] * 5}, features)
    expected = {f"text {number}": row for number, row in enumerate(ROWS)}
    for number, rows in enumerate((of_places, of_ids)):
        file = str(tmp_path / f"{number}.parquet")
        rows.to_parquet(file)
        assert found(load(file, validation_file=file)) == expected
        assert found(load_splits(DataArguments(), {"train": rows, "validation": rows})) == expected


def test_a_trained_model_scores_indicators_by_name():
    def score(labels, names, **flags):
        args, kind = DataArguments(**flags), "multi_label_classification"
        return load_test(args, names, kind, (texts(len(labels)), labels))["labels"][:]

    with pytest.raises(UserError, match="zeros and ones"):
        score([[1, 0, 0]], NAMES)
    assert score([[1, 0, 0], []], NAMES, class_names=["a", "m", "z"]) == [[0, 1, 0], [0, 0, 0]]
    assert score([[0, 1], [1, 2]], ["0", "1", "2"]) == [[1, 1, 0], [0, 1, 1]]  # ids that are the model's names
    with pytest.raises(UserError, match="zeros and ones"):
        score([[0, 1]], ["0", "1"])
    for rows in ([[0, 1, 1]], [[0, 1, 1], []], [[0, 1, 1], [0, 1]]):
        with pytest.raises(UserError, match="zeros and ones"):
            score(rows, ["0", "1", "2"])


def test_other_lists_of_numbers(tmp_path):
    assert "lists with numbers such as 0." in failure(jsonl(tmp_path, [[0.7, 0.3], [0.2, 0.8]] * 10))
    assert "true and false of several lengths" in failure(jsonl(tmp_path, [[True], [False, True]] * 10))
    ids = jsonl(tmp_path, [[0, 2], [1]] * 10)
    assert load(ids).label_names == ["0", "1", "2"]
    assert load(ids, class_names=NAMES).label_names == NAMES
    assert "lists of one zero or one" in failure(jsonl(tmp_path, [[0], [1]] * 10))


def test_class_names_name_numbers_in_every_format(tmp_path):
    ids = write_csv(tmp_path / "a.csv", [("x", "0"), ("y", "1")] * 5)
    words = write_csv(tmp_path / "w.csv", [("x", "no"), ("y", "yes")] * 5)
    numbers = write_jsonl(tmp_path / "a.jsonl", [{"text": "x", "label": 0.0}, {"text": "y", "label": 1.0}] * 5)
    for file in (ids, words, numbers):
        data = load(file, class_names=["yes", "no"] if file == words else ["no", "yes"], validation_file=file)
        assert dict(zip(*data.splits["train"][:].values(), strict=True))["y"] == data.label_names.index("yes")
    assert "'no', which --class_names lacks" in failure(words, class_names=["yes", "maybe"])
    assert "no name: there are 1 names, of the ids 0 to 0; name all labels with --class_names" in failure(
        ids, class_names=["only"]
    )
    assert "--class_names has a name twice" in failure(ids, class_names=["a", "a"])
    assert "regression" in failure(write_csv(tmp_path / "r.csv", [("x", "0.5"), ("y", "1")]), class_names=["a"])


COLUMNS = {"text": texts(), "garden": [1, 0, 0, 1] * 5, "cooking": [True, True, False, False] * 5}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "pandas", "columns"])
def test_one_column_of_zeros_and_ones_for_each_label(kind, tmp_path):
    frame, file = pd.DataFrame(COLUMNS), str(tmp_path / f"a.{kind}")
    if kind == "csv":
        frame.to_csv(file, index=False)
    elif kind == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    elif kind == "parquet":
        frame.to_parquet(file)
    flags = {"label_column": ["garden", "cooking"]}
    if kind in ("pandas", "columns"):
        splits = dict.fromkeys(("train", "validation"), frame if kind == "pandas" else COLUMNS)
        data = load_splits(DataArguments(**flags), splits)
    else:
        data = load(file, validation_file=file, **flags)
    assert data.label_names == ["garden", "cooking"]
    rows = dict(zip(data.splits["train"]["text"], data.splits["train"]["labels"], strict=True))
    assert rows == {"text 0": [1, 1], "text 1": [0, 1], "text 2": [0, 0], "text 3": [1, 0]}


def test_columns_that_are_no_indicators(tmp_path):
    header = ("text", "garden", "cooking")
    flags = {"label_column": ["garden", "cooking"]}
    file = write_csv(tmp_path / "a.csv", [("x", "1", "2"), ("y", "0", "1")], header)
    assert "column 'cooking'" in failure(file, **flags) and "has '2' in row 1" in failure(file, **flags)
    file = write_csv(tmp_path / "a.csv", [("x", "1", ""), ("y", "0", "1")], header)
    assert "no label in row 1 (ends in line 2) in column 'cooking'" in failure(file, **flags)
    assert "no column 'oven'" in failure(file, label_column=["garden", "oven"])
    assert "named twice" in failure(file, label_column=["garden", "garden"])
    file = write_csv(tmp_path / "b.csv", [("x", "1", "2"), ("y", "0", "1")] * 5, header)
    assert load(file, label_column="garden").problem_type == "single_label_classification"


@pytest.mark.parametrize(
    "rows", [[[1, -1, -1], [-1, 1, -1]], [["yes", "no", "no"], ["no", "yes", "no"]], [[2, 0, 1], [0, 0, 1]]]
)
def test_values_by_place_are_no_names(rows, tmp_path):
    for write in FILES.values():
        flags = {"label_separator": ";"} if write is csv else {}
        message = failure(write(tmp_path, rows * 10), **flags)
        assert "are lists of 3 values, and row" in message and "as a list of 3 zeros and ones, or as" in message


@pytest.mark.parametrize("write", [jsonl, csv, parquet, MEMORY["lists"], MEMORY["datasets"]])
def test_one_odd_row_among_indicators(write, tmp_path):
    def read(rows):
        if write not in FILES.values():
            return load_splits(DataArguments(class_names=NAMES), write(rows))
        flags = {"label_separator": ";"} if write is csv else {}
        return load(write(tmp_path, rows), class_names=NAMES, **flags)

    rows = [[1, 0, 0], [0, 1, 1], [], [0, 1, 1]] * 5
    assert found(read(rows)) == {"text 0": [1, 0, 0], "text 1": [0, 1, 1], "text 2": [0, 0, 0], "text 3": [0, 1, 1]}
    for odd in ([0, 1], [0, 1, 1, 0]):
        with pytest.raises(UserError, match=rf"lists of 3 values, and row 3 has {len(odd)} values \(\[0, 1"):
            read([*rows[:2], odd, *rows[3:]])


@pytest.mark.parametrize("others", [[[0, 2], [1]], [["z", "m"], ["a"]]])
def test_each_file_is_of_indicators_or_not(others, tmp_path):
    ones = write_jsonl(tmp_path / "i.jsonl", [{"text": t, "label": r} for t, r in zip("abcd", ROWS, strict=True)])
    other = jsonl(tmp_path, others * 10)
    assert "lists of zeros and ones, one for each label, and those of" in failure([ones, other], class_names=NAMES)
    if others[0] == [0, 2]:
        expected = "are lists of zeros and ones, one for each label, and those of the training data are lists of ids"
        assert expected in failure(other, class_names=NAMES, test_file=ones)
        two = write_jsonl(tmp_path / "2.jsonl", [{"text": "a", "label": [1, 0]}, {"text": "b", "label": [0, 1]}])
        assert expected in failure(other, class_names=NAMES, test_file=two)
        one = write_jsonl(tmp_path / "1.jsonl", [{"text": "a", "label": [0, 1]}])
        assert load(other, class_names=NAMES, test_file=one).splits["test"]["labels"][:] == [[1, 1, 0]]
        of_two = jsonl(tmp_path, [[0], [1], [0, 1], []] * 5)
        for names in ({}, {"class_names": NAMES[:2]}):
            assert expected in failure(of_two, test_file=one, **names)
    else:
        data = load(other, class_names=NAMES, test_file=ones)
        assert data.splits["test"]["labels"][:] == ROWS


def test_ids_of_class_label_lists_never_stand_twice_in_one():
    features = Features({"text": Value("string"), "label": Sequence(ClassLabel(names=[*NAMES, "q"]))})
    rows = Dataset.from_dict({"text": texts(), "label": [[1, 0, 0], [0, 1, 1]] * 10}, features)
    with pytest.raises(UserError, match="row 1 has a value twice"):
        load_splits(DataArguments(), rows)


def test_lists_of_names_in_slots_are_names(tmp_path):
    assert load(csv(tmp_path, [["a", "", ""], ["a", "b", ""]] * 10), label_separator=";").label_names == ["a", "b"]
    assert load(jsonl(tmp_path, [["a", "b"], ["b", "c"]] * 10)).label_names == ["a", "b", "c"]


def test_ids_of_names_that_were_stored_as_decimals_are_names(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["z", "a"])})
    table = pa.table({"text": texts(), "label": [1.0, 0.0] * 10})
    metadata = {"huggingface": json.dumps({"info": {"features": features.to_dict()}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    data = load(str(tmp_path / "a.parquet"))
    assert data.label_names == ["z", "a"] and set(data.splits["train"]["labels"]) == {0, 1}
    table = pa.table({"text": texts(), "label": [1.5, 0.0] * 10}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "a.parquet")
    message = failure(str(tmp_path / "a.parquet"), problem_type="single_label_classification")
    assert "ids of names, and one is no whole number" in message
