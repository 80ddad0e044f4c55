import numpy as np
import pytest
import torch

from salience.eval.failures.forced_filter import (
    forced_filter,
    forced_logits,
    interventions,
    leave_one_out,
    right_words,
)
from salience.eval.reading.reader import Reader
from salience.modeling import HierarchicalAttnConfig, HierarchicalAttnForSequenceClassification
from tests.helpers.tiny import LABELS, WORDS, tiny_model

WITH_DOG = ["cat the of dog to in is was", "dog the of to in is was cat blue red a", "the of to in cat cat dog"]
WITHOUT = "the of to in is was"


def deciding_reader(tokenizer, wants_dog):
    """A model that answers 1 if "dog" comes through the filter and 0 if not; the filter wants dog, or shuns it.

    The vector of a word is its embedding, it attends to itself only, and nothing is read from sentences.
    """
    options = {"embedding_skip": True, "classifier_hidden_dim": 8, "sentence_end_ids": [5]}
    model = HierarchicalAttnForSequenceClassification(
        HierarchicalAttnConfig(**WORDS, **LABELS, document_pooling="mean", **options)
    )
    inner = model.model
    dog = torch.zeros(12)
    dog[0] = 40.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name and "weight" in name else 0.0)
        # Only dog has something in the first feature, and no norm moves anything there.
        inner.embeddings.weight[:, 1:].normal_().sub_(inner.embeddings.weight[:, 1:].mean(1, keepdim=True))
        inner.embeddings.weight[tokenizer.convert_tokens_to_ids("dog")] = dog
        inner.skip.weight.copy_(torch.eye(16, 12))
        inner.word_filter.query.weight.copy_(10 * torch.eye(16))
        inner.word_filter.key.weight.copy_(10 * torch.eye(16))
        inner.word_filter.score.weight[0, 0] = 1.0 if wants_dog else -1.0
        model.classifier[0].weight[0, 0] = 10.0
        model.classifier[0].bias[0] = -1.0
        model.classifier[3].weight[1, 0] = 10.0
    return Reader(model, tokenizer, batch_size=2)


def answers(reader, texts, share_of_dog):
    documents = reader.documents(texts)
    dogs = [np.array([word == "dog" for word in document.words]) for document in documents]
    shares = [
        np.where(document.word_of >= 0, np.where(dog[document.word_of], share_of_dog, np.nan), np.nan)
        for document, dog in zip(documents, dogs, strict=True)
    ]
    return forced_logits(reader, [document.ids for document in documents], shares).argmax(1).tolist()


@pytest.mark.parametrize("wants_dog", [True, False])
def test_forcing_the_deciding_word_flips_the_answer_and_restores_it(wants_dog, tokenizer):
    reader = deciding_reader(tokenizer, wants_dog)
    as_is = [int(wants_dog)] * 3 + [0]
    assert answers(reader, [*WITH_DOG, WITHOUT], np.nan) == as_is
    assert answers(reader, [*WITH_DOG, WITHOUT], 1.0) == [1, 1, 1, 0]
    assert answers(reader, [*WITH_DOG, WITHOUT], 0.0) == [0, 0, 0, 0]
    # Nothing stays behind.
    logits = reader.logits([document.ids for document in reader.documents([*WITH_DOG, WITHOUT])])
    assert logits.argmax(1).tolist() == as_is


@pytest.mark.parametrize("wants_dog", [True, False])
def test_the_deciding_word_matters_whether_or_not_the_filter_keeps_it(wants_dog, tokenizer):
    reader = deciding_reader(tokenizer, wants_dog)
    (document,) = reader.documents(WITH_DOG[:1])
    drops = leave_one_out(reader, document, 1)
    assert document.words[drops.argmax()] == "dog"
    assert drops.max() > 0.8
    assert np.abs(np.delete(drops, drops.argmax())).max() < 0.01


def test_a_filter_that_drops_the_right_word_is_found_out(tokenizer):
    reader = deciding_reader(tokenizer, wants_dog=False)
    found = interventions(reader, reader.documents(WITH_DOG), np.ones(3, dtype=int))
    conditions = {name: each["accuracy"] for name, each in found["conditions"].items()}
    assert (conditions["as_is"], conditions["keep_right"], conditions["drop_right"]) == (0, 1, 0)
    assert conditions["keep_random"] < 0.7
    assert found["effects"]["keep"]["difference"] > 0.3
    assert found["repaired"] == {
        "documents": 3,
        "right_words": 1.0,
        "random_words": pytest.approx(conditions["keep_random"]),
    }
    assert found["broken"] == {"documents": 0, "right_words": None, "random_words": None}
    assert found["filter_keeps"]["right"] == {"documents": 0, "right_words": None, "all_words": None}
    # The longest text has two right words, one of them arbitrary.
    assert found["filter_keeps"]["wrong"]["right_words"] < 0.2 < found["filter_keeps"]["wrong"]["all_words"]


def test_a_filter_that_keeps_the_right_word_is_needed(tokenizer):
    reader = deciding_reader(tokenizer, wants_dog=True)
    documents = reader.documents([*WITH_DOG, "dog " * 300, ""])
    found = interventions(reader, documents, np.ones(5, dtype=int))
    assert found["documents"] == 3  # neither the one that is too long nor the one without words
    conditions = {name: each["accuracy"] for name, each in found["conditions"].items()}
    assert (conditions["as_is"], conditions["keep_right"], conditions["drop_right"]) == (1, 1, 0)
    assert conditions["drop_random"] > 0.5
    assert found["effects"]["drop"]["high"] < 0
    assert found["broken"]["right_words"] == 1
    assert found["filter_keeps"]["right"]["right_words"] > 0.8
    assert found == interventions(reader, documents, np.ones(5, dtype=int))
    assert interventions(reader, documents, np.ones(5, dtype=int), num_documents=0)["reason"]


def test_right_words_are_a_tenth_rounded_up():
    assert right_words(np.array([0.1, 0.3, -0.2])).tolist() == [False, True, False]
    assert right_words(np.arange(30.0)).nonzero()[0].tolist() == [27, 28, 29]
    assert right_words(np.arange(31.0)).sum() == 4


@pytest.mark.parametrize("family", ["hierarchical_windows", "hierarchical_all_options", "hierarchical_encoder"])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_forced_word_is_forced_in_each_of_its_sentences(family, share, tokenizer):
    reader = Reader(tiny_model(family), tokenizer, batch_size=3)
    ids = [document.ids for document in reader.documents([*WITH_DOG[:2], ""])]
    shares = [np.where(np.arange(len(each)) % 2, share, np.nan) for each in ids]
    with forced_filter(reader.model, [shares[1], shares[0], shares[2]]):
        readings = reader.read([ids[1], ids[0], ids[2]])  # the longest first
    for reading in readings:
        forced = reading.weights[1::2]
        assert (forced > 0).all() if share else (forced == 0).all()


def test_a_batch_of_other_texts_is_refused(tokenizer):
    reader = Reader(tiny_model("hierarchical"), tokenizer)
    (document,) = reader.documents(["a goal"])
    with (
        forced_filter(reader.model, [np.ones(len(document.ids))]),
        pytest.raises(ValueError, match="1 texts were to be forced, and 2 are read"),
    ):
        reader.logits([document.ids, document.ids])
    reader.logits([document.ids, document.ids])
