import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from salience.modeling.dense_reference import dense_logits, make_grid
from tests.helpers.tiny import TINY_MODELS, VOCAB_SIZE, random_batch

OPTIONS = {
    "default": {},
    "no_limits": {"max_sentences": 0, "max_words": 0},
    "small_limits": {"max_sentences": 3, "max_words": 5},
    "all_words": {"filter_ratio": 1.0},
    "few_words": {"filter_ratio": 0.2},
    "sliding_window": {"segmentation": "sliding_window", "segment_size": 6, "segment_stride": 4},
    "learned_boundaries": {"segmentation": "learned"},
    "learned_boundaries_with_limits": {"segmentation": "learned", "max_sentences": 3, "max_words": 5},
    "adaptive": {"filter": "adaptive"},
    "no_filter": {"filter": "none"},
    "random": {"filter": "random"},
    "idf": {"filter": "idf"},
    "document_scope": {"attention_scope": "document"},
    "linear": {"attention_kernel": "linear", "linear_features": 16},
    "linear_document_scope": {"attention_kernel": "linear", "attention_scope": "document"},
    "temperature": {"learn_temperature": True},
    "idf_prior": {"idf_prior": True},
    "boundary_penalty": {"boundary_penalty": 0.8},
    "gated": {"fusion": "gated"},
    "embedding_skip": {"embedding_skip": True},
    "mean_pooling": {"document_pooling": "mean"},
    "all_at_once": {
        "segmentation": "learned", "filter": "adaptive", "attention_scope": "document", "attention_kernel": "linear",
        "learn_temperature": True, "idf_prior": True, "boundary_penalty": 0.5, "fusion": "gated",
        "embedding_skip": True, "document_pooling": "mean",
    },
}  # fmt: skip


def model_with(options):
    torch.manual_seed(0)
    model = TINY_MODELS["hierarchical"](**options).eval()
    with torch.no_grad():  # away from initial values at which an option does nothing
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if model.model.idf is not None:
            model.model.idf.set_counts(torch.randint(0, 50, (VOCAB_SIZE,)), 50)
    return model


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 120), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
    option=st.sampled_from(sorted(OPTIONS)),
)
def test_ragged_and_dense_give_the_same_logits(lengths, seed, option):
    model, batch = model_with(OPTIONS[option]), random_batch(lengths, seed=seed)
    with torch.no_grad():
        dense = dense_logits(model, make_grid(model, **batch))
        assert_close(model(**batch).logits, dense, atol=1e-5, rtol=0)


@pytest.mark.parametrize("words_per_sentence", [1, 2, 3000], ids=["one_word", "two_words", "one_sentence"])
@pytest.mark.slow
def test_thousands_of_sentences_and_a_sentence_of_thousands_of_words(words_per_sentence):
    model = model_with(OPTIONS["no_limits"]).double()  # in float32 the order of thousands of summands shows
    ids = torch.randint(7, VOCAB_SIZE, (1, 10_000 if words_per_sentence < 3 else 3000))
    ids[:, words_per_sentence :: words_per_sentence + 1] = 5
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        grid = make_grid(model, **batch)
        assert grid.ids_BSW.shape[1] >= 3000 or words_per_sentence == 3000
        assert_close(model(**batch).logits, dense_logits(model, grid), atol=1e-5, rtol=0)


def test_gradients_agree_too():
    model, batch = model_with({}), random_batch([30, 0, 77, 5])
    gradients = []
    for logits in (lambda: model(**batch).logits, lambda: dense_logits(model, make_grid(model, **batch))):
        model.zero_grad()
        logits().square().sum().backward()
        gradients.append({name: value.grad.clone() for name, value in model.named_parameters()})
    for name in gradients[0]:
        assert_close(gradients[0][name], gradients[1][name], atol=1e-5, rtol=1e-4)
