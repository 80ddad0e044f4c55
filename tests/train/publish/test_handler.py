"""handler.py of a pushed repository, called as Inference Endpoints call it: in a process without the package."""

import json
import subprocess
import sys

import pytest

from salience.configuration.errors import UserError
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.train.publish import push
from salience.train.publish.contents import read_contents
from salience.train.publish.handler import EndpointHandler
from tests.helpers.hub_server import Hub
from tests.helpers.run_folders import finished_run
from tests.helpers.toy import clean_environment

TEXT = "a goal in the last minute . the bank raised its rates"
SERVICE = """
import importlib.util, json, sys
sys.modules["salience"] = None  # the service doesn't have the package
folder, requests = sys.argv[1], json.loads(sys.argv[2])
spec = importlib.util.spec_from_file_location("handler", f"{folder}/handler.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
handler = module.EndpointHandler(folder)
from transformers import pipeline
pipe = pipeline("text-classification", model=folder, trust_remote_code=True, device="cpu")
for request in requests:
    expected = pipe(request["inputs"], **request.get("parameters") or {})
    print(json.dumps([handler(request), expected]))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("run"), seed=1)


def pushed_files(hub):
    return hub.repos["alice/news"].files("main")


@pytest.mark.parametrize("handler", [True, False])
def test_a_handler_goes_with_a_push_on_demand(run, handler):
    found = read_contents(run, handler)
    assert ("handler.py" in found) == handler


@pytest.mark.slow
def test_the_service_answers_as_the_pipeline(run, tmp_path):
    with Hub() as hub:
        environment = clean_environment(tmp_path / "home", HF_ENDPOINT=hub.url, HF_TOKEN="hf_writer")

        def python(*words):
            command = [sys.executable, *map(str, words)]
            done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr[-3000:]
            return done.stdout

        python("-m", "salience.eval.cli", "push", run, "alice/news", "--handler")
        assert "handler.py" in json.loads(pushed_files(hub)[".salience_files.json"].data)
        for name, blob in pushed_files(hub).items():
            file = tmp_path / "repository" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(blob.data)
        requests = [
            {"inputs": TEXT},
            {"inputs": [TEXT, "", "shares fell"], "parameters": {"top_k": None}},
            {"inputs": TEXT, "parameters": {"top_k": 2, "explain": True, "method": "leave_one_out"}},
            {"inputs": {"text": TEXT}, "parameters": None},
        ]
        lines = python("-c", SERVICE, tmp_path / "repository", json.dumps(requests)).splitlines()
        answers = [json.loads(line) for line in lines]
        assert len(answers) == len(requests) and all(answer == expected for answer, expected in answers)
        assert len(answers[1][0]) == 3 and len(answers[1][0][0]) == 3
        assert "".join(part for part, _ in answers[2][0][0]["spans"]) == TEXT

        python("-m", "salience.eval.cli", "push", run, "alice/news")  # what an earlier push sent, and this one doesn't
        assert "handler.py" not in pushed_files(hub)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({}, 'a request needs "inputs"'),
        ("a text", 'a request needs "inputs"'),
        ({"inputs": None}, 'a request needs "inputs"'),
        ({"inputs": []}, 'a request needs "inputs"'),
        ({"inputs": ["a", 1]}, "number 1 is none"),
        ({"inputs": {"text": "a", "label": "b"}}, "must be a text"),
        ({"inputs": ["a", "\ud800 b"]}, "in whole characters; number 1 is none"),
        ({"inputs": "a", "parameters": {"target": 1, "method": "attention"}}, 'method and target need "explain": true'),
        ({"inputs": "a", "parameters": [1]}, '"parameters" must be an object'),
        ({"inputs": "a", "parameters": {"topk": 1}}, "there is no parameter 'topk'; choose from top_k"),
        ({"inputs": "a", "parameters": {"top_k": "3"}}, "parameter 'top_k' can't be '3'"),
        ({"inputs": "a", "parameters": {"top_k": True}}, "can't be True"),
        ({"inputs": "a", "parameters": {"function_to_apply": "relu"}}, "can't be 'relu'"),
        ({"inputs": "a", "parameters": {"explain": True, "method": "magic"}}, "magic"),
        ({"inputs": "a", "parameters": {"explain": True, "target": "nobody"}}, "no class of this model"),
    ],
)
def test_a_bad_request_is_told_in_a_sentence(run, request_, told):
    with pytest.raises(ValueError, match="(?s)" + told.replace("(", r"\(")):
        EndpointHandler(str(run))(request_)


def test_an_adapter_has_no_handler(run):
    with pytest.raises(UserError, match="holds an adapter, which no endpoint serves"):
        read_contents(run / "adapter", handler=True)


def test_training_pushes_a_handler_where_its_flag_says_so(run, monkeypatch):
    pushed = {}
    monkeypatch.setattr(push, "push_folder", lambda folder, name, **options: pushed.update(options))
    for handler in (True, False):
        push.push_run(SalienceTrainingArguments(output_dir=str(run), push_to_hub=True, hub_handler=handler))
        assert pushed["handler"] is handler
