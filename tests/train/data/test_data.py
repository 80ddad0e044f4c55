"""Data beyond files: cleaning, data sets of the Hub, fingerprints, and the flags."""

import hashlib
from types import SimpleNamespace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from sklearn.datasets import _twenty_newsgroups as newsgroups
from transformers import HfArgumentParser

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.train.data.load import load_splits
from salience.train.data.problem_types import encode_numbers
from tests.helpers.data_files import ROWS, all_rows, failure, load, write_csv, write_jsonl

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


def test_hub_data_sets_are_read_as_files_are(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def from_rows(name, rows, **kwargs):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(rows), tmp_path / name / "train-00000-of-00001.parquet")
        return from_hub(str(tmp_path / name), **kwargs)

    texts = ["x", "y"] * 10
    indicators = {"text": texts, "label": [[1.0, 0.0], [0.0, 1.0]] * 10}
    with pytest.raises(UserError, match="split train' are lists of 2 zeros and ones"):
        from_rows("nameless", indicators)
    assert from_rows("named", indicators, class_names=["a", "b"]).label_names == ["a", "b"]
    with pytest.raises(UserError, match="list written as text"):
        from_rows("lists", {"text": texts, "label": ["['a']", "['b']"] * 10})
    columns = {"title": texts, "body": texts, "garden": [0, 1] * 10, "cooking": [1, 1] * 10}
    data = from_rows("columns", columns, text_column=["title", "body"], label_column=["garden", "cooking"])
    assert data.label_names == ["garden", "cooking"] and data.splits["train"]["text"][0] in ("x\nx", "y\ny")
    with pytest.raises(UserError, match="too large to be told apart"):
        from_rows("large", {"text": texts, "label": [1e20, 2e20] * 10})
    with pytest.raises(UserError, match="is too large a number"):
        from_rows("numbers", {"text": texts, "label": [0.5, 1e39] * 10})
    with pytest.raises(UserError, match="single precision rounds these away; subtract a number near 1.7e"):
        from_rows("times", {"text": texts, "label": [1.7e9 + 0.25, 1.7e9 + 20.25] * 10})
    assert encode_numbers(pa.chunked_array([[0.1] * 3]), "one number").to_pylist() == [np.float32(0.1)] * 3


CELLS = {
    "codes": [("x", "01234"), ("y", "1234"), ("z", "2.10")],
    "number texts": [("01234", "a"), ("2.10", "b"), ("1e5", "a"), ("True", "b")],
    "null texts": [("NA", "a"), ("null", "b"), ("", "a")],
    "null labels": [("x", "NA"), ("y", "None")],
}


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("cells", CELLS)
def test_csv_files_of_a_data_set_are_read_as_train_file_reads_them(cells, separator, tmp_path):
    name = "train.tsv" if separator == "\t" else "train.csv"
    file = write_csv(tmp_path / name, CELLS[cells] * 6, separator=separator)
    flags = {"problem_type": "single_label_classification", "keep_empty_texts": True}
    found, expected = from_hub(str(tmp_path), **flags), load(file, **flags)
    assert found.label_names == expected.label_names == sorted({label for _, label in CELLS[cells]})
    assert all_rows(found) == all_rows(expected) == sorted(CELLS[cells] * 6)


NUMBERED = """---
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          "0": "1"
          "1": "2"
          "2": "3"
configs:
- config_name: default
  data_files:
  - {split: train, path: train.csv}
  - {split: test, path: test.csv}
---
"""


def test_ids_of_classes_that_are_called_by_numbers_are_told_over_all_files(tmp_path):
    (tmp_path / "README.md").write_text(NUMBERED)
    write_csv(tmp_path / "test.csv", [("x", "1"), ("y", "2")])
    write_csv(tmp_path / "train.csv", [(f"t{i}", str(i % 3)) for i in range(30)])  # ids, 0 among them
    data = from_hub(str(tmp_path))
    assert (data.label_names, list(data.splits["test"]["labels"])) == (["1", "2", "3"], [1, 2])
    write_csv(tmp_path / "train.csv", [(f"t{i}", str(i % 3 + 1)) for i in range(30)])  # names, 3 among them
    assert list(from_hub(str(tmp_path)).splits["test"]["labels"]) == [0, 1]
    write_csv(tmp_path / "unsupervised.csv", [("z", "-1")])
    (tmp_path / "README.md").write_text(
        NUMBERED.replace('---\n"', "").replace(
            "  - {split: test", "  - {split: unsupervised, path: unsupervised.csv}\n  - {split: test"
        )
    )
    assert list(from_hub(str(tmp_path)).splits["test"]["labels"]) == [0, 1]
    write_csv(tmp_path / "train.csv", [(f"t{i}", str(i % 2 + 1)) for i in range(30)])
    with pytest.raises(UserError, match="can be names of classes or their ids"):
        from_hub(str(tmp_path))


def test_what_train_file_refuses_in_csv_files_is_refused_in_a_data_set(tmp_path):
    write_csv(tmp_path / "train.csv", [*ROWS, ('"open', "news"), *ROWS, ('end"', "news")])
    for broken, flags in (("swallows the rows", {}), ("has no column 'body'", {"text_column": "body"})):
        with pytest.raises(UserError, match=broken):
            from_hub(str(tmp_path), **flags)
    write_csv(tmp_path / "test.csv", ROWS)
    (tmp_path / "train.csv").unlink()
    with pytest.raises(UserError, match="has no split named train, only test"):
        from_hub(str(tmp_path))
    with pytest.raises(UserError, match="csv is a format and no data set; give the files by --train_file"):
        from_hub("csv")
    with pytest.raises(UserError, match="--dataset_revision belongs to a Hub id"):
        from_hub(str(tmp_path), dataset_revision="main")


def card(text):
    return f"---\nconfigs:\n- config_name: default\n  data_files: '*.csv'\n  {text}\n---\n"


def test_the_card_of_a_csv_data_set_counts_or_is_refused(tmp_path):
    write_csv(tmp_path / "a.csv", [("x, y", "0"), ("z", "1")] * 6, separator="|")
    (tmp_path / "README.md").write_text(card("sep: '|'"))
    assert {text for text, _ in all_rows(from_hub(str(tmp_path)))} == {"x, y", "z"}
    names = "dataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: label\n    dtype:\n"
    names += "      class_label:\n        names:\n          '0': news\n          '1': sport\n"
    (tmp_path / "README.md").write_text(card("sep: '|'").replace("configs", f"{names}configs"))
    assert from_hub(str(tmp_path)).label_names == ["news", "sport"]
    (tmp_path / "README.md").write_text(card("skiprows: 1"))
    with pytest.raises(UserError, match="reads its csv files with skiprows, which isn't offered here"):
        from_hub(str(tmp_path))


def test_hub_errors(hub_folder, tmp_path):
    hub_folder.write("test", [0, 1])
    for path, expected in ((hub_folder.path, "no split named train"), (str(tmp_path / "nothing"), "can't be loaded")):
        with pytest.raises(UserError, match=expected) as error:
            from_hub(path)
        assert "\n" not in str(error.value)
    hub_folder.write("train", [0, 1] * 20)
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
    monkeypatch.setattr("salience.train.data.load.ROWS_PER_BATCH", 7)
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
        {"drop_leaked": "false"},
        {"resplit": 1},
        {"keep_empty_texts": "no"},
        {"validation_size": "0.2"},
        {"test_size": True},
        {"max_train_samples": "30"},
        {"max_train_samples": 30.0},
        {"test_file": ["a.csv"]},
        {"data_name": 5},
    ],
)
def test_arguments_out_of_range_or_of_another_type(wrong):
    with pytest.raises(UserError, match=f"--{next(iter(wrong))}"):
        DataArguments(**wrong)


def test_numbers_of_any_library_are_numbers_and_flags_come_first():
    assert DataArguments(validation_size=np.float32(0.5), max_train_samples=np.int64(3), test_size=0).resplit is False
    for wrong in (None, {"train_file": "a.csv"}):
        with pytest.raises(UserError, match=r"write load_splits\(DataArguments\(train_file="):
            load_splits(wrong)
