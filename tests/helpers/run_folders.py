"""Folders of runs: as training leaves them, and what is read from them."""

import json

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.helpers import training
from tests.helpers.tiny import TINY_MODELS, TINY_TOKENIZER

QUIET = [*training.QUIET, "--learning_rate", "5e-3"]
UNWANTED = [
    ".env",
    "checkpoint-8/model.safetensors",
    "checkpoint-8/optimizer.pt",
    "checkpoint-8/README.md",
    "adapter/optimizer.pt",
    "adapter/script.py",
    "notes.txt",
    "optimizer.bin",
    "pytorch_model.bin",
    "runs/events.out.tfevents.1",
    "train.csv",
    "trainer_state.json",
    "training_args.bin",
]


def finished_run(folder, seed):
    """A run folder as training leaves it: a tiny random model, its tokenizer, card and results, and much else."""
    torch.manual_seed(seed)
    TINY_MODELS["attn_pool"]().save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY_TOKENIZER).save_pretrained(folder)
    (folder / "adapter").mkdir()
    save_file({"weight": torch.tensor([float(seed)])}, folder / "adapter" / "adapter_model.safetensors")
    (folder / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "alice/news"}')
    card = "---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags: [salience]\n---\n# News\n"
    for name in ("README.md", "adapter/README.md"):
        (folder / name).write_text(card)
    for name in ("train_results.json", "eval_results.json", "test_results.json", "run.json"):
        (folder / name).write_text(json.dumps({"seed": seed}))
    for name in UNWANTED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not for the Hub")
    return folder


def load(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return AutoModelForSequenceClassification.from_pretrained(folder).eval(), tokenizer


@torch.no_grad()
def logits_of(folder, texts):
    model, tokenizer = load(folder)
    cut = {"truncation": True} if tokenizer.model_max_length < 1000 else {}
    return np.concatenate([model(**tokenizer(text, return_tensors="pt", **cut)).logits.numpy() for text in texts])


def read(folder, name):
    return json.loads((folder / name).read_text())
