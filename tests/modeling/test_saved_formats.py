"""Folders of every format, and encoders of either version of transformers, give the answers that they gave."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from salience.configuration.configuration_salience import FORMAT, IS_VERSION_4
from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification, HierarchicalAttnConfig
from tests.helpers.paths import RECORDED
from tests.helpers.tiny import VOCAB_SIZE, random_batch, tiny_model

folders = pytest.mark.parametrize("answers", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")


@folders
def test_installed_code_answers_as_recorded(answers):
    folder, recorded = str(answers.with_suffix("")), json.loads(answers.read_text())
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    for text, logits in zip(recorded["texts"], recorded["logits"], strict=True):
        with torch.no_grad():
            found = model(**tokenizer(text, return_tensors="pt")).logits[0]
        assert_close(found, torch.tensor(logits), atol=1e-6, rtol=0)


def test_a_folder_says_its_format(tmp_path):
    tiny_model("lstm").save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["salience_format"] == FORMAT


def test_a_folder_without_a_number_has_format_1(tmp_path):
    shutil.copytree(RECORDED[0].with_suffix(""), tmp_path / "run")
    assert "salience_format" not in json.loads((tmp_path / "run/config.json").read_text())
    assert AutoConfig.from_pretrained(tmp_path / "run").salience_format == 1


def test_an_old_folder_that_learns_what_is_new_has_the_new_format(tmp_path):
    folder = RECORDED[0].with_suffix("")
    for damping, number in ((0.0, 1), (0.5, FORMAT)):
        config = AutoConfig.from_pretrained(folder)
        config.ngram_damping = damping
        config.save_pretrained(tmp_path)
        saved = json.loads((tmp_path / "config.json").read_text())
        assert (saved["salience_format"], AutoConfig.from_pretrained(tmp_path).ngram_damping) == (number, damping)


@pytest.mark.parametrize("scale", [[1.0], [0.0, 0.0], [0.0, -1.0], [0.0, float("inf")]])
def test_a_scale_of_labels_that_is_none_is_refused(scale):
    with pytest.raises(ValueError, match="label_scale = .* must be a mean and a standard deviation above 0"):
        AttnPoolConfig(num_labels=1, label_scale=scale)


@pytest.mark.parametrize("change", [{"problem_type": "multi_label_classification"}, {"id2label": {0: "a", 1: "b"}}])
def test_the_scale_of_numbers_goes_with_them(change):
    config = AttnPoolConfig(num_labels=1, problem_type="regression", label_scale=[5.0, 2.0])
    config.id2label = {0: "price"}
    assert config.label_scale == [5.0, 2.0]
    for name, value in change.items():
        setattr(config, name, value)
    assert config.label_scale is None


def test_a_regression_that_is_loaded_for_classes_has_no_scale(tmp_path):
    AttnPoolConfig(num_labels=1, problem_type="regression", label_scale=[5.0, 2.0]).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).label_scale == [5.0, 2.0]
    classes = {"num_labels": 3, "problem_type": "single_label_classification"}
    assert AutoConfig.from_pretrained(tmp_path, **classes).label_scale is None


@pytest.mark.parametrize("damping", [1.0, -0.1, float("inf")])
def test_a_damping_out_of_its_range_is_refused(damping):
    with pytest.raises(ValueError, match="ngram_damping = .* must be 0"):
        AttnPoolConfig(ngram_damping=damping)


@pytest.mark.parametrize("number", [FORMAT + 1, 10**6, 0, -1, "1", 1.0, True, None])
@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "lstm"])
def test_a_format_that_this_code_does_not_know_is_refused(name, number, tmp_path):
    tiny_model(name).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"salience_format": number}))
    for loader in (AutoConfig, AutoModel, AutoModelForSequenceClassification):
        with pytest.raises(ValueError, match="the model's format is .* install a newer salience"):
            loader.from_pretrained(tmp_path)


# --- rotary positions

SIZES = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
GROUPED = SIZES | {"num_key_value_heads": 2}
LINEAR = {"rope_type": "linear", "factor": 2.0}


def default(theta, **more):
    return {"rope_type": "default", "rope_theta": theta, **more}


def frequencies(theta, width=16, factor=1.0):
    return tuple(theta ** -(place / width) / factor for place in range(0, width, 2))


# What transformers 5 saves, what transformers 4 saves, and the frequencies of both.
ROTARY = {
    "llama": (
        {"model_type": "llama", **GROUPED, "rope_parameters": default(5e5)},
        {"model_type": "llama", **GROUPED, "rope_theta": 5e5},
        {frequencies(5e5)},
    ),
    "llama, linear": (
        {"model_type": "llama", **GROUPED, "rope_parameters": LINEAR | {"rope_theta": 5e5}},
        {"model_type": "llama", **GROUPED, "rope_theta": 5e5, "rope_scaling": LINEAR},
        {frequencies(5e5, factor=2.0)},
    ),
    "qwen3": (
        {"model_type": "qwen3", **GROUPED, "head_dim": 16, "rope_parameters": default(1e6)},
        {"model_type": "qwen3", **GROUPED, "head_dim": 16, "rope_theta": 1e6},
        {frequencies(1e6)},
    ),
    "gemma3": (
        {
            "model_type": "gemma3_text", **GROUPED, "head_dim": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": {"full_attention": default(5e5), "sliding_attention": default(2e4)},
        },
        {
            "model_type": "gemma3_text", **GROUPED, "head_dim": 16,
            "layer_types": ["sliding_attention", "full_attention"], "rope_theta": 5e5, "rope_local_base_freq": 2e4,
        },
        {frequencies(5e5), frequencies(2e4)},
    ),
    "modernbert": (
        {
            "model_type": "modernbert", **SIZES, "cls_token_id": 1, "sep_token_id": 2,
            "layer_types": ["full_attention", "sliding_attention"],
            "rope_parameters": {"full_attention": default(5e5), "sliding_attention": default(2e4)},
        },
        {
            "model_type": "modernbert", **SIZES, "cls_token_id": 1, "sep_token_id": 2, "global_attn_every_n_layers": 2,
            "global_rope_theta": 5e5, "local_rope_theta": 2e4,
        },
        {frequencies(5e5), frequencies(2e4)},
    ),
    "gpt_neox": (
        {"model_type": "gpt_neox", **SIZES, "rope_parameters": default(5e5, partial_rotary_factor=0.5)},
        {"model_type": "gpt_neox", **SIZES, "rotary_emb_base": 5e5, "rotary_pct": 0.5},
        {frequencies(5e5, width=8)},
    ),
    "phi": (
        {"model_type": "phi", **SIZES, "rope_parameters": default(5e5, partial_rotary_factor=0.5)},
        {"model_type": "phi", **SIZES, "rope_theta": 5e5, "partial_rotary_factor": 0.5},
        {frequencies(5e5, width=8)},
    ),
}  # fmt: skip


def check_frequencies(encoder, expected):
    """All that the encoder turns by is expected, and all that is expected is there."""
    found = [value.tolist() for name, value in encoder.named_buffers() if name.endswith("inv_freq")]

    def among(values, others):
        return any(len(values) == len(other) and np.allclose(values, other, rtol=1e-5) for other in others)

    assert all(among(values, found) for values in expected), found
    assert all(among(values, expected) for values in found), found


@pytest.mark.parametrize("saved_by", [5, 4])
@pytest.mark.parametrize("name", ROTARY)
def test_rotary_positions_are_the_same_whichever_version_saved_them(name, saved_by, tmp_path):
    fields, expected = ROTARY[name][5 - saved_by], ROTARY[name][2]
    torch.manual_seed(0)
    model = AttnPoolForSequenceClassification(AttnPoolConfig(encoder_config=fields, window_size=64)).eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    for encoder in (model.encoder, again.encoder):
        check_frequencies(encoder, expected)
    assert_close(again(**random_batch([9])).logits, model(**random_batch([9])).logits)


@pytest.mark.skipif(not IS_VERSION_4, reason="transformers 5 reads all that transformers 5 writes")
@pytest.mark.parametrize(
    "fields",
    [
        {"model_type": "modernbert", **SIZES, "layer_types": ["sliding_attention", "full_attention"],
         "rope_parameters": {"full_attention": default(5e5), "sliding_attention": default(2e4)}},
        {"model_type": "gemma3_text", **GROUPED, "head_dim": 16,
         "rope_parameters": {"full_attention": default(5e5), "sliding_attention": LINEAR | {"rope_theta": 2e4}}},
        {"model_type": "llama", **GROUPED, "rope_parameters": default(5e5, partial_rotary_factor=0.5)},
        {"model_type": "bert", **SIZES, "rope_parameters": default(5e5)},
    ],
    ids=["layers", "local scaling", "part of a head", "no rotary model"],
)  # fmt: skip
def test_what_transformers_4_has_no_place_for_is_refused(fields):
    for config_class in (AttnPoolConfig, HierarchicalAttnConfig):
        with pytest.raises(ValueError, match="rotary positions were saved by transformers 5.*install transformers 5"):
            config_class(encoder_config=fields)


@pytest.mark.parametrize("name", ROTARY)
def test_an_encoder_folder_of_either_version_is_read_as_it_was_saved(name, tmp_path, tokenizer):
    fields, _, expected = ROTARY[name]
    AutoModel.from_config(AttnPoolConfig(encoder_config=fields).encoder_config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    other_fields = [fields_of_4.keys() for _, fields_of_4, _ in ROTARY.values()]
    of_version_4 = {key for keys in other_fields for key in keys if "rope" in key or "rotary" in key}
    as_version_5 = {key: value for key, value in config.items() if key not in of_version_4} | fields
    (tmp_path / "config.json").write_text(json.dumps(as_version_5))
    model = AttnPoolForSequenceClassification.from_encoder(tmp_path, num_labels=3)
    check_frequencies(model.encoder, expected)
