"""Texts and labels in, train, validation and test splits out."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict

# Not public, but scikit-learn's own rules to the letter, and unchanged since 2013.
from sklearn.datasets._twenty_newsgroups import strip_newsgroup_footer, strip_newsgroup_header, strip_newsgroup_quoting

from salience.configuration.data_arguments import DataArguments, FileArguments
from salience.configuration.errors import UserError
from salience.train.data.files import read_file
from salience.train.data.hub import read_hub
from salience.train.data.labels import LabelScheme
from salience.train.data.splits import hold_out, sample_rows, thin_classes

logger = logging.getLogger(__name__)

# In the order in which scikit-learn applies them.
CLEANERS: dict[str, Callable[[str], str]] = {
    "headers": strip_newsgroup_header,
    "footers": strip_newsgroup_footer,
    "quotes": strip_newsgroup_quoting,
}
ROWS_PER_BATCH = 10_000


@dataclass
class TextData:
    """Labelled texts, split.

    Attributes:
        splits: `train`, `validation` and, if there is one, `test`, each with the columns `text` (str) and `labels`
            (an int64 class id, a list of float32 with one value per label name, or a float32 number).
        label_names: In the order of the class ids; empty for regression.
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`.
        name: Of the data, for people.
        source: The files or the Hub data set, without the folders of this machine.
    """

    splits: DatasetDict
    label_names: list[str]
    problem_type: str
    name: str
    source: str

    def fingerprint(self, split: str) -> dict:
        """Describe one split so that it can be compared with that of another machine.

        Args:
            split: `train`, `validation` or `test`.

        Returns:
            `rows` (int), `sha256` (over the texts, labels and label names in the order of the rows) and `labels`
            (label name -> number of texts; empty for regression).
        """
        # Three digests, each over a whole column, so that the batches don't matter.
        texts, lengths, labels = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        counts = np.zeros(len(self.label_names), np.int64)
        for batch in self.splits[split].with_format("arrow").iter(ROWS_PER_BATCH):
            texts.update("".join(batch["text"].to_pylist()).encode())
            lengths.update(pc.binary_length(batch["text"]).to_numpy().astype("<i8").tobytes())
            values = _label_array(batch["labels"])
            labels.update(values.astype("<i8" if values.dtype.kind == "i" else "<f4").tobytes())
            if self.problem_type == "multi_label_classification":
                counts += values.reshape(-1, len(self.label_names)).sum(0).astype(np.int64)
            elif self.problem_type == "single_label_classification":
                counts += np.bincount(values, minlength=len(self.label_names))
        names = json.dumps(self.label_names).encode()
        digest = hashlib.sha256(texts.digest() + lengths.digest() + labels.digest() + names)
        return {
            "rows": len(self.splits[split]),
            "sha256": digest.hexdigest(),
            "labels": {name: int(count) for name, count in zip(self.label_names, counts, strict=True)},
        }


def load_splits(args: DataArguments) -> TextData:
    """Read the data that the flags name, check it, clean it and split it.

    Without a validation split, a stratified part of the training data becomes one; the test data is never used for it.
    Everything is a function of the data and the flags: `args.split_seed`, not the training seed, decides the splits.

    Args:
        args: The data flags.

    Returns:
        The splits, with what is known about their labels.

    Raises:
        UserError: If the data can't be read or doesn't hold what training needs; the message says what to do.
    """
    if bool(args.train_file) == bool(args.dataset_name):
        given = "both --train_file and --dataset_name are" if args.train_file else "no data is"
        raise UserError(f"{given} given; use either --train_file or --dataset_name")
    tables, class_names = _read_hub_tables(args) if args.dataset_name else (_read_files(args), None)
    if args.resplit:
        if "test" in tables and not args.test_size:
            raise UserError(
                "--resplit true puts the test data into the training data; say how much to hold out again "
                "with --test_size"
            )
        tables = {"train": [part for parts in tables.values() for part in parts]}
    columns = [table["label"] for _, table in tables["train"]]
    where = ", ".join(f"'{name}'" for name, _ in tables["train"])
    scheme = LabelScheme.find(columns, where, args.problem_type, args.label_separator, class_names)
    splits = {split: _dataset(parts, scheme) for split, parts in tables.items()}
    if args.clean:
        splits = {split: _clean(rows, args.clean) for split, rows in splits.items()}
    splits = _without_leaks(_split(splits, scheme, args), args.drop_leaked)
    return TextData(
        splits=DatasetDict(splits),
        label_names=scheme.names,
        problem_type=scheme.problem_type,
        name=args.data_name or _default_name(args),
        source=_source(args),
    )


def load_test(args: FileArguments, label_names: list[str], problem_type: str) -> Dataset:
    """Read `args.test_file` for a model that is trained already.

    Args:
        args: The data flags.
        label_names: The model's, in the order of their ids.
        problem_type: The model's.

    Returns:
        The columns `text` and `labels`, as in `TextData.splits`.

    Raises:
        UserError: If the file can't be read, or has a label that the model doesn't know.
    """
    if not args.test_file:
        raise UserError("--test_file is missing: name the labelled texts to score the model on")
    scheme = LabelScheme(problem_type, label_names, label_names, args.label_separator)
    rows = _dataset([(args.test_file, read_file(args.test_file, args))], scheme)
    return _clean(rows, args.clean) if args.clean else rows


# A part is one file or one split of a Hub data set: its name for the messages, and its table of text and label.
Part = tuple[str, pa.Table]


def _read_files(args: DataArguments) -> dict[str, list[Part]]:
    tables = {"train": [(name, read_file(name, args)) for name in args.train_file or []]}
    for split, name in (("validation", args.validation_file), ("test", args.test_file)):
        if name:
            tables[split] = [(name, read_file(name, args))]
    return tables


def _read_hub_tables(args: DataArguments) -> tuple[dict[str, list[Part]], list[str] | None]:
    if args.validation_file or args.test_file:
        raise UserError("--validation_file and --test_file go with --train_file, not with --dataset_name")
    tables, class_names = read_hub(args)
    return {split: [(f"{args.dataset_name}, split {split}", table)] for split, table in tables.items()}, class_names


def _dataset(parts: list[Part], scheme: LabelScheme) -> Dataset:
    tables = [
        pa.table({"text": table["text"], "labels": scheme.encode(table["label"], f"'{name}'")}) for name, table in parts
    ]
    # Straight from Arrow, without the cache of `datasets`: a file that was changed is always read anew, and nothing
    # is left behind in the home folder.
    return Dataset(pa.concat_tables(tables))


def _clean(rows: Dataset, rules: list[str]) -> Dataset:
    cleaners = [CLEANERS[rule] for rule in CLEANERS if rule in rules]

    def clean_batch(texts: list[str]) -> dict[str, list[str]]:
        for cleaner in cleaners:
            texts = [cleaner(text) for text in texts]
        return {"text": texts}

    return rows.map(
        clean_batch,
        input_columns="text",
        batched=True,
        keep_in_memory=True,
        load_from_cache_file=False,
        desc="Cleaning",
    )


def _split(splits: dict[str, Dataset], scheme: LabelScheme, args: DataArguments) -> dict[str, Dataset]:
    sizes = {"test": args.test_size, "validation": args.validation_size}
    missing = {name: size for name, size in sizes.items() if name not in splits and size > 0}
    train = splits["train"]
    if missing:
        rest, parts = hold_out(len(train), _classes(train, scheme), missing, args.split_seed)
        splits = {**splits, "train": train.select(rest), **{name: train.select(rows) for name, rows in parts.items()}}
    if args.minority_labels:
        rare = _class_ids(args.minority_labels, scheme)
        for name in splits.keys() & {"train", "validation"}:  # as unbalanced as if the data had come like this
            classes = _classes(splits[name], scheme)
            assert classes is not None  # _class_ids has seen to it
            splits[name] = splits[name].select(thin_classes(classes, rare, args.minority_ratio, args.split_seed))
    if args.max_train_samples is not None:
        train = splits["train"]
        rows = sample_rows(len(train), _classes(train, scheme), args.max_train_samples, args.split_seed)
        splits["train"] = train.select(rows)
    return {name: splits[name] for name in ("train", "validation", "test") if name in splits}


def _class_ids(names: list[str], scheme: LabelScheme) -> list[int]:
    """Ids of the labels that `--minority_labels` names."""
    if scheme.problem_type != "single_label_classification":
        raise UserError(f"--minority_labels needs exactly one class for each text; these are {scheme.problem_type}")
    for name in names:
        if name not in scheme.names:
            raise UserError(f"--minority_labels {name} is no label of the training data; see --label_column")
    if len(set(names)) == len(scheme.names):
        raise UserError("--minority_labels names every class; leave out at least one, which stays frequent")
    return [scheme.names.index(name) for name in names]


def _classes(rows: Dataset, scheme: LabelScheme) -> np.ndarray | None:
    if scheme.problem_type != "single_label_classification":
        return None
    return np.concatenate([_label_array(batch["labels"]) for batch in rows.with_format("arrow").iter(ROWS_PER_BATCH)])


def _label_array(labels: pa.ChunkedArray) -> np.ndarray:
    return (pc.list_flatten(labels) if pa.types.is_nested(labels.type) else labels).to_numpy()


def _leaked(rows: Dataset, held_out: list[Dataset]) -> np.ndarray:
    """Which rows have a text, not empty, that also stands in a held-out split word for word, bool (rows,)."""
    tested = pc.unique(pa.chunked_array([chunk for split in held_out for chunk in _texts(split).chunks], pa.string()))
    batches = rows.with_format("arrow").iter(10 * ROWS_PER_BATCH)
    leaked = [
        pc.and_(pc.is_in(batch["text"], value_set=tested), pc.not_equal(pc.utf8_trim_whitespace(batch["text"]), ""))
        for batch in batches
    ]
    return np.concatenate([np.asarray(each) for each in leaked])


def _without_leaks(splits: dict[str, Dataset], drop: bool) -> dict[str, Dataset]:
    """Texts of a split that a later one (validation, test) tests again: dropped from the earlier one, or counted."""
    splits, order = dict(splits), list(splits)
    for number, name in enumerate(order[:-1]):
        leaked = _leaked(splits[name], [splits[later] for later in order[number + 1 :]])
        if not leaked.any():
            continue
        if drop:
            splits[name] = splits[name].select(np.flatnonzero(~leaked))
            logger.warning("%d %s texts are dropped: they are held-out texts too, word for word", leaked.sum(), name)
        else:
            logger.warning(
                "%d %s texts are held-out texts too, word for word; drop them with --drop_leaked true",
                leaked.sum(),
                name,
            )
    return splits


def _texts(rows: Dataset) -> pa.ChunkedArray:
    batches = [batch["text"] for batch in rows.with_format("arrow").iter(ROWS_PER_BATCH)]
    return pa.chunked_array([chunk for batch in batches for chunk in batch.chunks], pa.string())


def _default_name(args: DataArguments) -> str:
    if args.dataset_name:
        return args.dataset_name.rstrip("/").rpartition("/")[2]
    return PurePath((args.train_file or [""])[0]).stem


def _source(args: DataArguments) -> str:
    if args.dataset_name:
        config = f" ({args.dataset_config})" if args.dataset_config else ""
        revision = f" at {args.dataset_revision}" if args.dataset_revision else ""
        return f"{args.dataset_name}{config}{revision}"
    names = [*(args.train_file or []), args.validation_file, args.test_file]
    return ", ".join(name if name.startswith("package:") else PurePath(name).name for name in names if name)
