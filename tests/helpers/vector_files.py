"""Files of word vectors that tests write into the current folder, and what is looked up in them."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import RecipeParser
from salience.train.building.build import build_model
from salience.train.building.word_vectors import load_word_vectors

WORDS = ["team", "bank", "film", "of"]  # the rows of MATRIX
MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3) ** 2 / 7 - 3
TEXTS = ["the team won", "the bank of the team", "a film of the bank"]
LABELS = ["sport", "business", "culture"]
SMALL = ["--min_frequency", "1", "--hidden_dim", "8"]
SCRATCH = {
    "hierarchical_attn": [*SMALL, "--num_heads", "2"],
    "lstm": SMALL,
    "cnn": ["--min_frequency", "1", "--num_filters", "4"],
    "gat": [*SMALL, "--num_heads", "2"],
}


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
