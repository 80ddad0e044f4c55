"""The same data frame gives the same texts and labels in every format, or one sentence; never a traceback."""

import datetime
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments
from salience.train.data.load import load_splits

WRITERS = {
    "a.csv": lambda frame, path: frame.to_csv(path, index=False),
    "a.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "a.csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "a.jsonl": lambda frame, path: frame.to_json(
        path, orient="records", lines=True, date_format="iso", double_precision=15
    ),
    "a.parquet": lambda frame, path: frame.to_parquet(path, index=False),
}
MEMORY = {
    "pandas": lambda frame: frame,
    "datasets": lambda frame: Dataset.from_pandas(frame, preserve_index=False),
    "columns": lambda frame: {"text": frame["text"], "label": frame["label"]},
    "lists": lambda frame: (list(frame["text"]), list(frame["label"])),
}

letters = st.characters(codec="utf-8", exclude_characters="\0")
words = st.text(letters, max_size=6)
texts = st.one_of(
    words, st.text("ab,;\t\"\n\r'[]", max_size=8), st.sampled_from(["NA", "null", "1", '"', "", "a\nb,x"])
)
codes = st.sampled_from(["2", "2.0", "2.1", "2.10", "True", "false", "NA", "nan", "2020-01-01", "01", "1e5", "a b"])
times = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)).map(
    lambda t: t.replace(microsecond=0)
)
labels = {
    "strings": st.one_of(codes, words.filter(lambda word: word.strip())),
    "integers": st.integers(-(2**53), 2**53),
    "whole floats": st.integers(-1000, 1000).map(float),
    "floats": st.floats(-1000, 1000).map(lambda number: round(number, 3) + 0.0),
    "truth values": st.booleans(),
    "dates": times.map(lambda time: time.replace(hour=0, minute=0, second=0)),
    "times": times,
    "lists": st.lists(st.sampled_from(["oven", "hobby", "tea"]), unique=True),
    "indicators": st.lists(st.integers(0, 1), min_size=3, max_size=3),
}


@st.composite
def frames(draw, kind):
    pool = draw(st.lists(labels[kind], min_size=2, max_size=4))
    size = draw(st.integers(3, 8))
    column = [pool[number % len(pool)] for number in range(size)]
    text = draw(st.lists(texts, min_size=size, max_size=size))
    if draw(st.integers(0, 9)) == 0:
        column[draw(st.integers(0, size - 1))] = None
    if draw(st.integers(0, 9)) == 0:
        text[draw(st.integers(0, size - 1))] = None
    return pd.DataFrame({"text": text, "label": column})


def outcome(args, given_splits=None):
    try:
        data = load_splits(args, given_splits)
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return data.problem_type, data.label_names, list(data.splits["train"]["text"]), list(data.splits["train"]["labels"])


def outcomes(frame, **flags):
    """What every format gives; a frame that a library can't write has no such file."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, write in WRITERS.items():
            path = str(Path(folder, name))
            try:
                write(frame, path)
            except (ValueError, OverflowError, TypeError):
                continue
            found[name] = outcome(DataArguments(train_file=[path], validation_file=path, **flags))
    for name, make in MEMORY.items():
        splits = {"train": make(frame), "validation": make(frame)}
        found[name] = outcome(DataArguments(**flags), splits)
    return found


@pytest.mark.parametrize("kind", labels)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_every_format_gives_the_same_or_a_sentence(kind, data):
    frame = data.draw(frames(kind))
    several = kind in ("lists", "indicators")
    flags = {} if several else {"problem_type": "single_label_classification"}
    flags |= {"class_names": ["x", "y", "z"]} if kind == "indicators" else {}
    found = outcomes(frame, **flags)
    read = {name: each for name, each in found.items() if not isinstance(each, str)}
    first = next(iter(read.values()), None)
    assert all(each == first for each in read.values()), read
    if frame.isna().any().any():
        assert not read, found
    elif any(isinstance(found[name], str) for name in ("pandas", "a.parquet")):
        # All labels are one, or none at all.
        assert not read, found
