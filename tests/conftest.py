import gc
import os

# Before transformers is imported: tests never reach a hub, and two test processes share two cores.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.helpers.tiny import TINY_TOKENIZER


def pytest_collection_finish():
    """What is imported stays: to look for garbage in it after each training would take longer than many a test."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny models are faster so, as in the processes that tests start: the order of sums depends on it."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_launcher():
    """What transformers tells accelerate of a run with FSDP would stay for the next run in this process."""
    yield
    for name in [name for name in os.environ if name.startswith("ACCELERATE_USE_")]:
        del os.environ[name]


@pytest.fixture
def in_tmp_path(tmp_path, monkeypatch):
    """Names of files without a folder lie in the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY_TOKENIZER)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory) -> Path:
    """A tiny BERT with its tokenizer, as a user's encoder folder."""
    from tests.helpers.tiny import save_tiny_encoder

    return save_tiny_encoder(tmp_path_factory.mktemp("encoder"))
