import json

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer

from salience.configuration.errors import UserError
from salience.eval.explain.attention_profile import attention_profile
from salience.eval.explain.cross_attention import cross_attention_profile
from salience.eval.explain.word_weights import lower_words
from salience.eval.reading.reader import Reader, Reading
from tests.helpers.bags import bag_reader
from tests.helpers.tiny import tiny_model

TEXTS = [
    "the market sales , and the bank said shares of the company will win",
    "a goal ! the team of the cup match was good",
    "the market and the bank : profit of shares",
    "goal by the player in the cup for the team",
    "market price of the bank will be good",
    "film music and the actor",
]


def read(reader, texts):
    documents = reader.documents(texts)
    return documents, reader.read([document.ids for document in documents])


def weighed(documents, readings, weigh):
    """The readings, with `weigh(document)` (W,) as the weights of single-token words, nothing on special tokens."""
    found = []
    for document, reading in zip(documents, readings, strict=True):
        weights = np.zeros(len(document.ids))
        first = np.unique(document.word_of, return_index=True)[1][1:]
        weights[first] = weigh(document) / np.sum(weigh(document))
        found.append(reading._replace(weights=weights))
    return found


@pytest.fixture
def uniform(tokenizer):
    reader = bag_reader(tokenizer, {"market": 1.0, "goal": -1.0}, {})
    return reader, *read(reader, TEXTS)


def labels(count=6):
    return np.arange(count) % 2


def test_even_attention(uniform):
    found = attention_profile(*uniform, labels())
    assert found["num_documents"] == 6
    assert found["entropy"]["mean"] == pytest.approx(1)
    assert found["entropy"]["quantiles"]["0.05"] == pytest.approx(1)
    assert sum(found["entropy"]["right"]) + sum(found["entropy"]["wrong"]) == 6
    assert found["entropy"]["right"][-1] + found["entropy"]["wrong"][-1] == 6
    for name, kind in found["kinds"].items():
        assert kind["weight"] == pytest.approx(kind["words"]) == pytest.approx(kind["even_weight"]), name
    for ends in found["ends"].values():
        assert ends["weight"] == pytest.approx(ends["words"]) == pytest.approx(ends["even_weight"])
    assert found["tf_idf"] == {"mean": None, "num_documents": 0, "even_mean": None}
    assert 0 < found["special_tokens"] < 0.5
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_all_attention_on_one_word(tokenizer):
    reader = bag_reader(tokenizer, {"market": 1.0}, {"market": 60.0, "goal": 60.0, "film": 60.0})
    found = attention_profile(reader, *read(reader, TEXTS), labels())
    assert found["entropy"]["mean"] == pytest.approx(0, abs=1e-6)
    assert found["heaviest_tenth"]["mean"] == pytest.approx(1)
    assert found["kinds"]["content"]["weight"] == pytest.approx(1)
    assert found["special_tokens"] == pytest.approx(0, abs=1e-6)
    heaviest = {each["label"]: each["words"] for each in found["heaviest_words"]}
    assert heaviest["right"][0]["word"] == "market"
    assert all(each["weight"] < 1e-6 for each in heaviest["right"][1:])


def test_heaviest_tenth_and_ends_are_counted_by_hand(uniform):
    reader, documents, readings = uniform
    documents, readings = documents[:1], readings[:1]  # 14 words: a tenth is two
    assert documents[0].num_words == 14
    weights = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14.0])
    found = attention_profile(reader, documents, weighed(documents, readings, lambda document: weights), [0])
    assert found["heaviest_tenth"]["mean"] == pytest.approx(27 / 105)
    assert found["ends"]["first"] == pytest.approx({"weight": 6 / 105, "even_weight": 3 / 14, "words": 3 / 14})
    assert found["ends"]["last"] == pytest.approx({"weight": 39 / 105, "even_weight": 3 / 14, "words": 3 / 14})
    assert found["ends"]["both"] == pytest.approx({"weight": 45 / 105, "even_weight": 6 / 14, "words": 6 / 14})
    # the market sales , and the bank said shares of the company will win
    shares = {"even_weight": 1 / 14, "words": 1 / 14}
    assert found["kinds"]["punctuation"] == pytest.approx({"weight": 4 / 105, **shares})
    shares = {"even_weight": 6 / 14, "words": 6 / 14}
    assert found["kinds"]["stop_word"] == pytest.approx({"weight": (1 + 5 + 6 + 10 + 11 + 13) / 105, **shares})
    counts = dict(zip(found["weights"]["edges"], found["weights"]["counts"], strict=False))
    assert sum(counts.values()) == 14
    assert counts[1] == 7  # 8 to 14, over the mean of 7.5, are 1.07 to 1.87


def tf_idf_of(documents):
    vectorizer = TfidfVectorizer(analyzer=lower_words, sublinear_tf=True, norm=None)
    matrix = vectorizer.fit_transform(documents).toarray()
    return [matrix[row, [vectorizer.vocabulary_[w] for w in lower_words(each)]] for row, each in enumerate(documents)]


@pytest.mark.parametrize("sign", [1, -1])
def test_attention_by_tf_idf_correlates_with_it(uniform, sign):
    reader, documents, readings = uniform
    wanted = {document.text: each**sign for document, each in zip(documents, tf_idf_of(documents), strict=True)}
    found = attention_profile(
        reader, documents, weighed(documents, readings, lambda document: wanted[document.text]), labels()
    )
    assert found["tf_idf"]["mean"] == pytest.approx(sign)
    assert found["tf_idf"]["num_documents"] == 6


def test_even_attention_to_tokens_is_told_from_attention_to_rare_words(uniform):
    reader, *_ = uniform
    documents, readings = read(reader, ["the of a zyzzyva", "the of a market", "the of a bank"])
    found = attention_profile(reader, documents, readings, labels(3))["tf_idf"]
    assert found["num_documents"] == 1  # the long word is seven tokens; elsewhere all weigh the same
    assert found["mean"] == found["even_mean"] == pytest.approx(1)
    heaviest = attention_profile(reader, *read(reader, ["the zyzzyva market"] * 3), labels(3))["heaviest_words"]
    assert [each["weight"] for each in heaviest[1]["words"]] == pytest.approx([1, 1, 1])


def test_words_weighed_by_their_type_are_consistent_over_documents(uniform):
    reader, documents, readings = uniform
    documents, readings = documents * 3, readings * 3  # each text has two equal ones
    by_type = attention_profile(
        reader,
        documents,
        weighed(documents, readings, lambda each: np.array([hash_of(word) for word in each.words])),
        labels(18),
    )["similar_documents"]
    assert by_type["similar"] == pytest.approx(1)
    assert 6 <= by_type["num_similar"] <= 12  # two texts that are each other's nearest are one pair
    generator = np.random.default_rng(0)
    drawn = attention_profile(
        reader, documents, weighed(documents, readings, lambda each: generator.random(each.num_words)), labels(18)
    )["similar_documents"]
    assert abs(drawn["similar"]) < 0.6


def hash_of(word):
    return 1 + sum(place * ord(character) for place, character in enumerate(word, 1)) % 97


def test_entropy_is_compared_with_confidence_and_answers(tokenizer):
    generator = np.random.default_rng(0)
    texts = [" ".join(["market"] + ["the"] * count) for count in generator.integers(3, 30, 24)]
    reader = bag_reader(tokenizer, {"market": 1.0}, {"market": 1.0}, scale=3.0)
    documents, readings = read(reader, texts)
    logits = np.array([reading.logits for reading in readings])
    truth = generator.integers(0, 2, 24)
    found = attention_profile(reader, documents, readings, truth)
    entropy = np.array(
        [
            -(share * np.log(share)).sum() / np.log(len(share))
            for share in (
                document.per_word(reading.weights) / document.per_word(reading.weights).sum()
                for document, reading in zip(documents, readings, strict=True)
            )
        ]
    )
    confidence = np.exp(logits).max(1) / np.exp(logits).sum(1)
    assert found["entropy"]["mean"] == pytest.approx(entropy.mean())
    assert found["confidence"]["correlation"] == pytest.approx(spearmanr(entropy, confidence).statistic, abs=0.01)
    is_right = logits.argmax(1) == truth
    measured = found["right_and_wrong"]["entropy"]
    assert measured["right"] == pytest.approx(entropy[is_right].mean())
    assert measured["wrong"] == pytest.approx(entropy[~is_right].mean())
    assert measured["p_value"] == pytest.approx(
        mannwhitneyu(entropy[is_right], entropy[~is_right]).pvalue, rel=0.1, abs=0.02
    )
    all_right = attention_profile(reader, documents, readings, logits.argmax(1))["right_and_wrong"]["entropy"]
    assert all_right["wrong"] is None and all_right["p_value"] is None


def test_heaviest_words_stand_in_several_texts_and_are_cut(uniform):
    reader, documents, readings = uniform
    texts = ["market the of " + "x" * 5000] * 3 + ["market bank and"]
    documents, readings = read(reader, texts)
    found = attention_profile(reader, documents, readings, np.ones(4, int))["heaviest_words"]
    assert [each["label"] for each in found] == ["left", "right"]
    assert found[0]["words"] == []
    listed = {each["word"]: each for each in found[1]["words"]}
    assert "bank" not in listed and listed["market"]["num_documents"] == 4
    assert listed["market"]["weight"] == pytest.approx(1)
    assert max(map(len, listed)) == 40


def test_texts_without_two_words_are_left_out(uniform):
    reader, *_ = uniform
    documents, readings = read(reader, ["market the", "", "market"])
    found = attention_profile(reader, documents, readings, labels(3))
    assert (found["num_documents"], found["num_left_out"]) == (1, 2)
    with pytest.raises(UserError, match="two words or more"):
        attention_profile(reader, documents[1:], readings[1:], labels(2))


def test_a_model_without_weights_is_refused(tokenizer):
    reader = Reader(tiny_model("cnn"), tokenizer)
    with pytest.raises(UserError, match="no pooling_weights"):
        attention_profile(reader, *read(reader, TEXTS), labels())


def test_heads_of_known_attention():
    even, own = np.full((4, 3), 1 / 3), np.zeros((4, 3))
    sentence_of = np.array([0, 1, 2, 2])
    own[np.arange(4), sentence_of] = 1
    attention = np.stack([even, own])
    attention[:, 3] = 0  # dropped by the filter
    padded = np.concatenate([attention, np.zeros((2, 4, 5))], 2)  # as wide as the longest of the batch
    reading = Reading(np.zeros(2), np.full(4, 0.25), sentence_of, padded)
    one_sentence = Reading(np.zeros(2), np.ones(1), np.zeros(1, int), np.ones((2, 1, 1)))
    first, second = cross_attention_profile([reading, one_sentence])
    assert first == pytest.approx(
        {"entropy": np.log(3), "normalized_entropy": 1, "own_sentence": 1 / 3, "own_sentence_by_chance": 1 / 3}
    )
    assert second == pytest.approx(
        {"entropy": 0, "normalized_entropy": 0, "own_sentence": 1, "own_sentence_by_chance": 1 / 3}
    )
    assert cross_attention_profile([one_sentence]) is None


@pytest.mark.parametrize("family", ["hierarchical", "hierarchical_windows", "hierarchical_encoder_all_options"])
def test_cross_attention_of_a_model(family, tokenizer):
    reader = Reader(tiny_model(family), tokenizer, batch_size=2)
    documents = reader.documents(TEXTS + ["the cup . a goal . the team"])
    readings = reader.read([document.ids for document in documents], cross_attention=True)
    found = attention_profile(reader, documents, readings, labels(7))
    assert len(found["cross_attention"]) == 2
    for head in found["cross_attention"]:
        assert 0 < head["normalized_entropy"] <= 1 + 1e-6
        assert 0 < head["own_sentence"] < 1
    plain = reader.read([document.ids for document in documents])
    assert attention_profile(reader, documents, plain, labels(7))["cross_attention"] is None
