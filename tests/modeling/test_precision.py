"""Reading in bfloat16: an encoder's weights are rounded, what lies outside of it is not."""

import copy

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, MBartConfig, MBartModel

from salience.modeling.encoders import pretrained_encoder
from salience.modeling.precision import bfloat16_fault, hold_in_bfloat16
from tests.helpers.tiny import ENCODER, random_batch, tiny_model


def plain_head():
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**ENCODER)).eval()


MODELS = {
    "attn_pool": lambda: tiny_model("attn_pool"),
    "hierarchical": lambda: tiny_model("hierarchical_encoder"),
    "plain head": plain_head,
}


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_answers_are_near_and_of_full_precision(name):
    model = MODELS[name]()
    rounded = copy.deepcopy(model)
    hold_in_bfloat16(pretrained_encoder(rounded))
    batch = random_batch([3, 40, 17] if name != "plain head" else [3, 9, 5])
    wanted, found = model(**batch), rounded(**batch)
    assert found.logits.dtype == torch.float32
    assert 0 < (found.logits - wanted.logits).abs().max() < 0.05
    if "pooling_weights" in wanted:
        assert found.pooling_weights.dtype == torch.float32
        torch.testing.assert_close(found.pooling_weights.sum(1), torch.ones(3))


@pytest.mark.parametrize("name", MODELS)
def test_half_the_bytes_of_the_encoder_and_nothing_else(name):
    model = MODELS[name]()
    hold_in_bfloat16(pretrained_encoder(model))
    inside = set(map(id, pretrained_encoder(model).parameters()))
    types = {id(weight) in inside: set() for weight in model.parameters()}
    for weight in model.parameters():
        types[id(weight) in inside].add(weight.dtype)
    assert types == {True: {torch.bfloat16}, False: {torch.float32}}


def test_embeddings_in_place_of_tokens_have_gradients_of_their_own_type():
    model = tiny_model("attn_pool")
    hold_in_bfloat16(pretrained_encoder(model))
    embeds = torch.randn(2, 5, 16, requires_grad=True)
    model(inputs_embeds=embeds).logits.sum().backward()
    assert embeds.grad.dtype == torch.float32 and embeds.grad.abs().sum() > 0


@torch.no_grad()
def test_a_model_from_scratch_stays_as_it_is():
    model = tiny_model("hierarchical")
    batch = random_batch([9, 4])
    wanted = model(**batch).logits
    hold_in_bfloat16(pretrained_encoder(model))
    assert torch.equal(model(**batch).logits, wanted)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_what_it_returns_gives_the_weights_back(name):
    model = MODELS[name]()
    batch = random_batch([9, 4])
    wanted = model(**batch).logits
    undo = hold_in_bfloat16(pretrained_encoder(model))
    assert not torch.equal(model(**batch).logits, wanted)
    undo()
    assert torch.equal(model(**batch).logits, wanted)


@torch.no_grad()
def test_a_model_of_another_type_stays_as_it_is():
    model = tiny_model("attn_pool").to(torch.bfloat16)
    hold_in_bfloat16(pretrained_encoder(model))
    assert model(**random_batch([9, 4])).logits.dtype == torch.bfloat16


def test_an_encoder_that_reads_in_bfloat16_has_no_fault_whatever_its_padding_is():
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    config = MBartConfig(
        vocab_size=60, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=1, **sizes
    )
    assert bfloat16_fault(MBartModel(config), autocast=False, held=True) is None
    assert bfloat16_fault(None, autocast=True, held=True) is None
