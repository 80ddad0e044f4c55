"""What of a folder is sent, and which folders are no finished run."""

import json

import pytest
import torch
from safetensors.torch import save_file

from salience.configuration.errors import UserError
from salience.train.publish.contents import read_contents
from tests.helpers.run_folders import UNWANTED, finished_run

WEIGHTS = {"weight": torch.ones(3)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("run"), seed=1)


def small_run(folder, **changes):
    """The least that counts as a finished run; a keyword changes a file, None removes it."""
    files = dict.fromkeys(["config", "tokenizer_config", "run"], {}) | changes
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text("# News")
    save_file(WEIGHTS, folder / "model.safetensors")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def refusal(folder):
    with pytest.raises(UserError) as error:
        read_contents(folder)
    return str(error.value)


def test_code_is_sent_as_far_as_auto_map_reaches_and_results_by_their_names(run, tmp_path):
    strangers = ["handler.py", "helpers.py", "my_results.json", "etc_results.json", "secret_results.json"]
    for name in strangers:
        (run / name).write_text("{}")
    sent = set(read_contents(run))
    code = {name for name in sent if name.endswith(".py")}
    # The modeling file, the configuration's, and what these import from beside them.
    assert {"modeling_attn_pool.py", "configuration_attn_pool.py", "salience_base.py", "ragged.py"} <= code
    assert {"train_results.json", "eval_results.json", "test_results.json", "run.json"} <= sent
    assert not sent & {*strangers, *UNWANTED}
    assert code == {path.name for path in run.glob("*.py")} - set(strangers)


@pytest.mark.parametrize(
    "name", ["test_results.json", "model.safetensors", "modeling_attn_pool.py", "adapter", "config.json"]
)
def test_links_are_never_followed(tmp_path, name):
    folder = finished_run(tmp_path / "run", seed=1)
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    (folder / "etc_results.json").symlink_to("/etc/hostname")
    assert any(part in refusal(folder) for part in ("is a link, which is never followed", "isn't a file in"))


def test_a_card_of_another_encoding_is_refused(tmp_path):
    folder = finished_run(tmp_path / "run", seed=1)
    (folder / "README.md").write_bytes(b"Caf\xe9")
    assert "README.md is not UTF-8" in refusal(folder)


def test_a_link_to_the_folder_is_the_folder(run, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(run)
    assert read_contents(link).keys() == read_contents(run).keys()


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("mallory/tools--modeling_x.X", "has others run code of another repository (mallory/tools--modeling_x.X)"),
        ("modeling_x.X", "names modeling_x.py, which isn't a file in"),
        ("../modeling_x.X", "names ../modeling_x.py, which isn't a file in"),
        ("needy.X", "names lost.py, which isn't a file in"),
    ],
)
@pytest.mark.parametrize("place", ["config", "encoder", "tokenizer", "pipeline"])
def test_code_that_is_not_in_the_folder_is_refused(tmp_path, place, reference, sentence):
    (tmp_path / "needy.py").write_text("from .lost import Y\n")
    entry = {"auto_map": {"AutoConfig": reference}}
    changes = {
        "config": {"config": entry},
        "encoder": {"config": {"encoder_config": entry}},
        "tokenizer": {"tokenizer_config": {"auto_map": {"AutoTokenizer": [None, reference]}}},
        "pipeline": {"config": {"custom_pipelines": {"text-classification": {"impl": reference}}}},
    }
    assert sentence in refusal(small_run(tmp_path, **changes[place]))


@pytest.mark.parametrize("content", [b"\x93" * 100, b"", b"{}", b"\x00" * 100])
@pytest.mark.parametrize("name", ["model.safetensors", "adapter/adapter_model.safetensors"])
def test_noise_is_no_weights(tmp_path, name, content):
    folder = small_run(tmp_path)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    assert f"{folder / name} is no whole file of weights, so this is no finished run" in refusal(folder)


def test_cut_weights_are_no_weights(tmp_path):
    folder = small_run(tmp_path)
    save_file({"weight": torch.ones(10_000)}, folder / "model.safetensors")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    assert "is no whole file of weights" in refusal(folder)


def test_a_base_that_was_a_folder_is_named_as_the_run_names_it(tmp_path, monkeypatch):
    folder = small_run(tmp_path / "run", run={"model": {"encoder": "me/base"}})
    save_file(WEIGHTS, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "models/base"}')
    monkeypatch.chdir(tmp_path)  # where models/base isn't
    assert json.loads(read_contents(folder)["adapter_config.json"])["base_model_name_or_path"] == "me/base"


@pytest.mark.parametrize(
    ("removed", "added", "sentence"),
    [
        (["model.safetensors"], {}, "is no finished run: it has no model.safetensors"),
        (["README.md", "config.json"], {}, "is no finished run: it has no README.md, config.json"),
        (["run.json"], {}, "is no finished run: it has no run.json"),
        ([], {"test_results.json": ["cut"]}, "test_results.json holds no JSON object"),
        (
            ["model.safetensors"],
            {"model.safetensors.index.json": {"weight_map": {"a": "model-00001-of-00002.safetensors"}}},
            "it has no model-00001-of-00002.safetensors",
        ),
        (["model.safetensors"], {"model.safetensors.index.json": {}}, "model.safetensors.index.json has no weight_map"),
        (
            ["config.json"],
            {"adapter_config.json": {"base_model_name_or_path": "/home/me/model"}},
            "must name a base model on the Hub",
        ),
    ],
)
def test_unfinished_folders(tmp_path, removed, added, sentence):
    folder = small_run(tmp_path)
    save_file(WEIGHTS, folder / "adapter_model.safetensors")
    for name in removed:
        (folder / name).unlink()
    for name, content in added.items():
        (folder / name).write_text(json.dumps(content))
    assert sentence in refusal(folder)


def test_no_folder(tmp_path):
    assert refusal(tmp_path / "nowhere").endswith("is no folder: give the output_dir of a finished run")
