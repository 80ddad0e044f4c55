"""Where no cache can be written, as in many containers, nothing of ours misses one."""

import json
import subprocess
import sys

import pytest

from tests.helpers.run_folders import QUIET
from tests.helpers.toy import clean_environment, toy_csv

SCRIPT = """
import sys
from salience.eval import cli
from salience.train.cli import main
encoder, *flags = sys.argv[1:]
flags[2:2] = ["--output_dir", "run", "--encoder", encoder, "--num_train_epochs", "1"]
assert main(flags) == 0
test = ["--test_file", "test.csv"]
assert cli.main(["score", "--model", "run", *test, "--output_dir", "scores"]) == 0
assert cli.main(["report", "--model", "run"]) == 0
assert cli.main(["compare", "run", "--output_dir", "comparison"]) == 0
"""
CACHES = ("HOME", "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_EVALUATE_CACHE", "HF_METRICS_CACHE")
CACHES += ("HF_MODULES_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TORCH_HOME")


@pytest.mark.slow
def test_train_score_report_and_compare_without_any_cache(tmp_path, encoder_folder):
    # Permissions don't bind root, but below a file nobody can make a folder.
    (tmp_path / "file").touch()
    environment = clean_environment(tmp_path, **{name: str(tmp_path / "file" / name.lower()) for name in CACHES})
    command = [sys.executable, "-c", SCRIPT, str(encoder_folder), *toy_csv(tmp_path), *QUIET]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    trained = json.loads((tmp_path / "run" / "test_results.json").read_text())
    scored = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert trained["test_accuracy"] == scored["accuracy"]
    assert (tmp_path / "run" / "report" / "report.html").is_file()
