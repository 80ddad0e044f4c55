"""Data files that tests write, what is loaded from them, and what a user reads when they are bad."""

import json

import pytest

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.train.data.load import load_splits

ROWS = [(f"text {i}", "sport" if i % 3 else "news") for i in range(30)]


def write_csv(path, rows=ROWS, header=("text", "label"), separator=",", encoding="utf-8"):
    lines = [separator.join(header), *(separator.join(row) for row in rows)]
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return str(path)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def load(train_file, **kwargs):
    return load_splits(DataArguments(train_file=train_file, **kwargs))


def failure(*args, **kwargs):
    """What the user reads: always one line."""
    with pytest.raises(UserError) as error:
        load(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def rows_of(split, data):
    return list(zip(split["text"], [data.label_names[i] for i in split["labels"]], strict=True))


def all_rows(data):
    return sorted(row for split in data.splits.values() for row in rows_of(split, data))
