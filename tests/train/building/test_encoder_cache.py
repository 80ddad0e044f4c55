"""What a frozen encoder said of a text is kept, used again, and the same as if it had been asked again."""

import sqlite3
import threading
from contextlib import closing

import pytest
import torch
from torch.testing import assert_close

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.configuration.flags.model_arguments import ModelArguments
from salience.configuration.flags.parser import RecipeParser
from salience.eval.baseline.models import run_baseline
from salience.train import cli
from salience.train.building.encoder_cache import SUM_BYTES, EncoderCache
from salience.train.data.load import load_splits
from tests.helpers.tiny import TINY_MODELS, VOCAB_SIZE
from tests.helpers.toy import toy_csv
from tests.helpers.training import QUIET, read, train

FROZEN = ["--freeze_encoder", "true", "--num_train_epochs", 2]


@pytest.fixture
def count_reads(monkeypatch):
    """Texts that encoders have read so far, of those that go through a cache."""
    read_texts = []
    encode = EncoderCache._encode
    monkeypatch.setattr(
        EncoderCache, "_encode", lambda self, *args: (read_texts.extend(args[1]), encode(self, *args))[1]
    )
    return lambda: len(read_texts)


def batch(num_texts=5, width=14, seed=0):
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(5, VOCAB_SIZE, (num_texts, width), generator=generator)
    lengths = torch.randint(2, width + 1, (num_texts,), generator=generator)
    return {"input_ids": input_ids, "attention_mask": (torch.arange(width) < lengths[:, None]).long()}


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical_encoder"])
def test_a_model_answers_as_without_the_cache(name, tmp_path, count_reads):
    model, inputs = TINY_MODELS[name]().eval(), batch()
    inputs["input_ids"][:, -1] = 5  # long enough for two windows, and a text without tokens
    inputs["attention_mask"][0], inputs["attention_mask"][1] = 1, 0
    expected = model(**inputs)
    EncoderCache(str(tmp_path / "cache.sqlite"), model.encoder).attach(model.encoder)
    for _ in range(2):
        found = model(**inputs)
        assert_close(found.logits, expected.logits, atol=1e-5, rtol=0)
        assert_close(found.pooling_weights, expected.pooling_weights, atol=1e-5, rtol=0)
    first = count_reads()
    assert 0 < first
    model(**{key: value.flip(0) for key, value in inputs.items()})
    assert count_reads() == first


def test_states_do_not_depend_on_the_batch(tmp_path):
    encoder, inputs = TINY_MODELS["attn_pool"]().eval().encoder, batch()
    together = EncoderCache(str(tmp_path / "a"), encoder).states(**inputs)
    alone = EncoderCache(str(tmp_path / "b"), encoder)
    for row in range(len(together)):
        assert torch.equal(alone.states(**{key: value[[row]] for key, value in inputs.items()})[0], together[row])
    mask = inputs["attention_mask"]
    assert_close(together, encoder(**inputs).last_hidden_state * mask[..., None], atol=1e-5, rtol=0)


def test_each_encoder_and_precision_has_entries_of_its_own(tmp_path, count_reads):
    file, inputs = str(tmp_path / "cache.sqlite"), batch()
    encoder = TINY_MODELS["attn_pool"]().eval().encoder
    states = EncoderCache(file, encoder).states(**inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = EncoderCache(file, encoder).states(**inputs)
    assert not torch.equal(rounded, states)
    types = torch.ones_like(inputs["input_ids"])
    assert not torch.equal(EncoderCache(file, encoder).states(**inputs, token_type_ids=types), states)
    with torch.no_grad():
        next(encoder.parameters()).add_(0.1)
    assert not torch.equal(EncoderCache(file, encoder).states(**inputs), states)
    assert count_reads() == 4 * len(states)


def test_two_writers_share_a_file(tmp_path):
    encoder, file = TINY_MODELS["attn_pool"]().eval().encoder, str(tmp_path / "cache.sqlite")
    expected = EncoderCache(str(tmp_path / "other"), encoder).states(**batch())
    found = []

    def work(seed):
        cache = EncoderCache(file, encoder)
        for number in range(20):
            cache.states(**batch(seed=100 * seed + number))
        found.append(cache.states(**batch()))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and all(torch.equal(states, expected) for states in found)


def test_runs_with_a_cache_repeat_bitwise_and_read_each_text_once(tmp_path, encoder_folder, count_reads):
    data, cache = toy_csv(tmp_path), tmp_path / "cache.sqlite"
    flags = [*data, "--encoder", encoder_folder, *FROZEN]
    train(tmp_path / "plain", *flags)
    train(tmp_path / "first", *flags, "--encoder_cache", cache)
    windows = count_reads()
    assert 0 < windows
    train(tmp_path / "second", *flags, "--encoder_cache", cache)
    assert count_reads() == windows
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]
    words = ["--output_dir", tmp_path / "third", *QUIET, *flags, "--encoder_cache", cache]
    model = cli.train_run(RecipeParser().parse([str(word) for word in words]), ["train.py"]).model
    assert "forward" not in model.encoder.__dict__ and count_reads() == windows
    results = [read(tmp_path / name / "test_results.json") for name in ("plain", "first")]
    assert results[0]["test_loss"] == pytest.approx(results[1]["test_loss"], abs=1e-3)
    with closing(sqlite3.connect(cache)) as database:
        assert database.execute("SELECT count(*) FROM states").fetchone() == (windows,)


def test_frozen_baselines_use_it(tmp_path, encoder_folder, count_reads):
    train_file, test_file = toy_csv(tmp_path)[1::2]
    data = load_splits(DataArguments(train_file=str(train_file), test_file=str(test_file), validation_size=0.2))
    arguments = ModelArguments(encoder=str(encoder_folder), encoder_cache=str(tmp_path / "cache.sqlite"))
    first = run_baseline("frozen_logistic", data, arguments)
    windows = count_reads()
    second = run_baseline("frozen_logistic_prior", data, arguments)
    assert 0 < windows == count_reads()
    assert first.logits["test"].shape == second.logits["test"].shape


@pytest.mark.parametrize("content", ["no database at all, but long enough to be looked at" * 100, None])
def test_a_file_that_cannot_be_used_is_named(tmp_path, encoder_folder, capsys, content):
    file = tmp_path / "cache.sqlite"
    file.mkdir() if content is None else file.write_text(content)
    flags = [*toy_csv(tmp_path), "--encoder", encoder_folder, *FROZEN, "--encoder_cache", file]
    assert cli.main(["--output_dir", str(tmp_path / "run"), *QUIET, *map(str, flags)]) == 2
    printed = capsys.readouterr().err
    assert f"--encoder_cache {file} can't be used" in printed and "Traceback" not in printed
    if content is not None:
        assert file.read_text() == content


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE users (name TEXT)",
        "CREATE TABLE states (name TEXT)",
        "PRAGMA user_version = 7",
        "PRAGMA application_id = 7",
    ],
)
def test_a_database_of_somebody_else_is_refused_and_left_alone(tmp_path, statement):
    encoder, file = TINY_MODELS["attn_pool"]().eval().encoder, tmp_path / "app.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute(statement)
    before = file.read_bytes()
    with pytest.raises(UserError, match="another program's database; name another file"):
        EncoderCache(str(file), encoder)
    assert file.read_bytes() == before


def test_a_cache_of_an_earlier_version_gets_the_mark(tmp_path):
    encoder, file = TINY_MODELS["attn_pool"]().eval().encoder, tmp_path / "cache.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE states (tokens BLOB PRIMARY KEY, states BLOB NOT NULL)")
    for _ in range(2):
        EncoderCache(str(file), encoder).states(**batch())
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA application_id").fetchone()[0] != 0


def test_a_full_disk_leaves_what_was_there(tmp_path):
    encoder, file = TINY_MODELS["attn_pool"]().eval().encoder, str(tmp_path / "cache.sqlite")
    cache = EncoderCache(file, encoder)
    expected = cache.states(**batch())
    cache.database.execute(f"PRAGMA max_page_count = {cache.database.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(UserError, match="full"):
        for seed in range(1, 50):
            cache.states(**batch(seed=seed))
    assert torch.equal(EncoderCache(file, encoder).states(**batch()), expected)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_states_take_the_bytes_of_the_precision_in_which_they_are_computed(dtype, size, tmp_path):
    encoder, inputs = TINY_MODELS["attn_pool"]().encoder.eval(), batch(num_texts=1)
    cache = EncoderCache(str(tmp_path / "cache.sqlite"), encoder)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        first, second = cache.states(**inputs), cache.states(**inputs)
        expected = encoder(**inputs).last_hidden_state
    assert torch.equal(first, second)
    assert_close(first, expected * inputs["attention_mask"][:, :, None], atol=0.05, rtol=0)
    (blob,) = cache.database.execute("SELECT states FROM states").fetchone()
    assert len(blob) == size * int(inputs["attention_mask"].sum()) * cache.width + SUM_BYTES


def test_an_entry_that_was_damaged_is_asked_for_again(tmp_path, count_reads):
    encoder, inputs = TINY_MODELS["attn_pool"]().encoder.eval(), batch()
    cache = EncoderCache(str(tmp_path / "cache.sqlite"), encoder)
    expected, reads = cache.states(**inputs), count_reads()
    cache.database.execute("UPDATE states SET states = zeroblob(length(states)) WHERE rowid = 1")
    cache.database.execute("UPDATE states SET states = substr(states, 1, 7) WHERE rowid = 2")
    for _ in range(2):
        assert torch.equal(cache.states(**inputs), expected) and count_reads() == reads + 2
