"""What can't be read, or isn't read: told in one sentence, quickly, and without a crash of the process."""

import logging
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.eval.predict.inputs import find_files
from salience.train.data.formats.nesting import may_be_deep, refuse_deep
from salience.train.data.load import load_splits
from salience.train.folder.record import describe_data
from tests.helpers.data_files import ROWS, all_rows, failure, load, write_csv

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123\n"
OBJECT = '{"text": "a", "label": "b"}\n'


@pytest.mark.slow
def test_null_rows_do_not_end_the_process(tmp_path):
    contents = ["null\n" + OBJECT, OBJECT + "null\n", " null\n", "\nnull {}\n", OBJECT + "\tnull\n"]
    files = [str(tmp_path / f"{number}.jsonl") for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        Path(file).write_text(content)
    code = f"from tests.helpers.data_files import failure\nfor file in {files!r}:\n    print(failure(file))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    sentences = run.stdout.splitlines()
    assert len(sentences) == len(contents)
    assert all("is not a JSON object" in each or "is not valid JSON" in each for each in sentences)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    (tmp_path / "b.csv").symlink_to("/dev/zero")
    (tmp_path / "c.csv").symlink_to(tmp_path / "d.csv")
    (tmp_path / "d.csv").symlink_to(tmp_path / "c.csv")
    for name in ("a.csv", "b.csv"):
        assert "is neither a file nor a folder" in failure(str(tmp_path / name))
    assert "its links lead in a circle" in failure(str(tmp_path / "c.csv"))


@pytest.fixture
def class_folder(tmp_path):
    for number, (text, label) in enumerate(ROWS):
        (tmp_path / "news" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "news" / label / f"{number}.txt").write_text(text)
    return tmp_path / "news"


def test_files_of_a_class_folder_that_are_not_read_are_counted(class_folder, caplog):
    for name in ("README.md", "sport/1.TXT", "sport/2.md", "sport/.3.txt", "sport/deep/4.txt", ".hidden/5.txt"):
        (class_folder / name).parent.mkdir(exist_ok=True)
        (class_folder / name).write_text("x")
    os.mkfifo(class_folder / "sport" / "6.txt")
    (class_folder / "sport" / "loop").symlink_to(class_folder, target_is_directory=True)
    with caplog.at_level(logging.WARNING):
        assert all_rows(load(str(class_folder))) == sorted(ROWS)
    for reason in (
        "1 beside the class folders",
        "2 with another ending than .txt",
        "1 hidden,",
        "in folders inside of class folders",
        "1 in hidden folders",
        "1 no plain files",
    ):
        assert reason in f"{caplog.text},".replace("\n", ",")


def test_class_folders_that_would_be_one_class_or_none(class_folder, caplog):
    (class_folder / "empty").mkdir()
    (class_folder / "other").mkdir()
    (class_folder / "other" / "1.md").write_text("x")
    assert load(str(class_folder)).label_names == ["news", "sport"]
    for name in ("empty", "other"):
        assert f"class folder '{name}' holds no .txt file: there is no such class" in caplog.text
    for name in ("sport ", " sport", "sport\u2003"):
        (class_folder / name).mkdir()
        (class_folder / name / "1.txt").write_text("x")
        message = failure(str(class_folder))
        assert "would be one class, 'sport'; rename one or put their files together" in message
        (class_folder / name / "1.txt").unlink()


@pytest.mark.parametrize("content", ["", "\n\n", " ", "{}\n{}\n", "[]", "[{}, {}]", '{"text": null, "label": null}'])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_without_a_row_is_called_so(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    message = failure(str(tmp_path / name))
    assert message.endswith("give a file with at least one row per class") or "has no text in row 1" in message


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.txt", "a.csv.gz", "news/a/1.txt"]
)
def test_a_pointer_of_git_lfs_is_called_so(name, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(POINTER)
    given = tmp_path / "news" if "news" in name else tmp_path / name
    sentence = f"'{tmp_path / name}' is a pointer of Git LFS and not the file itself; fetch it with: git lfs pull"
    assert failure(str(given)) == sentence


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_pointer_of_git_lfs_in_a_data_set_is_called_so(ending, tmp_path):
    (tmp_path / f"train.{ending}").write_text(POINTER)
    with pytest.raises(UserError, match=rf"train\.{ending}' is a pointer of Git LFS"):
        load_splits(DataArguments(dataset_name=str(tmp_path)))
    with pytest.raises(UserError, match=rf"train\.{ending}' is a pointer of Git LFS"):
        find_files([str(tmp_path)])


DEEP = ["[" * 20_000 + "]" * 20_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "[\n" * 20_000 + "]" * 20_000]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("value", DEEP, ids=["lists", "objects", "lines"])
def test_deep_nesting_does_not_end_the_process(value, end):
    row = OBJECT.strip()
    content = pa.py_buffer(end.join([row, row[:-1] + f', "meta": {value}}}', row]).encode())
    assert may_be_deep(content)
    with pytest.raises(UserError, match="'x' line . is nested too deeply"):
        refuse_deep(content, "x")


def test_deep_rows_are_refused_in_files_and_data_sets(tmp_path):
    row = OBJECT.strip()
    (tmp_path / "train.jsonl").write_text(f'{OBJECT}{row[:-1]}, "meta": {DEEP[0]}}}\n')
    assert "train.jsonl' line 2 is nested too deeply" in failure(str(tmp_path / "train.jsonl"))
    with pytest.raises(UserError, match=r"train.jsonl' line 2 is nested too deeply"):
        load_splits(DataArguments(dataset_name=str(tmp_path)))
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.write(tmp_path / "train.jsonl", "train.jsonl")
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(UserError, match=r"train.zip' line 2 is nested too deeply"):
        load_splits(DataArguments(dataset_name=str(tmp_path)))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_many_brackets_in_many_rows_are_no_deep_nesting(end):
    rows = ['{"text": "[1] {", "label": ["a"]}'] * 3_000
    assert not may_be_deep(pa.py_buffer(end.join([*rows, ""]).encode()))
    refuse_deep(pa.py_buffer(("[" + ",".join(rows) + "]").encode()), "x")


def test_a_folder_whose_card_is_no_yaml(tmp_path):
    write_csv(tmp_path / "train.csv")
    (tmp_path / "README.md").write_text("---\nconfigs: [\n---\n")
    with pytest.raises(UserError, match=r"card README.md of the data set .* is not valid YAML"):
        load_splits(DataArguments(dataset_name=str(tmp_path)))


@pytest.mark.parametrize(
    ("files", "unread"),
    [
        (["train-0.csv", "train-1.csv", "train-x.jsonl"], "1 files of the folder are not read (train-x.jsonl)"),
        (["train.csv", "other.csv", ".hidden/x.csv"], "1 files of the folder are not read (other.csv)"),
        (["train.csv", "validation.csv", "config.json"], None),
    ],
)
def test_files_of_a_data_set_folder_that_are_not_read_are_named(files, unread, tmp_path, caplog):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_csv(tmp_path / name)
    load_splits(DataArguments(dataset_name=str(tmp_path)))
    assert unread in caplog.text if unread else "not read" not in caplog.text


@pytest.mark.parametrize("name", ["package:../etc/passwd", "package:", "package:a.b/c.csv", "package:sklearn/../x.csv"])
def test_a_package_path_leads_into_a_package(name):
    assert f"'{name}' names nothing inside of a Python package" in failure(name)


def test_names_that_are_not_utf8(class_folder, tmp_path):
    name = os.fsdecode(b"\xe9t\xe9")
    (class_folder / name).mkdir()
    (class_folder / name / "1.txt").write_text("x")
    assert r"/\udce9t\udce9/1.txt' has a name that isn't valid UTF-8" in failure(str(class_folder))
    write_csv(tmp_path / f"{name}.csv")
    for flags in (
        {"train_file": str(tmp_path / f"{name}.csv")},
        {"dataset_name": name},
        {"data_name": name},
        {"text_column": [name]},
    ):
        with pytest.raises(UserError, match=rf"--{next(iter(flags))} .*isn't valid UTF-8; rename it"):
            DataArguments(**flags)


def test_missing_permissions_are_called_so(class_folder, tmp_path, monkeypatch):
    file = write_csv(tmp_path / "a.csv")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:  # root may read everything
        patch.setattr("pathlib.Path.open", refuse)
        assert failure(file) == f"'{file}' can't be read: Permission denied"
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.iterdir", refuse)
        assert "can't be read: Permission denied" in failure(str(class_folder))
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.stat", refuse)
        assert "can't be read: Permission denied" in failure(file)


def test_a_colon_in_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s3:x.parquet", "exp:1.parquet", "hdfs:data.csv"):
        if name.endswith("csv"):
            write_csv(tmp_path / name)
        else:
            pq.write_table(pa.table({"text": [t for t, _ in ROWS], "label": [n for _, n in ROWS]}), tmp_path / "t")
            (tmp_path / "t").rename(tmp_path / name)
        assert all_rows(load(name)) == sorted(ROWS)


def test_half_characters_in_every_source(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a", "label": ["x", "\\ud83d"]}\n{"text": "b", "label": ["y"]}\n')
    assert "row 1 has half a character" in failure(str(file))
    for given in ((["a", "\ud83d"], ["x", "y"]), (["a", "b"], ["x", "\ud83d"]), (["a", "b"], [["x"], ["\ud83d"]])):
        with pytest.raises(UserError, match="half a character"):
            load_splits(DataArguments(), {"train": given})


def test_held_out_texts_that_were_trained_on_are_counted(tmp_path):
    file = write_csv(tmp_path / "a.csv")
    test = write_csv(tmp_path / "t.csv", [ROWS[0], ROWS[0], ("of its own", ROWS[0][1])])
    data = load(file, validation_file=write_csv(tmp_path / "v.csv", [("other", ROWS[0][1])]), test_file=test)
    assert data.leaked == {"test": 2}
    splits = describe_data(data)["splits"]
    assert splits["test"]["also_in_training"] == 2 and "also_in_training" not in splits["validation"]
    assert not load(file, test_file=test, drop_leaked=True).leaked


def test_dropping_leaked_texts_leaves_something_of_every_class(tmp_path):
    file = write_csv(tmp_path / "a.csv")
    everything = failure(file, test_file=file, drop_leaked=True)
    assert "--drop_leaked true drops every train text" in everything and "leave out --drop_leaked" in everything
    news = write_csv(tmp_path / "n.csv", [row for row in ROWS if row[1] == "news"])
    assert "drops every training text of 'news'" in failure(file, test_file=news, drop_leaked=True)
    validation = write_csv(tmp_path / "v.csv", [ROWS[0]])
    test = write_csv(tmp_path / "t.csv", [ROWS[0]])
    flags = {"test_file": test, "validation_file": validation, "drop_leaked": True}
    assert "drops every validation text" in failure(file, **flags)
    several = write_csv(tmp_path / "m.csv", [("x", "a;b"), ("y", "a"), ("z", "a")])
    other, held_out = (write_csv(tmp_path / f"{name}.csv", [(name, "a;b")]) for name in ("w", "x"))
    flags = {"label_separator": ";", "validation_file": other, "test_file": held_out, "drop_leaked": True}
    assert "drops every training text of 'b'" in failure(several, **flags)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_key_that_stands_twice_in_a_row_is_refused(name, tmp_path):
    rows = ['{"text": "t", "label": "a", "more": 1, "more": 2}', '{"text": "t", "label": "b"}'] * 6
    both = "\n{}\n" if name == "a.jsonl" else "[{}]"
    for repeated in ("text", "label"):
        rows[4] = f'{{"text": "t", "label": "a", "{repeated}": "xa"}}'
        (tmp_path / name).write_text(both.format(("\n" if name == "a.jsonl" else ",").join(rows)))
        assert f"row 5 has the key '{repeated}' twice" in failure(str(tmp_path / name))


def test_flags_from_python_are_lists_or_tuples_of_text(tmp_path):
    (tmp_path / "a.csv").write_text("title,body,label\n" + "x,y,a\nz,y,b\n" * 8)
    data = load((str(tmp_path / "a.csv"),), text_column=("title", "body"))
    assert set(data.splits["train"]["text"]) == {"x\ny", "z\ny"}
    assert failure(str(tmp_path / "a.csv"), text_column=5) == "--text_column 5 is of the type int; write it as text"
    assert "names no file" in failure("")


def test_a_codec_of_no_text_and_a_line_for_spreadsheets(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("sep=;\ntext;label\n" + "x;a\nz;b\n" * 8)
    assert "begins with the line 'sep=;'" in failure(str(file))
    assert "use names such as utf-8" in failure(str(file), encoding="undefined")
