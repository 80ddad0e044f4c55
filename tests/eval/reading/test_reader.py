import json

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, CanineConfig, CanineForSequenceClassification, CanineTokenizer

from salience.configuration.errors import UserError
from salience.eval.reading.load import load_classifier
from salience.eval.reading.reader import Reader, batches
from salience.modeling.documents import padded
from tests.helpers.tiny import TINY_MODELS, TINY_TOKENIZER, VOCAB_SIZE, random_batch, tiny_model

TEXTS = [
    "the bank left rates unchanged . shares rose",
    "a goal",
    "",
    "science and sports in one longer text",
]


@pytest.mark.parametrize("family", TINY_MODELS)
def test_reading_in_batches_is_reading_one_by_one(family, tokenizer):
    reader = Reader(tiny_model(family), tokenizer, batch_size=3)
    documents = reader.documents(TEXTS)
    readings = reader.read([document.ids for document in documents])
    for document, reading in zip(documents, readings, strict=True):
        with torch.inference_mode():
            alone = reader.model(input_ids=torch.tensor(document.ids)[None])
        np.testing.assert_allclose(reading.logits, alone.logits[0], atol=1e-5)
        if reading.weights is not None:
            assert reading.weights.shape == document.ids.shape
            np.testing.assert_allclose(reading.weights, alone.pooling_weights[0], atol=1e-5)


def test_batches_are_of_like_lengths_the_longest_first():
    ids = [np.arange(length) for length in (3, 9, 3, 1, 7)]
    assert list(batches(ids, 2, 1_000)) == [[1, 4], [0, 2], [3]]
    assert list(batches([], 2, 1_000)) == []
    long = [np.arange(length) for length in (100, 65_537, 30_000, 40_000)]
    assert list(batches(long, 8, 65_536)) == [[1], [3], [2, 0]]


def test_a_batch_is_read_in_its_order(tokenizer):
    reader = Reader(tiny_model("hierarchical"), tokenizer, batch_size=2)
    ids = reader.token_ids(TEXTS)
    shortest_first = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    found = reader.read_batch([ids[row] for row in shortest_first])
    logits = reader.logits(ids)
    for row, reading in zip(shortest_first, found, strict=True):
        np.testing.assert_allclose(reading.logits, logits[row], atol=1e-5)
        assert len(reading.weights) == len(ids[row])
    assert reader.logits([]).shape == (0, 3) and reader.token_ids([]) == []


@pytest.mark.slow
def test_labels_need_no_fast_tokenizer_and_words_do(tokenizer):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    reader = Reader(CanineForSequenceClassification(CanineConfig(num_hash_buckets=64, **sizes)), CanineTokenizer())
    assert [ids.tolist() for ids in reader.token_ids(["ab"])] == [CanineTokenizer()("ab")["input_ids"]]
    with pytest.raises(UserError, match="CanineTokenizer .* a fast tokenizer is needed"):
        reader.documents(["ab"])
    fast = Reader(tiny_model("attn_pool"), tokenizer)
    for ids, document in zip(fast.token_ids(TEXTS), fast.documents(TEXTS), strict=True):
        np.testing.assert_array_equal(ids, document.ids)


def test_types_of_special_tokens_are_those_of_the_tokenizer(tokenizer):
    assert "token_type_ids" not in padded(tokenizer, [np.array([2, 7, 3])])
    typed = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    separator, start = typed.sep_token_id, typed.cls_token_id
    typed.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A:0 [SEP]:0 [CLS]:2", special_tokens=[("[SEP]", separator), ("[CLS]", start)]
    )
    typed.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    texts = ["a goal", "the bank left rates"]
    ids = Reader(tiny_model("attn_pool"), typed).token_ids(texts)
    expected = typed(texts, padding=True, return_tensors="pt")
    assert expected["token_type_ids"].any()
    torch.testing.assert_close(dict(padded(typed, ids)), dict(expected))


def test_words_stand_in_the_text_and_go_with_all_their_tokens(tokenizer):
    reader = Reader(tiny_model("attn_pool"), tokenizer)
    (document,) = reader.documents(["Unchanged rates, unchanged!"])
    assert document.words[0] == "Unchanged"
    assert "".join(document.words) == "Unchangedrates,unchanged!"
    kept = np.ones(document.num_words, dtype=bool)
    np.testing.assert_array_equal(document.keep_words(kept), document.ids)
    kept[0] = False
    (rest,) = reader.documents(["rates, unchanged!"])
    np.testing.assert_array_equal(document.keep_words(kept), rest.ids)
    np.testing.assert_allclose(document.per_word(np.ones(len(document.ids))).sum(), (document.word_of >= 0).sum())


def test_cross_attention_of_texts_that_end_with_an_empty_one():
    model = tiny_model("hierarchical")
    batch = random_batch([9, 4, 0])
    together = model(**batch, output_attentions=True).cross_attentions
    alone = model(**{name: values[:2] for name, values in batch.items()}, output_attentions=True).cross_attentions
    torch.testing.assert_close(together[:2], alone)
    assert not together[2].any()


@pytest.mark.parametrize("family", ["attn_pool", "hierarchical", "hierarchical_encoder", "cnn"])
def test_a_tokenizer_of_another_model_is_one_sentence(family):
    tokenizer = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    tokenizer.add_tokens([f"word{number}" for number in range(VOCAB_SIZE)])
    reader = Reader(tiny_model(family), tokenizer)
    assert reader.documents(TEXTS)  # none of the ids that the model doesn't know
    for read in (reader.documents, reader.token_ids):
        with pytest.raises(UserError, match=f"gives a text the id .*, and the model knows 0 to {VOCAB_SIZE - 1}"):
            read([*TEXTS, f"word{VOCAB_SIZE - 1}"])


@pytest.mark.parametrize("family", ["attn_pool", "cnn"])
def test_what_a_model_and_its_tokenizer_say_in_their_json_is_read_or_refused(family, tmp_path):
    """A tuple for an answer, padding that no vocabulary has, and a limit that is no number."""
    tiny_model(family).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    tokenizer.add_tokens([f"word{number}" for number in range(VOCAB_SIZE)])
    tokenizer.save_pretrained(tmp_path)

    def load(file, **fields):
        path = tmp_path / file
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
        return Reader(*load_classifier(tmp_path))

    reader = load("config.json", return_dict=False)
    assert np.isfinite(reader.logits(reader.token_ids(TEXTS))).all()
    reader = load("tokenizer_config.json", pad_token="<nopad>")
    with pytest.raises(UserError, match=f"gives padding the id .*, and the model knows 0 to {VOCAB_SIZE - 1}"):
        reader.token_ids(TEXTS)
    for limit in ("many", True, 0):
        with pytest.raises(UserError, match="model_max_length = .* must be a number above 0"):
            load("tokenizer_config.json", model_max_length=limit)


def test_a_folder_has_no_revision(tmp_path):
    with pytest.raises(UserError, match=r"--revision belongs to a Hub id, and --model .* is a folder; leave it out"):
        load_classifier(tmp_path, "main")
