"""An encoder whose weights are a pickle: opened where it holds weights only, else one sentence, and never executed."""

import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import RecipeParser
from salience.eval import load_classifier
from salience.train.building.build import build_model

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
    with pytest.raises(UserError, match=r"--encoder .* is a finished run; to train on .*, and give --encoder FOLDER$"):
        build(family, tmp_path / "run")
    with pytest.raises(UserError, match=r"--model .* is no family of models .*; to train on from"):
        build(str(tmp_path / "run"), encoder_folder)
    # What the sentence says.
    model, tokenizer = load_classifier(tmp_path / "run")
    for each in (model.encoder, tokenizer):
        each.save_pretrained(tmp_path / "encoder")
    again = build(family, tmp_path / "encoder")[0]
    name = "embeddings.word_embeddings.weight"
    weights = [weight for key, weight in again.state_dict().items() if key.endswith(name)]
    assert len(weights) == 1 and torch.equal(weights[0], model.encoder.state_dict()[name])
