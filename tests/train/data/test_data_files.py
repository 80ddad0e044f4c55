"""Files and folders of texts: every kind gives the same data, and broken ones are named."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Value

from salience.train.data.paths import resolve_path
from tests.helpers.data_files import ROWS, all_rows, failure, load, rows_of, write_csv, write_jsonl

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
        ("a.csv", b'text,label\na,b\n"c,d\n', "the quote that opens in line 3 is never closed"),
        ("a.jsonl", b"", "is empty"),
        ("a.json", b"[]", "has no rows"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n\n{"text": \n', "line 3 is not valid JSON"),
        ("a.json", b'[{"text": "x", "label": "a"},\n{]', "line 2 is not valid JSON"),
        ("a.jsonl", b'{"text": "\xe9", "label": "a"}\n', "UTF-8"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n[1]\n', "row 2 is not a JSON object"),
        ("a.jsonl", b'{"text": "x", "label": "a"}\n{"text": 5, "label": "a"}\n', "row 2 has something else than text"),
        ("a.json", b'{"text": {"0": "x"}, "label": {"0": "a"}}', "write an object for each text (in pandas, orient="),
        ("a.jsonl", b'{"text": "x", "label": [[["a"]]]}\n', "or flat lists of them"),
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


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_folder_of_parts_is_told_how_to_be_named(ending, tmp_path):
    (tmp_path / f"part-0000{ending}").write_text("x")
    assert f"holds {ending} files; name them, as in --train_file {tmp_path}/*{ending}" in failure(str(tmp_path))


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
