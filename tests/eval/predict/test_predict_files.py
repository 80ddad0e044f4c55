"""`eval.py predict`: files come back row by row, with answers."""

import csv
import gzip
import json
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from salience.configuration.flags.data_arguments import TextArguments
from salience.eval import Predictor
from salience.eval.cli import main
from salience.eval.predict import command, predictor
from salience.eval.predict.job import Job
from salience.eval.predict.planning import PredictArguments
from tests.helpers.predicting import (
    MANY,
    NUMBERS,
    TEXTS,
    failure,
    many_texts,
    predict,
    probabilities_of,
    read_jsonl,
    save_model,
)  # fmt: skip
from tests.helpers.tiny import LABELS

NAMES = list(LABELS["label2id"])
COLUMNS = ["label", "score", "probabilities"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("files") / "run")


@pytest.fixture(autouse=True)
def here(in_tmp_path):
    """Names of files are relative."""


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


def test_a_parquet_file_may_have_two_columns_of_a_name(run):
    table = pa.table([["a goal", "the bank"], [1, 2], [3, 4]], names=["text", "x", "x"])
    pq.write_table(table, "in.parquet")
    found = pq.ParquetFile(predict(run, "in.parquet", "out.parquet", rows_per_part=1).output).read()
    assert found.column_names[:4] == ["text", "x", "x", "label"] and found.column(2).to_pylist() == [3, 4]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_few_files_are_open_at_a_time(run, ending, monkeypatch):
    Path("many").mkdir()
    frame = pd.DataFrame({"text": ["a goal"]})
    write = {
        "csv": frame.to_csv,
        "parquet": frame.to_parquet,
        "jsonl": partial(frame.to_json, lines=True, orient="records"),
    }
    for number in range(30):
        write[ending](f"many/{number}.{ending}")
    opened, run_of = [], Job.run

    def counted(self, number, advance=None):
        opened.append(len([each for each in psutil.Process().open_files() if "/many/" in each.path]))
        return run_of(self, number, advance)

    monkeypatch.setattr(Job, "run", counted)
    assert predict(run, "many", "answers").rows == 30 and max(opened) <= 1


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
        assert sorted(path.name for path in out.iterdir()) == [".manifest.json", *names]
        table = pa.concat_tables(pq.read_table(out / name) for name in names)
        assert table["text"].to_pylist() == expected
        manifest = json.loads((out / ".manifest.json").read_text())
        assert (manifest["rows"], manifest["parts"], manifest["finished"]) == (9, 6, True)
        assert [each["rows"] for each in manifest["inputs"]] == [3, 3, 3]


def test_a_folder_of_parts_is_one_table_to_others(run, tmp_path):
    texts = [f"goal {number}" for number in range(5)] + [None]
    pd.DataFrame({"text": texts}).to_json("in.jsonl", orient="records", lines=True)
    found = predict(run, "in.jsonl", "out", rows_per_part=2)
    names = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert sorted(path.name for path in found.output.iterdir()) == [".manifest.json", ".rejected.jsonl", *names]
    frame = pd.read_parquet("out")
    assert frame["text"].tolist()[:5] == texts[:5] and frame["text"].isna().tolist() == [False] * 5 + [True]
    assert frame["label"].notna().tolist() == [True] * 5 + [False]
    assert pq.read_table("out").to_pandas().equals(frame)
    rows = datasets.load_dataset("parquet", data_dir="out", split="train", cache_dir=str(tmp_path / "cache"))
    assert list(rows["text"]) == texts and rows["label"][:5] == frame["label"].tolist()[:5]
    assert predict(run, "out", "again", prefix="again_").rows == 6


def test_json_lines_in_a_folder_have_one_type_for_each_key(run):
    rows = [
        {"text": "a", "n": 1, "f": 1, "b": True, "l": [1], "mixed": 1, "big": 1, "id": 2**53 + 1, "long": 2},
        {"text": "b", "n": None, "f": 0.5, "b": False, "l": None, "mixed": "x", "big": 2**70, "id": 0.5, "long": 2**62},
        {"text": "c", "late": "here"},
    ]
    with open("in.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    out = predict(run, "in.jsonl", "out", rows_per_part=2).output
    table = pa.concat_tables(pq.read_table(out / f"part-0000{number}.parquet") for number in range(2))
    assert table.drop_columns(COLUMNS).to_pydict() == {
        "text": ["a", "b", "c"], "n": [1, None, None], "f": [1.0, 0.5, None], "b": [True, False, None],
        "l": ["[1]", None, None], "mixed": ["1", "x", None], "big": ["1", str(2**70), None],
        "id": [str(2**53 + 1), "0.5", None], "long": [2, 2**62, None], "late": [None, None, "here"],
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


def test_a_model_that_is_loaded_already_is_not_loaded_again(run, monkeypatch):
    open("in.jsonl", "w").write('{"text": "a goal"}\n')
    expected = predict(run, "in.jsonl", "out.jsonl").output.read_bytes()
    reader = Predictor(run, bf16=False).reader
    monkeypatch.setattr(predictor, "load_reader", None)
    again = PredictArguments(str(run), input=["in.jsonl"], output="again.jsonl")
    assert command.predict(again, TextArguments(), reader=reader).output.read_bytes() == expected


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
