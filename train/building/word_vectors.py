"""Pretrained static word vectors as the start of the word embeddings of a model that is trained from scratch.

Shape suffixes
    W = words of our vocabulary, F = those of them with a vector, R = rows of a file of vectors, P = rows that are read,
    E = width of a vector
"""

import gzip
import logging
import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from salience.configuration.errors import UserError, one_line
from salience.train.building.vector_vocabulary import RowsOf, read_vocabulary
from salience.train.data.formats.decoding import likely_size, too_large
from salience.train.data.paths import resolve_path

logger = logging.getLogger(__name__)
MAX_LINE = 2**20  # bytes of a word and its numbers: room for tens of thousands
BAR: dict[str, Any] = {"desc": "word vectors", "unit": "B", "unit_scale": True}
WordVectors = tuple[np.ndarray, np.ndarray]  # vectors_FE and found_W of `load_word_vectors`


def word_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The words of a vocabulary from scratch with their ids, in the order of the ids; no special tokens."""
    special = set(tokenizer.all_special_tokens)
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return {word: index for word, index in words if word not in special}


def load_word_vectors(path: str, vocabulary_path: str | None, words: list[str]) -> WordVectors:
    """Look up words in a file of pretrained vectors: each as it is, else in lower case.

    Args:
        path: A file, or `package:NAME/inside`: .npy (rows, width), .safetensors with one tensor (rows, width), or the
            text of GloVe and word2vec (a word and its numbers in each line), as it is or compressed by gzip.
        vocabulary_path: Which row of .npy or .safetensors is which word: a text with one word a line, a JSON list, a
            JSON object word -> row, parquet (a column of words, and one of rows if they aren't in order) or a
            tokenizer.json. The latter's pieces have the vectors, and a word gets their mean. None for a text.
        words: (W,) the words.

    Returns:
        vectors_FE: float32 vectors of the words that were found, in the order of `words`.
        found_W: Whether each word was found.

    Raises:
        UserError: A file is missing or not what it should be, the two don't fit, or no word is found.
    """
    file = resolve_path(path)
    read_matrix = MATRIX_READERS.get(file.suffix.lower())
    if read_matrix is None and vocabulary_path is not None:
        raise UserError(f"'{path}' is a text that names its words itself; leave out --word_vectors_vocabulary")
    if read_matrix is not None and vocabulary_path is None:
        raise UserError(f"'{path}' doesn't name its words; give --word_vectors_vocabulary, the words of its rows")
    try:
        if read_matrix is None or vocabulary_path is None:
            vectors_FE, found_W = _look_up_in_text(file, path, words)
        else:
            matrix_RE = read_matrix(file, path)
            rows_of = read_vocabulary(vocabulary_path, path, len(matrix_RE))
            vectors_FE, found_W = _look_up_rows(matrix_RE, path, rows_of, words)
    except OSError as error:
        raise UserError(f"'{path}' can't be read: {error.strerror or one_line(error)}") from error
    if vectors_FE.std(dtype=np.float64) == 0:  # no scale makes a start of them
        raise UserError(f"'{path}' has one and the same number everywhere in the vectors of the training texts' words")
    return vectors_FE, found_W


def start_embeddings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, vectors: WordVectors | None
) -> PreTrainedModel:
    """Put pretrained vectors into fresh word embeddings, scaled to have the same standard deviation as these.

    Words without a vector keep their random start.

    Args:
        model: A model with a word embedding of width E, whose weights are fresh. It is changed in place, and remembers
            the share of words that were found as `word_vectors_found`.
        tokenizer: Its tokenizer, of which `word_ids` gives the W words.
        vectors: What `load_word_vectors` found; with None nothing is done.

    Returns:
        The model.
    """
    if vectors is None:
        return model
    vectors_FE, found_W = vectors
    weight_VE = cast(nn.Embedding, model.get_input_embeddings()).weight
    ids_W = np.fromiter(word_ids(tokenizer).values(), dtype=np.int64)
    scale = weight_VE.std().item() / vectors_FE.std(dtype=np.float64)
    with torch.no_grad():
        weight_VE[torch.from_numpy(ids_W[found_W])] = torch.from_numpy((vectors_FE * scale).astype(np.float32))
    model.word_vectors_found = float(found_W.mean())  # type: ignore[assignment]  # torch declares tensors and modules
    logger.warning(
        "%d of %d words (%.1f %%) start from pretrained vectors", found_W.sum(), len(found_W), 100 * found_W.mean()
    )
    return model


def _look_up_rows(matrix_RE: np.ndarray, path: str, rows_of: RowsOf, words: list[str]) -> WordVectors:
    rows_W = [rows_of(word) or rows_of(word.lower()) for word in words]
    found_W = np.array([bool(rows) for rows in rows_W])
    _check_found(found_W, path)
    rows_P = np.array([row for rows in rows_W for row in rows])
    with np.errstate(over="ignore"):  # what float32 can't hold is refused below
        vectors_PE = np.asarray(matrix_RE[rows_P]).astype(np.float32)
    is_finite_P = np.isfinite(vectors_PE).all(1)
    if not is_finite_P.all():
        raise UserError(f"row {rows_P[~is_finite_P][0]} (from 0) of '{path}' holds NaN, infinity or a huge number")
    counts_F = np.array([len(rows) for rows in rows_W if rows])
    sums_FE = np.add.reduceat(vectors_PE, np.cumsum(counts_F) - counts_F)
    return sums_FE / counts_F[:, None].astype(np.float32), found_W


def _look_up_in_text(file: Path, path: str, words: list[str]) -> WordVectors:
    vector_of = _read_text(file, path, {*words, *(word.lower() for word in words)})
    vectors_W = [vector_of.get(word, vector_of.get(word.lower())) for word in words]
    found_W = np.array([vector is not None for vector in vectors_W])
    _check_found(found_W, path)
    return np.stack([vector for vector in vectors_W if vector is not None]), found_W


def _check_found(found_W: np.ndarray, path: str) -> None:
    if not found_W.any():
        raise UserError(f"'{path}' has no vector of any of the {len(found_W)} words of the training texts")


def _read_text(file: Path, path: str, wanted: set[str]) -> dict[str, np.ndarray]:
    """The vectors of the wanted words in GloVe or word2vec text; of a word that stands twice, the first."""
    vectors: dict[str, np.ndarray] = {}
    wanted_bytes = {word.encode() for word in wanted}
    width = announced = num_vectors = 0
    for number, line in _lines(file, path):
        if number == 1:
            announced, width = _text_header(line, path)
            if announced:
                continue
        num_vectors += 1
        # What nobody asked for is only counted; the first line tells whether this is such a text at all.
        if number > 1 and line.count(b" ") == width and line.partition(b" ")[0] not in wanted_bytes:
            continue
        word, vector = _parse_line(line, width, f"'{path}' line {number}")
        if word in wanted_bytes:
            vectors.setdefault(word.decode(), vector)
    if announced and num_vectors != announced:
        raise UserError(f"'{path}' announces {announced} vectors in its first line and has {num_vectors}")
    return vectors


def _lines(file: Path, path: str) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that aren't empty, from 1, under a progress bar."""
    number = num_bytes = 0
    with file.open("rb") as raw, tqdm(total=file.stat().st_size, disable=None, leave=False, **BAR) as bar:
        is_gzip = raw.peek(2)[:2] == b"\x1f\x8b"
        most_bytes = likely_size(file) if is_gzip else math.inf
        try:
            file_of_lines = gzip.open(raw) if is_gzip else raw
            for number, line in enumerate(iter(lambda: file_of_lines.readline(MAX_LINE), b""), 1):
                if len(line) == MAX_LINE:  # a small archive can hold any number of bytes without a line break
                    raise UserError(f"'{path}' line {number} is longer than {MAX_LINE:,} bytes; give a text of vectors")
                num_bytes += len(line)
                if num_bytes > most_bytes:
                    raise too_large(path, num_bytes, "far more than such texts hold")
                bar.update(raw.tell() - bar.n)
                # Only spaces separate, and line feeds end a line: words may hold any other kind of white space.
                if stripped := line.rstrip(b" \r\n"):
                    yield number, stripped
        except (EOFError, zlib.error) as error:
            raise UserError(f"'{path}' is cut short or damaged: {one_line(error)}") from error
    if number == 0:
        raise UserError(f"'{path}' is empty; give a file of word vectors")


def _text_header(line: bytes, path: str) -> tuple[int, int]:
    """How many vectors the first line announces (0 if it is a vector itself), and how wide they are."""
    fields = line.split(b" ")
    if len(fields) == 2 and all(field.isdigit() and len(field) < 12 for field in fields):
        count, width = map(int, fields)
        if not count or not width:
            raise UserError(f"'{path}' announces no vectors in its first line")
        return count, width
    if len(fields) < 2:
        raise UserError(f"'{path}' line 1 is no word with its numbers; give .npy, .safetensors, or a text of vectors")
    return 0, len(fields) - 1


def _parse_line(line: bytes, width: int, where: str) -> tuple[bytes, np.ndarray]:
    word, *numbers = line.rsplit(b" ", width)
    # In some files a word holds spaces (". . ."); a number at its end means that the line is too long.
    is_too_long = b" " in word and _is_number(word.rpartition(b" ")[2])
    if is_too_long or len(numbers) != width or not all(map(_is_number, numbers)):
        raise UserError(f"{where} isn't a word and {width} numbers")
    with np.errstate(over="ignore"):  # what float32 can't hold is refused next
        vector = np.array([float(number) for number in numbers]).astype(np.float32)
    if not np.isfinite(vector).all():
        raise UserError(f"{where} holds NaN, infinity or a huge number")
    return word, vector


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_npy(file: Path, path: str) -> np.ndarray:
    try:
        matrix = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OverflowError, TokenError) as error:
        raise UserError(f"'{path}' can't be read as a plain array: {one_line(error)}") from error
    if not isinstance(matrix, np.ndarray):
        raise UserError(f"'{path}' is an archive of arrays; give one array")
    return _check_matrix(matrix, path)


def _read_safetensors(file: Path, path: str) -> np.ndarray:
    try:
        with safe_open(file, framework="pt") as tensors:
            names = [name for name in tensors.keys() if len(tensors.get_slice(name).get_shape()) == 2]  # noqa: SIM118
            if len(names) != 1:
                raise UserError(f"'{path}' must hold exactly one tensor of rows and columns, and has {len(names)}")
            tensor = tensors.get_tensor(names[0])
    except SafetensorError as error:
        raise UserError(f"'{path}' is no whole .safetensors file: {one_line(error)}") from error
    # NumPy knows no bfloat16.
    return _check_matrix(tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy(), path)


def _check_matrix(matrix: np.ndarray, path: str) -> np.ndarray:
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or 0 in matrix.shape:
        what = f"shape {matrix.shape} of {matrix.dtype}"
        raise UserError(f"'{path}' must hold decimal numbers in rows and columns, and has the {what}")
    return matrix


MATRIX_READERS: dict[str, Callable[[Path, str], np.ndarray]] = {".npy": _read_npy, ".safetensors": _read_safetensors}
