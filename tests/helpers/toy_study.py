"""A study of two rows on toy texts."""

import time

import yaml

STUDY = {
    "name": "Toy <b>study</b>",
    "arguments": {
        "embedding_dim": 8, "hidden_dim": 8, "num_train_epochs": 25, "learning_rate": 0.01,
        "report_to": "none",
    },
    "seeds": [0, 3],
    "reference": "lstm",
    "sparse": "tfidf_svm",
    "scores": ["recall_macro", "validation_recall_macro", "ece", "network_accuracy", "accuracy_short", "accuracy_long"],
    "rows": {"lstm": {"model": "lstm"}},
}  # fmt: skip


def write_study(folder, **changes):
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
    return str(file)


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
