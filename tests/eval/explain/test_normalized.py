"""NAOPC: the limits of a model's own, and what explanations have between them."""

import json
from itertools import permutations

import numpy as np
import pytest

from salience.eval.explain.attributions import ATTRIBUTIONS
from salience.eval.explain.normalized import BEAM, NUM_PARTS, Scale, aopc, degraded, limit, normalized, parted
from salience.eval.reading.reader import Reader
from tests.helpers.bags import bag_reader
from tests.helpers.tiny import tiny_model

STRENGTHS = {"market": 1.0, "bank": 0.6, "goal": -0.5, "cup": -0.2}
FILLERS = "the of and to in is was for on that".split()


def read(reader, texts):
    documents = reader.documents(texts)
    return documents, reader.read([document.ids for document in documents])


def bag_texts(num_texts, num_words=9):
    generator = np.random.default_rng(0)
    words = [*STRENGTHS, *FILLERS]
    return [" ".join(["market", *generator.choice(words, num_words, replace=False)]) for _ in range(num_texts)]


def strength(documents, sign=1):
    return [np.array([sign * STRENGTHS.get(word, 0.0) for word in document.words]) for document in documents]


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "cnn"])
def test_the_limits_are_those_of_all_orders_of_a_short_text(name, tokenizer, monkeypatch):
    monkeypatch.setattr("salience.eval.explain.normalized.BEAM", 10)  # sets of five parts, at most
    reader = Reader(tiny_model(name), tokenizer)
    documents, readings = read(reader, ["market rates rose . goal", "the bank", "a cup of the"])
    texts = parted(reader, documents, readings)
    lowest, highest = limit(reader, texts, -1), limit(reader, texts, 1)
    for row, text in enumerate(texts):
        orders = [np.array(each) for each in permutations(range(text.num_parts))]
        found = [aopc(reader, [text], [order])[0] for order in orders]
        assert lowest[row] == pytest.approx(min(found), abs=1e-6)
        assert highest[row] == pytest.approx(max(found), abs=1e-6)
        order = orders[len(orders) // 2]
        words = text.document.words
        gone = [[word for place, word in enumerate(words) if place not in order[: n + 1]] for n in range(len(words))]
        logits = reader.logits([each.ids for each in reader.documents([" ".join(each) for each in gone])])
        after = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        expected = np.mean(text.before - after[:, text.answer])
        assert aopc(reader, [text], [order])[0] == pytest.approx(expected, abs=1e-5)


def test_the_order_of_what_words_do_is_the_best_and_its_reverse_the_worst(tokenizer):
    reader = bag_reader(tokenizer, STRENGTHS, {}, scale=6.0)
    documents, readings = read(reader, bag_texts(6))
    scale = Scale(reader, documents, readings)
    assert scale.is_defined.all()
    np.testing.assert_allclose(scale.naopc(strength(documents)), 1, atol=0.02)
    np.testing.assert_allclose(scale.naopc(strength(documents, -1)), 0, atol=0.02)
    assert 0.2 < scale.random().mean() < 0.8


def test_explanations_are_ranked_and_a_spoilt_one_falls(tokenizer):
    reader = bag_reader(tokenizer, STRENGTHS, {}, scale=6.0)
    documents, readings = read(reader, bag_texts(20))
    methods = {"attention": ATTRIBUTIONS["attention"](reader, documents, readings), "true": strength(documents)}
    found = normalized(reader, documents, readings, methods)
    assert (found["num_documents"], found["undefined"], found["parts"], found["beam"]) == (20, 0, NUM_PARTS, BEAM)
    assert found["attributions"].keys() == {"attention", "true", "random"}
    true, attention = found["attributions"]["true"], found["attributions"]["attention"]
    assert true["comprehensiveness"]["mean"] > 0.98 and true["sufficiency"]["mean"] < 0.02
    assert true["against_random"]["low"] > 0.2
    assert attention["against_random"]["low"] < 0 < attention["against_random"]["high"]
    control = found["control"]
    assert control["method"] == "true" and control["comprehensiveness"][0] == true["comprehensiveness"]["mean"]
    assert np.all(np.diff(control["comprehensiveness"]) < 0)
    assert found["lowest"] < found["highest"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_long_texts_are_removed_in_stretches(tokenizer):
    reader = bag_reader(tokenizer, STRENGTHS, {}, scale=6.0)
    documents, readings = read(reader, ["market " + "the of and " * 20])
    (text,) = parted(reader, documents, readings)
    assert text.num_parts == NUM_PARTS and np.bincount(text.part_W).tolist() == [7] + [6] * 9
    assert len(text.without(0b11)) == len(documents[0].ids) - 13
    assert len(text.without(2**NUM_PARTS - 1)) == 2
    order = text.order(strength(documents)[0], np.random.default_rng(0))
    assert order[0] == 0 and sorted(order) == list(range(NUM_PARTS))


def test_texts_without_two_orders_that_differ_are_left_out(tokenizer):
    reader = bag_reader(tokenizer, STRENGTHS, {}, scale=6.0)
    documents, readings = read(reader, ["the of and", "market the of"])
    found = normalized(reader, documents, readings, {"true": strength(documents)})
    assert found["undefined"] == 1 and found["attributions"]["true"]["comprehensiveness"]["mean"] == pytest.approx(1)
    assert normalized(reader, documents[:1], readings[:1], {"true": strength(documents[:1])}) is None


def test_shuffling_keeps_the_scores_and_spoils_so_many_places():
    scores = np.arange(40.0)
    for share, moved in ((0, 0), (0.25, 10), (1, 40)):
        found = degraded(scores, share, np.random.default_rng(0))
        assert sorted(found) == sorted(scores) and (found != scores).sum() == moved
