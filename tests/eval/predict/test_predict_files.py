"""`eval.py predict`: files come back row by row, with answers."""

import csv
import gzip
import json

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salience.eval import UserError, predict_files
from salience.eval.cli import main
from tests.helpers.predicting import MANY, NUMBERS, TEXTS, many_texts, probabilities_of, read_jsonl, save_model
from tests.helpers.tiny import LABELS

NAMES = list(LABELS["label2id"])
COLUMNS = ["label", "score", "probabilities"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("files") / "run")


@pytest.fixture(autouse=True)
def here(in_tmp_path):
    """Names of files are relative."""


def predict(run, *args, **flags):
    return predict_files(run, *args, bf16=False, **flags)


def failure(run, *args, **flags):
    with pytest.raises(UserError) as error:
        predict(run, *args, **flags)
    return str(error.value)


def check_answers(run, texts, labels, scores, probabilities):
    for text, label, score, each in zip(texts, labels, scores, probabilities, strict=True):
        if not text:
            assert not label and (score in ("", None) or np.isnan(score)) and (each is None or len(each) == 0)
            continue
        expected = probabilities_of(run, text)
        np.testing.assert_allclose(np.array(each, float), expected, atol=1e-6)
        assert label == NAMES[expected.argmax()] and float(score) == pytest.approx(expected.max(), abs=1e-6)


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.csv.gz"])
@pytest.mark.parametrize("rows_per_part", [2, 100])
def test_a_csv_comes_back_as_it_was_with_cells_behind_its_rows(run, tmp_path, name, rows_per_part):
    separator = "\t" if "tsv" in name else ","
    rows = [(f"0{number}", text or "", 'odd "cell"\r\nof two lines') for number, text in enumerate(TEXTS)]
    with (gzip.open if name.endswith("gz") else open)(name, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows([("id", "text", "note"), *rows])
    found = predict(run, name, f"out.{name.partition('.')[2]}", rows_per_part=rows_per_part)
    assert (found.rows, found.rejected) == (7, 2)
    with (gzip.open if name.endswith("gz") else open)(found.output, "rt", newline="", encoding="utf-8") as file:
        header, *answered = csv.reader(file, delimiter=separator)
    assert header == ["id", "text", "note", *COLUMNS]
    assert [tuple(row[:3]) for row in answered] == rows
    *_, labels, scores, lists = zip(*answered, strict=True)
    check_answers(run, TEXTS, labels, scores, [each.split("|") if each else [] for each in lists])
    assert [(each["row"], each["reason"]) for each in read_jsonl(found.rejected_file)] == [
        (3, "it has no text in column 'text'"), (5, "it has no text in column 'text'"),
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [name, found.output.name, found.rejected_file.name]
    )


def test_rows_keep_their_bytes(run):
    body = ['\ufeff"id";text', '01;"a ""goal"""', '"2"; a goal ', '3.10;"two\nlines"']
    with open("in.csv", "wb") as file:
        file.write("\n".join(body).encode())
    predict(run, "in.csv", "out.csv", prefix="my_")
    lines = open("out.csv", "rb").read().decode().split("\n")
    assert lines[0] == body[0] + ";my_label;my_score;my_probabilities" and lines[-1] == ""
    assert [line.startswith(raw + ";") for line, raw in zip(lines[1:3], body[1:3], strict=True)] == [True, True]
    assert lines[3] == '3.10;"two' and lines[4].startswith('lines";')


def test_a_csv_without_header_or_quotes_comes_back_without(run):
    with open("in.csv", "w") as file:
        file.write('1|he said "no\n2|a goal\n')
    found = predict(run, "in.csv", "out.csv", header=False, quoting="none", separator="|", text_column="2",
                    label_separator=" ")  # fmt: skip
    lines = [line.split("|") for line in found.output.read_text().splitlines()]
    assert [line[:2] for line in lines] == [["1", 'he said "no'], ["2", "a goal"]]
    check_answers(run, ['he said "no', "a goal"], *zip(*[(a, b, c.split()) for _, _, a, b, c in lines], strict=True))
    assert "can't be written into a file without quotes" in failure(
        run, "in.csv", "other.csv", header=False, quoting="none", separator="|", text_column="2"
    )


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_read_part_by_part(run, encoding):
    texts = [f"naïve café {number}" for number in range(7)]
    with open("in.csv", "w", encoding=encoding) as file:
        file.write("text\n" + "\n".join(texts) + "\n")
    found = predict(run, "in.csv", "out.csv", rows_per_part=2, encoding=["utf-8", encoding])
    rows = list(csv.reader(found.output.open(encoding="utf-8")))[1:]
    check_answers(run, texts, *zip(*[(b, c, d.split("|")) for _, b, c, d in rows], strict=True))
    assert [row[0] for row in rows] == texts


@pytest.mark.parametrize("name", ["in.jsonl", "in.json", "in.jsonl.gz"])
def test_json_lines_come_back_as_they_were_with_keys_at_their_ends(run, name):
    lines = [json.dumps({"id": 2**70 + number, "text": text, "x": [1.0]}) for number, text in enumerate(TEXTS)]
    lines[3] = lines[3][:-1] + ', "y": 1.10 }'
    data = "\n\n".join(lines).encode()
    with open(name, "wb") as file:
        file.write(gzip.compress(data) if name.endswith("gz") else data)
    found = predict(run, name, f"out.{name.partition('.')[2]}", rows_per_part=3, heaviest_words=2)
    content = found.output.read_bytes()
    answered = (gzip.decompress(content) if name.endswith("gz") else content).decode().splitlines()
    assert all(new.startswith(old[:-1].rstrip() + ", ") for old, new in zip(lines, answered, strict=True))
    rows = [json.loads(line) for line in answered]
    check_answers(run, TEXTS, *zip(*[[row[name] for name in COLUMNS] for row in rows], strict=True))
    assert rows[0]["heaviest_words"] and rows[2]["heaviest_words"] is None


@pytest.mark.parametrize("rows_per_part", [2, 5, 100])
def test_parquet_keeps_its_types(run, rows_per_part):
    names = datasets.Features({"kind": datasets.ClassLabel(names=["a", "b"]), "text": datasets.Value("large_string")})
    rows = datasets.Dataset.from_dict({"kind": [0, 1] * 3 + [1], "text": TEXTS}, names)
    rows.to_parquet("in.parquet", batch_size=3)
    found = predict(run, "in.parquet", "out.parquet", rows_per_part=rows_per_part)
    table = pq.read_table(found.output)
    assert table.select(["kind", "text"]).equals(pq.read_table("in.parquet"))
    assert [str(table.schema.field(name).type) for name in COLUMNS] == ["string", "float", "list<element: float>"]
    check_answers(run, TEXTS, *(table[name].to_pylist() for name in COLUMNS))
    loaded = datasets.Dataset.from_parquet(str(found.output))
    assert loaded.features["kind"] == names["kind"] and loaded[0]["label"] in NAMES
    assert len(pd.read_parquet(found.output)) == 7


def test_several_files_become_one_folder_in_their_order(run, tmp_path):
    (tmp_path / "in").mkdir()
    for number in (2, 0, 1):
        texts = [f"goal {number} {row}" for row in range(3)]
        (tmp_path / f"in/{number}.csv").write_text("text\n" + "\n".join(texts) + "\n")
    (tmp_path / "in/.hidden.csv").write_text("x")
    (tmp_path / "in/notes.md").write_text("x")
    expected = [f"goal {number} {row}" for number in range(3) for row in range(3)]
    for source in ("in", "in/*.csv", ["in/0.csv", "in/1.csv", "in/2.csv"]):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        assert predict(run, source, out, rows_per_part=2).rows == 9
        names = [f"part-0000{number}.parquet" for number in range(6)]
        assert sorted(path.name for path in out.iterdir()) == ["manifest.json", *names]
        table = pa.concat_tables(pq.read_table(out / name) for name in names)
        assert table["text"].to_pylist() == expected
        manifest = json.loads((out / "manifest.json").read_text())
        assert (manifest["rows"], manifest["parts"], manifest["finished"]) == (9, 6, True)
        assert [each["rows"] for each in manifest["inputs"]] == [3, 3, 3]


def test_json_lines_in_a_folder_have_one_type_for_each_key(run):
    rows = [
        {"text": "a", "n": 1, "f": 1, "b": True, "l": [1], "mixed": 1, "big": 1},
        {"text": "b", "n": None, "f": 0.5, "b": False, "l": None, "mixed": "x", "big": 2**70},
        {"text": "c", "late": "here"},
    ]
    with open("in.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    out = predict(run, "in.jsonl", "out", rows_per_part=2).output
    table = pa.concat_tables(pq.read_table(out / f"part-0000{number}.parquet") for number in range(2))
    assert table.drop_columns(COLUMNS).to_pydict() == {
        "text": ["a", "b", "c"], "n": [1, None, None], "f": [1.0, 0.5, None], "b": [True, False, None],
        "l": ["[1]", None, None], "mixed": ["1", "x", None], "big": ["1", str(2**70), None],
        "late": [None, None, "here"],
    }  # fmt: skip


def test_several_labels_in_a_csv_are_joined(tmp_path):
    run = save_model(tmp_path / "run", **MANY)
    (tmp_path / "in.csv").write_text("text\na goal\nthe bank\n")
    found = predict(run, "in.csv", "out.csv")
    for row in csv.DictReader(found.output.open()):
        all_scores = row["probabilities"].split("|")
        pairs = [(name, each) for name, each in zip(NAMES, all_scores, strict=True) if float(each) >= 0.5]
        assert row["label"] == "|".join(name for name, _ in pairs)
        assert row["score"] == "|".join(each for _, each in pairs)
    assert "the class 'economy' has o in its name" in failure(run, "in.csv", "o.csv", label_separator="o")


def test_a_regression_has_one_new_column(tmp_path):
    run = save_model(tmp_path / "run", **NUMBERS)
    (tmp_path / "in.csv").write_text("text,x\na goal,1\n,2\n")
    assert [len(line.split(",")) for line in predict(run, "in.csv", "out.csv").output.read_text().splitlines()] == [
        3
    ] * 3


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


REFUSED = {
    ("in.csv", "out.jsonl"): "--output out.jsonl must end as 'in.csv' does, or be a folder",
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
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "latin.csv").write_bytes("text\ncafé\n".encode("latin-1"))
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(b"text\na goal\n" * 99)[:-20])
    pq.write_table(pa.table({"a": [1]}), "other.parquet")
    pq.write_table(pa.table({"text": [1]}), "number.parquet")
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
        "--rows_per_part 0": "--rows_per_part 0 must be at least 1", "--revision main": "belongs to a Hub id",
    }.items():  # fmt: skip
        assert main([*words, *flags.split()]) == 2
        assert told in capsys.readouterr().err
    assert main(words[:5]) == 2 and "--output is missing" in capsys.readouterr().err


def test_the_command_tells_where_its_answers_are(run, tmp_path, capsys):
    (tmp_path / "in.csv").write_text("text,id\na goal,1\n,2\nthe bank,3\n")
    assert main(["predict", "--model", str(run), "--input", "in.csv", "--output", "out.csv", "--bf16", "false"]) == 0
    captured = capsys.readouterr()
    assert (
        captured.out
        == f"output   {tmp_path}/out.csv\nrows     3 · 1 without an answer, see {tmp_path}/out.csv.rejected.jsonl\n"
    )
    assert "predicting: 100%" in captured.err and "texts/s" in captured.err


def test_hostile_names_of_classes_and_columns_survive(tmp_path):
    names = ['a,"b"', "=1+1\n", "x|y"]
    run = save_model(tmp_path / "run", id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    texts = many_texts(30)
    with open("in.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", 'the "id",\n'), *((text, number) for number, text in enumerate(texts))])
    found = predict(run, "in.csv", "out.csv")
    with found.output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row['the "id",\n'] for row in rows] == [str(number) for number in range(30)]
    assert {row["label"] for row in rows} <= set(names) and len({row["label"] for row in rows}) > 1
