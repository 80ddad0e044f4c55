"""What holds for every family of models, and losses and configuration."""

import pytest
import torch
from torch.testing import assert_close

from salience.modeling import AttnPoolConfig, AttnPoolModel, HierarchicalAttnConfig
from salience.modeling.classifier import classification_loss
from tests.helpers.tiny import TINY_MODELS, random_batch, tiny_encoder_config, tiny_model

LENGTHS = [0, 1, 2, 9, 16, 17, 40, 61]
families = pytest.mark.parametrize("name", TINY_MODELS)


@families
def test_a_text_alone_and_in_any_batch_gives_the_same_logits(name):
    model = tiny_model(name)
    right, left = random_batch(LENGTHS), random_batch(LENGTHS, "left")
    with torch.no_grad():
        together, from_left = model(**right), model(**left)
        assert torch.isfinite(together.logits).all()
        assert_close(together.logits, from_left.logits, atol=1e-5, rtol=0)
        for row, length in enumerate(LENGTHS):
            alone = model(input_ids=right["input_ids"][row : row + 1, :length])
            assert_close(alone.logits[0], together.logits[row], atol=1e-5, rtol=0)
            if alone.pooling_weights is not None:
                columns = slice(len(from_left.pooling_weights[0]) - length, None)
                weights = alone.pooling_weights[0, :length]
                assert_close(weights, together.pooling_weights[row, :length], atol=1e-5, rtol=0)
                assert_close(weights, from_left.pooling_weights[row, columns], atol=1e-5, rtol=0)


@families
def test_what_stands_on_padding_does_not_matter(name):
    model, batch = tiny_model(name), random_batch(LENGTHS)
    other = batch | {"input_ids": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 7)}
    with torch.no_grad():
        assert_close(model(**batch).logits, model(**other).logits, atol=0, rtol=0)


@families
def test_pooling_weights_sum_to_one_over_tokens(name):
    model, batch = tiny_model(name), random_batch(LENGTHS)
    weights = model(**batch).pooling_weights
    if weights is None:
        assert name in ("lstm", "cnn", "gat", "bag_of_words")
        return
    assert weights.shape == batch["input_ids"].shape and (weights >= 0).all()
    assert (weights[batch["attention_mask"] == 0] == 0).all()
    assert_close(weights.sum(1), torch.tensor([float(length > 0) for length in LENGTHS]), atol=1e-5, rtol=0)


@families
def test_every_parameter_gets_gradient_and_one_batch_can_be_learned(name):
    model, batch = tiny_model(name).train(), random_batch([12, 20, 33, 5, 18, 27])
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    model(**batch, labels=labels).loss.backward()
    silent = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    # A softmax isn't moved by what is added to all its scores: rounding alone gives such a bias a gradient, or none.
    # An encoder may have embeddings for what a single text never uses.
    unmoved = ("key.bias", "sentence_pooling.score.bias")
    assert not [key for key in silent if not key.endswith(unmoved) and "token_type" not in key], silent
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.eval()
    for _ in range(150):
        optimizer.zero_grad()
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        if loss < 0.1:
            break
    assert loss < 0.1


@families
def test_embeddings_can_replace_ids(name):
    model, batch = tiny_model(name), random_batch([3, 0, 30])
    embeds = model.get_input_embeddings()(batch["input_ids"])
    with torch.no_grad():
        expected = model(**batch).logits
        assert_close(model(**batch | {"inputs_embeds": embeds}).logits, expected, atol=1e-6, rtol=0)


@families
def test_bfloat16_gives_finite_logits_near_float32(name):
    model, batch = tiny_model(name), random_batch(LENGTHS)
    with torch.no_grad():
        expected = model(**batch).logits
        with torch.autocast("cpu", torch.bfloat16):
            assert_close(model(**batch).logits.float(), expected, atol=0.3, rtol=0.1)


def test_a_batch_of_empty_texts_and_a_batch_without_columns():
    for name in TINY_MODELS:
        model = tiny_model(name)
        for width in (0, 3):
            ids = torch.zeros(2, width)
            outputs = model(input_ids=ids, attention_mask=ids)
            assert outputs.logits.shape == (2, 3) and torch.isfinite(outputs.logits).all()
            assert outputs.pooling_weights is None or outputs.pooling_weights.shape == (2, width)


def test_tuple_output_and_refused_options():
    model, batch = tiny_model("attn_pool"), random_batch([4])
    assert isinstance(model(**batch, return_dict=False), tuple)
    with pytest.raises(ValueError, match="output_hidden_states"):
        model(**batch, output_hidden_states=True)
    with pytest.raises(ValueError, match="input_ids"):
        model(attention_mask=batch["attention_mask"])


# --- losses by problem type, configuration


def test_problem_types_have_their_losses_and_stay_as_they_are():
    logits = torch.randn(4, 3)
    ids, hot, reals = torch.tensor([0, 2, 1, 1]), torch.eye(3)[[0, 2, 1, 1]], torch.randn(4)
    functional = torch.nn.functional
    assert_close(classification_loss(logits, ids, None), functional.cross_entropy(logits, ids))
    expected = functional.binary_cross_entropy_with_logits(logits, hot)
    assert_close(classification_loss(logits, hot, None), expected)
    assert_close(classification_loss(logits[:, :1], reals, None), functional.mse_loss(logits[:, 0], reals))
    assert_close(
        classification_loss(logits, ids, "single_label_classification", num_items_in_batch=8),
        functional.cross_entropy(logits, ids) / 2,
    )
    with pytest.raises(ValueError, match="ranking"):
        classification_loss(logits, ids, "ranking")
    model = tiny_model("attn_pool")
    model.config.problem_type = None
    model(**random_batch([3]), labels=torch.tensor([1]))
    assert model.config.problem_type is None


def test_prior_correction_shifts_logits_outside_of_training_only():
    model, batch = tiny_model("attn_pool_mean"), random_batch([7])
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    plain = model(**batch).logits
    model.config.prior_correction = [-1.0, 0.5, 2.0]
    assert_close(model(**batch).logits, plain - torch.tensor([[-1.0, 0.5, 2.0]]))


@pytest.mark.parametrize(
    ("config_class", "options", "message"),
    [
        (AttnPoolConfig, {"alpha": 1.5}, "alpha = 1.5"),
        (AttnPoolConfig, {"alpha": 1.0, "learn_alpha": True}, "alpha = 1.0"),
        (AttnPoolConfig, {"num_heads": 5}, "num_heads = 5"),
        (AttnPoolConfig, {"window_size": 10, "window_stride": 11}, "window_stride = 11"),
        (AttnPoolConfig, {"prior_correction": [1.0]}, "prior_correction"),
        (HierarchicalAttnConfig, {"filter_ratio": 0.0}, "filter_ratio = 0.0"),
        (HierarchicalAttnConfig, {"segment_stride": 60}, "segment_stride = 60"),
        (HierarchicalAttnConfig, {"hidden_dim": 7}, "hidden_dim = 7"),
    ],
)
def test_values_out_of_range_are_named(config_class, options, message):
    with pytest.raises(ValueError, match=message):
        config_class(**options)


def test_unknown_choices_list_what_there_is():
    config = AttnPoolConfig(encoder_config=tiny_encoder_config(), query="nearest")
    with pytest.raises(ValueError, match=r'query = "nearest" is unknown; choose from cls, learned, self'):
        AttnPoolModel(config)
