"""What words weigh, by each method, and that it is what the method promises."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from transformers import BertForSequenceClassification, DistilBertConfig, DistilBertForSequenceClassification

from salience.modeling.attributions import (
    MAX_PARTS,
    METHODS,
    Subject,
    gradient_x_input,
    integrated_gradients,
    leave_one_out,
    logit_change,
    path_ends,
)
from salience.modeling.documents import Document
from salience.modeling.word_filter import KeepAll
from tests.helpers.tiny import TINY_MODELS, tiny_encoder_config, tiny_model

TEXT = "market rates rose and shares of the bank . a goal in the last minute ! the crowd was loud"
LONG = f"{TEXT} . " * 6
# Without what jumps: there is no gradient where a filter drops a word or a boundary moves.
SMOOTH = ["attn_pool", "attn_pool_learned_alpha", "attn_pool_cls", "attn_pool_mean", "hierarchical", "lstm", "bert",
          "distilbert"]  # fmt: skip


def smooth_model(name):
    if name == "bert":
        config = tiny_encoder_config()
        config.num_labels = 3
        model = BertForSequenceClassification(config)
    elif name == "distilbert":
        sizes = {"vocab_size": 256, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
        model = DistilBertForSequenceClassification(DistilBertConfig(**sizes, num_labels=3, max_position_embeddings=24))
    else:
        model = tiny_model(name)
        if name == "hierarchical":
            model.model.word_filter.choose = KeepAll(model.config)
        return model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def subject_of(model, tokenizer, text=TEXT, **options):
    limit = {} if hasattr(model.config, "salience_format") else {"truncation": True, "max_length": 24}
    encoding = tokenizer([text], return_offsets_mapping=True, **limit)
    return Subject(model, tokenizer, Document.of(text, encoding, 0, encoding["offset_mapping"][0]), **options)


def logit(model, ids, target):
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)[None]).logits[0, target].item()


@pytest.mark.parametrize("name", SMOOTH)
def test_integrated_gradients_sum_to_what_the_words_change_in_the_logit(name, tokenizer):
    subject = subject_of(smooth_model(name), tokenizer, LONG)
    document = subject.document
    changes = []
    for target in range(3):
        weights = integrated_gradients(subject, target)
        change = logit_change(subject, target)
        if name != "hierarchical":  # whose sentences end with marks, which ids tell
            blank = np.where(document.word_of >= 0, tokenizer.pad_token_id, document.ids)
            expected = logit(subject.model, document.ids, target) - logit(subject.model, blank, target)
            assert change == pytest.approx(expected, abs=1e-5)
        assert weights.sum() == pytest.approx(change, rel=0.01, abs=2e-3)
        changes.append(abs(change))
    assert max(changes) > 0.03


@pytest.mark.parametrize("name", ["attn_pool", "lstm"])
def test_integrated_gradients_are_those_of_captum(name, tokenizer):
    subject = subject_of(tiny_model(name), tokenizer)
    start, end = path_ends(subject)
    ids = torch.tensor(subject.document.ids)[None]

    def logits(embeds, ids):
        return subject.model(inputs_embeds=embeds, input_ids=ids).logits

    theirs = IntegratedGradients(logits).attribute(
        end[None], baselines=start[None], target=1, additional_forward_args=(ids,), n_steps=32
    )
    expected = subject.document.per_word(theirs[0].sum(-1).numpy())
    np.testing.assert_allclose(integrated_gradients(subject, 1), expected, atol=1e-5)


def test_gradient_x_input_is_the_slope_along_each_word(tokenizer):
    model = tiny_model("attn_pool")
    subject = subject_of(model, tokenizer)
    document = subject.document
    embeds = model.get_input_embeddings()(torch.tensor(document.ids)[None]).detach()
    is_word = torch.tensor(document.word_of)

    def logit_at(word, scale):
        moved = torch.where((is_word == word)[None, :, None], scale * embeds, embeds)
        with torch.no_grad():
            return model(inputs_embeds=moved).logits[0, 2].item()

    weights = gradient_x_input(subject, 2)
    for word in (0, 5):
        slope = (logit_at(word, 1.02) - logit_at(word, 0.98)) / 0.04
        assert weights[word] == pytest.approx(slope, abs=1e-4)
    assert np.abs(weights[[0, 5]]).min() > 1e-3


def test_leave_one_out_of_a_long_text_takes_stretches_out(tokenizer):
    subject = subject_of(tiny_model("hierarchical"), tokenizer, "market rates rose . " * 80)
    document = subject.document
    assert document.num_words == 320 > MAX_PARTS
    weights = leave_one_out(subject, 0)
    kept = np.ones(320, dtype=bool)
    kept[:2] = False
    whole, without = subject.scores([document.ids, document.keep_words(kept)])[:, 0]
    np.testing.assert_allclose(weights[:2], (whole - without) / 2, atol=1e-6)
    assert weights.shape == (320,)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_no_number_of_rows_changes_what_words_weigh(name, tokenizer):
    model = tiny_model(name)
    for method in METHODS.values():
        if method is METHODS["attention"] and name in ("lstm", "cnn", "gat"):
            with pytest.raises(ValueError, match="no pooling_weights"):
                method(subject_of(model, tokenizer), 1)
            continue
        many, few = (method(subject_of(model, tokenizer, most_rows=rows), 1) for rows in (512, 3))
        assert many.shape == (len(TEXT.split()),)
        np.testing.assert_allclose(many, few, atol=1e-5)
        assert np.ptp(many) > 0 or name == "attn_pool_mean"
        assert method(subject_of(model, tokenizer, ""), 1).shape == (0,)


def test_models_without_a_table_of_tokens_are_one_sentence(tokenizer):
    subject = subject_of(smooth_model("bert"), tokenizer)

    class Twice(type(subject.model)):
        def forward(self, input_ids, **inputs):
            super().forward(input_ids[:, :2])
            return super().forward(input_ids, **inputs)

    subject.model.__class__ = Twice
    with pytest.raises(ValueError, match="looks up the embeddings of a text's tokens once"):
        integrated_gradients(subject, 0)
    subject.model.config.is_encoder_decoder = True
    with pytest.raises(ValueError, match="an encoder and a decoder"):
        gradient_x_input(subject, 0)
