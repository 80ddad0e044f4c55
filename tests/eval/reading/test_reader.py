import numpy as np
import pytest
import torch

from salience.eval.reading.reader import Reader
from tests.helpers.tiny import TINY_MODELS, random_batch, tiny_model

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
