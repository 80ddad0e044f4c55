"""A config.json that was edited by hand or damaged is refused by a sentence that names the field."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

from salience.configuration.errors import UserError
from salience.eval.reading.load import load_classifier
from salience.modeling import (
    AttnPoolForSequenceClassification,
    BaselineForSequenceClassification,
    HierarchicalAttnForSequenceClassification,
)
from salience.train.building.encoder_loading import plain_head_config
from tests.helpers.tiny import ENCODER, LABELS, TINY_TOKENIZER, tiny_encoder_config, tiny_model

CLASSES = {
    "id2label": ({"0": 1, "1": 2, "2": 3}, {"0": None, "1": "b", "2": "c"}, {"0": ["a"], "1": "b"}, ["a"], "abc", 5, {},
                 {"0": "a", "2": "c"}, {"1": "a", "2": "b"}, {"x": "a", "1": "b", "2": "c"}),
    "label2id": (5, [], "abc", dict.fromkeys(LABELS["label2id"], 0)),
    "problem_type": ("nonsense", 5, [], {}, ""),
    "text_columns": (5, "text", [1, 2], [], {}),
    "text_separator": (5, None, []),
}  # fmt: skip
OF_ANY = [(name, value) for name, values in CLASSES.items() for value in values]
OF_OURS = {
    "attn_pool": {
        "window_size": ("8", 8.5, True, [], {}),
        "window_stride": ("3", 3.5),
        "num_prefix_tokens": ("1", None),
        "num_suffix_tokens": (-2,),
        "encoder_config": ([], {}, 5, "bert", {"model_type": 5}, {"model_type": ["bert"]}),
        "alpha": ("x", None, [], True),
        "num_heads": ("2", 2.0),
        "query": (5, None),
        "projection_dim": ("8", []),
        "classifier_dropout": ("x",),
        "logit_temperature": ("x", None),
        "prior_correction": ("abc", ["a", "b", "c"], 5, [float("nan"), 0, 0]),
        "ngram_weight": ("x", float("nan")),
        "ngram_damping": ("x", float("nan")),
        "num_ngrams": ("x", None),
    },
    "lstm": {
        "architecture": (5, []),
        "vocab_size": ("x", 8.0),
        "hidden_dim": ("8", None),
        "kernel_sizes": ("345", ["3"], 5),
        "dropout": ("x", []),
    },
    "hierarchical": {
        "sentence_end_ids": ("5", [5.5]),
        "embedding_skip": ("yes", 1),
        "filter_ratio": ("x", None),
        "max_words": ("all", None),
        "feed_forward_dim": ("x", 8.0),
    },
}
DAMAGED = [
    (model, name, value)
    for model, fields in OF_OURS.items()
    for name, values in (CLASSES | fields).items()
    for value in values
]


def edited(folder, name, value):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    together = {"text_columns": ["title", "body"]} if name == "text_separator" else {}
    file.write_text(json.dumps(config | together | {name: value}))


@pytest.mark.parametrize(("model", "name", "value"), DAMAGED)
def test_our_configurations_refuse_fields_of_another_kind(tmp_path, model, name, value):
    tiny_model(model).config.save_pretrained(tmp_path)
    edited(tmp_path, name, value)
    with pytest.raises(ValueError, match=f"{name} (= .* )?(in its config.json )?must "):
        AutoConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(("name", "value"), OF_ANY)
def test_a_plain_classifier_with_unfit_classes_is_one_sentence(tmp_path, name, value):
    BertForSequenceClassification(BertConfig(**ENCODER, **LABELS)).save_pretrained(tmp_path)
    edited(tmp_path, name, value)
    with pytest.raises(UserError) as refused:
        load_classifier(tmp_path)
    assert str(refused.value).startswith(f"--model {tmp_path} can't be loaded: ") and name in str(refused.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        *((content, "its config.json holds no JSON object") for content in ([1], [], "x", None, 3)),
        ({}, "it has no config.json, or one that is empty"),
        ({"model_type": "bert", "dtype": "float3"}, "dtype = 'float3' in its config.json is no type of numbers"),
        ({"model_type": "bert", "dtype": 5}, "dtype = 5 in its config.json is no type of numbers"),
        ({"model_type": "foo"}, "model_type = 'foo' in its config.json is no type of models that transformers knows"),
        ({"model_type": "foo", "auto_map": {}}, "it brings its own code, which is never run"),
    ],
)
def test_what_transformers_takes_for_granted_is_looked_at(tmp_path, content, sentence):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"--model {tmp_path} can't be loaded: {sentence}"):
        load_classifier(tmp_path)
    with pytest.raises((OSError, ValueError), match=sentence):
        plain_head_config(str(tmp_path), None, None)


@pytest.mark.parametrize("kind", ["attn_pool", "hierarchical", "lstm", "bert"])
def test_a_class_of_ours_reads_no_folder_of_another_family(tmp_path, kind):
    """It would have the random weights of the family's own."""
    (BertModel(tiny_encoder_config()) if kind == "bert" else tiny_model(kind)).save_pretrained(tmp_path)
    families = {
        AttnPoolForSequenceClassification: "attn_pool",
        HierarchicalAttnForSequenceClassification: "hierarchical",
        BaselineForSequenceClassification: "lstm",
    }
    for model_class, own in families.items():
        if own == kind:
            assert model_class.from_pretrained(tmp_path).config.num_labels == 3
            continue
        for loaded in (model_class, model_class.config_class):
            with pytest.raises(ValueError, match="it is a .* model, no .* model: load it with AutoModelForSequence"):
                loaded.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["./nope", "/tmp/nope", "~/nope", "../nope", "a/b/nope"])
def test_a_path_that_is_not_there_is_no_name_of_the_hub(name):
    with pytest.raises(UserError, match=f"--model {os.path.expanduser(name)} can't be loaded: there is no such folder"):
        load_classifier(name)


def _other_shape(weights):
    weights["classifier.weight"] = torch.zeros(5, 5)


def _not_a_number(weights):
    weights["classifier.weight"][0, 0] = float("nan")


def _infinite(weights):
    weights["classifier.bias"][0] = float("inf")


def _of_more_layers(weights):
    weights |= {name.replace("layer.1.", "layer.2."): weight.clone() for name, weight in weights.items()}


def _of_another_model(weights):
    for name in list(weights):
        weights[f"other.{name}"] = weights.pop(name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_other_shape, "its weights have other shapes than its config.json says (classifier.weight)"),
        (_not_a_number, "has weights that are no finite numbers (classifier.weight)"),
        (_infinite, "has weights that are no finite numbers (classifier.bias)"),
        (_of_another_model, "lacks weights of a classifier ("),
        (_of_more_layers, "has weights that its config.json has no place for: "),
    ],
)
@pytest.mark.parametrize("kind", ["plain", "ours"])
def test_unfit_weights_are_one_sentence_without_a_loading_report(tmp_path, capfd, kind, change, sentence):
    plain = BertForSequenceClassification(BertConfig(**ENCODER, **LABELS))
    (plain if kind == "plain" else tiny_model("attn_pool")).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(TINY_TOKENIZER).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    capfd.readouterr()
    with pytest.raises(UserError) as refused:
        load_classifier(tmp_path)
    assert str(refused.value).startswith(f"--model {tmp_path} ") and sentence in str(refused.value)
    assert "LOAD REPORT" not in "".join(capfd.readouterr())


def test_the_configuration_of_another_model_of_its_family_is_refused(tmp_path):
    tiny_model("attn_pool").save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(TINY_TOKENIZER).save_pretrained(tmp_path)
    edited(tmp_path, "alpha", 1.0)  # a model without attention weights
    with pytest.raises(UserError, match="has weights that its config.json has no place for"):
        load_classifier(tmp_path)


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical_encoder"])
def test_an_encoder_that_cannot_read_every_text_is_refused(tmp_path, name):
    tiny_model(name).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(TINY_TOKENIZER).save_pretrained(tmp_path)
    edited(tmp_path, "window_stride", None)
    edited(tmp_path, "window_size", None)
    with pytest.raises(UserError, match="window_size in its config.json is null, and its encoder reads 24 tok"):
        load_classifier(tmp_path)


def test_parts_that_a_published_classifier_never_used_are_no_fault(tmp_path):
    BertForSequenceClassification(BertConfig(**ENCODER, **LABELS)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(TINY_TOKENIZER).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["cls.predictions.bias"] = torch.zeros(3)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    assert load_classifier(tmp_path)[0].config.num_labels == 3
