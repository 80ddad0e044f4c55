"""A run that is trained, pushed and loaded by its name, each in a process of its own, against the stand-in Hub."""

import json
import subprocess
import sys

import pytest
from huggingface_hub import ModelCard
from scipy.special import softmax

from salience.model_cards.card import usage_blocks
from tests.helpers.hub_server import Hub
from tests.helpers.paths import TRAIN
from tests.helpers.run_folders import QUIET, logits_of, read
from tests.helpers.toy import TOPICS, clean_environment, toy_csv

LOAD = """
import json, sys
sys.modules["salience"] = None  # a stranger doesn't have the package
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline
revision = {"revision": sys.argv[1], "trust_remote_code": True}
tokenizer = AutoTokenizer.from_pretrained("alice/tiny", **revision)
model = AutoModelForSequenceClassification.from_pretrained("alice/tiny", **revision).eval()
logits = model(**tokenizer("the bank .", return_tensors="pt")).logits[0].tolist()
pipe = pipeline("text-classification", model="alice/tiny", **revision)
vector = AutoModel.from_pretrained("alice/tiny", **revision).eval()(**tokenizer("the bank .", return_tensors="pt"))
scores = {each["label"]: each["score"] for each in pipe("the bank .", top_k=None)}
print(json.dumps([logits, scores, list(vector.pooler_output.shape)]))
"""


def test_trained_pushed_and_loaded_by_name(tmp_path, encoder_folder):
    folder, hub_name = tmp_path / "run", "alice/tiny"
    flags = ["--output_dir", folder, *toy_csv(tmp_path), "--encoder", encoder_folder, "--num_train_epochs", 1, *QUIET]
    flags += ["--push_to_hub", "true", "--hub_model_id", hub_name]
    with Hub() as hub:
        environment = clean_environment(tmp_path / "home", HF_ENDPOINT=hub.url, HF_TOKEN="hf_writer")

        def python(*command, **variables):
            command = [sys.executable, *map(str, command)]
            pipes = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": 120}
            done = subprocess.run(command, env=environment | variables, cwd=tmp_path, **pipes)
            assert done.returncode == 0, done.stderr[-3000:]
            assert "hf_writer" not in done.stdout + done.stderr
            return done.stdout

        python(TRAIN, *flags)
        repo = hub.repos[hub_name]
        files = repo.files("main")
        assert not [name for name in files if "checkpoint" in name or name.endswith((".bin", ".pt", ".pth"))]
        assert files["model.safetensors"].data == (folder / "model.safetensors").read_bytes()
        assert b"hf_writer" not in files["run.json"].data

        text = files["README.md"].data.decode()
        blocks = usage_blocks(text)
        script = "\n".join([LOAD, *blocks])
        printed = python("-c", script, repo.sha("main"), HF_HOME=str(tmp_path / "other")).splitlines()
        logits, scores, width = json.loads(printed[0])
        assert logits == pytest.approx(logits_of(folder, ["the bank ."])[0].tolist(), abs=1e-6)
        assert [scores[label] for label in TOPICS] == pytest.approx(softmax(logits), abs=1e-5)
        assert width == [1, 16]

        numbers = {result.metric_name: result.metric_value for result in ModelCard(text).data.eval_results}
        results = json.loads(files["test_results.json"].data)
        assert numbers["Accuracy"] == results["test_accuracy"] and numbers["F1 (macro)"] == results["test_f1_macro"]
        assert f'REPO = "{hub_name}"' in blocks[0] and 'REVISION = "main"' not in blocks[0] and len(blocks) >= 4
        assert any(label in line for label in TOPICS for line in printed[1:])

        further = [
            "--output_dir",
            tmp_path / "further",
            *toy_csv(tmp_path),
            "--model",
            hub_name,
            "--num_train_epochs",
            1,
        ]
        python(TRAIN, *further, *QUIET, "--explained_texts", 0)
    record = read(tmp_path / "further", "run.json")
    start = record["model"]["start"]
    assert (start["name"], start["revision"]) == (hub_name, repo.sha("main")) == (
        record["arguments"]["model"], record["arguments"]["model_revision"],
    )  # fmt: skip
    assert ModelCard.load(tmp_path / "further" / "README.md").data.base_model == hub_name
