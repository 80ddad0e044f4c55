"""Sentences whose way out can be followed: what is named is what is wrong."""

import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salience.configuration.flags.data_arguments import DataArguments
from salience.train.data.load import load_splits
from tests.helpers.data_files import ROWS, all_rows, failure, load, write_csv, write_jsonl


@pytest.mark.parametrize(
    ("column", "character"),
    [
        ("text\u00a0", "U+00A0 (no-break space)"),
        ("\ufefftext", "U+FEFF (zero width no-break space)"),
        ("te\u200bxt", "U+200B (zero width space)"),
        ("te\u00adxt", "U+00AD (soft hyphen)"),
        ("text\t", "U+0009 (control character)"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_column_with_a_hidden_character_is_called_so(column, character, ending, tmp_path):
    file = tmp_path / f"a.{ending}"
    if ending == "csv":
        write_csv(file, header=("label", column), rows=[row[::-1] for row in ROWS])
    elif ending == "jsonl":
        write_jsonl(file, [{column: text, "label": label} for text, label in ROWS])
    else:
        pq.write_table(pa.table({column: ["a", "b"], "label": ["x", "y"]}), file)
    message = failure(str(file))
    assert f"one of them looks like it and holds the hidden character {character}: write that name anew" in message


def test_a_column_with_a_space_or_another_letter_is_the_nearest(tmp_path):
    for column in ("text ", "texts"):
        assert f"did you mean '{column}'?" in failure(write_csv(tmp_path / "a.csv", header=(column, "label")))


@pytest.mark.parametrize(
    ("separator", "given", "typed"),
    [
        (",", ";", "';', but with a comma; pass --separator ','"),
        ("\t", ",", "',', but with a tab; pass --separator tab"),
    ],
)
def test_a_separator_that_hides_the_columns_is_to_blame(separator, given, typed, tmp_path):
    file = write_csv(tmp_path / "a.csv", separator=separator)
    assert failure(file, separator=given) == f"'{file}' has no column 'text' with --separator {typed}"
    numbers = {"header": False, "text_column": "1", "label_column": "2"}
    assert "has no column '2' with --separator" in failure(file, separator=given, **numbers)
    assert "its columns are" in failure(file, separator=given, text_column="body")


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv", "a.jsonl.gz", "a.txt"])
def test_a_tar_archive_is_called_so(name, kind, tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=kind) as archive:
        archive.add(write_csv(tmp_path / "inside.csv"), "inside.csv")
    content = packed.getvalue()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    for encoding in (["utf-8"], ["utf-8", "utf-16-le"], ["latin-1"]):
        assert "is no text but a tar archive, which must be unpacked;" in failure(
            str(tmp_path / name), encoding=encoding
        )


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_lines_that_are_lists_are_named_by_their_row(ending, tmp_path):
    rows = [{"text": text, "label": label} for text, label in ROWS]
    file = write_jsonl(tmp_path / f"a.{ending}", [["text", "label"], *rows])
    assert "row 1 is not a JSON object" in failure(file)
    assert "row 1 is not a JSON object" in failure(write_jsonl(tmp_path / f"b.{ending}", [["a", "x"], ["b", "y"]]))
    assert all_rows(load(write_jsonl(tmp_path / f"c.{ending}", [rows]))) == sorted(ROWS)
    (tmp_path / "d.json").write_text(json.dumps(rows, indent=1))
    assert all_rows(load(str(tmp_path / "d.json"))) == sorted(ROWS)


@pytest.mark.parametrize("line", ["__label__ hello", "__label__news __label__ hello", "__label__", " __label__\tx"])
def test_a_label_without_a_name_is_called_so(line, tmp_path):
    (tmp_path / "a.txt").write_text(f"__label__news one\n{line}\nno label\n")
    assert "a.txt' line 2 has a label without a name; write `__label__NAME`" in failure(str(tmp_path / "a.txt"))


def test_an_empty_file_of_a_class_folder_is_a_missing_text(tmp_path):
    for number, (text, label) in enumerate(ROWS):
        (tmp_path / "f" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / label / f"{number:02}.txt").write_text("" if number == 4 else text)
    assert "has no text in row 13 (sport/04.txt); fill it in, drop the row, or" in failure(str(tmp_path / "f"))
    assert ("", "sport") in all_rows(load(str(tmp_path / "f"), keep_empty_texts=True))


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["part-00000.parquet", ".manifest.json"], "*.parquet"),
        (["a.csv.gz", "b.csv.gz", "info.json", "notes.md"], "*.csv.gz"),
        (["a.csv", "b.jsonl", "c.jsonl"], "*.jsonl"),
        (["a.json"], "*.json"),
    ],
)
def test_a_folder_of_tables_is_told_which_to_name(names, named, tmp_path):
    for name in names:
        (tmp_path / name).write_text("x")
    assert failure(str(tmp_path)).endswith(f"name them, as in --train_file {tmp_path}/{named}")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_the_files_of_a_split_are_told_where_they_are_several(ending, tmp_path, caplog):
    def write(name):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if ending == "csv":
            write_csv(tmp_path / f"{name}.csv")
        elif ending == "jsonl":
            write_jsonl(tmp_path / f"{name}.jsonl", [{"text": text, "label": label} for text, label in ROWS])
        else:
            columns = {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}
            pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")

    for name in ("train-00000-of-00002", "train-00001-of-00002", "test"):
        write(name)
    assert len(all_rows(load_splits(DataArguments(dataset_name=str(tmp_path))))) == 3 * len(ROWS)
    assert "is read from" not in caplog.text
    write("train_old")
    load_splits(DataArguments(dataset_name=str(tmp_path)))
    assert (
        f"--dataset_name {tmp_path}: train is read from 2 files (train-*.{ending}, train_old.{ending})" in caplog.text
    )
