"""A data set of the Hub by its name: read at one commit, which the run names."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from tests.helpers.hub_server import Hub
from tests.helpers.hub_store import MAIN, Repo
from tests.helpers.paths import ROOT
from tests.helpers.toy import clean_environment, toy_texts
from tests.helpers.training import QUIET, read

TINY = ["--model", "lstm", "--embedding_dim", "8", "--hidden_dim", "8", "--max_steps", "1"]


@pytest.mark.slow
def test_a_run_names_the_commit_of_its_data_set(tmp_path):
    files = {}
    for split, count in (("train", 24), ("test", 12)):
        path = tmp_path / f"{split}-00000-of-00001.parquet"
        pd.DataFrame(toy_texts(count), columns=["text", "label"]).to_parquet(path)
        files[f"data/{path.name}"] = path.read_bytes()
    with Hub() as hub:
        hub.repos["alice/texts"] = Repo("alice/texts", False)
        hub.repos["alice/texts"].commit(MAIN, {}, "initial commit")
        commit = hub.add_commit("alice/texts", files, "texts")
        words = ["--dataset_name", "alice/texts", *TINY, *QUIET, "--output_dir", str(tmp_path / "run")]
        environment = clean_environment(
            tmp_path / "home", HF_ENDPOINT=hub.url, PYTHONPATH=os.environ.get("PYTHONPATH", "")
        )
        done = subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    record = read(tmp_path / "run/run.json")
    assert record["arguments"]["dataset_revision"] == commit
    assert record["data"]["source"] == f"alice/texts at {commit}"
    assert commit in (tmp_path / "run/README.md").read_text()
