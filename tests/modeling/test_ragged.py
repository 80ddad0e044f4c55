"""Ragged operations, sentences, and how the hierarchical model uses them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from salience.modeling import HierarchicalAttnConfig
from salience.modeling.ragged import Ragged
from salience.modeling.segmentation import Punctuation, SlidingWindow
from salience.modeling.windows import pack_inputs
from tests.helpers.largest_tensor import LargestTensor
from tests.helpers.tiny import TINY_MODELS, random_batch, tiny_model


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12), ratio=st.floats(0.05, 1))
def test_ragged_operations_equal_a_loop(lengths, ratio):
    items = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(sum(lengths)))
    ragged = Ragged(torch.tensor(lengths))
    k = (ragged.lengths_S * ratio).ceil().long()
    pieces = items.split(lengths)
    kept = (ragged.rank(items[:, 0]) < k[ragged.segment_N]).split(lengths)
    softmax = ragged.softmax(items).split(lengths)
    weights = items[:, :2].exp()  # for two slices of two features
    weighted = ragged.weighted_sum(weights, items[:, [0, 1, 2, 0]])
    zero = torch.zeros(3)
    for row, piece in enumerate(pieces):
        assert_close(ragged.sum(items)[row], piece.sum(0), atol=1e-5, rtol=0)
        of_slices = weights.split(lengths)[row].repeat_interleave(2, 1)
        assert_close(weighted[row], (piece[:, [0, 1, 2, 0]] * of_slices).sum(0), atol=1e-4, rtol=1e-5)
        assert_close(ragged.mean(items)[row], piece.mean(0) if len(piece) else zero, atol=1e-5, rtol=0)
        assert_close(ragged.max(items)[row], piece.amax(0) if len(piece) else zero)
        assert_close(softmax[row], piece.softmax(0))
        best = piece[:, 0].topk(int(k[row])).indices
        assert set(kept[row].nonzero()[:, 0].tolist()) == set(best.tolist())
    cut = ragged.cut(7).lengths_S.tolist()
    assert cut == [min(7, length - start) for length in lengths for start in range(0, length, 7)]
    doubled = ragged.map_groups(lambda x, mask: x * 2 * mask[:, :, None], items)
    assert_close(doubled, items * 2)


def find(segmentation, ids, mask, config):
    packed = pack_inputs(mask, input_ids=ids)
    return segmentation(1, config)(packed, torch.zeros(int(mask.sum()), 1))


def sentences_of(found):
    return [tokens.tolist() for tokens in found.token_N.split(found.words.lengths_S.tolist())]


def test_sentences_end_with_runs_of_marks():
    config = HierarchicalAttnConfig(sentence_end_ids=[5, 6])
    ids = torch.tensor([[9, 9, 5, 6, 9, 9, 0], [6, 9, 9, 9, 9, 9, 5]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1]]).bool()
    found = find(Punctuation, ids, mask, config)
    assert sentences_of(found) == [[0, 1, 2, 3], [4, 5], [7], [8, 9, 10, 11, 12, 13]]
    assert found.documents.lengths_S.tolist() == [2, 2]
    assert found.number_N.tolist() == [0, 0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1]


def test_limits_on_sentences_and_words():
    config = HierarchicalAttnConfig(sentence_end_ids=[5], max_sentences=2, max_words=3)
    found = find(Punctuation, torch.tensor([[9, 9, 9, 9, 5, 9, 5, 9, 9]]), torch.ones(1, 9).bool(), config)
    assert sentences_of(found) == [[0, 1, 2], [5, 6]]


@pytest.mark.parametrize(
    ("length", "expected"), [(0, []), (1, [1]), (4, [4]), (5, [4, 3]), (6, [4, 4]), (7, [4, 4, 3]), (8, [4, 4, 4])]
)
def test_sliding_windows_cover_the_document(length, expected):
    config = HierarchicalAttnConfig(segmentation="sliding_window", segment_size=4, segment_stride=2)
    found = find(SlidingWindow, torch.ones(1, 8).long(), torch.arange(8)[None] < length, config)
    assert found.words.lengths_S.tolist() == expected
    assert set(found.token_N.tolist()) == set(range(length))


def test_an_end_mark_decides_where_sentences_are():
    model = tiny_model("hierarchical")
    ids = torch.full((1, 12), 9)
    assert model(input_ids=ids).sentence_ids.tolist() == [[0] * 12]
    ids[0, 5] = 5
    assert model(input_ids=ids).sentence_ids.tolist() == [[0] * 6 + [1] * 6]


def test_the_filter_keeps_its_share_and_learns():
    model, batch = tiny_model("hierarchical"), random_batch([16])
    batch["input_ids"][batch["input_ids"] < 7] = 7  # one sentence
    outputs = model(**batch, labels=torch.tensor([0]))
    assert (outputs.pooling_weights > 0).sum() == 8
    outputs.loss.backward()
    assert model.model.word_filter.score.weight.grad.any()


def test_cross_attention_weights_are_those_that_are_used():
    model, batch = tiny_model("hierarchical"), random_batch([30, 0, 12])
    outputs = model(**batch, output_attentions=True)
    kept = outputs.pooling_weights > 0
    sums = outputs.cross_attentions.sum(-1).transpose(1, 2)[kept]
    assert_close(sums, torch.ones_like(sums))
    cross = model.model.cross_attention
    words, sentences = torch.randn(5, 16), torch.randn(3, 48)
    layouts = Ragged(torch.tensor([2, 3])), Ragged(torch.tensor([1, 2]))
    weights = cross.weights(words, layouts[0], sentences, layouts[1])
    values = cross.value(sentences).unflatten(-1, (2, -1))
    expected = []
    for item, rows in zip(range(5), [[0], [0], [1, 2], [1, 2], [1, 2]], strict=True):
        expected.append(torch.cat([weights[item, head, : len(rows)] @ values[rows][:, head] for head in range(2)]))
    attended = cross.attention_norm(words + cross.output(torch.stack(expected)))
    expected = cross.feed_forward_norm(attended + cross.feed_forward(attended))
    assert_close(cross(words, layouts[0], sentences, layouts[1]), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in TINY_MODELS if name.startswith(("attn_pool", "hierarchical"))])
def test_one_long_text_pads_no_vectors_of_the_short_ones(name):
    model, batch = tiny_model(name), random_batch([3] * 600 + [400])
    labels = torch.zeros(601, dtype=torch.long)
    with LargestTensor() as largest:
        model.train()(**batch, labels=labels).loss.backward()
    num_cells = batch["input_ids"].numel()
    assert largest.numel < 4 * num_cells  # vectors of 8 to 48 features for each cell would be twice as much at least


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_means_of_many_items_keep_their_digits(dtype):
    lengths, x_ND = torch.tensor([70_000, 3]), torch.full((70_003, 1), 0.1, dtype=dtype)
    found = Ragged(lengths).mean(x_ND)
    assert_close(found, torch.full((2, 1), 0.1, dtype=dtype))
