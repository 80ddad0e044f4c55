"""A run that is trained, pushed, loaded by its name and exported, each in a process of its own, on the stand-in Hub."""

import json
import subprocess
import sys

import pytest
from huggingface_hub import ModelCard
from scipy.special import softmax

from tests.helpers.blocks import usage_blocks
from tests.helpers.hub_server import Hub
from tests.helpers.paths import EVAL, ROOT, TRAIN
from tests.helpers.run_folders import QUIET, logits_of, read
from tests.helpers.toy import TOPICS, clean_environment, toy_csv, toy_texts
from tests.helpers.training import COUNTS

LOAD = """
import json, sys
sys.modules["salience"] = None  # a stranger doesn't have the package
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline
revision = {"revision": sys.argv[1], "trust_remote_code": True}
texts = json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained("alice/tiny", **revision)
model = AutoModelForSequenceClassification.from_pretrained("alice/tiny", **revision).eval()
logits = model(**tokenizer(texts[0], return_tensors="pt")).logits[0].tolist()
pipe = pipeline("text-classification", model="alice/tiny", **revision)
vector = AutoModel.from_pretrained("alice/tiny", **revision).eval()(**tokenizer(texts[0], return_tensors="pt"))
scores = {each["label"]: each["score"] for each in pipe(texts[0], top_k=None)}
print(json.dumps([logits, scores, list(vector.pooler_output.shape), pipe(texts, explain=True)]))
"""
TEXTS = ["the bank .", *(text for text, _ in toy_texts(12, seed=2))]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def python(place, hub):
    """Run a command of Python in an environment that knows nothing but the Hub."""
    environment = clean_environment(place / "home", HF_ENDPOINT=hub.url, HF_TOKEN="hf_writer")

    def run(*command, given="", **variables):
        command = [sys.executable, *map(str, command)]
        pipes = {"capture_output": True, "text": True, "input": given, "timeout": 120}
        done = subprocess.run(command, env=environment | variables, cwd=place, **pipes)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "hf_writer" not in done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def repo(place, hub, python, encoder_folder):
    """The repository of a run that was trained and pushed."""
    flags = ["--output_dir", place / "run", *toy_csv(place), "--encoder", encoder_folder, "--num_train_epochs", 1]
    python(TRAIN, *flags, *QUIET, *COUNTS, "--push_to_hub", "true", "--hub_model_id", "alice/tiny")
    return hub.repos["alice/tiny"]


@pytest.fixture(scope="module")
def card(repo):
    return repo.files("main")["README.md"].data.decode()


@pytest.fixture(scope="module")
def printed(place, python, repo, card):
    """What a process without the package says to `TEXTS`, and what the card's own code prints."""
    script = "\n".join([LOAD, *usage_blocks(card)])
    home = {"HF_HOME": str(place / "other")}
    return python("-c", script, repo.sha("main"), json.dumps(TEXTS), **home).splitlines()


def test_trained_pushed_and_loaded_by_name(place, repo, card, printed):
    files, folder, blocks = repo.files("main"), place / "run", usage_blocks(card)
    assert not [name for name in files if "checkpoint" in name or name.endswith((".bin", ".pt", ".pth"))]
    assert files["model.safetensors"].data == (folder / "model.safetensors").read_bytes()
    assert b"hf_writer" not in files["run.json"].data

    logits, scores, width, answers = json.loads(printed[0])
    assert logits == pytest.approx(logits_of(folder, TEXTS[:1])[0].tolist(), abs=1e-6)
    assert [scores[label] for label in TOPICS] == pytest.approx(softmax(logits), abs=1e-5)
    assert width == [1, 16]
    for text, answer in zip(TEXTS, answers, strict=True):
        assert "".join(part for part, _ in answer["spans"]) == text and answer["target"] == answer["label"]
        assert any(word["weight"] for word in answer["words"])

    numbers = {result.metric_name: result.metric_value for result in ModelCard(card).data.eval_results}
    results = json.loads(files["test_results.json"].data)
    assert numbers["Accuracy"] == results["test_accuracy"] and numbers["F1 (macro)"] == results["test_f1_macro"]
    assert 'REPO = "alice/tiny"' in blocks[0] and 'REVISION = "main"' not in blocks[0] and len(blocks) >= 4
    assert any(label in line for label in TOPICS for line in printed[1:])


@pytest.mark.slow
def test_exported_by_name_it_gives_the_same_labels_without_torch(place, python, repo, printed):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    named = ["--model", "alice/tiny", "--revision", repo.sha("main")]
    python(EVAL, "export", *named, "--output", place / "exported", "--test_file", place / "test.csv")
    script = ROOT / "tests" / "helpers" / "process_without_torch.py"
    answers = json.loads(python(script, place / "exported", "model.onnx", given=json.dumps(TEXTS)))
    *_, expected = json.loads(printed[0])
    assert [each["label"] for each in answers] == [each["label"] for each in expected]
    assert [each["score"] for each in answers] == pytest.approx([each["score"] for each in expected], abs=1e-5)


@pytest.mark.slow
def test_a_published_model_is_gone_on_with(place, python, repo):
    flags = ["--output_dir", place / "further", *toy_csv(place), "--model", "alice/tiny", "--num_train_epochs", 1]
    python(TRAIN, *flags, *QUIET, "--explained_texts", 0)
    record = read(place / "further", "run.json")
    start = record["model"]["start"]
    assert (start["name"], start["revision"]) == ("alice/tiny", repo.sha("main"))
    assert (record["arguments"]["model"], record["arguments"]["model_revision"]) == ("alice/tiny", repo.sha("main"))
    assert ModelCard.load(place / "further" / "README.md").data.base_model == "alice/tiny"
