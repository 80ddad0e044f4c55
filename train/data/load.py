"""Texts and labels in, train, validation and test splits out."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict
from datasets.fingerprint import generate_random_fingerprint

# Not public, but scikit-learn's own rules to the letter, and unchanged since 2013.
from sklearn.datasets._twenty_newsgroups import strip_newsgroup_footer, strip_newsgroup_header, strip_newsgroup_quoting

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments, FileArguments, ModelsColumns, TextArguments
from salience.configuration.flags.rule_kinds import changed_flags
from salience.configuration.problem_types import SINGLE_LABEL
from salience.train.data.encoded import count_classes, label_array, labels_of
from salience.train.data.labels import LabelScheme
from salience.train.data.leaks import tell_contradictions, without_leaks
from salience.train.data.paths import resolve_path
from salience.train.data.sources.files import FORMAT_FLAGS, read_file, reader_of, refuse_unused
from salience.train.data.sources.memory import as_splits, read_table, test_table
from salience.train.data.sources.parts import default_name, describe_source, read_parts
from salience.train.data.splits import hold_out, sample_rows, thin_classes
from salience.train.data.tables import Part

logger = logging.getLogger(__name__)

# In the order in which scikit-learn applies them.
CLEANERS: dict[str, Callable[[str], str]] = {
    "headers": strip_newsgroup_header,
    "footers": strip_newsgroup_footer,
    "quotes": strip_newsgroup_quoting,
}
ROWS_PER_BATCH = 10_000
Flags = TypeVar("Flags", bound=TextArguments)


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
        text_separator: What stands between the texts of several columns, or None if they are of one.
        leaked: Held-out split -> how many of its texts stand in the training split, too, where any do.
    """

    splits: DatasetDict
    label_names: list[str]
    problem_type: str
    name: str
    source: str
    text_separator: str | None = None
    leaked: dict[str, int] = field(default_factory=dict)

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
            text = batch["text"]
            if self.text_separator:  # each model has its own, and the data are the same
                text = pc.replace_substring(text, self.text_separator, "\n")
            texts.update("".join(text.to_pylist()).encode())
            lengths.update(pc.binary_length(text).to_numpy().astype("<i8").tobytes())
            values = label_array(batch["labels"])
            labels.update(values.astype("<i8" if values.dtype.kind == "i" else "<f4").tobytes())
            counts += count_classes(values, self.problem_type, len(self.label_names))
        names = json.dumps(self.label_names).encode()
        digest = hashlib.sha256(texts.digest() + lengths.digest() + labels.digest() + names)
        return {
            "rows": len(self.splits[split]),
            "sha256": digest.hexdigest(),
            "labels": {name: int(count) for name, count in zip(self.label_names, counts, strict=True)},
        }


def load_splits(args: DataArguments, given: Any = None, known: LabelScheme | None = None) -> TextData:
    """Read the data that the flags name, or that is in memory, check it, clean it and split it.

    Without a validation split, a stratified part of the training data becomes one; the test data is never used for it.
    Everything is a function of the data and the flags: `args.split_seed`, not the training seed, decides the splits.

    Args:
        args: The data flags.
        given: Data in memory, instead of files: split name (train, and validation and test where there are any) -> a
            pandas data frame, a `datasets.Dataset`, a dict of columns, or a pair of lists (texts, labels). `train` may
            be a DatasetDict, whose splits have the Hub's names. Without split names, it is the training data.
        known: Labels of a trained model, see `LabelScheme.find`.

    Returns:
        The splits, with what is known about their labels.

    Raises:
        UserError: If the data can't be read or doesn't hold what training needs; the message says what to do.

    Example:
        >>> texts, labels = ["a goal", "a film", "a match", "a song"] * 9, ["sport", "culture"] * 18
        >>> load_splits(DataArguments(validation_size=0.25), {"train": (texts, labels)}).label_names
        ['culture', 'sport']
    """
    if not isinstance(args, DataArguments):
        raise UserError("load_splits takes the data flags first: write load_splits(DataArguments(train_file=...))")
    given = None if given is None else as_splits(given, args)
    parts = read_parts(args, given)
    if args.resplit:
        if parts.keys() == {"train"}:
            raise UserError("--resplit true has no effect here: there is nothing but training data; leave it out")
        if "test" in parts and not args.test_size:
            raise UserError(
                "--resplit true puts the test data into the training data; say how much to hold out again "
                "with --test_size"
            )
        parts = {"train": [part for several in parts.values() for part in several]}
    scheme = LabelScheme.find(parts["train"], args, args.problem_type, known)
    splits = {split: _dataset(several, scheme) for split, several in parts.items()}
    if args.clean:
        splits = {split: _clean(rows, args.clean) for split, rows in splits.items()}
    tell_contradictions(splits, scheme)
    splits, leaked = without_leaks(_split(splits, scheme, args), scheme, args.drop_leaked)
    source = describe_source(args, given)
    return TextData(
        splits=DatasetDict(splits),
        label_names=scheme.names,
        problem_type=scheme.problem_type,
        name=args.data_name or (source if given else default_name(args)),
        source=source,
        text_separator=args.joining_text if len(args.text_column) > 1 else None,
        leaked=leaked,
    )


def load_test(args: FileArguments, label_names: list[str], problem_type: str, given: Any = None) -> Dataset:
    """Read `args.test_file`, or texts in memory, for a model that is trained already.

    Args:
        args: The data flags.
        label_names: The model's, in the order of their ids.
        problem_type: The model's.
        given: Texts in memory, instead of a file: see `load_splits`; of several splits, the one named test.

    Returns:
        The columns `text` and `labels`, as in `TextData.splits`.

    Raises:
        UserError: If the data can't be read, or has a label that the model doesn't know.
    """
    if not args.test_file and given is None:
        raise UserError("--test_file is missing: name the labelled texts to score the model on")
    if args.test_file and given is not None:
        raise UserError("both --test_file and texts in memory are given; leave out one of them")
    scheme = LabelScheme(problem_type, label_names, args.label_separator, args.class_names, is_of_model=True)
    readers = [reader_of(resolve_path(args.test_file), args.test_file)] if args.test_file else []
    refuse_unused(readers, args, FORMAT_FLAGS)
    part = read_file(args.test_file, args) if args.test_file else read_table(test_table(given, args), "test", args)
    rows = _dataset([part], scheme)
    return _clean(rows, args.clean) if args.clean else rows


def columns_of_model(args: Flags, config: Any) -> Flags:
    """Read the columns that a model was trained on, where flags name no others; others are told.

    Args:
        args: The data flags.
        config: The model's configuration.
    """
    columns = getattr(config, "text_columns", None)
    if not columns:
        return args
    is_same = args.text_column == list(columns) and args.text_separator is None
    if isinstance(args.text_column, ModelsColumns) or is_same:
        return replace(args, text_column=list(columns), text_separator=getattr(config, "text_separator", None))
    if args.text_column != list(columns):
        says = "texts are read from the column %s (--text_column), and the model was trained on %s"
        logger.warning(says, " + ".join(args.text_column), " + ".join(columns))
    if len(args.text_column) > 1 and args.text_separator is None:
        return replace(args, text_separator=getattr(config, "text_separator", None))
    return args


def _dataset(parts: list[Part], scheme: LabelScheme) -> Dataset:
    tables = [pa.table({"text": part.text, "labels": scheme.encode(part)}) for part in parts]
    # Straight from Arrow, without the cache of `datasets`: a file that was changed is always read anew, and nothing
    # is left behind in the home folder.
    # Without a fingerprint, it would hash the whole table in one piece, which Arrow can't beyond 2 GiB of text.
    return Dataset(pa.concat_tables(tables), fingerprint=generate_random_fingerprint())


def clean_texts(texts: list[str], rules: Sequence[str]) -> list[str]:
    """Texts without the parts that `--clean` names.

    Args:
        texts: As they were read.
        rules: Keys of `CLEANERS`.
    """
    for cleaner in [CLEANERS[rule] for rule in CLEANERS if rule in rules]:
        texts = [cleaner(text) for text in texts]
    return texts


def _clean(rows: Dataset, rules: list[str]) -> Dataset:
    return rows.map(
        lambda texts: {"text": clean_texts(texts, rules)},
        input_columns="text",
        batched=True,
        keep_in_memory=True,
        load_from_cache_file=False,
        desc="Cleaning",
    )


def _split(splits: dict[str, Dataset], scheme: LabelScheme, args: DataArguments) -> dict[str, Dataset]:
    sizes = {"test": args.test_size, "validation": args.validation_size}
    for name in sizes.keys() & splits.keys() & {flag.removesuffix("_size") for flag in changed_flags(args)}:
        raise UserError(f"--{name}_size has no effect here: the data have a {name} split already; leave it out")
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
    if scheme.problem_type != SINGLE_LABEL:
        raise UserError(f"--minority_labels needs exactly one class for each text; these are {scheme.problem_type}")
    for name in names:
        if name not in scheme.names:
            raise UserError(f"--minority_labels {name} is no label of the training data; see --label_column")
    if len(set(names)) == len(scheme.names):
        raise UserError("--minority_labels names every class; leave out at least one, which stays frequent")
    return [scheme.names.index(name) for name in names]


def _classes(rows: Dataset, scheme: LabelScheme) -> np.ndarray | None:
    if scheme.problem_type != SINGLE_LABEL:
        return None
    return labels_of(rows)
