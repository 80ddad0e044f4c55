"""Separators, headers, packed files, encodings, fastText's files and names kept in a parquet."""

import gzip
import json
import logging
from types import SimpleNamespace

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.train.data.load import load_splits, load_test
from tests.helpers.data_files import ROWS, all_rows, failure, load, write_csv, write_jsonl


@pytest.mark.parametrize(
    ("name", "separator", "word"),
    [("a.csv", ";", "semicolon"), ("a.csv", "\t", "tab"), ("a.csv", "|", "bar"), ("a.tsv", ",", "comma")],
)
def test_a_separator_that_the_header_leaves_no_doubt_about(name, separator, word, tmp_path, caplog):
    file = write_csv(tmp_path / name, [(f"{text}, so", label) for text, label in ROWS], separator=separator)
    if separator == ",":
        file = write_csv(tmp_path / name)
    with caplog.at_level(logging.WARNING):
        rows = all_rows(load(file))
    assert f"is read with a {word} between its cells (--separator)" in caplog.text
    assert rows == sorted(ROWS if separator == "," else [(f"{text}, so", label) for text, label in ROWS])
    caplog.clear()
    assert all_rows(load(file, separator=separator)) == rows and "--separator" not in caplog.text


def test_separators_that_are_said(tmp_path):
    file = write_csv(tmp_path / "a.csv", separator="^")
    assert "no column 'text'" in failure(file)
    assert all_rows(load(file, separator="^")) == sorted(ROWS)
    assert all_rows(load(write_csv(tmp_path / "t.csv", separator="\t"), separator="\\t")) == sorted(ROWS)
    for wrong in (";;", "", '"', "é"):
        with pytest.raises(UserError, match="--separator"):
            DataArguments(separator=wrong)


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_files_without_a_header(name, separator, tmp_path):
    first = ("what a first line may say", "news")
    file = write_csv(tmp_path / name, ROWS, header=first, separator=separator)
    assert "without a header, pass --header false" in failure(file)
    assert "its columns are '1', '2'" in failure(file, header=False)
    assert all_rows(load(file, header=False, text_column="1", label_column="2")) == sorted([first, *ROWS])
    write_csv(tmp_path / name, [("x", ""), *ROWS], header=first, separator=separator)
    message = failure(file, header=False, text_column="1", label_column="2")
    assert "no label in row 2 (ends in line 2)" in message


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_header_within_the_rows_is_refused(name, tmp_path):
    separator = "\t" if name == "a.tsv" else ","
    file = write_csv(tmp_path / name, [*ROWS[:4], ("text", "label"), *ROWS], separator=separator)
    assert failure(file) == f"'{file}' has its header again in row 5 (ends in line 6); delete that row"
    file = write_csv(tmp_path / name, [*ROWS, ("1", "2")], header=ROWS[0], separator=separator)
    assert ("1", "2") in all_rows(load(file, header=False, text_column="1", label_column="2"))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
def test_packed_files(name, tmp_path):
    if name.startswith("a.j"):
        write_jsonl(tmp_path / name, [{"text": text, "label": label} for text, label in ROWS])
    else:
        write_csv(tmp_path / name, separator="\t" if name == "a.tsv" else ",")
    content = gzip.compress((tmp_path / name).read_bytes())
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(content)
    assert all_rows(load(str(packed))) == sorted(ROWS)
    for broken in (content[:-9], b"no gzip", content[:20] + b"xxxx" + content[24:]):
        packed.write_bytes(broken)
        assert "is no whole gzip file" in failure(str(packed))
    packed.write_bytes(gzip.compress(b""))
    assert "is empty" in failure(str(packed))
    (tmp_path / name).write_bytes(content)  # its ending was lost
    assert all_rows(load(str(tmp_path / name))) == sorted(ROWS)
    (tmp_path / "a.parquet.gz").write_bytes(content)
    assert "no known file ending" in failure(str(tmp_path / "a.parquet.gz"))


@pytest.mark.slow
def test_a_packed_file_does_not_fill_the_memory(tmp_path, monkeypatch):
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(b"text,label\n" + b"x,a\ny,b\n" * 10_000))
    assert len(all_rows(load(str(packed)))) == 20_000  # uniform, but small
    monkeypatch.setattr("salience.train.data.formats.decoding.UNSUSPECTED_BYTES", 1000)
    assert "far more than such texts hold; unpack it and give that" in failure(str(packed))
    monkeypatch.setattr("salience.train.data.formats.decoding.MOST_TIMES", 10_000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1000))
    assert "more than there is memory for; unpack it and give that" in failure(str(packed))


OTHERS = {
    b"PK\x03\x04": "a zip archive, as .xlsx, .docx and .ods are",
    bytes.fromhex("d0cf11e0a1b11ae1"): "a file of old Excel or Word",
    b"%PDF-1.4\n": "a PDF",
    b"PAR1\x15\x04": "a parquet file",
    b"SQLite format 3\0": "an SQLite database",
    b"\x80\x04\x95\x06\0\0": "a pickle of Python",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(99): "a picture",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR": "a picture",
    b"RIFF\x24\x08\0\0WAVEfmt ": "sound or a film",
    b"\0\0\0\x18ftypmp42": "sound or a film",
    b"\x7fELF\2\1\1\0": "a program",
}


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.txt", "a.csv.gz", "folder/news/1.txt"])
def test_files_of_another_kind_are_called_so(name, tmp_path):
    (tmp_path / "folder" / "news").mkdir(parents=True)
    for start, kind in OTHERS.items():
        content = start + b"text,label\n"
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        for encoding in ("utf-8", "latin-1"):
            message = failure(str(tmp_path / name.partition("/")[0]), encoding=[encoding])
            assert f"is no text but {kind}; save its table" in message


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "latin-1"]
)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt", "folder"])
def test_every_encoding_is_reached(name, encoding, tmp_path):
    rows = [("one £", "a"), ("two £", "b")] * 6
    lines = {
        "a.csv": "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows),
        "a.tsv": "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows),
        "a.jsonl": "".join(f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in rows),
        "a.json": json.dumps([{"text": text, "label": label} for text, label in rows], ensure_ascii=False),
        "a.txt": "".join(f"__label__{label} {text}\n" for text, label in rows),
    }
    if name == "folder":
        for number, (text, label) in enumerate(rows):
            (tmp_path / name / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / name / label / f"{number}.txt").write_bytes(text.encode(encoding))
    else:
        (tmp_path / name).write_bytes(lines[name].encode(encoding))
    message = failure(str(tmp_path / name))
    looks = f", it looks like {encoding[:6].upper()}; try --encoding utf-8 {encoding}" if "utf" in encoding else ""
    assert f"not valid utf-8{looks}" in message
    assert "\\x00" not in message and "malformed" not in message
    assert all_rows(load(str(tmp_path / name), encoding=["utf-8", encoding])) == sorted(rows)


UTF8_TEXTS = {"news": ["The bank", "Café 12", "plain"], "sport": ["a goal", "Gött", "naïve!"]}


def write_class_folder(folder, encoding):
    for label, texts in UTF8_TEXTS.items():
        (folder / label).mkdir(parents=True)
        for number, text in enumerate(texts):
            (folder / label / f"{number}.txt").write_bytes(text.encode(encoding))
    return sorted((text, label) for label, texts in UTF8_TEXTS.items() for text in texts)


@pytest.mark.parametrize("other", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037", "latin-1", "cp1252", "utf-7"])
def test_utf8_is_never_read_as_something_else(other, tmp_path):
    rows = write_class_folder(tmp_path / "news", "utf-8")
    for names in ([other, "utf-8"], ["utf-8", other], [other, "utf-8-sig"]):
        assert all_rows(load(str(tmp_path / "news"), encoding=names, validation_size=0.4)) == rows
    if other.startswith(("utf-", "cp037")):
        message = failure(str(tmp_path / "news"), encoding=[other])
        assert f"is not in {other} but valid UTF-8; try --encoding {other} utf-8" in message


@pytest.mark.parametrize("encoding", ["iso2022_jp_1", "utf-7", "utf-16", "utf-32-be", "cp037", "cp1252"])
def test_other_encodings_stay_what_they_are_before_utf8(encoding, tmp_path):
    rows = write_class_folder(tmp_path / "news", encoding)
    assert all_rows(load(str(tmp_path / "news"), encoding=[encoding, "utf-8"], validation_size=0.4)) == rows


@pytest.mark.parametrize("content", [b"\0\xd8a\0b\0c\0" * 99, "text,label\nx,a\n".encode("utf-16")[:-1]])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_bytes_that_are_no_text_are_not_called_utf16(content, encoding, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    assert "is no text, or damaged UTF-" in failure(str(tmp_path / "a.csv"), encoding=[encoding])


def test_fasttext_files(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("__label__news first text\n__label__sport  other, text\n" * 5)
    data = load(str(file))
    assert data.problem_type == "single_label_classification"
    assert set(all_rows(data)) == {("first text", "news"), ("other, text", "sport")}
    assert load_test(DataArguments(test_file=str(file)), ["sport", "news"], data.problem_type)["labels"][:2] == [1, 0]
    several = tmp_path / "b.txt"
    several.write_text("__label__news __label__sport first\n__label__sport other\n" * 5)
    both = load(str(several), validation_file=str(file))
    assert both.problem_type == "multi_label_classification" and both.label_names == ["news", "sport"]
    assert both.splits["validation"]["labels"][:2] == [[1, 0], [0, 1]]
    assert "holds lists of labels" in failure(str(file), test_file=str(several))
    file.write_text("__label__news one\nno label\n")
    assert "a.txt' line 2 doesn't begin with __label__" in failure(str(file))
    file.write_text("__label__news one\n__label__sport\n")
    assert "no text in row 2 (line 2)" in failure(str(file))


def test_names_of_label_ids_in_a_parquet_are_kept(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["World", "Business", "Unused"])})
    rows = {"text": [text for text, _ in ROWS], "label": [0, 1] * 15}
    file, other = str(tmp_path / "a.parquet"), write_csv(tmp_path / "b.csv", [("x", "World"), ("y", "Business")])
    Dataset.from_dict(rows, features).to_parquet(file)
    data = load(file, test_file=other)
    assert data.label_names == ["World", "Business", "Unused"] and data.splits["test"]["labels"][:] == [0, 1]
    scored = load_test(DataArguments(test_file=file), ["Business", "World"], "single_label_classification")
    assert scored["labels"][:2] == [1, 0]
    Dataset.from_dict(rows | {"label": [-1] * 30}, features).to_parquet(file)
    assert "no label in row 1" in failure(file)
    pd.DataFrame(rows | {"label": pd.Categorical(["b", "a"] * 15)}).to_parquet(file)
    assert load(file).label_names == ["a", "b"]


def test_fasttext_s_prefix_is_cut_once_and_labels_stand_before_the_text(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("__label__a__label__b text\n__label__c my__label__ text\n" * 8)
    assert load(str(file)).label_names == ["a__label__b", "c"]
    file.write_text("__label__a text\n__label__b text\n" * 8 + "__label__a text __label__b\n")
    assert "line 17 has a label behind words of its text" in failure(str(file))


FORMATS = {"separator": ";", "header": False, "quoting": "none", "encoding": ["utf-8", "latin-1"]}
HEEDED = {"csv": {*FORMATS}, "tsv.gz": {*FORMATS}, "jsonl": {"encoding"}, "txt": {"encoding"}, "parquet": set()}


@pytest.mark.parametrize("ending", [*HEEDED, "folder", "memory", "dataset"])
def test_flags_that_no_file_heeds_are_refused(ending, tmp_path):
    file = tmp_path / f"a.{ending}"
    (file.mkdir if ending in ("folder", "dataset") else file.touch)()
    pd.DataFrame(ROWS, columns=["text", "label"]).to_parquet(
        file / "train.parquet" if ending == "dataset" else tmp_path / "x"
    )
    source = {"dataset_name" if ending == "dataset" else "train_file": str(file)} if ending != "memory" else {}
    for flag, value in FORMATS.items():
        heeds = flag in HEEDED.get(ending, {"encoding"} if ending == "folder" else set())
        with pytest.raises(UserError) as error:
            given = None if source else ([], [])
            load_splits(DataArguments(**source, **{flag: value}), given)
        assert (f"--{flag} " in str(error.value) and "has no effect here: it belongs to" in str(error.value)) != heeds
        if "dataset_name" not in source:
            with pytest.raises(UserError) as error:
                test = {"test_file": str(file)} if source else {}
                load_test(DataArguments(**test, **{flag: value}), ["a"], "single_label_classification", given)
            assert ("has no effect here: it belongs to" in str(error.value)) != heeds
    if ending in ("txt", "folder"):
        assert "--label_column topic has no effect here" in failure(str(file), label_column="topic")
