"""Learned sentence boundaries: their shares, their limits, and their gradient."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from salience.modeling.modeling_hierarchical_attn import SentencePooling
from salience.modeling.windows import pack_inputs
from tests.helpers.tiny import SENTENCE_ENDS, TINY_MODELS, random_batch, tiny_model

NO_LIMITS = {"max_sentences": 0, "max_words": 0}
LENGTHS = [45, 0, 1, 2, 80]
# Where the stretched sigmoid leaves zero.
ZERO = math.log(0.1 / 0.9)


def model_with(bias=None, end_mark_weight=None, **options):
    """The tiny hierarchical model's weights with learned boundaries, by default as they are at the start."""
    torch.manual_seed(0)
    model = TINY_MODELS["hierarchical"](segmentation="learned", **NO_LIMITS | options).eval()
    model.load_state_dict(tiny_model("hierarchical").state_dict(), strict=False)
    with torch.no_grad():
        if bias is not None:
            model.model.segment.bias.fill_(bias)
        if end_mark_weight is not None:
            model.model.segment.end_mark_weight.fill_(end_mark_weight)
    return model


def batch_with_marks(lengths=LENGTHS, seed=1):
    """Texts with single end marks and runs of them."""
    batch = random_batch(lengths, seed=seed)
    marks = torch.rand(batch["input_ids"].shape, generator=torch.Generator().manual_seed(seed)) < 0.15
    batch["input_ids"][marks] = SENTENCE_ENDS[0]
    return batch


def found_in(model, batch):
    """The sentences, and how far each token closes its own."""
    packed = pack_inputs(batch["attention_mask"], input_ids=batch["input_ids"])
    embeds = model.model.embed(packed)
    segment = model.model.segment
    return segment(packed, embeds), segment.boundary(packed, embeds)[packed.mask_BT] if hasattr(
        segment, "bias"
    ) else None


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=4), seed=st.integers(0, 99), bias=st.floats(-3, 3))
def test_shares_are_those_of_the_sum_of_boundaries_before(lengths, seed, bias):
    batch = batch_with_marks(lengths, seed)
    found, boundary_N = found_in(model_with(bias, 1.5), batch)
    width = max([*lengths, 1])
    expected = {}
    for row, boundary in enumerate(boundary_N.detach().double().split(lengths)):
        place = 0.0
        for column, share in enumerate(boundary.tolist()):
            number, later = divmod(place, 1)
            expected |= {(row, column, int(number)): 1 - later, (row, column, int(number) + 1): later}
            place += share
    possible, expected = expected, {key: share for key, share in expected.items() if share > 1e-6}
    keys = zip(*(x.tolist() for x in (found.document_N, found.token_N % width, found.number_N)), strict=True)
    shares = {key: share for key, share in zip(keys, found.membership_N.tolist(), strict=True) if share > 1e-6}
    assert shares.keys() == expected.keys()
    assert all(shares[key] == pytest.approx(expected[key], abs=1e-5) for key in expected)
    total = torch.zeros(len(lengths) * width).index_add(0, found.token_N, found.membership_N)
    assert_close(total, batch["attention_mask"].flatten().float(), atol=1e-5, rtol=0)

    def last_number(shares, row):
        return max((number for document, _, number in shares if document == row), default=-1)

    for row, count in enumerate(found.documents.lengths_S.tolist()):
        # A share that rounding may make or not has a sentence of its own, or not.
        assert 1 + last_number(expected, row) <= count <= 1 + last_number(possible, row)


@settings(deadline=None, max_examples=20)
@given(lengths=st.lists(st.integers(0, 60), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_boundaries_of_zero_and_one_are_those_of_punctuation(lengths, seed):
    hard, plain, batch = model_with(-20, 40), tiny_model("hierarchical"), batch_with_marks(lengths, seed)
    plain.config.max_sentences = plain.config.max_words = 0
    found, expected = found_in(hard, batch)[0], found_in(plain, batch)[0]
    assert torch.equal(found.token_N, expected.token_N) and (found.membership_N == 1).all()
    assert torch.equal(found.words.lengths_S, expected.words.lengths_S)
    assert torch.equal(found.documents.lengths_S, expected.documents.lengths_S)
    with torch.no_grad():
        assert_close(hard(**batch).logits, plain(**batch).logits, atol=1e-6, rtol=0)


def test_they_start_near_punctuation():
    batch = batch_with_marks()
    found, _ = found_in(model_with(), batch)
    hard, _ = found_in(model_with(-20, 40), batch)
    sentence = dict(zip(hard.token_N.tolist(), hard.number_N.tolist(), strict=True))
    share = [
        share
        for token, number, share in zip(
            *(x.tolist() for x in (found.token_N, found.number_N, found.membership_N)), strict=True
        )
        if sentence[token] == number
    ]
    assert len(share) == sum(LENGTHS) and sum(share) / len(share) > 0.8


def test_limits_on_sentences_and_words():
    ids = torch.full((1, 12), 9)
    ids[0, [2, 5, 8]] = SENTENCE_ENDS[0]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    found, _ = found_in(model_with(-20, 40, max_sentences=3, max_words=2), batch)
    assert found.token_N.tolist() == [0, 1, 3, 4, 6, 7] and found.words.lengths_S.tolist() == [2, 2, 2]


def test_a_word_between_two_sentences_counts_once_in_the_document():
    model, batch = model_with(-1.5, 2.0, filter="none"), batch_with_marks()
    packed = pack_inputs(batch["attention_mask"], input_ids=batch["input_ids"])
    with torch.no_grad():
        words = model.model.read_words(packed)
        importance_N = model.model.word_filter(words)[1]
        weights_BT = model(**batch).pooling_weights
    share_N, token_N = words.sentences.membership_N, words.sentences.token_N
    assert len(token_N) > 1.5 * sum(LENGTHS)
    flat = torch.zeros(weights_BT.numel()).index_add(0, token_N, importance_N * share_N).view_as(weights_BT)
    assert_close(weights_BT, flat / flat.sum(1, keepdim=True).clamp(min=1e-9), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["bias", "end_mark_weight"])
@pytest.mark.parametrize(
    "options", [{}, {"filter": "adaptive", "idf_prior": True, "fusion": "gated"}], ids=["plain", "all"]
)
def test_their_gradient_is_that_of_the_output(name, options, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # differences need more digits than float32 has
    model, batch = model_with(-1.5, 2.0, **options).double(), batch_with_marks()
    parameter = getattr(model.model.segment, name)

    def output():
        return model(**batch).logits.sin().sum()

    (gradient,) = torch.autograd.grad(output(), parameter)
    with torch.no_grad():
        sides = []
        for step in (1e-7, -2e-7):
            parameter += step
            sides.append(output())
    assert abs(gradient.item()) > 1e-3
    assert gradient.item() == pytest.approx((sides[0] - sides[1]).item() / 2e-7, rel=1e-4)


def test_what_tokens_say_moves_their_boundaries():
    """A word that isn't an end mark becomes one, because that makes a loss smaller."""
    model, ids = model_with(-1.5, 0.0), torch.full((1, 12), 9)
    ids[0, 5] = 77
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    before = found_in(model, batch)[1]
    optimizer = torch.optim.Adam(model.model.segment.parameters(), lr=0.2)
    for _ in range(30):
        found, _ = found_in(model, batch)
        # Each half of the text in a sentence of its own.
        wanted = (found.token_N > 5).long() == found.number_N
        optimizer.zero_grad()
        (-found.membership_N[wanted]).sum().backward()
        optimizer.step()
    after = found_in(model, batch)[1]
    assert after[5] > before[5] + 0.3 and (after[ids[0] == 9] < before[ids[0] == 9]).all()


@pytest.mark.parametrize("seed", range(3))
def test_sentence_vectors_do_not_jump_where_a_word_comes_or_goes(seed):
    torch.manual_seed(seed)
    model, batch = model_with(0, 40), random_batch([30], seed=seed)
    batch["input_ids"][0, [9, 19]] = SENTENCE_ENDS[0]
    pooling, vectors_TD = SentencePooling(model.config).eval(), torch.randn(30, model.config.hidden_size)
    torch.nn.init.normal_(pooling.score.weight, std=0.3)

    def sentence_vectors(bias):
        with torch.no_grad():
            model.model.segment.bias.fill_(bias)
            found, _ = found_in(model, batch)
            return pooling(vectors_TD[found.token_N], found), len(found.token_N)

    torch.nn.init.ones_(pooling.norm.weight)
    (hard, num_hard), (soft, num_soft) = sentence_vectors(ZERO - 1e-6), sentence_vectors(ZERO + 1e-4)
    assert num_hard == 30 and num_soft > 50, "nearly every word now stands in two sentences"
    assert_close(soft[:3], hard[:3], atol=0.02, rtol=0)
    far = sentence_vectors(ZERO + 0.3)[0]
    assert (far[:3] - hard[:3]).abs().max() > 0.2
