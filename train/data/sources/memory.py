"""Reads labelled texts that are in memory already into the same tables as files."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import FileArguments
from salience.train.data.sources.hub import SPLIT_NAMES, hub_parts, read_split
from salience.train.data.tables import Part, check_columns, make_part, wanted_columns

# A pair is (texts, labels).
Table: TypeAlias = (
    pd.DataFrame | datasets.Dataset | Mapping[str, Sequence[Any]] | tuple[Sequence[str], Sequence[Any]] | list[Any]
)
KINDS = "a pandas data frame, a datasets.Dataset, a dict of columns, or a pair of lists (texts, labels)"


def as_splits(given: Any, args: FileArguments) -> Mapping[str, Any]:
    """Give the training data their name, unless the splits in memory have names.

    Args:
        given: A `Table`, a DatasetDict, or a dict of splits.
        args: Column names.
    """
    if isinstance(given, datasets.DatasetDict):  # its splits have the Hub's names
        return {"train": given}
    has_names = isinstance(given, Mapping) and not _is_table(given, args, *SPLIT_NAMES)
    return given if has_names else {"train": given}


def test_table(given: Any, args: FileArguments) -> Any:
    """The texts to score: a `Table`, or the split named test of a dict of splits.

    Args:
        given: Either.
        args: Column names.
    """
    is_split = isinstance(given, Mapping) and "test" in given and not _is_table(given, args)
    return given["test"] if is_split else given


def _is_table(given: Mapping[str, Any], args: FileArguments, *splits: str) -> bool:
    """Whether a dict is one of columns: it has those that are wanted, and no name of a split."""
    return any(column in given for column in wanted_columns(args)) and not any(split in given for split in splits)


def read_memory(given: Mapping[str, Any], args: FileArguments) -> dict[str, list[Part]]:
    """Read splits that are in memory.

    Args:
        given: Split name (train, validation or test) -> `Table`; `train` may be a DatasetDict with all of the splits.
        args: Column names, and what to do with missing texts.

    Returns:
        Split name -> its one part.

    Raises:
        UserError: A split is of another kind or has an unknown name, or lacks a column, a text or a label.
    """
    unknown = sorted(set(given) - set(SPLIT_NAMES))
    if unknown or "train" not in given:
        named = f"there is no split '{unknown[0]}'" if unknown else "there is no split 'train'"
        raise UserError(
            f"{named} in the texts in memory; name the splits {', '.join(SPLIT_NAMES)}, or give the columns "
            f"{' and '.join(wanted_columns(args))}"
        )
    train = given["train"]
    if not isinstance(train, datasets.DatasetDict):
        return {split: [read_table(table, split, args)] for split, table in given.items()}
    if len(given) > 1:
        raise UserError("the training texts are a DatasetDict, which has splits of its own; give it alone")
    return hub_parts(train, "the DatasetDict", args)


def read_table(table: Any, split: str, args: FileArguments) -> Part:
    """Read one split that is in memory.

    Args:
        table: A `Table`.
        split: Its name, for the messages.
        args: Column names, and what to do with missing texts.

    Raises:
        UserError: It is of another kind, or lacks a column, a text or a label.
    """
    if isinstance(table, Mapping) and table.keys() <= set(SPLIT_NAMES) and not _is_table(table, args):
        raise UserError(
            f"'{split}' is a dict of splits ({', '.join(table)}), and one of them is wanted; give each by itself"
        )
    where = f"{split} ({describe_table(table)})"
    if isinstance(table, datasets.Dataset):
        return read_split(table, where, args)
    if isinstance(table, tuple | list):  # texts of several columns are put together in a pair
        args = replace(args, text_column=["text"], label_column=["label"], text_separator=None)
    columns = _columns(table, where, args)
    check_columns([str(name) for name in columns], where, args)
    _refuse_other_rows([columns[name] for name in wanted_columns(args)], where)
    arrays = {name: _to_arrow(columns[name], name, where) for name in wanted_columns(args)}
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{len(array)} in '{name}'" for name, array in arrays.items())
        raise UserError(f"'{where}' has columns of several lengths ({lengths}); give one label for each text")
    return make_part(pa.table(arrays), where, args)


def describe_table(table: Any) -> str:
    """What a split in memory is, in words."""
    for kind, words in (
        (pd.DataFrame, "a pandas data frame"),
        (datasets.Dataset, "a datasets.Dataset"),
        (datasets.DatasetDict, "a datasets.DatasetDict"),
        (Mapping, "a dict of columns"),
        ((tuple, list), "lists"),
    ):
        if isinstance(table, kind):
            return words
    return f"a {type(table).__name__}"


def _columns(table: Any, where: str, args: FileArguments) -> Mapping[Any, Any]:
    if isinstance(table, pd.DataFrame):
        check_columns([str(name) for name in table.columns], where, args)
        return {str(name): table[name] for name in table.columns}
    if isinstance(table, Mapping):
        return table
    if isinstance(table, tuple | list) and len(table) == 2 and not any(isinstance(each, str) for each in table):
        return dict(zip(("text", "label"), table, strict=True))
    raise UserError(f"'{where}' can't be read; give {KINDS}")


def _refuse_other_rows(columns: list[Any], where: str) -> None:
    """Refuse columns of pandas whose rows aren't called alike: by place, texts would get the labels of others."""
    indexes = [column.index for column in columns if isinstance(column, pd.Series)]
    if any(not index.equals(indexes[0]) for index in indexes):
        raise UserError(
            f"'{where}' has columns of pandas with different indexes; put them into one data frame, or, if they are in "
            "one order, give .tolist() of each"
        )


def _to_arrow(values: Any, name: str, where: str) -> pa.ChunkedArray:
    if isinstance(values, str | bytes | set | frozenset | Mapping):
        kind = type(values).__name__
        raise UserError(f"column '{name}' of '{where}' is a {kind}, which isn't one value for each text; give a list")
    if isinstance(values, pd.DataFrame):  # as a list it would be the names of its columns
        raise UserError(
            f"column '{name}' of '{where}' is a data frame; give one column of it, as in frame['{name}'], or the whole "
            "frame with text_column and label_column"
        )
    try:
        values = _plain_values(values)
        if getattr(values, "ndim", 1) > 1:
            values = list(values)  # a table of indicators
        array = pa.array(values, from_pandas=True)
    except UnicodeEncodeError as error:
        reason = f"half a character (a lone surrogate) in column '{name}'; cut the text elsewhere"
        raise UserError(f"'{where}' has {reason}") from error
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        reason = one_line(error, 150)
        raise UserError(
            f"column '{name}' of '{where}' mixes types or has values of an unknown kind ({reason}); write all of it as "
            "text, or all as numbers"
        ) from error
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _plain_values(values: Any) -> Any:
    """A column with values that Arrow knows for those that it doesn't: tensors, NumPy's dates, frozen sets."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if isinstance(values, pd.Series) and isinstance(values.dtype, pd.SparseDtype):
        return values.sparse.to_dense()
    holds_objects = isinstance(values, list | tuple) or pd.api.types.is_object_dtype(values)
    if not holds_objects or not any(
        isinstance(each, torch.Tensor | np.ndarray | np.datetime64 | frozenset) for each in values
    ):
        return values
    return [_plain_value(each) for each in values]


def _plain_value(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return _plain_values(value)[()]  # an array without a dimension is a number
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, np.ndarray):
        return value.tolist()  # one without values is of numbers
    return set(value) if isinstance(value, frozenset) else value
