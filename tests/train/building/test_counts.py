"""Texts of which a model reads the beginning only are told before it is trained."""

import pytest

from salience.train.building.counts import tell_cut, tell_unread
from tests.helpers.counting import rows_of
from tests.helpers.tiny import random_batch, tiny_model


def limited(**limits):
    model = tiny_model("hierarchical")
    for name, value in limits.items():
        setattr(model.config, name, value)
    return model


def test_what_the_hierarchical_model_leaves_out_is_told(caplog):
    rows = rows_of(random_batch([4, 40, 60]))
    for limits in ({"max_sentences": 0, "max_words": 0}, {"max_sentences": 60, "max_words": 60}):
        tell_unread(limited(**limits), rows)
    tell_unread(tiny_model("attn_pool"), rows)
    assert not caplog.text
    tell_unread(limited(max_sentences=1, max_words=5), rows)
    assert (
        "2 of 3 training texts, or parts of them, have more than the model reads, which are 1 sentences of 5 words"
        in caplog.text
    )


@pytest.mark.parametrize("limit", [40, 512, 10**30])
def test_what_a_plain_head_cuts_is_told(tokenizer, monkeypatch, caplog, limit):
    monkeypatch.setattr(tokenizer, "model_max_length", limit)
    tell_cut(tokenizer, {"training": rows_of(random_batch([4, 40, 40])), "test": rows_of(random_batch([39]))})
    told = (
        "this model reads the first 40 tokens only (2 of 3 training texts have as many, 0 of 1 test texts have as many)"
    )
    assert (told in caplog.text) == bool(caplog.text) == (limit == 40)
