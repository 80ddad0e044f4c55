"""`eval.py predict`: rows that get no answer are listed, and what can't be is refused."""

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salience.eval.cli import main
from tests.helpers.predicting import failure, predict, read_jsonl, save_model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("refusals") / "run")


@pytest.fixture(autouse=True)
def here(in_tmp_path):
    """Names of files are relative."""


def test_rows_that_cannot_be_read_are_listed_and_left_out(run):
    good = [f"{number},a goal\n" for number in range(240)]
    bad = {"only\n": "it has 1 cells and the first row 2", "1,2,3\n": "it has 3 cells",
           "id,text\n": "it is the header again",
           '1,"x"y\n': "a quote is closed where neither", "1,a\rb\n": "a carriage return stands within it",
           '5,"x\n6,y\n7,z"\n': "swallows the rows between"}  # fmt: skip
    lines = ["id,text\n"]
    for number, each in enumerate(bad):
        lines += [*good[number * 40 : number * 40 + 40], each]
    with open("in.csv", "w", newline="") as file:
        file.write("".join(lines))
    found = predict(run, "in.csv", "out.csv", rows_per_part=50)
    assert (found.rows, found.rejected) == (246, 6)
    assert [row["id"] for row in csv.DictReader(found.output.open())] == [str(number) for number in range(240)]
    told = read_jsonl(found.rejected_file)
    assert [(each["row"], each["line"]) for each in told] == [(row, row + 1) for row in (41, 82, 123, 164, 205, 246)]
    assert all(reason in each["reason"] for reason, each in zip(bad.values(), told, strict=True))
    assert {each["file"] for each in told} == {"in.csv"}
    trusted = predict(run, "in.csv", "trusted.csv", quoting="trusted")
    assert (trusted.rows, trusted.rejected) == (246, 5)


def test_lines_that_are_no_json_are_listed_and_left_out(run, monkeypatch):
    monkeypatch.setattr("salience.eval.predict.json_rows.FIRST_ROWS", 80)
    bad = {"{": "is not valid JSON", '{"text": 7}': "something else than text", "[1]": "is not a JSON object",
           '{"text": "a", "text": "b"}': "the key 'text' twice", '{"text": "\\ud83d"}': "half a character",
           '{"text": "a", "label": 1}': "'label' already"}  # fmt: skip
    good = ['{"text": "a goal"}'] * 80
    with open("in.jsonl", "w") as file:
        file.write("\n".join([*good, *bad]) + "\n")
    found = predict(run, "in.jsonl", "out.jsonl", prefix="")
    told = read_jsonl(found.rejected_file)
    assert len(read_jsonl(found.output)) == 80 and [each["line"] for each in told] == list(range(81, 87))
    assert all(reason in each["reason"] for reason, each in zip(bad.values(), told, strict=True))


def test_rows_that_would_lose_something_in_parquet_are_listed_and_left_out(run):
    bad = {
        '{"text": "a", "n": 1, "n": 2}': "the key 'n' twice",
        '{"text": "a", "n": [{"m": {"x": 1, "x": 2}}]}': "the key 'x' twice",
        '{"text": "a", "n": "\\ud83d"}': "half a character",
        '{"text": "a", "\\ud83d": 1}': "half a character",
    }
    with open("in.jsonl", "w") as file:
        file.write("\n".join([*['{"text": "a goal", "n": 1}'] * 80, *bad]) + "\n")
    found = predict(run, "in.jsonl", "out")
    told = read_jsonl(found.rejected_file)
    assert [each["line"] for each in told] == list(range(81, 85))
    assert all(reason in each["reason"] for reason, each in zip(bad.values(), told, strict=True))
    assert pq.read_table("out/part-00000.parquet")["n"].to_pylist() == [1] * 80
    assert predict(run, "in.jsonl", "out.jsonl").rejected == 0  # rows stay as they are


def test_too_many_rejected_rows_stop_it(run):
    with open("in.csv", "w") as file:
        file.write("id,text\n" + "1,a goal\n" * 90 + "2,\n" * 30)
    told = failure(run, "in.csv", "out.csv")
    assert told.startswith("30 of 120 rows are rejected, as row 91 of 'in.csv': it has no text in column 'text'")
    assert "higher --max_rejected" in told
    assert predict(run, "in.csv", "out.csv", max_rejected=0.5).rejected == 30
    with open("all.csv", "w") as file:
        file.write("id,text\n1,\n")
    assert "1 of 1 rows are rejected" in failure(run, "all.csv", "all_out.csv")
    assert predict(run, "all.csv", "all_out.csv", max_rejected=1).rejected == 1


def test_too_many_are_too_many_of_all_rows_in_any_order(run):
    for name, bad, good in (("a", 12, 38), ("b", 0, 200), ("c", 12, 38)):
        with open(f"{name}.csv", "w") as file:
            file.write("id,text\n" + "1,\n" * bad + "1,a goal\n" * good)
    for number, order in enumerate((["a.csv", "b.csv"], ["b.csv", "a.csv"])):
        assert predict(run, order, f"out_{number}").rejected == 12
    for number, order in enumerate((["a.csv", "c.csv"], ["c.csv", "a.csv"])):
        assert failure(run, order, f"none_{number}").startswith("12 of 100 rows are rejected, as row 1 of")


def test_the_rest_of_a_row_whose_quotes_are_broken_is_no_row(run):
    good = ["a goal,0\n"] * 20
    with open("in.csv", "w", newline="") as file:
        file.write("".join(["text,id\n", *good, '"He said "no"\nand left",1\n', *good]))
    found = predict(run, "in.csv", "out.csv")
    assert [row["id"] for row in csv.DictReader(found.output.open())] == ["0"] * 40
    told = [each["reason"] for each in read_jsonl(found.rejected_file)]
    assert len(told) == 2 and told[1] == "it may be the rest of the row in line 22"
    parts = predict(run, "in.csv", "parts.csv", rows_per_part=1)
    assert [row["id"] for row in csv.DictReader(parts.output.open())] == ["0"] * 40
    assert parts.rejected_file.read_bytes() == found.rejected_file.read_bytes()


def test_folders_inside_of_a_folder_are_told(run, tmp_path, caplog):
    (tmp_path / "in" / "2026" / "may").mkdir(parents=True)
    for place in ("in/a.csv", "in/2026/may/b.csv"):
        (tmp_path / place).write_text("text\na goal\n")
    assert predict(run, "in", "out").rows == 1
    assert "inside of the folder 'in' are not read, as with '2026/may/b.csv'" in caplog.text
    assert "name 'in/**/*.csv'" in caplog.text and predict(run, "in/**/*.csv", "all").rows == 2


@pytest.mark.parametrize(("name", "told"), [("in.jsonl", "'in.jsonl' is one JSON list"), ("in.csv", "a line of more")])
def test_a_line_as_long_as_a_file_is_not_read(run, tmp_path, monkeypatch, name, told):
    monkeypatch.setattr("salience.eval.predict.lines.LONGEST_LINE", 1000)
    content = json.dumps([{"text": "a goal"}] * 100) if name == "in.jsonl" else "text\n" + "goal " * 400
    (tmp_path / name).write_text(content)
    assert told in failure(run, name, "out")


REFUSED = {
    ("in.csv", "out.jsonl"): "--output out.jsonl must end as 'in.csv' does, or be a folder",
    (
        "in.csv",
        "out.txt",
    ): "--output out.txt ends in .txt, which isn't written: end it as the only input",
    ("in.csv", "out.csv.xlsx"): "--output out.csv.xlsx ends in .xlsx, which isn't written",
    ("text.parquet", "out.parquet.gz"): "--output out.parquet.gz ends in .gz, which isn't written",
    ("in.csv", "-"): "--output - is neither a file nor a folder of this machine",
    ("in.csv", "s3://bucket/out.csv"): "--output s3://bucket/out.csv is neither a file nor a folder of this machine",
    ("in.csv", "link.csv"): "link.csv exists; choose another --output",
    ("in.csv", "in.csv"): "in.csv exists; choose another --output",
    ("none.csv", "out.csv"): "there is no file or folder 'none.csv'",
    ("*.nothing", "out"): "no file fits '*.nothing' (--input)",
    ("list.json", "out.json"): "'list.json' is one JSON list, which can't be read in parts",
    ("in.txt", "out"): "'in.txt' can't be read in parts; give .csv, .tsv, .jsonl, .json, .parquet",
    ("empty.csv", "out.csv"): "'empty.csv' is empty",
    ("header.csv", "out.csv"): "'header.csv' has no rows",
    ("taken.csv", "out.csv"): "'taken.csv' has a column 'label' already",
    ("other.csv", "out.csv"): "'other.csv' has no column 'text' (--text_column)",
    ("other.jsonl", "out.jsonl"): "'other.jsonl' has no column 'text' (--text_column)",
    ("other.parquet", "out.parquet"): "'other.parquet' has no column 'text' (--text_column)",
    ("number.parquet", "out.parquet"): "column 'text' of 'number.parquet' holds int64, not text",
    ("broken.parquet", "out.parquet"): "'broken.parquet' is not a readable parquet file",
    ("latin.csv", "out.csv"): "'latin.csv' is not valid utf-8",
    ("open.csv", "out.csv"): "the quote that opens in line 2 is never closed",
    ("broken.csv.gz", "out.csv"): "'broken.csv.gz' is no whole gzip file",
    ("nothing.jsonl", "out.jsonl"): "'nothing.jsonl'",
    ("python.jsonl", "out.jsonl"): "'python.jsonl' line 1 is not valid JSON",
    ("doubled.jsonl", "out.jsonl"): "'doubled.jsonl' line 1 has the key 'text' twice; leave out one of them",
    ("in.csv", "full"): "full holds mine.txt, which",
    ("in.csv", "in.csv/out"): "in.csv is a file",
    (("in.csv", "in.csv"), "out"): "'in.csv' is given twice",
    (("in.csv", "more.csv"), "out.csv"): "--output out.csv is one file, and there are 2 inputs",
    (("in.csv", "more.csv"), "out"): "'in.csv' and 'more.csv' have different columns",
    (("in.csv", "other.jsonl"), "out"): "'in.csv' and 'other.jsonl' are of different formats",
    ("twice.csv", "out"): "'twice.csv' has two columns 'id'",
}


@pytest.mark.parametrize("source, output", REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence_and_leaves_nothing(run, tmp_path, source, output):
    files = {
        "in.csv": "text\na goal\n", "more.csv": "id,text\n1,a goal\n", "list.json": '[{"text": "a"}]', "in.txt": "a",
        "empty.csv": "", "header.csv": "text\n", "taken.csv": "text,label\na,b\n", "other.csv": "a,b\n1,2\n",
        "other.jsonl": '{"a": 1}\n', "open.csv": 'text\n"a goal\nb\n', "nothing.jsonl": "\n\n",
        "twice.csv": "id,text,id\n1,a,2\n", "broken.parquet": "PAR1 no",
        "python.jsonl": "{'text': 'a'}\n" * 3, "doubled.jsonl": '{"text": "a", "text": "b"}\n' * 3,
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "latin.csv").write_bytes("text\ncafé\n".encode("latin-1"))
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(b"text\na goal\n" * 99)[:-20])
    pq.write_table(pa.table({"a": [1]}), "other.parquet")
    pq.write_table(pa.table({"text": [1]}), "number.parquet")
    pq.write_table(pa.table({"text": ["a goal"]}), "text.parquet")
    (tmp_path / "link.csv").symlink_to("gone/out.csv")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    source_list = list(source) if isinstance(source, tuple) else source
    assert REFUSED[source, output] in failure(run, source_list, output)
    assert sorted(tmp_path.rglob("*")) == before


def test_flags_that_have_no_effect_or_are_wrong_are_refused(run, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    words = ["predict", "--model", str(run), "--input", "in.jsonl", "--output", "out.jsonl"]
    for flags, told in {
        "--separator ;": "--separator ; has no effect here", "--batch_size 0": "--batch_size 0 must be at least 1",
        "--max_rejected 2": "--max_rejected 2.0 must be at least 0 and at most 1", "--inputs x": "did you mean --input",
        "--label_separator ;": "--label_separator ; has no effect here",
        "--ray_actors 4": "--ray_actors belongs to --ray; leave it out",
        "--rows_per_part 0": "--rows_per_part 0 must be at least 1", "--revision main": "belongs to a Hub id",
    }.items():  # fmt: skip
        assert main([*words, *flags.split()]) == 2
        assert told in capsys.readouterr().err
    assert main(words[:5]) == 2 and "--output is missing" in capsys.readouterr().err


@pytest.mark.parametrize("separator", [".", "0", "e", " - "])
def test_what_stands_in_numbers_separates_none(run, tmp_path, separator):
    (tmp_path / "in.csv").write_text("text\na goal\n")
    assert "stands in numbers, too" in failure(run, "in.csv", "out.csv", label_separator=separator)


def test_a_file_may_lie_in_the_home_folder_and_a_folder_of_parts_may_not_be_it(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "in.csv").write_text("text\na goal\n")
    assert predict(run, "in.csv", "out.csv").output == tmp_path / "out.csv"
    assert failure(run, "in.csv", ".").startswith(f"--output {tmp_path} is or holds your home folder")


def test_a_file_is_no_model(run, tmp_path):
    (tmp_path / "in.csv").write_text("text\na goal\n")
    told = failure(run / "model.safetensors", "in.csv", "out.csv")
    assert told == f"--model {run}/model.safetensors can't be loaded: {run}/model.safetensors is a file, not a folder"
    assert "--model nobody/none/here can't be loaded: there is no such folder" in failure(
        "nobody/none/here", "in.csv", "o"
    )


def test_what_a_launcher_left_in_the_environment_is_named(run, tmp_path, monkeypatch):
    (tmp_path / "in.csv").write_text("text\na goal\n")
    for name, value in {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_PORT": "29500", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for size in ("2", "two"):
        monkeypatch.setenv("WORLD_SIZE", size)
        told = failure(run, "in.csv", "out.csv")
        assert told.startswith("this can't start here with ")
        assert " LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_PORT=29500 RANK=0 " in told
        assert f" WORLD_SIZE={size} in the environment: " in told
    monkeypatch.delenv("WORLD_SIZE")
    assert predict(run, "in.csv", "out.csv").rows == 1


def test_only_files_of_a_known_ending_are_read_from_a_folder(run, tmp_path, caplog):
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "a.csv.bak", "b.csv~", "c.tsv.old", "d.csv.GZ"):
        content = b"text\na goal\n"
        (tmp_path / "in" / name).write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
    assert predict(run, "in", "out").rows == 2
    assert "3 files of the folder 'in' are not read, such as a.csv.bak" in caplog.text
