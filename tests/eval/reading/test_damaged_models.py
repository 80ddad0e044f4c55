"""Folders of models that lack a file, or hold one that is damaged: one sentence that names it, and the way out."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file
from transformers import AutoTokenizer

from salience.configuration.errors import UserError
from salience.configuration.flags.parser import RecipeParser
from salience.eval.baseline.models import baseline_kind
from salience.eval.cli import main
from salience.eval.reading.load import load_classifier
from salience.eval.reading.reader import Reader
from salience.modeling import BaselineConfig, BaselineForSequenceClassification
from salience.modeling.classifier import ngram_evidence
from salience.train.building.build import build_model
from tests.helpers.tiny import TINY_TOKENIZER, save_tiny_encoder, tiny_model

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123\n"
NOBODY = 65534
IS_POINTER = "is a pointer of Git LFS and not the file itself; fetch it with: git lfs pull"


def edit(file, **fields):
    content = json.loads(file.read_text())
    content.get("encoder_config", content).update(fields)
    file.write_text(json.dumps(content))


def remove(folder, pattern):
    for file in folder.glob(pattern):
        file.unlink()


def make_adapter(folder):
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")


def rewrite(folder, convert, kind="safetensors", size="1GB"):
    """Each weight converted, and saved in a file of this kind, or several of this size."""
    file = folder / "model.safetensors"
    weights = {name: convert(weight) for name, weight in load_file(file).items()}
    file.unlink()
    if kind == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_torch_state_dict(weights, folder, max_shard_size=size)


def whole_numbers(weight):
    return weight.to(torch.int8)


OTHER_NUMBERS = {
    "integers": (lambda folder: rewrite(folder, whole_numbers), "I8"),
    "integers in several files": (lambda folder: rewrite(folder, whole_numbers, size="9KB"), "I8"),
    "integers in a pickle": (lambda folder: rewrite(folder, whole_numbers, "bin"), "int8"),
    "truth values": (lambda folder: rewrite(folder, lambda weight: weight > 0), "BOOL"),
}
DAMAGES = {
    "weights are a pointer": (
        lambda folder: (folder / "model.safetensors").write_text(POINTER),
        f"FOLDER/model.safetensors {IS_POINTER}",
    ),
    "weights are cut": (
        lambda folder: os.truncate(folder / "model.safetensors", 9000),
        "FOLDER/model.safetensors is damaged (",
    ),
    "weights are empty": (
        lambda folder: os.truncate(folder / "model.safetensors", 0),
        "FOLDER/model.safetensors is damaged (",
    ),
    "tokenizer is a pointer": (
        lambda folder: (folder / "tokenizer.json").write_text(POINTER),
        f"FOLDER/tokenizer.json {IS_POINTER}",
    ),
    "tokenizer is cut": (
        lambda folder: os.truncate(folder / "tokenizer.json", 100),
        "FOLDER/tokenizer.json is damaged (",
    ),
    "no vocabulary": (lambda folder: remove(folder, "tokenizer.json"), "add its tokenizer.json"),
    "no tokenizer": (lambda folder: remove(folder, "tokenizer*"), "add its tokenizer.json"),
    "activation": (
        lambda folder: edit(folder / "config.json", hidden_act="foo"),
        "its config.json asks for 'foo', which transformers doesn't know here: correct it",
    ),
    "adapter": (make_adapter, "it holds an adapter and no whole model: name the run's own folder, or read it with"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A classifier, and an encoder."""
    folder = tmp_path_factory.mktemp("whole")
    tiny_model("attn_pool").save_pretrained(folder / "run")
    AutoTokenizer.from_pretrained(TINY_TOKENIZER).save_pretrained(folder / "run")
    save_tiny_encoder(folder / "encoder")
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_classifier_is_one_sentence(whole, tmp_path, damage, capsys):
    folder = shutil.copytree(whole / "run", tmp_path / "run")
    (tmp_path / "t.csv").write_text("text,label\na,economy\n")
    damaged, sentence = DAMAGES[damage]
    damaged(folder)
    flags = ["--model", str(folder), "--test_file", str(tmp_path / "t.csv"), "--output_dir", str(tmp_path / "out")]
    assert main(["score", *flags]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: --model {folder} can't be loaded: ")
    assert sentence.replace("FOLDER", str(folder)) in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("numbers", OTHER_NUMBERS)
def test_weights_that_are_no_floats_are_refused(whole, tmp_path, numbers):
    convert, kind = OTHER_NUMBERS[numbers]
    for place, load in (("run", load_classifier), ("encoder", lambda folder: build("attn_pool", folder))):
        folder = shutil.copytree(whole / place, tmp_path / place)
        convert(folder)
        with pytest.raises(UserError, match=f"{folder} has weights of the type {kind} where the model has floats"):
            load(folder)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_floats_are_read(whole, tmp_path, kind):
    folder = shutil.copytree(whole / "run", tmp_path / "run")
    rewrite(folder, lambda weight: weight.to(kind) if weight.is_floating_point() else weight)
    pairs = zip(load_classifier(folder)[0].parameters(), load_classifier(whole / "run")[0].parameters(), strict=True)
    assert all(torch.allclose(mine.float(), plain, atol=1e-2) for mine, plain in pairs)


@pytest.mark.parametrize("family", ["attn_pool", "sequence_classification"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_encoder_is_one_sentence(whole, tmp_path, damage, family):
    folder = shutil.copytree(whole / "encoder", tmp_path / "encoder")
    damaged, sentence = DAMAGES[damage]
    damaged(folder)
    with pytest.raises(UserError) as refused:
        build(family, folder)
    assert str(refused.value).startswith(f"--encoder {folder} can't be loaded: ")
    assert sentence.replace("FOLDER", str(folder)) in str(refused.value)


def build(family, folder):
    flags = ["--output_dir", "out", "--model", family, "--encoder", str(folder)]
    return build_model(RecipeParser().parse(flags)[0], [], ["a", "b"], "single_label_classification")


@pytest.mark.parametrize("family", ["attn_pool", "sequence_classification"])
def test_a_quantised_encoder_without_its_library_is_one_sentence(whole, tmp_path, family):
    folder = shutil.copytree(whole / "encoder", tmp_path / "encoder")
    edit(folder / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(UserError, match=rf"--encoder {folder} can't be loaded: .*bitsandbytes"):
        build(family, folder)


def test_a_folder_without_a_configuration_is_told_what_to_name(whole, tmp_path):
    folder = shutil.copytree(whole / "run", tmp_path / "run")
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json, or one that is empty: name the folder that holds"):
        load_classifier(folder)


@pytest.fixture
def open_folder():
    """A folder that everybody may enter, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def as_nobody():
    """Permissions don't bind root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("there are no such permissions")
    owner = os.geteuid()
    if owner == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(owner)


@pytest.fixture
def closed(whole, open_folder, request):
    load_classifier(whole / "run")  # imports what it needs, which nobody else may
    folder = shutil.copytree(whole / "run", open_folder / "run")
    (folder / request.param if request.param else folder).chmod(0)
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize("closed", ["model.safetensors", "tokenizer.json", "config.json", ""], indirect=True)
def test_what_may_not_be_read_is_not_called_missing(closed, as_nobody):
    with pytest.raises(UserError, match=rf"--model {closed} can't be loaded: .*Permission denied"):
        load_classifier(closed)


def test_counts_of_ngrams_that_the_configuration_denies_are_refused(tmp_path):
    model = tiny_model("cnn")
    model.config.update({"ngram_weight": 0.5, "num_ngrams": 4})
    model.ngrams = ngram_evidence(model.config)
    model.ngrams.init_own_parameters()
    model.ngrams.key_G = torch.arange(4)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(TINY_TOKENIZER).save_pretrained(tmp_path)
    assert load_classifier(tmp_path)[0].ngrams.key_G.tolist() == [0, 1, 2, 3]
    edit(tmp_path / "config.json", num_ngrams=0)
    with pytest.raises(UserError, match=r"its weights have other shapes than its config\.json says \(ngrams\."):
        load_classifier(tmp_path)
    edit(tmp_path / "config.json", ngram_weight=0.0)
    with pytest.raises(UserError, match=r"num_ngrams in its config\.json is 0, and its weights hold n-grams: restore"):
        load_classifier(tmp_path)


def test_names_that_only_label2id_has_are_told(whole, tmp_path, caplog):
    folder = shutil.copytree(whole / "run", tmp_path / "run")
    names = json.loads((folder / "config.json").read_text())["label2id"]

    def told(**others):
        caplog.clear()
        content = json.loads((folder / "config.json").read_text()) | {"label2id": {**names, **others}}
        (folder / "config.json").write_text(json.dumps(content))
        load_classifier(folder)
        return "has 'weather', which id2label lacks: the answers are named by id2label" in caplog.text

    assert told(weather=1)
    assert not told(LABEL_1=1)
    assert not told()


@pytest.mark.parametrize("name", ["tfidf_svm", "frozen_logistic"])
def test_the_run_of_a_baseline_is_called_so(name, tmp_path):
    kind, what = ("sparse", "TF-IDF") if name == "tfidf_svm" else ("frozen", "vectors of a frozen encoder")
    assert baseline_kind(name) == kind
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"kind": kind}))
    sentence = f"{tmp_path}/run can't be loaded: it is the run of a baseline ({what}), which keeps scores and no model"
    with pytest.raises(UserError) as error:
        load_classifier(tmp_path / "run")
    assert sentence in str(error.value)


def test_a_smaller_tokenizer_than_the_vocabulary_is_told(tmp_path, caplog):
    tokenizer = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    for size in (len(tokenizer), len(tokenizer) + 3):
        BaselineForSequenceClassification(BaselineConfig(vocab_size=size, num_labels=3)).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        caplog.clear()
        load_classifier(tmp_path)
        assert (f"knows {size} tokens, and its tokenizer {len(tokenizer)}" in caplog.text) == (size > len(tokenizer))


def test_texts_of_which_most_tokens_are_unknown_are_told_once(whole, caplog):
    reader = Reader(*load_classifier(whole / "run"))
    reader.token_ids(["the market won"] * 100 + ["\u4e2d\u6587 \u6587"])
    reader.token_ids(["\u4e2d\u6587"])
    assert "of the tokens here" not in caplog.text
    for _ in range(2):
        reader.token_ids(["\u4e2d \u6587 \u4e2d"] * 100)
    assert caplog.text.count(f"--model {whole / 'run'} knows 0 % of the tokens here") == 1
