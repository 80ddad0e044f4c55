"""Files of word vectors, and flags beside them, that are refused in one sentence."""

import gzip
import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save_file

from salience.train.cli import main
from tests.helpers.toy import toy_csv
from tests.helpers.vector_files import (
    MATRIX,
    WORDS,
    refusal,
    write_matrix,
    write_text,
    write_vocabulary,
)

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def broken_lines(number: int, line: str) -> str:
    lines = ["team 1 2 3", "bank 4 5 6", "film 7 8 9"]
    lines[number - 1] = line
    Path("v.txt").write_text("\n".join(lines) + "\n")
    return "v.txt"


@pytest.mark.parametrize(
    ("number", "line", "expected"),
    [
        (2, "bank 4 5", "'v.txt' line 2 isn't a word and 3 numbers"),
        (2, "unwanted 4 5", "'v.txt' line 2 isn't a word and 3 numbers"),
        (3, "film 7 8 9 10", "'v.txt' line 3 isn't a word and 3 numbers"),
        (3, "unwanted 7 8 9 10", "'v.txt' line 3 isn't a word and 3 numbers"),
        (3, "film 7 8 nine", "'v.txt' line 3 isn't a word and 3 numbers"),
        (2, "bank 4 nan 6", "'v.txt' line 2 holds NaN, infinity"),
        (2, "bank 4 -inf 6", "'v.txt' line 2 holds NaN, infinity"),
        (2, "bank 4 1e39 6", "'v.txt' line 2 holds NaN, infinity or a huge number"),
        (1, "4 3", "'v.txt' announces 4 vectors in its first line and has 2"),
        (1, "4 0", "'v.txt' announces no vectors"),
        (1, "word,number", "'v.txt' line 1 is no word with its numbers"),
        (1, "the words of this text", "'v.txt' line 1 isn't a word and 4 numbers"),
    ],
)
def test_broken_lines_are_named(number, line, expected):
    assert expected in refusal(broken_lines(number, line))


class Harmful:
    def __reduce__(self):
        return Path.touch, (Path("was_run"),)


def broken_files() -> None:
    """Files of every kind of badness."""
    write_matrix("v.npy")
    write_vocabulary("words.txt")
    write_matrix("nan.npy", np.where(MATRIX == MATRIX[2, 1], np.nan, MATRIX))
    write_matrix("inf.safetensors", np.where(MATRIX == MATRIX[2, 1], np.inf, MATRIX))
    write_matrix("huge.npy", np.where(MATRIX == MATRIX[2, 1], 1e300, MATRIX.astype(np.float64)))
    write_matrix("flat.npy", MATRIX[0])
    write_matrix("whole.npy", np.arange(12).reshape(4, 3))
    write_matrix("same.npy", np.ones((4, 3), np.float32))
    np.save("objects.npy", np.array([Harmful()], dtype=object), allow_pickle=True)
    Path("pickle.npy").write_bytes(pickle.dumps(Harmful()))
    Path("cut.npy").write_bytes(Path("v.npy").read_bytes()[:-4])
    Path("header.npy").write_bytes(Path("v.npy").read_bytes().replace(b"(4, 3)", b"(4, 3 "))
    np.savez("two.npz", MATRIX, MATRIX)
    Path("two.npz").rename("two.npy")
    save_file({name: torch.ones(4, 3) for name in "ab"}, "two.safetensors")
    Path("cut.safetensors").write_bytes(Path("inf.safetensors").read_bytes()[:-4])
    Path("vectors.pt").write_bytes(pickle.dumps(Harmful()))
    Path("empty.txt").touch()
    for name in ("pointer.npy", "pointer.txt"):
        Path(name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    Path("cut.txt.gz").write_bytes(gzip.compress(b"team 1 2 3\n" * 9)[:-12])
    Path("folder.npy").mkdir()
    write_vocabulary("list.json", WORDS[:3])
    write_vocabulary("tokenizer.json", [*WORDS, "more"])
    for name, content in {"row": {"team": 4}, "minus": {"team": -1}, "text": {"team": "0"}, "odd": ["team", 1]}.items():
        Path(f"{name}.json").write_text(json.dumps(content))
    Path("deep.json").write_text("[" * 100_000)
    Path("model.json").write_text('{"model": {"type": "none"}}')
    Path("latin.txt").write_bytes(b"caf\xe9\n" * 4)
    Path("cut.parquet").write_bytes(b"PAR1 and no more")
    pa.parquet.write_table(pa.table({"a": WORDS, "b": WORDS}), "two.parquet")
    pa.parquet.write_table(pa.table({"word": WORDS, "row": [0, 1, 2, None]}), "null.parquet")


FILES = {
    "none.npy words.txt": "there is no file or folder 'none.npy'",
    "v.npy none.txt": "there is no file or folder 'none.txt'",
    "package:no_such/v.npy words.txt": "run: pip install no-such",
    "nan.npy words.txt": "row 2 (from 0) of 'nan.npy' holds NaN",
    "inf.safetensors words.txt": "row 2 (from 0) of 'inf.safetensors' holds NaN, infinity",
    "huge.npy words.txt": "row 2 (from 0) of 'huge.npy' holds NaN, infinity or a huge number",
    "flat.npy words.txt": "'flat.npy' must hold decimal numbers in rows and columns, and has the shape (3,)",
    "whole.npy words.txt": "'whole.npy' must hold decimal numbers in rows and columns, and has the shape (4, 3) of int",
    "same.npy words.txt": "'same.npy' has one and the same number everywhere",
    "objects.npy words.txt": "'objects.npy' can't be read as a plain array",
    "pickle.npy words.txt": "'pickle.npy' can't be read as a plain array",
    "cut.npy words.txt": "'cut.npy' can't be read as a plain array",
    "header.npy words.txt": "'header.npy' can't be read as a plain array",
    "two.npy words.txt": "'two.npy' is an archive of arrays",
    "two.safetensors words.txt": "'two.safetensors' must hold exactly one tensor of rows and columns, and has 2",
    "cut.safetensors words.txt": "'cut.safetensors' is no whole .safetensors file",
    "folder.npy words.txt": "'folder.npy' can't be read: Is a directory",
    "pointer.npy words.txt": "'pointer.npy' is a pointer of Git LFS",
    "v.npy pointer.txt": "'pointer.txt' is a pointer of Git LFS",
    "pointer.txt": "'pointer.txt' is a pointer of Git LFS",
    "vectors.pt": "'vectors.pt' line 1 is",
    "empty.txt": "'empty.txt' is empty",
    "cut.txt.gz": "'cut.txt.gz' is cut short or damaged",
    "v.npy": "'v.npy' doesn't name its words; give --word_vectors_vocabulary",
    "empty.txt words.txt": "'empty.txt' is a text that names its words itself; leave out --word_vectors_vocabulary",
    "v.npy list.json": "'list.json' has 3 words, and 'v.npy' has 4 rows",
    "v.npy tokenizer.json": "'tokenizer.json' numbers its tokens up to 4, and 'v.npy' has rows 0 to 3",
    "v.npy row.json": "'row.json' puts 'team' in row 4, and 'v.npy' has rows 0 to 3",
    "v.npy minus.json": "'minus.json' puts 'team' in row -1",
    "v.npy text.json": "'text.json' puts 'team' in row '0'",
    "v.npy odd.json": "'odd.json' can't be read as a vocabulary: it must be a list of words",
    "v.npy deep.json": "'deep.json' can't be read as a vocabulary",
    "v.npy model.json": "'model.json' can't be read as a vocabulary: no tokenizer.json",
    "v.npy latin.txt": "'latin.txt' can't be read as a vocabulary: 'utf-8' codec can't decode",
    "v.npy cut.parquet": "'cut.parquet' can't be read as a vocabulary",
    "v.npy two.parquet": "'two.parquet' can't be read as a vocabulary: it must have one column of words",
    "v.npy null.parquet": "'null.parquet' puts 'of' in row None",
}


@pytest.mark.parametrize("files", FILES)
def test_broken_files_are_named(files):
    broken_files()
    assert FILES[files] in refusal(*files.split())
    assert not Path("was_run").exists()


def test_a_file_that_knows_no_word():
    files = [write_matrix("v.npy"), write_vocabulary("words.txt")]
    assert refusal(*files, words=["zebra", "yak"]) == (
        "'v.npy' has no vector of any of the 2 words of the training texts"
    )
    assert "'v.txt' has no vector of any" in refusal(write_text("v.txt"), words=["zebra"])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            "lstm --word_vectors v.txt --embedding_dim 4",
            "--embedding_dim 4 isn't 3, the width of 'v.txt'; leave it out",
        ),
        ("lstm --word_vectors_vocabulary v.txt", "--word_vectors_vocabulary belongs to --word_vectors; leave it out"),
        ("transformer --word_vectors v.txt", "--word_vectors is not an option of --model transformer"),
        ("attn_pool --encoder ENCODER --word_vectors v.txt", "--word_vectors is not an option of --model attn_pool"),
        (
            "hierarchical_attn --encoder ENCODER --word_vectors v.txt",
            "--word_vectors is not an option of --model hierarchical_attn with --encoder",
        ),
        ("sequence_classification --encoder ENCODER --word_vectors v.txt", "--word_vectors is not an option of"),
    ],
)
def test_flags_that_do_not_go_together(flags, expected, encoder_folder, tmp_path, capsys):
    write_text("v.txt", ["market", "film", "team", "."])
    data = toy_csv(tmp_path)
    capsys.readouterr()
    flags = ["--model", *flags.replace("ENCODER", str(encoder_folder)).split()]
    assert main([*data, "--output_dir", "out", *flags]) == 2 and not Path("out").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {expected}")


@pytest.mark.parametrize("start", [b"", b"film 1 2 3\n", b"film 1 2 3\nof "])
def test_a_small_archive_of_one_huge_line_is_never_unpacked_whole(start):
    with gzip.open("v.txt.gz", "wb") as file:
        file.write(start)
        for _ in range(100):
            file.write(b"0" * 2**20)
    assert Path("v.txt.gz").stat().st_size < 200_000
    tracemalloc.start()
    line = 1 + start.count(b"\n")
    assert f"'v.txt.gz' line {line} is longer than 1,048,576 bytes" in refusal("v.txt.gz")
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


def test_a_small_archive_of_many_lines_is_not_read_to_its_end(monkeypatch):
    Path("v.txt.gz").write_bytes(gzip.compress(b"film 1 2 3\n" + b"of 1 2 3\n" * 100_000))
    monkeypatch.setattr("salience.train.data.formats.decoding.UNSUSPECTED_BYTES", 100_000)
    assert "'v.txt.gz' unpacks to over 0 MB, far more than such texts hold; unpack it" in refusal("v.txt.gz")
