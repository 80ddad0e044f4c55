"""`salience space`: the folder that it writes, with whatever a model's names and a user's texts hold."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml
from huggingface_hub import HfApi

from salience.eval import Predictor, cli
from salience.eval.space.folder import GRADIO
from tests.helpers.hub_server import Hub
from tests.helpers.paths import ROOT
from tests.helpers.predicting import save_model
from tests.helpers.toy import clean_environment


def space(*words):
    return cli.main(["space", *map(str, words)], "salience", cli.COMMANDS)


def refusal(capsys, *words):
    assert space(*words) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "my: [model]")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("space")
    (place / "texts.txt").write_text("a goal in the last minute\n\nthe bank raised its rates\n", encoding="utf-8")
    assert space("--model", model, "--output", place / "demo", "--examples", place / "texts.txt") == 0
    return place / "demo"


def front_matter(folder):
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_a_space_holds_all_that_it_runs_and_no_more_of_the_model_than_its_answers_need(folder, model):
    assert {each.name for each in folder.iterdir()} == {
        "README.md", "app.py", "model", "requirements.txt", "salience", "space.json",
    }  # fmt: skip
    assert {each.name for each in (folder / "model").iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert (folder / "model" / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert json.loads((folder / "space.json").read_text()) == {
        "title": "my: [model]", "model": "model", "revision": None,
        "examples": ["a goal in the last minute", "the bank raised its rates"],
    }  # fmt: skip


def test_the_front_matter_tells_the_hub_how_it_is_started(folder):
    found = front_matter(folder)
    assert (found["title"], found["sdk"], found["sdk_version"]) == ("my: [model]", "gradio", GRADIO)
    assert found["app_file"] == "app.py" and "models" not in found and len(found["short_description"]) <= 60
    assert f'space = ["gradio=={GRADIO}"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_versions_are_pinned_to_those_that_are_installed(folder):
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert f"gradio=={GRADIO}" in lines and f"transformers=={version('transformers')}" in lines
    assert f"torch=={version('torch')}" in lines
    assert all("==" in line for line in lines if not line.startswith("--extra-index-url"))


@pytest.mark.slow
def test_the_code_beside_the_app_labels_as_the_package_does_and_is_what_is_imported(folder, model, tmp_path):
    code = (
        "import json, salience.eval.predict.predictor as here\n"
        "print(json.dumps([here.__file__, here.Predictor('model', bf16=False).answers(['a goal'])['score'].tolist()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**clean_environment(tmp_path), "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    file, scores = json.loads(done.stdout)
    assert file.startswith(str(folder))
    assert scores == Predictor(model, bf16=False).answers(["a goal"])["score"].tolist()


@pytest.mark.slow
def test_a_model_of_the_hub_is_named_with_its_commit(model, tmp_path):
    with Hub() as hub:
        HfApi(endpoint=hub.url, token="hf_writer").create_repo("alice/news")
        files = {file.name: file.read_bytes() for file in model.iterdir()}
        commit = hub.add_commit("alice/news", files, "a model")
        code = (
            "import sys; from salience.eval import cli; "
            f"sys.exit(cli.main(['space', '--model', 'alice/news', '--output', {str(tmp_path / 'demo')!r}], "
            "'salience', cli.COMMANDS))"
        )
        environment = clean_environment(tmp_path / "home", HF_ENDPOINT=hub.url)
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    settings = json.loads((tmp_path / "demo" / "space.json").read_text())
    assert (settings["title"], settings["model"], settings["revision"]) == ("news", "alice/news", commit)
    assert front_matter(tmp_path / "demo")["models"] == ["alice/news"]
    assert not (tmp_path / "demo" / "model").exists()


def test_what_is_there_is_never_overwritten(folder, model, capsys):
    assert "exists; choose another folder" in refusal(capsys, "--model", model, "--output", folder)
    assert (folder / "app.py").is_file()


def test_bad_input_is_told_in_a_sentence_and_leaves_nothing(model, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "texts.csv").write_text("text\na\n")
    out = tmp_path / "out"
    assert "--output is missing" in refusal(capsys, "--model", model)
    assert "can't be loaded" in refusal(capsys, "--model", tmp_path, "--output", out)
    for name, told in (("texts.csv", "must be a .txt file"), ("empty.txt", "holds no text"), ("no.txt", "must be a")):
        assert told in refusal(capsys, "--model", model, "--output", out, "--examples", tmp_path / name)
    assert not out.exists() and {each.name for each in tmp_path.iterdir()} == {"empty.txt", "texts.csv"}
