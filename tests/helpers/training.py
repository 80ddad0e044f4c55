"""train.py in this process, and what it leaves."""

import json

import pytest

from salience.train import cli

# What has tests of its own is left out: the choice of a method to explain, counts of n-grams, and the choice of a
# schedule, which gives so few texts 20 epochs.
QUIET = [
    "--bf16", "false", "--report_to", "none", "--disable_tqdm", "true", "--explained_texts", "0",
    "--ngram_evidence", "false", "--num_train_epochs", "3", "--per_device_train_batch_size", "8",
]  # fmt: skip
COUNTS = ["--ngram_evidence", "true"]  # which is the default


def train(folder, *flags):
    with pytest.MonkeyPatch.context() as patch:
        # transformers 4 leaves the precision of a run here, and the next run in the same process takes it.
        patch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        assert cli.main(["--output_dir", str(folder), *QUIET, *map(str, flags)]) == 0
    return folder


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))
