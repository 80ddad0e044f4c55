"""Attention pooling: its equations, heads, blocks, and the share of the mean."""

import pytest
import torch
from torch.testing import assert_close

from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification
from salience.modeling.pooling import AttentionPooling, SelfQuery
from salience.modeling.ragged import Ragged
from tests.helpers.tiny import random_batch, tiny_model


def test_self_attention_pooling_is_equations_3_and_4():
    pooling = AttentionPooling(8, key_dim=4, alpha=0.3)
    lengths = [6, 0, 3, 1, 0]
    hidden = torch.randn(sum(lengths), 8)
    pooled, weights = pooling(hidden, Ragged(torch.tensor(lengths)))
    texts = zip(lengths, hidden.split(lengths), weights.split(lengths), pooled, strict=True)
    for length, h, weights_of_text, vector in texts:
        attention = (pooling.attention.query(h) @ pooling.attention.key(h).T / 4**0.5).softmax(-1)
        beta = attention.mean(0) if length else torch.zeros(0)
        assert_close(weights_of_text, 0.3 / max(length, 1) + 0.7 * beta)
        assert_close(vector, 0.3 * h.sum(0) / max(length, 1) + 0.7 * beta @ h)


@pytest.mark.parametrize("query", ["learned", "cls"])
@pytest.mark.parametrize("num_heads", [1, 2])
def test_one_query_is_a_softmax_over_the_text(query, num_heads):
    pooling = AttentionPooling(8, query=query, key_dim=4, num_heads=num_heads, alpha=0.0)
    pooling.apply(lambda module: getattr(module, "init_own_parameters", lambda: None)())
    lengths = [0, 6, 0, 3, 1, 0]
    hidden = torch.randn(sum(lengths), 8)
    pooled, weights = pooling(hidden, Ragged(torch.tensor(lengths)))
    attention = pooling.attention
    for h, weights_of_text, vector in zip(hidden.split(lengths), weights.split(lengths), pooled, strict=True):
        if not len(h):
            assert (vector == 0).all()
            continue
        asked = attention.question if query == "learned" else attention.query(h[0]).unflatten(0, (num_heads, 4))
        keys = attention.key(h).unflatten(1, (num_heads, 4))
        beta = (torch.einsum("nk,tnk->tn", asked, keys) / 2).softmax(0)
        assert_close(weights_of_text, beta.mean(1))
        assert_close(vector, torch.einsum("tn,tne->ne", beta, h.unflatten(1, (num_heads, -1))).flatten())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_alpha_sets_the_share_of_the_mean(alpha):
    pooling = AttentionPooling(8, query="learned", key_dim=4, alpha=alpha)
    if pooling.attention is not None:
        torch.nn.init.normal_(pooling.attention.question)
    hidden, texts = torch.randn(3, 5, 8), Ragged(torch.tensor([5, 5, 5]))
    pooled, _ = pooling(hidden.flatten(0, 1), texts)
    beta = 0 if alpha == 1 else pooling.attention(hidden.flatten(0, 1), texts).view(3, 5, 1)
    assert_close(pooled, alpha * hidden.mean(1) + (1 - alpha) * (beta * hidden).sum(1))


def test_heads_weigh_their_own_slices():
    pooling = AttentionPooling(8, query="learned", key_dim=4, num_heads=2, alpha=0.0)
    torch.nn.init.normal_(pooling.attention.question)
    hidden, texts = torch.randn(5, 8), Ragged(torch.tensor([5]))
    pooled, weights = pooling(hidden, texts)
    beta = pooling.attention(hidden, texts)
    assert_close(pooled[0], torch.cat([beta[:, 0] @ hidden[:, :4], beta[:, 1] @ hidden[:, 4:]]))
    assert_close(weights, beta.mean(1))


def test_long_texts_are_attended_block_by_block(monkeypatch):
    attention = SelfQuery(8, 4, 1, block_size=4)
    hidden, texts = torch.randn(14, 8), Ragged(torch.tensor([10, 4]))
    whole = SelfQuery(8, 4, 1, block_size=None)
    whole.load_state_dict(attention.state_dict())
    pieces = ((0, 4, 10), (4, 8, 10), (8, 10, 10), (10, 14, 4))
    blocks = [whole(hidden[a:b], Ragged(torch.tensor([b - a]))) * (b - a) / length for a, b, length in pieces]
    assert_close(attention(hidden, texts), torch.cat(blocks))
    expected = whole(hidden, texts)
    monkeypatch.setattr("salience.modeling.pooling.QUERY_CHUNK", 3)
    assert_close(whole(hidden, texts), expected)


def test_learned_alpha_starts_where_it_should_and_learns():
    model = tiny_model("attn_pool")
    config = AttnPoolConfig(**model.config.to_diff_dict() | {"learn_alpha": True, "alpha": 0.25})
    model = AttnPoolForSequenceClassification(config)
    assert_close(model.model.pooler.alpha.item(), 0.25)
    model(**random_batch([9, 12]), labels=torch.tensor([0, 1])).loss.backward()
    assert model.model.pooler.alpha_logit.grad != 0
