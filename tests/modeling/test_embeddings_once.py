"""Whoever watches the embedding of tokens sees one call on (texts, tokens, width), however long the texts are."""

from contextlib import contextmanager

import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradientXActivation, LayerIntegratedGradients
from torch.testing import assert_close
from transformers import EsmConfig, GPT2Config, LlamaConfig, RobertaConfig

from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification
from salience.modeling.word_filter import KeepAll
from tests.helpers.tiny import (
    SENTENCE_ENDS,
    TINY_MODELS,
    VOCAB_SIZE,
    WINDOWS,
    random_batch,
    tiny_model,
)

families = pytest.mark.parametrize("name", TINY_MODELS)
# Without what jumps: there is no gradient where a filter drops a word or a boundary moves.
SMOOTH = [
    "attn_pool", "attn_pool_cls", "hierarchical", "hierarchical_windows", "hierarchical_encoder", "lstm", "cnn", "gat",
]  # fmt: skip


def smooth_model(name):
    model = tiny_model(name)
    if name.startswith("hierarchical"):
        model.model.word_filter.choose = KeepAll(model.config)
    return model


@contextmanager
def watched(model):
    """Shapes of what the embedding returns."""
    shapes = []
    handle = model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: shapes.append(tuple(output.shape))
    )
    yield shapes
    handle.remove()


@families
@pytest.mark.parametrize("training", [False, True])
def test_the_embedding_is_called_once_and_changes_nothing(name, training):
    model, batch = tiny_model(name), random_batch([0, 3, 16, 17, 61])
    expected = model(**batch)
    with watched(model) as shapes:
        assert_close(model(**batch).logits, expected.logits, atol=1e-5, rtol=0)
        if training:
            model.train()(**batch, labels=torch.tensor([0, 1, 2, 0, 1])).loss.backward()
    width = model.get_input_embeddings().weight.shape[1]
    assert shapes == [(5, 61, width)] * (1 + training)


@pytest.mark.parametrize("name", SMOOTH)
def test_layer_attributions_are_complete_beyond_a_window(name):
    model, batch = smooth_model(name), random_batch([45])
    ids, mask = batch["input_ids"], batch["attention_mask"]
    ids[:, 7::9] = SENTENCE_ENDS[0]
    # Sentence ends and special tokens stay: they are structure, which ids alone tell.
    baseline = torch.where(ids == SENTENCE_ENDS[0], ids, 4)
    baseline[:, 0], baseline[:, -1] = ids[:, 0], ids[:, -1]
    embedding = model.get_input_embeddings()
    with torch.no_grad():
        start = model(input_ids=ids, inputs_embeds=embedding(baseline), attention_mask=mask).logits[0]
        difference = model(input_ids=ids, attention_mask=mask).logits[0] - start
        target = int(difference.abs().argmax())
        if name != "gat":  # whose nodes are distinct words: another graph
            assert_close(model(input_ids=baseline, attention_mask=mask).logits[0], start, atol=1e-5, rtol=0)
    layer = LayerIntegratedGradients(lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits, embedding)
    found = layer.attribute(ids, baselines=baseline, additional_forward_args=(mask,), target=target, n_steps=200)
    assert found.shape == (1, 45, embedding.weight.shape[1])
    assert found.sum().item() == pytest.approx(difference[target].item(), rel=0.01)
    if name != "gat":  # whose nodes are read at a word's first place
        assert (found.abs().amax(2)[(ids != baseline) & (ids > 5)] > 0).all()
    gradients = LayerGradientXActivation(lambda ids: model(input_ids=ids).logits, embedding).attribute(ids, target=1)
    assert gradients.shape == found.shape


@pytest.mark.parametrize("name", SMOOTH)
def test_attributions_to_embeddings_are_complete(name):
    model, ids = smooth_model(name), random_batch([40])["input_ids"]
    embeds = model.get_input_embeddings()(ids).detach()

    def logits(embeds, ids):
        return model(inputs_embeds=embeds, input_ids=ids).logits

    found, delta = IntegratedGradients(logits).attribute(
        embeds, additional_forward_args=(ids,), target=0, n_steps=100, return_convergence_delta=True
    )
    total = logits(embeds, ids)[0, 0] - logits(torch.zeros_like(embeds), ids)[0, 0]
    assert delta.abs() < 0.01 * total.abs() + 1e-3 and found.shape == embeds.shape


ALONE = {
    "attn_pool": None, "attn_pool_cls": None, "attn_pool_learned_query": None, "attn_pool_mean": None, "lstm": None,
    "cnn": None, "hierarchical_windows": None,
    "hierarchical": "segmentation = \"punctuation\" finds sentence ends",
    "hierarchical_encoder": "segmentation = \"punctuation\" finds sentence ends",
    "hierarchical_all_options": "segmentation = \"learned\" finds sentence ends",
    "gat": "distinct words",
}  # fmt: skip


@pytest.mark.parametrize("name", ALONE)
def test_embeddings_alone_are_read_where_no_id_is_needed(name):
    model, batch = tiny_model(name), random_batch([3, 40])
    inputs = {
        "inputs_embeds": model.get_input_embeddings()(batch["input_ids"]),
        "attention_mask": batch["attention_mask"],
    }
    if ALONE[name] is None:
        assert_close(model(**inputs).logits, model(**batch).logits, atol=1e-5, rtol=0)
        return
    for called in (model, model.base_model):
        with pytest.raises(ValueError, match=f"{ALONE[name]}.*input_ids.*beside inputs_embeds"):
            called(**inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filter": "random"}, "filter = \"random\""),
        ({"filter": "idf"}, "document frequencies"),
        ({"idf_prior": True}, "document frequencies"),
        ({"ngram_weight": 1.0}, "n-grams"),
    ],
)  # fmt: skip
def test_options_that_read_ids_say_so(options, message):
    model = TINY_MODELS["hierarchical"](segmentation="sliding_window", **options).eval()
    with pytest.raises(ValueError, match=f"{message}.*input_ids.*beside inputs_embeds"):
        model(inputs_embeds=torch.randn(1, 5, 12))


SIZES = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 40,
}  # fmt: skip
OTHER_ENCODERS = {
    "roberta": RobertaConfig(**SIZES, pad_token_id=1),
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2),
    "gpt2": GPT2Config(vocab_size=VOCAB_SIZE, n_embd=16, n_layer=1, n_head=2, n_positions=40),
    "esm": EsmConfig(**SIZES, pad_token_id=1, mask_token_id=3, token_dropout=True),
}


@pytest.mark.parametrize("name", OTHER_ENCODERS)
def test_other_encoders_answer_the_same_when_watched(name):
    model = AttnPoolForSequenceClassification(AttnPoolConfig(encoder_config=OTHER_ENCODERS[name], **WINDOWS)).eval()
    batch = random_batch([3, 50])
    expected = model(**batch).logits
    with watched(model) as shapes:
        assert_close(model(**batch).logits, expected, atol=1e-5, rtol=0)
    if name == "esm":  # its token dropout looks at ids: they are what it is given
        assert len(shapes) == 1
        with pytest.raises(ValueError, match="reads token ids only"):
            model(inputs_embeds=torch.randn(1, 3, 16))
    else:
        assert shapes == [(2, 50, 16)]
