"""Reads labelled texts that are in memory already into the same tables as files."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import datasets
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
        raise UserError(f"{named} in the texts in memory; name the splits {', '.join(SPLIT_NAMES)}")
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
    where = f"{split} ({describe_table(table)})"
    if isinstance(table, datasets.Dataset):
        return read_split(table, where, args)
    if isinstance(table, tuple | list):  # texts of several columns are put together in a pair
        args = replace(args, text_column=["text"], label_column=["label"], text_separator=None)
    columns = _columns(table, where, args)
    check_columns([str(name) for name in columns], where, args)
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


def _to_arrow(values: Any, name: str, where: str) -> pa.ChunkedArray:
    if isinstance(values, str | bytes | set | frozenset | Mapping):
        kind = type(values).__name__
        raise UserError(f"column '{name}' of '{where}' is a {kind}, which isn't one value for each text; give a list")
    try:
        values = _without_tensors(values)
        if getattr(values, "ndim", 1) > 1:
            values = list(values)  # a table of indicators
        array = pa.array(values, from_pandas=True)
    except UnicodeEncodeError as error:
        reason = f"half a character (a lone surrogate) in column '{name}'; cut the text elsewhere"
        raise UserError(f"'{where}' has {reason}") from error
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        reason = one_line(error, 150)
        raise UserError(f"column '{name}' of '{where}' mixes types ({reason}); write all of it alike") from error
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _without_tensors(values: Any) -> Any:
    """A column with NumPy's arrays and numbers for the tensors that it is, or that stand in it."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if not isinstance(values, list | tuple) or not any(isinstance(each, torch.Tensor) for each in values):
        return values
    # An array without a dimension is a number.
    return [_without_tensors(each)[()] if isinstance(each, torch.Tensor) else each for each in values]
