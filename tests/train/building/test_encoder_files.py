"""What is taken from an encoder's files: weights of a pickle that holds nothing else, and the dropout of attention."""

import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, DebertaV2Config, DistilBertConfig, GPT2Config

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import RecipeParser
from salience.eval import load_classifier
from salience.modeling import AttnPoolForSequenceClassification
from salience.modeling.encoders import ATTENTION_DROPOUTS
from salience.train.building.build import build_model
from salience.train.building.encoder_loading import plain_head_config

FAMILIES = ["attn_pool", "sequence_classification"]


class Malicious:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (self.file,)


@pytest.fixture
def pickled(encoder_folder, tmp_path):
    """A copy of the encoder whose weights are a pickle of what the test says."""

    def write(content):
        folder = tmp_path / "encoder"
        shutil.copytree(encoder_folder, folder)
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        if isinstance(content, bytes):
            (folder / "pytorch_model.bin").write_bytes(content)
        else:
            torch.save(weights if content is None else content, folder / "pytorch_model.bin")
        return folder

    return write


def build(family, folder):
    flags = ["--output_dir", "out", "--model", family, "--encoder", str(folder)]
    return build_model(RecipeParser().parse(flags)[0], [], ["a", "b"], "single_label_classification")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pickle_of_weights_is_read(pickled, encoder_folder, family):
    names = ("word_embeddings.weight", "self.key.weight")
    model, same = (build(family, folder)[0].state_dict() for folder in (pickled(None), encoder_folder))
    assert all(torch.equal(model[name], same[name]) for name in model if name.endswith(names))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["malicious", "noise", "empty", "cut", "number"])
def test_any_other_pickle_is_one_sentence(pickled, tmp_path, family, kind):
    trap = tmp_path / "executed"
    cut = tmp_path / "cut.bin"
    torch.save({"weight": torch.ones(1000)}, cut)
    content = {"malicious": {"weight": Malicious(str(trap))}, "noise": b"x" * 100, "empty": b""}
    content["number"] = pickle.dumps(5, 2)
    folder = pickled(content.get(kind, cut.read_bytes()[:2000]))
    with pytest.raises(UserError, match=rf"^--encoder {folder} .*pickle.*save it as model\.safetensors$"):
        build(family, folder)
    assert not trap.exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_finished_run_is_told_how_to_go_on_from(encoder_folder, tmp_path, family):
    model, tokenizer = build("attn_pool", encoder_folder)
    for each in (model, tokenizer):
        each.save_pretrained(tmp_path / "run")
    with pytest.raises(
        UserError, match=r"--encoder .* is a finished run and no encoder; to go on with it, name it with"
    ):
        build(family, tmp_path / "run")
    with pytest.raises(UserError, match=r"--encoder .* is of a new model, and --model .* goes on with a trained"):
        build(str(tmp_path / "run"), encoder_folder)
    # Its encoder alone can be that of another model.
    model, tokenizer = load_classifier(tmp_path / "run")
    for each in (model.encoder, tokenizer):
        each.save_pretrained(tmp_path / "encoder")
    again = build(family, tmp_path / "encoder")[0]
    name = "embeddings.word_embeddings.weight"
    weights = [weight for key, weight in again.state_dict().items() if key.endswith(name)]
    assert len(weights) == 1 and torch.equal(weights[0], model.encoder.state_dict()[name])


def dropouts(folder, config):
    """Of attention, in the encoder of each kind of model that is built on it, by --attention_dropout."""
    config.save_pretrained(folder)
    found = {}
    for rate in (None, 0.3):
        config = plain_head_config(str(folder), None, rate)
        found[rate] = [getattr(config, name) for name in ATTENTION_DROPOUTS if hasattr(config, name)]
    return found


@pytest.mark.parametrize(
    ("config", "unset"), [(BertConfig(), 0.0), (DistilBertConfig(), 0.0), (GPT2Config(), 0.0), (DebertaV2Config(), 0.1)]
)
def test_attention_drops_nothing_where_that_is_slow_unless_asked_to(config, unset, tmp_path):
    assert dropouts(tmp_path, config) == {None: [unset], 0.3: [0.3]}


def test_a_model_says_its_attention_dropout(encoder_folder):
    for rate, expected in ((None, 0.0), (0.2, 0.2)):
        model = AttnPoolForSequenceClassification.from_encoder(encoder_folder, attention_dropout=rate)
        assert model.config.to_dict()["encoder_config"]["attention_probs_dropout_prob"] == expected
        assert model.encoder.encoder.layer[0].attention.self.dropout.p == expected
