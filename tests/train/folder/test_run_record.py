import json
import platform
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from salience.configuration.flags.parser import RecipeParser
from salience.model_cards.files import write_json
from salience.train.folder.record import changed_arguments, make_record, versions
from salience.train.folder.redaction import redact_command

SECRET = "s3cret-of-mine"


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))


def record(folder, **changes):
    values = {
        "kind": "model",
        "command": ["train.py", "recipe.yaml"],
        "arguments": {},
        "data": {"name": "News"},
        "model": {"family": "attn_pool"},
        "precision": "fp32",
        "seed": 3,
        "started": datetime.now(timezone.utc) - timedelta(seconds=60),
    }
    write_json(folder / "run.json", make_record(**values | changes))
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["/opt/repo/train.py", "recipe.yaml", "--seed", "1"], "train.py recipe.yaml --seed 1"),
        (["train.py", "--hub_token", SECRET, "--fp16"], "train.py --hub_token REDACTED --fp16"),
        (["train.py", f"--hub_token={SECRET}", "x"], "train.py --hub_token=REDACTED x"),
        (["train.py", "--push-to-hub-TOKEN", SECRET], "train.py --push-to-hub-TOKEN REDACTED"),
        (["train.py", "--hub_token", "--seed", "1"], "train.py --hub_token --seed 1"),
        (["train.py", "--tokenizer", "words", "--max_tokens=9"], "train.py --tokenizer words --max_tokens=9"),
        (["train.py", "--note", "hf_AbCdEfGhIjKl"], "train.py --note REDACTED"),
        (["train.py", "--train_file=/home/ann/n.csv"], "train.py --train_file=n.csv"),
        (["train.py", "--train_file", "/home/ann/my n.csv"], "train.py --train_file 'my n.csv'"),
        (["train.py", "/home/anna/n.csv", "/data/home/ann/n.csv"], "train.py n.csv n.csv"),
        (["train.py", "https://me:pass@host/n.csv"], "train.py https://REDACTED@host/n.csv"),
        (["train.py", "https://me:pa/ss@host/n.csv"], "train.py https://REDACTED@host/n.csv"),
        (["train.py", "--train_file", "/home/ann lee/a b/n.csv"], "train.py --train_file n.csv"),
        (["train.py", "--train_file=/home/ann lee/n.csv"], "train.py --train_file=n.csv"),
        (["train.py", "file:///home/ann/n.csv", "--label_separator", "/"], "train.py n.csv --label_separator /"),
    ],
)
def test_the_command_can_be_repeated_but_tells_no_secret(words, line):
    assert redact_command(words) == line


def test_flags_stand_there_as_they_are_typed(tmp_path):
    flags = [
        "--model",
        "lstm",
        "--output_dir",
        str(tmp_path),
        "--save_strategy",
        "no",
        "--load_best_model_at_end",
        "no",
    ]
    arguments = changed_arguments(RecipeParser().parse(flags))
    found = record(tmp_path, arguments=arguments)["arguments"]
    assert found["save_strategy"] == "no" and found["load_best_model_at_end"] is False
    assert "files_flag" not in found


def test_secrets_and_home_are_hidden_everywhere(tmp_path):
    run = record(
        tmp_path,
        command=["train.py", "--hub_token", SECRET],
        arguments={
            "hub_token": SECRET,
            "push_to_hub_token": None,
            "nested": {"api_token": SECRET, "path": Path("/home/ann/x")},
            "files": ["/home/ann/a.csv"],
        },
        data={"source": "/home/ann/news", "splits": {"train": {"labels": {"token": 3}}}},
    )
    assert SECRET not in json.dumps(run)
    assert run["arguments"] == {
        "hub_token": "REDACTED",
        "push_to_hub_token": None,
        "nested": {"api_token": "REDACTED", "path": "x"},
        "files": ["a.csv"],
    }
    assert run["data"] == {"source": "news", "splits": {"train": {"labels": {"token": 3}}}}


def test_a_record_says_when_on_what_and_with_which_versions(tmp_path):
    run = record(tmp_path, model={"parameters": np.int64(7)}, arguments={"learning_rate": np.float32(0.5)})
    assert run["seed"] == 3 and run["precision"] == "fp32"
    assert 60 <= run["seconds"] < 120 and 50 < run["peak_memory_mb"]["ram"] < 10**6
    assert datetime.fromisoformat(run["started"]).tzinfo is not None
    assert run["versions"] == versions() and run["salience_version"] == versions()["salience"]
    assert {"python", "torch", "transformers", "scikit-learn"} <= set(run["versions"])
    assert run["platform"]["cores"] >= 1 and run["platform"]["cpu"]
    assert run["model"] == {"parameters": 7} and run["arguments"] == {"learning_rate": 0.5}
    assert platform.node() not in (tmp_path / "run.json").read_text().split('"')


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"seed": 1})
    with pytest.raises(ValueError):
        write_json(path, {"loss": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_json(path, {"name": "\ud800"})
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]
    assert json.loads(path.read_text()) == {"seed": 1}
