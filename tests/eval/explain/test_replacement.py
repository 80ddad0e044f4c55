"""Words that make room for words of other texts."""

import json

import numpy as np
import pytest

from salience.eval.explain.attributions import random_importance
from salience.eval.explain.replacement import replaced, replacement, words_of
from salience.eval.reading.reader import Reader
from tests.helpers.bags import bag_reader
from tests.helpers.tiny import tiny_model

DECIDERS = {"market": 1.0, "goal": -1.0}
FILLERS = "the of and to in is was for on that".split()


def read(reader, texts):
    documents = reader.documents(texts)
    return documents, reader.read([document.ids for document in documents])


def texts_of(num_texts):
    generator = np.random.default_rng(0)
    return [" ".join(generator.permutation([*FILLERS[:9], list(DECIDERS)[number % 2]])) for number in range(num_texts)]


def test_the_word_that_decides_is_found_by_its_replacement(tokenizer):
    reader = bag_reader(tokenizer, DECIDERS, dict.fromkeys(DECIDERS, 3.0))
    documents, readings = read(reader, texts_of(20))
    methods = {
        "true": [np.array([word in DECIDERS for word in document.words], float) for document in documents],
        "random": random_importance(reader, documents, readings),
    }
    methods["false"] = [-each for each in methods["true"]]
    found = replacement(reader, documents, readings, methods)
    true, random, false = (found["attributions"][name] for name in ("true", "random", "false"))
    assert true["top"]["mean"] > 0.2 and true["rest"]["mean"] < 0.05 and true["difference"]["low"] > 0.1
    assert true["difference"]["difference"] > random["difference"]["difference"] > false["difference"]["difference"]
    assert found == replacement(reader, documents, readings, methods)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert replacement(reader, documents[:1], readings[:1], {}) is None


def test_only_the_chosen_words_change_and_for_no_more_tokens(tokenizer):
    reader = Reader(tiny_model("attn_pool"), tokenizer)
    document, other = reader.documents(["market the zyzzyva of goal", "bank zyzzyva"])
    words, others = words_of(document), sorted(words_of(other), key=len)
    assert len(words[2]) > 1 and len(others[1]) > 1
    generator = np.random.default_rng(0)
    for _ in range(5):
        found = replaced(document, words, np.array([2, 4]), others, generator)
        assert found[0] == document.ids[0] and found[-1] == document.ids[-1]
        assert found[1:3].tolist() == document.ids[1:3].tolist()
        assert len(found) <= len(document.ids)
        assert found[-2] == others[0][0]  # the only word of one token
    assert len(replaced(document, words, np.array([0]), others[1:], generator)) == len(document.ids) - 1


def test_no_text_becomes_longer_than_a_model_reads(tokenizer):
    reader = Reader(tiny_model("attn_pool"), tokenizer)
    documents, readings = read(reader, ["market zyzzyva the of", "goal cup bank zyzzyva", "the of"])
    lengths = []
    logits = reader.logits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "logits", lambda ids: lengths.extend(map(len, ids)) or logits(ids))
        replacement(reader, documents, readings, {"random": random_importance(reader, documents, readings)})
    longest = [len(each.ids) for each in documents for _ in range(len(lengths) // 3)]
    assert all(np.array(lengths) <= longest)
