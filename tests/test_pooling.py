"""Attention pooling: its equations, heads, blocks, and the share of the mean."""

import pytest
import torch
from torch.testing import assert_close

from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification
from salience.modeling.pooling import AttentionPooling, SelfQuery
from tests.tiny import random_batch, tiny_model


def test_self_attention_pooling_is_equations_3_and_4():
    pooling = AttentionPooling(8, key_dim=4, alpha=0.3)
    hidden = torch.randn(2, 6, 8)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]).bool()
    pooled, weights = pooling(hidden, mask)
    for row, length in enumerate((6, 3)):
        h = hidden[row, :length]
        attention = (pooling.attention.query(h) @ pooling.attention.key(h).T / 4**0.5).softmax(-1)
        beta = attention.mean(0)
        assert_close(weights[row, :length], 0.3 / length + 0.7 * beta)
        assert_close(pooled[row], 0.3 * h.mean(0) + 0.7 * beta @ h)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_alpha_sets_the_share_of_the_mean(alpha):
    pooling = AttentionPooling(8, query="learned", key_dim=4, alpha=alpha)
    if pooling.attention is not None:
        torch.nn.init.normal_(pooling.attention.question)
    hidden, mask = torch.randn(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)
    pooled, _ = pooling(hidden, mask)
    attended = 0 if alpha == 1 else torch.einsum("bt,btd->bd", pooling.attention(hidden, mask)[:, 0], hidden)
    assert_close(pooled, alpha * hidden.mean(1) + (1 - alpha) * attended)


def test_heads_weigh_their_own_slices():
    pooling = AttentionPooling(8, query="learned", key_dim=4, num_heads=2, alpha=0.0)
    torch.nn.init.normal_(pooling.attention.question)
    hidden, mask = torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)
    pooled, weights = pooling(hidden, mask)
    beta = pooling.attention(hidden, mask)[0]
    assert_close(pooled[0], torch.cat([beta[0] @ hidden[0, :, :4], beta[1] @ hidden[0, :, 4:]]))
    assert_close(weights[0], beta.mean(0))


def test_long_texts_are_attended_block_by_block(monkeypatch):
    attention = SelfQuery(8, 4, 1, block_size=4)
    hidden, mask = torch.randn(1, 10, 8), torch.ones(1, 10, dtype=torch.bool)
    whole = SelfQuery(8, 4, 1, block_size=None)
    whole.load_state_dict(attention.state_dict())
    blocks = [whole(hidden[:, a:b], mask[:, a:b]) * (b - a) / 10 for a, b in ((0, 4), (4, 8), (8, 10))]
    assert_close(attention(hidden, mask), torch.cat(blocks, dim=2))
    expected = whole(hidden, mask)
    monkeypatch.setattr("salience.modeling.pooling.QUERY_CHUNK", 3)
    assert_close(whole(hidden, mask), expected)


def test_learned_alpha_starts_where_it_should_and_learns():
    model = tiny_model("attn_pool")
    config = AttnPoolConfig(**model.config.to_diff_dict() | {"learn_alpha": True, "alpha": 0.25})
    model = AttnPoolForSequenceClassification(config)
    assert_close(model.model.pooler.alpha.item(), 0.25)
    model(**random_batch([9, 12]), labels=torch.tensor([0, 1])).loss.backward()
    assert model.model.pooler.alpha_logit.grad != 0
