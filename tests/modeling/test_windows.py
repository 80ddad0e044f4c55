"""Encoders: windows over long texts, other architectures, frozen ones, and gradient checkpointing."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import (
    AutoModel,
    BertConfig,
    BigBirdConfig,
    BigBirdModel,
    ConvBertConfig,
    ConvBertModel,
    FNetConfig,
    FNetModel,
    LlamaConfig,
    LlamaModel,
    ModernBertConfig,
    ModernBertModel,
    NystromformerConfig,
    NystromformerModel,
    RobertaConfig,
    RobertaModel,
    XLNetConfig,
    XLNetModel,
    XmodConfig,
    XmodModel,
)

from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification, encoders, windows
from salience.modeling.encoders import NO_LIMIT, TRAINED_FILE, position_limit
from salience.modeling.ragged import Ragged
from salience.modeling.tokenizer_loading import read_tokenizer
from salience.modeling.windows import encode_windows, pack_inputs, plan_windows
from tests.helpers.paths import ROOT
from tests.helpers.tiny import VOCAB_SIZE, random_batch, tiny_model


def test_a_mask_of_other_values_and_ids_that_are_truth_values_are_refused():
    model, ids = tiny_model("cnn"), random_batch([3, 3])["input_ids"]
    with pytest.raises(ValueError, match="input_ids holds numbers with decimals, and must hold ids"):
        pack_inputs(None, input_ids=torch.ones(2, 3))
    for wrong in (-1e9, float("nan"), 0.5, 2):
        with pytest.raises(ValueError, match=f"attention_mask has {wrong}, and must be 1 for a token and 0 for paddi"):
            model(input_ids=ids, attention_mask=torch.tensor([[0, 0, wrong]] * 2))
    for name, others in (("input_ids", {}), ("token_type_ids", {"input_ids": ids})):
        with pytest.raises(ValueError, match=f"{name} holds True and False, and must hold numbers"):
            pack_inputs(None, **others, **{name: ids > 0})
    mask = torch.tensor([[1, 1, 0]] * 2)
    for kind in (torch.bool, torch.float16):
        assert torch.equal(pack_inputs(mask.to(kind), input_ids=ids).tokens["input_ids"], ids[:, :2])


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    size=st.integers(4, 20),
    num_prefix=st.integers(0, 2),
    num_suffix=st.integers(0, 1),
    data=st.data(),
)
def test_windows_cover_every_token_and_lead_back_to_it(lengths, size, num_prefix, num_suffix, data):
    stride = data.draw(st.integers(1, size - num_prefix - num_suffix))
    width = max([*lengths, 1])
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    plan = plan_windows(Ragged(torch.tensor(lengths)), width, size, stride, num_prefix, num_suffix)
    assert plan.windows.lengths_S.max() <= size
    expected = torch.arange(len(lengths) * width).view(len(lengths), width)
    assert torch.equal(plan.token_N[plan.home_P], expected[mask])
    windows = plan.token_N.split(plan.windows.lengths_S.tolist())
    for row, length in enumerate(lengths):
        of_text = [tokens - row * width for tokens in windows if tokens[0] // width == row]
        assert len(of_text) == 1 or length > size
        for local in of_text:
            if length >= num_prefix + num_suffix:
                assert local[:num_prefix].tolist() == list(range(num_prefix))
                assert local[len(local) - num_suffix :].tolist() == list(range(length - num_suffix, length))


def test_a_text_that_fits_is_encoded_as_the_encoder_would():
    model, batch = tiny_model("attn_pool"), random_batch([16, 5])
    hidden = encode_windows(
        model.encoder, pack_inputs(batch["attention_mask"], input_ids=batch["input_ids"]), model.config
    )
    expected = model.encoder(**batch).last_hidden_state[batch["attention_mask"].bool()]
    assert_close(hidden, expected, atol=1e-6, rtol=0)


def test_words_far_beyond_the_encoders_limit_count():
    model, batch = tiny_model("attn_pool"), random_batch([500])
    with torch.no_grad():
        before = model(**batch).logits
        batch["input_ids"][0, 480:490] = 9
        assert (model(**batch).logits - before).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("config", "model_class", "limit"),
    [
        (RobertaConfig(vocab_size=VOCAB_SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                       intermediate_size=16, max_position_embeddings=26, pad_token_id=1), RobertaModel, 24),
        (ModernBertConfig(vocab_size=VOCAB_SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                          intermediate_size=16, max_position_embeddings=64, pad_token_id=0, cls_token_id=1,
                          sep_token_id=2, bos_token_id=1, eos_token_id=2), ModernBertModel, 64),
        (LlamaConfig(vocab_size=VOCAB_SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                     num_key_value_heads=2, intermediate_size=16, max_position_embeddings=64), LlamaModel, 64),
    ],
    ids=["roberta", "modernbert", "llama"],
)  # fmt: skip
def test_other_encoders_read_long_texts_alike_in_any_batch(config, model_class, limit):
    assert position_limit(model_class(config)) == limit
    model = AttnPoolForSequenceClassification(
        AttnPoolConfig(encoder_config=config, window_size=20, num_labels=3)
    ).eval()
    lengths = [0, 3, 20, 55]
    with torch.no_grad():
        together, left = model(**random_batch(lengths)).logits, model(**random_batch(lengths, "left")).logits
        assert_close(together, left, atol=1e-5, rtol=0)
        alone = model(input_ids=random_batch(lengths)["input_ids"][3:, :55]).logits
        assert_close(alone[0], together[3], atol=1e-5, rtol=0)


def test_from_encoder_reads_limit_and_special_tokens(encoder_folder):
    model = AttnPoolForSequenceClassification.from_encoder(encoder_folder, num_labels=2)
    assert (model.config.window_size, model.config.num_prefix_tokens, model.config.num_suffix_tokens) == (24, 1, 1)
    expected = AutoModel.from_pretrained(encoder_folder).state_dict()
    weights = model.encoder.state_dict()
    assert all(torch.equal(weights[key], expected[key]) for key in weights)
    assert str(encoder_folder) not in model.config.to_json_string()


@pytest.mark.parametrize(
    ("said", "size"),
    [('{"max_seq_length": 16, "do_lower_case": false}', 16), ('{"max_seq_length": null}', 24), ("{}", 24)],
)
def test_windows_are_as_long_as_the_texts_that_an_encoder_says_it_was_trained_on(encoder_folder, tmp_path, said, size):
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    (folder / TRAINED_FILE).write_text(said)
    assert AttnPoolForSequenceClassification.from_encoder(folder).config.window_size == size
    assert AttnPoolForSequenceClassification.from_encoder(folder, window_size=12).config.window_size == 12


def test_where_nobody_can_be_asked_what_it_was_trained_on_that_is_told(encoder_folder, monkeypatch, caplog):
    def unreachable(*names, **options):
        raise OSError("no network")

    monkeypatch.setattr(encoders, "cached_file", unreachable)
    assert AttnPoolForSequenceClassification.from_encoder(encoder_folder).config.window_size == 24
    assert f"the Hub couldn't be asked for {TRAINED_FILE}" in caplog.text


def test_an_encoder_that_takes_no_mask_is_refused(encoder_folder, tmp_path):
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    size = {"hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8}
    FNetModel(FNetConfig(vocab_size=50, **size)).save_pretrained(folder)
    with pytest.raises(ValueError, match="takes no attention_mask"):
        AttnPoolForSequenceClassification.from_encoder(folder)


TINY = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: ConvBertModel(ConvBertConfig(**TINY, embedding_size=16)), "mixes padding into the tokens beside it"),
        (lambda: XmodModel(XmodConfig(**TINY)), "can't be read as an encoder of texts"),
    ],
    ids=["convbert", "xmod"],
)
def test_an_encoder_that_cannot_be_read_so_is_refused(model, reason, encoder_folder, tmp_path):
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    model().save_pretrained(folder)
    with pytest.raises(ValueError, match=reason):
        AttnPoolForSequenceClassification.from_encoder(folder)


def test_sparse_attention_that_is_given_up_is_left_out_from_the_first_text_on(encoder_folder, tmp_path):
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    BigBirdModel(BigBirdConfig(**TINY, block_size=4, num_random_blocks=1)).save_pretrained(folder)
    model = AttnPoolForSequenceClassification.from_encoder(folder).eval()
    assert model.config.encoder_config.attention_type == "original_full"
    batch = random_batch([100])
    with torch.no_grad():
        before = model(**batch).logits
        model(**random_batch([3]))
        assert torch.equal(model(**batch).logits, before)


def test_an_encoder_with_one_type_and_a_head_with_another_are_of_one(tmp_path):
    config = AttnPoolConfig(encoder_config=BertConfig(**TINY, dtype="bfloat16"))
    assert {weight.dtype for weight in AttnPoolForSequenceClassification(config).parameters()} == {torch.float32}


def test_what_a_configuration_says_of_positions_counts_too():
    assert (
        position_limit(XLNetModel(XLNetConfig(vocab_size=60, d_model=16, n_layer=1, n_head=2, d_inner=16))) == NO_LIMIT
    )
    assert position_limit(NystromformerModel(NystromformerConfig(**TINY, max_position_embeddings=32))) == 32


def test_a_tokenizer_always_says_what_is_padding(encoder_folder, tmp_path):
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"model_input_names": ["input_ids"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert read_tokenizer(str(folder))("a goal").keys() == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("said", ["[]", "{", '{"max_seq_length": "long"}', '{"max_seq_length": -1}'])
def test_an_encoder_that_says_nonsense_is_refused(encoder_folder, tmp_path, said):
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    (folder / TRAINED_FILE).write_text(said)
    with pytest.raises(ValueError, match=TRAINED_FILE):
        AttnPoolForSequenceClassification.from_encoder(folder)


def test_a_frozen_encoder_has_no_dropout_and_no_gradient():
    model = tiny_model("attn_pool")
    model.encoder.requires_grad_(False)
    model.train()
    assert model.model.pooler.training
    assert not any(module.training for module in model.encoder.modules())
    model(**random_batch([5]), labels=torch.tensor([1])).loss.backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())


def test_gradient_checkpointing_gives_the_same_gradients():
    batch, labels, gradients = random_batch([12, 30]), torch.tensor([0, 1]), []
    for checkpointing in (False, True):
        model = tiny_model("attn_pool").train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.encoder.config.attention_probs_dropout_prob = 0.0
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**batch, labels=labels).loss.backward()
        gradients.append(model.model.pooler.attention.key.weight.grad)
    assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical_encoder"])
def test_windows_side_by_side_change_no_answer_and_no_gradient(name, monkeypatch):
    batch, labels, found = random_batch([0, 3, 70, 16, 5, 33, 16]), torch.tensor([0, 1, 2, 0, 1, 2, 0]), []
    for cells in (10**9, 40, 1):
        monkeypatch.setattr(windows, "CELLS_OF_CALL", {"cpu": cells})
        model = tiny_model(name)
        output = model(**batch, labels=labels)
        output.loss.backward()
        found.append([output.logits.detach(), *(each.grad for each in model.parameters() if each.grad is not None)])
    assert len(found[0]) > 20
    for other in found[1:]:
        assert_close(other, found[0], atol=2e-6, rtol=1e-5)


@pytest.mark.slow
def test_processes_that_share_an_encoder_call_it_equally_often():
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611"]
    subprocess.run([*command, "-m", "tests.helpers.sharded_process", "attn_pool"], cwd=ROOT, check=True, timeout=120)
