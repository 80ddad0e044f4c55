"""What words weigh, by each method, and that it is what the method promises."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from transformers import BertForSequenceClassification, DistilBertConfig, DistilBertForSequenceClassification

from salience.modeling.attributions import (
    MAX_PARTS,
    METHODS,
    counted_words,
    gradient_x_input,
    integrated_gradients,
    leave_one_out,
    logit_change,
    path_ends,
    path_integral,
)
from salience.modeling.documents import Document
from salience.modeling.explaining import explain
from salience.modeling.ngram_evidence import MULTIPLIER, NgramEvidence
from salience.modeling.subject import Subject
from salience.modeling.windows import pack_inputs
from salience.train.building.evidence import attach
from tests.helpers.counting import learned
from tests.helpers.slow import others_slow
from tests.helpers.tiny import TINY_MODELS, tiny_encoder_config, tiny_model

TEXT = "market rates rose and shares of the bank . a goal in the last minute ! the crowd was loud"
LONG = f"{TEXT} . " * 6
EXPLAINED = [*TINY_MODELS, "bert", "distilbert"]


def wide_model(name):
    if name == "bert":
        config = tiny_encoder_config()
        config.num_labels = 3
        model = BertForSequenceClassification(config)
    elif name == "distilbert":
        sizes = {"vocab_size": 256, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
        model = DistilBertForSequenceClassification(DistilBertConfig(**sizes, num_labels=3, max_position_embeddings=24))
    else:
        return tiny_model(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def subject_of(model, tokenizer, text=TEXT, **options):
    limit = {} if hasattr(model.config, "salience_format") else {"truncation": True, "max_length": 24}
    encoding = tokenizer([text], return_offsets_mapping=True, **limit)
    return Subject(model, tokenizer, Document.of(text, encoding, 0), **options)


def logit(model, ids, target):
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)[None]).logits[0, target].item()


def counting(name, tokenizer, **fields):
    """A model that also counts, and what is left of it without its counts."""
    models = wide_model(name), wide_model(name)
    for model in models:
        for field, value in {"logit_temperature": 1.5, "prior_correction": [0.1, 0.4, -0.3], **fields}.items():
            setattr(model.config, field, value)
    texts = [LONG, "market bank rates . cup", "the crowd was loud and a goal"]
    attach(models[0], learned(tokenizer(texts, return_tensors="pt", padding=True), [0, 1, 2]), 3.0, 0.5)
    return models[0].eval(), models[1]


@pytest.mark.parametrize(
    ("name", "is_counting"),
    [
        *others_slow(
            [(name, False) for name in EXPLAINED], ("attn_pool", False), ("hierarchical", False), ("bert", False)
        ),
        *others_slow([(name, True) for name in ("attn_pool", "hierarchical", "lstm")], ("attn_pool", True)),
    ],
)
def test_integrated_gradients_sum_to_what_the_words_change_in_the_logit(name, is_counting, tokenizer):
    several = {"problem_type": "multi_label_classification"}
    subject = subject_of(counting(name, tokenizer, **several)[0] if is_counting else wide_model(name), tokenizer, LONG)
    document = subject.document
    changes = []
    for target in range(2):
        weights = integrated_gradients(subject, target)
        change = logit_change(subject, target)
        if not name.startswith(("hierarchical", "gat")) and not is_counting:  # ids tell of sentences and of the graph
            blank = np.where(document.word_of >= 0, tokenizer.pad_token_id, document.ids)
            expected = logit(subject.model, document.ids, target) - logit(subject.model, blank, target)
            assert change == pytest.approx(expected, abs=1e-5)
        assert weights.sum() == pytest.approx(change, rel=0.01, abs=1e-3)
        changes.append(abs(change))
    assert max(changes) > 0.03


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "hierarchical_encoder", "lstm"])
def test_the_logit_is_the_network_and_what_each_word_adds_by_counts_and_a_bias(name, tokenizer):
    model, network = counting(name, tokenizer)
    for text in (LONG, "the bank of the bank", "zzz", ""):
        subject, plain = (subject_of(each, tokenizer, text) for each in (model, network))
        for target in range(3):
            found = explain(subject, target, "attention" if name != "lstm" else "leave_one_out")
            parts, prior = found["logit"], model.config.prior_correction[target]
            counts = sum(word["counts"] for word in found["words"])
            assert counts == pytest.approx(parts["counts"], abs=1e-6)
            assert parts["network"] + counts + parts["bias"] == pytest.approx(parts["value"], abs=1e-5)
            assert parts["value"] == pytest.approx(logit(model, subject.document.ids, target), abs=1e-5)
            assert parts["network"] == pytest.approx(logit(network, plain.document.ids, target) + prior, abs=1e-5)
    assert "logit" not in explain(plain, 0, "gradient_x_input") and plain.counted(0) is None


def test_an_ngram_is_shared_equally_among_its_tokens_by_hand():
    evidence = NgramEvidence(2, 3, 2)
    ids = torch.tensor([[7, 8, 7, 8, 9], [9, 8, 7, 7, 0]])
    one, two, pair = 8, 9, 8 * MULTIPLIER + 9  # the tokens 7 and 8, and 7 before 8
    wrapped = (pair + 2**63) % 2**64 - 2**63
    order = sorted([one, two, wrapped])
    evidence.key_G, evidence.idf_G = torch.tensor(order), torch.tensor([1.0, 2.0, 3.0])
    evidence.weight_GC = torch.tensor([[0.5, -1.0], [1.5, 2.0], [4.0, 0.0]]).half()
    packed = pack_inputs(torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]), input_ids=ids)
    table = {key: (evidence.idf_G[row].item(), evidence.weight_GC[row, 1].item()) for row, key in enumerate(order)}
    counts = {one: 2, two: 2, wrapped: 2}
    length = sum(((1 + np.log(2)) * table[key][0]) ** 2 for key in counts) ** 0.5
    part = {key: (1 + np.log(2)) * table[key][0] / length * table[key][1] / counts[key] for key in counts}
    expected = [part[one] + part[wrapped] / 2, part[two] + part[wrapped] / 2] * 2 + [0]
    found = evidence.per_token(packed, 1)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(1), evidence(packed)[:, 1], atol=1e-6)


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical"])
def test_gradients_hold_the_counts_and_leave_one_out_asks_the_model(name, tokenizer):
    model, network = counting(name, tokenizer)
    subject, plain = subject_of(model, tokenizer), subject_of(network, tokenizer)
    counts = counted_words(subject, 1)
    assert np.abs(counts).max() > 0.01
    for method in (gradient_x_input, integrated_gradients):
        np.testing.assert_allclose(method(subject, 1), method(plain, 1) + counts, atol=1e-5)
    np.testing.assert_array_equal(METHODS["attention"](subject, 1), METHODS["attention"](plain, 1))
    words = TEXT.split()
    falls = leave_one_out(subject, 1)
    for place in (0, 7, len(words) - 1):
        texts = TEXT, " ".join(words[:place] + words[place + 1 :])
        with torch.no_grad():
            before, after = (model(**tokenizer(each, return_tensors="pt")).logits.softmax(-1)[0, 1] for each in texts)
        assert falls[place] == pytest.approx((before - after).item(), abs=1e-5)


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
    np.testing.assert_allclose(path_integral(subject, 1, 32), expected, atol=1e-5)


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


@pytest.mark.slow
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


@pytest.mark.parametrize("name", others_slow(TINY_MODELS, "attn_pool", "hierarchical", "lstm"))
def test_no_number_of_rows_changes_what_words_weigh(name, tokenizer):
    model = tiny_model(name)
    for method in METHODS.values():
        if method is METHODS["attention"] and name in ("lstm", "cnn", "gat", "bag_of_words"):
            with pytest.raises(ValueError, match="no pooling_weights"):
                method(subject_of(model, tokenizer), 1)
            continue
        many, few = (method(subject_of(model, tokenizer, most_rows=rows), 1) for rows in (512, 3))
        assert many.shape == (len(TEXT.split()),)
        np.testing.assert_allclose(many, few, atol=1e-5)
        assert np.ptp(many) > 0 or name == "attn_pool_mean"
        assert method(subject_of(model, tokenizer, ""), 1).shape == (0,)


def test_models_without_a_table_of_tokens_are_one_sentence(tokenizer):
    subject = subject_of(wide_model("bert"), tokenizer)

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
