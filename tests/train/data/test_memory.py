"""Texts in memory: every kind gives what the same rows in a file give."""

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.train.data.load import load_splits, load_test
from tests.helpers.data_files import ROWS, load, write_csv

TEXTS, LABELS = [text for text, _ in ROWS], [label for _, label in ROWS]
COLUMNS = {"text": TEXTS, "label": LABELS}
KINDS = {
    "a pandas data frame": pd.DataFrame(COLUMNS),
    "a datasets.Dataset": Dataset.from_dict(COLUMNS),
    "a dict of columns": COLUMNS,
    "lists": (TEXTS, LABELS),
    "a datasets.DatasetDict": DatasetDict(train=Dataset.from_dict(COLUMNS)),
}


def refusal(table, **kwargs):
    with pytest.raises(UserError) as error:
        load_splits(DataArguments(**kwargs), {"train": table})
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_gives_the_splits_of_a_file(kind, tmp_path):
    data, of_file = load_splits(DataArguments(), {"train": KINDS[kind]}), load(write_csv(tmp_path / "a.csv"))
    assert (data.source, data.name) == (kind, kind)
    for split in ("train", "validation"):
        assert data.fingerprint(split) == of_file.fingerprint(split)
    assert load_splits(DataArguments(data_name="News"), {"train": KINDS[kind]}).name == "News"
    if "Dict" not in kind:
        rows = load_test(DataArguments(), ["news", "sport"], "single_label_classification", KINDS[kind])
        assert rows["text"][:] == TEXTS and rows["labels"][1] == 1


def test_three_splits_and_all_splits_of_a_dataset_dict(caplog):
    given = {
        "train": pd.DataFrame(COLUMNS),
        "validation": (["v"], ["news"]),
        "test": {"text": ["t"], "label": ["sport"]},
    }
    data = load_splits(DataArguments(), given)
    assert data.source == "a pandas data frame, lists, a dict of columns"
    assert data.splits["validation"][:] == {"text": ["v"], "labels": [0]}
    assert data.splits["test"][:] == {"text": ["t"], "labels": [1]}
    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b", "unused"])})
    rows = Dataset.from_dict({"text": TEXTS, "label": [0, 1] * 15}, features)
    splits = DatasetDict(train=rows, dev=rows.select([3]), test=rows, unsupervised=rows)
    for given in ({"train": splits}, splits):
        data = load_splits(DataArguments(), given)
        assert data.label_names == ["a", "b", "unused"] and data.splits["validation"]["text"] == [TEXTS[3]]
        assert "has other splits, which are not read: unsupervised" in caplog.text
        caplog.clear()
    shuffled = load_splits(DataArguments(), {"train": rows.shuffle(seed=1), "validation": rows.select([5, 3])})
    assert shuffled.splits["validation"]["text"][:] == [TEXTS[5], TEXTS[3]]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (pd.Series(["a", "b"] * 15, dtype="string"), ["a", "b"]),
        (pd.Series(["a", "b"] * 15, dtype="object"), ["a", "b"]),
        (pd.Series(["b", "a"] * 15, dtype="category"), ["a", "b"]),
        (pd.Series([3, 10] * 15, dtype="Int64"), ["3", "10"]),
        (pd.Series([1.0, 0.0] * 15), ["0", "1"]),
        (pd.Series([True, False] * 15), ["false", "true"]),
        (np.array([1, 0] * 15, np.int8), ["0", "1"]),
        ([np.datetime64("2020-01-31"), np.datetime64("2020-02-01")] * 15, ["2020-01-31", "2020-02-01"]),
        ([frozenset("ab"), frozenset("b")] * 15, ["a", "b"]),
        ([np.array(["a", "b"]), np.array(["b"]), np.array([])] * 10, ["a", "b"]),
        (pd.Series(pd.arrays.SparseArray([1, 0] * 15)), ["0", "1"]),
    ],
)
def test_kinds_of_columns(labels, names):
    assert load_splits(DataArguments(), {"train": pd.DataFrame({"text": TEXTS, "label": labels})}).label_names == names
    assert load_splits(DataArguments(), {"train": (np.array(TEXTS), labels)}).label_names == names


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
def test_missing_values(missing):
    assert "no text in row 1; fill it in" in refusal(([missing, *TEXTS[1:]], LABELS))
    assert "no label in row 30" in refusal(pd.DataFrame({"text": TEXTS, "label": [*LABELS[:-1], missing]}))
    data = load_splits(DataArguments(keep_empty_texts=True), {"train": ([missing, *TEXTS[1:]], LABELS)})
    assert "" in [*data.splits["train"]["text"], *data.splits["validation"]["text"]]


def test_what_is_refused():
    assert "train (a pandas data frame)' has no column 'text'" in refusal(pd.DataFrame({"body": TEXTS}))
    doubled = pd.DataFrame([["x", "y", "a"]], columns=["text", "text", "label"])
    assert "more than one column 'text'" in refusal(doubled)
    assert "30 in 'text', 29 in 'label'" in refusal((TEXTS, LABELS[:-1]))
    assert "holds int64, not text" in refusal((list(range(30)), LABELS))
    assert "mixes types" in refusal((TEXTS, [1, "a", 2.5] * 10))
    for labels in ([1j] * 30, [2**70] * 30, np.zeros((30, 2, 2))):
        assert "mixes types or has values of an unknown kind" in refusal((TEXTS, labels))
    assert "half a character" in refusal((["\ud83d", *TEXTS[1:]], LABELS))
    assert "has no rows" in refusal(([], []))
    for other in (TEXTS, "text", None, 5, (TEXTS,), iter(TEXTS), Dataset.from_dict(COLUMNS).to_iterable_dataset()):
        assert "can't be read; give a pandas data frame" in refusal(other)
    assert "leave out one of them" in refusal(COLUMNS, train_file="a.csv")
    assert "leave out one of them" in refusal(COLUMNS, dataset_name="a/b")
    assert "no split named train" in refusal(datasets.DatasetDict(test=Dataset.from_dict(COLUMNS)))
    for given, expected in (({"test": COLUMNS}, "no split 'train'"), ({"train": COLUMNS, "dev": 1}, "no split 'dev'")):
        with pytest.raises(UserError, match=expected):
            load_splits(DataArguments(), given)


def test_columns_of_pandas_are_of_the_same_rows():
    texts, labels = pd.Series(TEXTS), pd.Series(LABELS)
    for other in (labels[::-1], labels.set_axis(range(1, 31))):
        for given in ((texts, other), {"text": texts, "label": other}):
            assert "columns of pandas with different indexes; put them into one data frame" in refusal(given)
        assert load_splits(DataArguments(), (texts, other.tolist())).splits["train"].num_rows > 0
    assert load_splits(DataArguments(), (texts[::-1], labels[::-1])).label_names == ["news", "sport"]


def test_a_transform_that_would_not_be_applied_is_refused():
    rows = Dataset.from_dict(COLUMNS)
    for table in (
        rows.with_transform(lambda batch: batch),
        DatasetDict(train=rows.with_transform(lambda batch: batch)),
    ):
        assert "has a transform (set_transform), which wouldn't be applied; call .map in its place" in refusal(table)
    assert load_splits(DataArguments(), rows.with_format("numpy")).label_names == ["news", "sport"]


def test_a_frame_without_the_name_of_a_split_is_the_training_data():
    frame = pd.DataFrame({"text": ["x", "y"] * 9, "label": ["a", "b"] * 9})
    for given in (frame, Dataset.from_pandas(frame), (frame["text"], frame["label"]), frame.to_dict("list")):
        assert load_splits(DataArguments(), given).label_names == ["a", "b"]
    with pytest.raises(UserError, match="no split 'body' in .* or give the columns text and label"):
        load_splits(DataArguments(), {"body": ["x"], "topic": ["a"]})


def test_texts_to_score_may_be_a_split_named_test():
    for given in (COLUMNS, {"test": COLUMNS}, {"test": (TEXTS, LABELS)}, {"train": None, "test": COLUMNS}):
        rows = load_test(DataArguments(), sorted(set(LABELS)), "single_label_classification", given)
        assert rows["text"][:] == TEXTS


TENSORS = {
    "one": (torch.tensor([0, 1] * 15), [0, 1] * 15),
    "bfloat16": (torch.tensor([0.5, 1.0] * 15, dtype=torch.bfloat16, requires_grad=True), [0.5, 1.0] * 15),
    "a list of numbers": ([torch.tensor(number % 2) for number in range(30)], [0, 1] * 15),
    "a table": (torch.tensor([[0, 1], [1, 0]] * 15), [[0, 1], [1, 0]] * 15),
    "a list of rows": ([torch.tensor([0, 1]), torch.tensor([1, 0])] * 15, [[0, 1], [1, 0]] * 15),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_are_labels_as_lists_are(kind):
    tensors, lists = TENSORS[kind]
    flags = DataArguments(class_names=["a", "b"] if isinstance(lists[0], list) else None)
    found, expected = (load_splits(flags, (TEXTS, labels)) for labels in (tensors, lists))
    assert found.fingerprint("train") == expected.fingerprint("train")


@pytest.mark.parametrize("column", ["a" * 30, b"a" * 30, set(TEXTS), frozenset(TEXTS), dict.fromkeys(TEXTS)])
def test_columns_without_one_value_for_each_text_in_order_are_refused(column):
    for table in ({"text": TEXTS, "label": column}, {"text": column, "label": LABELS}):
        with pytest.raises(UserError, match="isn't one value for each text; give a list"):
            load_splits(DataArguments(), {"train": table})


def test_a_dict_of_splits_in_place_of_one_is_told():
    splits = {"train": ROWS}
    with pytest.raises(UserError, match=r"'test' is a dict of splits \(train\), and one of them is wanted"):
        load_test(DataArguments(), ["a", "b"], "single_label_classification", splits)
