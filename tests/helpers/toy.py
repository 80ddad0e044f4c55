"""Small labelled texts that a tiny model learns in a few steps, and train.py in a process of its own."""

import csv
import json
import os
import random
from pathlib import Path

TOPICS = {
    "business": "market shares bank profit sales company price".split(),
    "culture": "film music award actor song star".split(),
    "sport": "game team win goal player cup match".split(),
}
FILLERS = "the of and to in is was for on that with by it".split()


def toy_texts(num_texts: int, seed: int = 0, labels: list[str] | None = None) -> list[tuple[str, str]]:
    """(text, label) pairs of 2 to 4 sentences; half of a text's words belong to its label's topic."""
    random_words = random.Random(seed)
    labels = labels or list(TOPICS)
    rows = []
    for number in range(num_texts):
        words = TOPICS[list(TOPICS)[number % len(labels)]]
        sentences = [
            " ".join(
                random_words.choice(random_words.choice([words, FILLERS])) for _ in range(random_words.randint(3, 9))
            )
            for _ in range(random_words.randint(2, 4))
        ]
        rows.append((" . ".join(sentences) + " .", labels[number % len(labels)]))
    return rows


def write_csv(path: Path, rows: list[tuple[str, object]]) -> Path:
    """A csv file with the columns text and label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def write_jsonl(path: Path, rows: list[tuple[str, object]]) -> Path:
    """A file of json lines with the keys text and label."""
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def texts_with_several_labels(num_texts: int) -> list[tuple[str, list[str]]]:
    """Pairs of toy texts put together, with none, one or both of their labels."""
    pairs = zip(toy_texts(num_texts), toy_texts(num_texts + 1)[1:], strict=True)
    return [
        (f"{one} {other}", [first, second][: number % 3])
        for number, ((one, first), (other, second)) in enumerate(pairs)
    ]


def toy_csv(folder: Path, num_train: int = 48, num_test: int = 12) -> list[str]:
    """Write train.csv and test.csv; returns the flags that name them."""
    train = write_csv(folder / "train.csv", toy_texts(num_train))
    test = write_csv(folder / "test.csv", toy_texts(num_test, seed=1))
    return ["--train_file", str(train), "--test_file", str(test)]


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """Variables of a process that shares no cache, token or proxy with the one that runs the tests."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_")) and not name.lower().endswith("_proxy")
    }
    own = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    return inherited | own | variables
