"""Softmax attention and its linear estimate, over ragged segments."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from salience.modeling import HierarchicalAttnConfig
from salience.modeling.attention import ATTENTIONS, LinearAttention, SoftmaxAttention
from salience.modeling.ragged import Ragged
from tests.helpers.largest_tensor import LargestTensor
from tests.helpers.slow import others_slow
from tests.helpers.tiny import SENTENCE_ENDS, TINY_MODELS

QUERIES, KEYS = [3, 0, 40, 1, 18], [5, 2, 7, 33, 1]
HEAD_SIZE = 8


def ragged_inputs(queries=QUERIES, keys=KEYS, heads=2, norm=1.0, dtype=torch.float32):
    """Queries, keys and values whose products are scaled as if both had this norm; and their layouts."""
    norm *= HEAD_SIZE**0.25  # the scale 1 / sqrt(width), shared out
    query, key = (
        torch.nn.functional.normalize(torch.randn(sum(lengths), heads, HEAD_SIZE), dim=2) * norm
        for lengths in (queries, keys)
    )
    values = torch.randn(sum(keys), heads, HEAD_SIZE)
    tensors = [each.to(dtype).requires_grad_() for each in (query, key, values)]
    return *tensors, Ragged(torch.tensor(queries)), Ragged(torch.tensor(keys))


def exact(query, key, value, queries, keys):
    """Softmax attention of one segment after the other, all weights written out."""
    layouts = ((query, queries), (key, keys), (value, keys))
    pieces = zip(*(x.split(layout.lengths_S.tolist()) for x, layout in layouts), strict=True)
    return torch.cat(
        [
            ((q.transpose(0, 1) @ k.permute(1, 2, 0) / HEAD_SIZE**0.5).softmax(2) @ v.transpose(0, 1)).transpose(0, 1)
            for q, k, v in pieces
        ]
    )


def linear_attention(num_features):
    kernel = LinearAttention(HEAD_SIZE, HierarchicalAttnConfig(linear_features=num_features))
    with torch.no_grad():
        kernel.init_own_parameters()
    return kernel


def softmax_attention():
    return SoftmaxAttention(HEAD_SIZE, HierarchicalAttnConfig())


@pytest.mark.parametrize("chunk", [1024, 7], ids=["whole", "chunks"])
def test_softmax_is_exact_with_its_gradients_whole_and_in_chunks(chunk, monkeypatch):
    monkeypatch.setattr("salience.modeling.attention.QUERY_CHUNK", chunk)
    inputs = ragged_inputs(dtype=torch.float64)
    results = [function(*inputs) for function in (softmax_attention(), exact)]
    assert_close(results[0], results[1])
    weights = torch.randn_like(results[0])
    gradients = [torch.autograd.grad((result * weights).sum(), inputs[:3]) for result in results]
    for mine, expected in zip(*gradients, strict=True):
        assert_close(mine, expected)


def error_of(num_features, draws=5):
    """Root mean square distance to exact attention, for vectors of norm 1."""
    inputs = ragged_inputs()
    errors = [linear_attention(num_features)(*inputs) - exact(*inputs) for _ in range(draws)]
    return torch.stack(errors).square().mean().sqrt().item()


def test_the_linear_estimate_converges_to_softmax():
    errors = {num_features: error_of(num_features) for num_features in (64, 512, 4096)}
    assert errors[4096] < errors[512] < errors[64] < 0.2
    assert errors[4096] < errors[64] / 4, "an error that falls with the root of the features would be an eighth"
    assert errors[4096] < 0.015


@pytest.mark.slow
def test_the_linear_estimate_is_exact_in_expectation():
    query, key, *_ = ragged_inputs(queries=[4], keys=[5], heads=1)
    draws = []
    for _ in range(4000):
        kernel = linear_attention(HEAD_SIZE)
        features = [kernel.log_features(x[:, 0]).exp() for x in (query, key)]
        draws.append(features[0] @ features[1].T / HEAD_SIZE)
    expected = (query[:, 0] @ key[:, 0].T / HEAD_SIZE**0.5).exp()
    draws = torch.stack(draws).detach()
    mean_error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - expected).abs() < 4 * mean_error).all()
    assert (mean_error / expected).max() < 0.05, "the bound above says something"


def test_linear_attention_learns_in_the_direction_of_softmax():
    inputs, weights = ragged_inputs(), torch.randn(sum(QUERIES), 2, HEAD_SIZE)
    gradients = [
        torch.autograd.grad((function(*inputs) * weights).sum(), inputs[:3])
        for function in (linear_attention(4096), exact)
    ]
    for mine, expected in zip(*gradients, strict=True):
        assert torch.cosine_similarity(mine.flatten(), expected.flatten(), dim=0) > 0.97


def test_the_linear_kernel_is_its_formula_at_every_norm():
    for norm in (1e-6, 1e-3, 1.0, 5.0, 10.0, 30.0):
        kernel, (query, key, value, queries, keys) = linear_attention(64), ragged_inputs(norm=norm)
        result = kernel(query, key, value, queries, keys)
        logs = [kernel.log_features(x).double().split(lengths) for x, lengths in ((query, QUERIES), (key, KEYS))]
        for q, k, v, read in zip(*logs, value.double().split(KEYS), result.split(QUERIES), strict=True):
            weights = (q[:, None] + k).logsumexp(3).softmax(1)  # of each query, key and head
            assert_close(read.double(), torch.einsum("qkh,khe->qhe", weights, v), atol=1e-3, rtol=0)


@pytest.mark.parametrize("norm", [0.0, 1e-6, 1e-3, 1.0, 5.0, 10.0, 100.0, 1e4])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_what_is_read_is_a_mean_of_values(name, norm):
    query, key, value, queries, keys = ragged_inputs(norm=norm)
    kernel = linear_attention(64) if name == "linear" else softmax_attention()
    result = kernel(query, key, torch.ones_like(value), queries, keys)
    assert_close(result, torch.ones_like(result), atol=1e-5, rtol=0)
    lowest, highest = -keys.max(-value.flatten(1)), keys.max(value.flatten(1))
    result = kernel(query, key, value, queries, keys).flatten(1)
    assert (result >= lowest[queries.segment_N] - 1e-5).all() and (result <= highest[queries.segment_N] + 1e-5).all()
    result.square().sum().backward()
    assert all(x.grad.isfinite().all() for x in (query, key, value))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_segments_are_independent_of_their_neighbours(name):
    kernel = linear_attention(16) if name == "linear" else softmax_attention()
    query, key, value, queries, keys = ragged_inputs()
    expected = kernel(query, key, value, queries, keys).split(QUERIES)
    order = [4, 2, 0, 3, 1]

    def permuted(x, lengths):
        pieces = x.split(lengths)
        return torch.cat([pieces[segment] for segment in order])

    layouts = (
        Ragged(torch.tensor([QUERIES[segment] for segment in order])),
        Ragged(torch.tensor([KEYS[segment] for segment in order])),
    )
    result = kernel(permuted(query, QUERIES), permuted(key, KEYS), permuted(value, KEYS), *layouts)
    assert_close(result, torch.cat([expected[segment] for segment in order]), atol=1e-6, rtol=0)
    alone = [x.split(lengths)[2] for x, lengths in ((query, QUERIES), (key, KEYS), (value, KEYS))]
    layouts = Ragged(torch.tensor([QUERIES[2]])), Ragged(torch.tensor([KEYS[2]]))
    assert_close(kernel(*alone, *layouts), expected[2], atol=1e-6, rtol=0)


# --- memory, as the largest tensor that is made


def largest_tensor(num_words, **options):
    """Elements of the largest tensor in a training step on one document with ten words in a sentence."""
    model = TINY_MODELS["hierarchical"](
        max_sentences=0, max_words=0, attention_scope="document", linear_features=16, **options
    ).train()
    ids = torch.randint(7, 256, (1, num_words))
    ids[:, 9::10] = SENTENCE_ENDS[0]
    # The kernels that make plain tensors of all that they hold: others would hide attention's weights.
    with LargestTensor() as largest, sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
        model(input_ids=ids, labels=torch.tensor([1])).loss.backward()
    return largest.numel


@pytest.mark.parametrize("segmentation", others_slow(["punctuation", "sliding_window", "learned"], "learned"))
def test_linear_attention_makes_nothing_that_grows_with_a_square(segmentation):
    sizes = {num_words: largest_tensor(num_words, attention_kernel="linear", segmentation=segmentation)
             for num_words in (500, 1000, 2000)}  # fmt: skip
    assert sizes[2000] <= 2.05 * sizes[1000] <= 2.05**2 * sizes[500]
    assert sizes[2000] < 2000 * 200 / 2, "far below words x sentences, let alone words x words"


def test_softmax_attention_holds_a_chunk_of_its_weights_at_a_time(monkeypatch):
    monkeypatch.setattr("salience.modeling.attention.QUERY_CHUNK", 10**9)
    assert largest_tensor(2000) >= 2000 * 2000
    monkeypatch.setattr("salience.modeling.attention.QUERY_CHUNK", 64)
    sizes = {num_words: largest_tensor(num_words) for num_words in (1000, 2000, 4000)}
    assert all(size <= 64 * num_words * 2 for num_words, size in sizes.items())
    assert sizes[4000] <= 2.05 * sizes[2000] <= 2.05**2 * sizes[1000]
