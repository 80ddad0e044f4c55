"""Columns of the many types that files and libraries have, as columns of few types."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ROWS_AT_ONCE = 65_536  # more could overflow the 32-bit offsets of Arrow's strings and lists


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write a column of any type as strings, numbers, booleans, times, or lists of them.

    Dictionaries (categories) are looked up; views, large and binary strings become strings, half floats doubles, and
    every kind of list a list.

    Raises:
        pa.ArrowException: Text isn't valid UTF-8, or the column is damaged.
    """
    column.validate(full=True)
    pieces = (
        [
            chunk.slice(start, ROWS_AT_ONCE)
            for chunk in column.chunks
            for start in range(0, max(len(chunk), 1), ROWS_AT_ONCE)
        ]
        if _is_wide(column.type)
        else column.chunks
    )
    if not pieces:
        return pa.chunked_array([_plain(pa.array([], column.type))])
    return pa.chunked_array([_plain(piece) for piece in pieces])


def is_text(kind: pa.DataType) -> bool:
    """Whether a plain column holds strings, or nothing but nulls."""
    return pa.types.is_string(kind) or pa.types.is_null(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether a plain column holds lists."""
    return pa.types.is_list(kind)


def refuse_far_dates(column: pa.ChunkedArray) -> None:
    """Refuse dates that Python can't write.

    Args:
        column: Plain.

    Raises:
        OverflowError: One is before the year 1 or after 9999.
    """
    values = pc.list_flatten(column) if is_list(column.type) else column
    if pa.types.is_date(values.type) or pa.types.is_timestamp(values.type):
        try:
            pc.min_max(values).as_py()
        except ValueError as error:  # by the unit, either
            raise OverflowError from error


def _is_wide(kind: pa.DataType) -> bool:
    large = (pa.types.is_large_string, pa.types.is_large_binary, pa.types.is_large_list)
    views = (pa.types.is_string_view, pa.types.is_binary_view, pa.types.is_list_view, pa.types.is_large_list_view)
    return any(is_kind(kind) for is_kind in (*large, *views, pa.types.is_dictionary))


def _plain(array: pa.Array) -> pa.Array:
    kind = array.type
    if isinstance(array, pa.ExtensionArray):  # of text with a special meaning; a period's number means nothing here
        storage = _plain(array.storage)
        return storage if pa.types.is_string(storage.type) else array
    if pa.types.is_dictionary(kind):
        return pc.take(_plain(array.dictionary), array.indices)
    if is_bytes(kind):
        return array.cast(pa.string())
    if pa.types.is_float16(kind):  # by its digits: 0.1 shall not become 0.0999
        return pa.array(np.array(array.to_numpy(zero_copy_only=False).astype(str), float), from_pandas=True)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return _plain(pa.array(array.to_pylist(), pa.list_(kind.value_type)))  # its cast loses values
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        array = array.cast(pa.list_(kind.value_type))
        kind = array.type
    if pa.types.is_list(kind):
        values = _plain(array.flatten())
        if values.type != kind.value_type:  # new offsets, as Arrow takes no mask with those of a slice
            ends = np.cumsum([0, *pc.list_value_length(array).fill_null(0).to_numpy()], dtype=np.int32)
            return pa.ListArray.from_arrays(pa.array(ends), values, mask=pc.is_null(array))
    return array


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a type holds text or bytes."""
    kinds = (
        pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary, pa.types.is_large_binary,
        pa.types.is_binary_view, pa.types.is_fixed_size_binary,
    )  # fmt: skip
    return any(is_kind(kind) for is_kind in kinds)
