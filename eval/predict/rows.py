"""What files of any format are made of for a prediction: stretches of rows, which are read one at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from salience.configuration.flags.data_arguments import TextArguments

STRETCH_BYTES = 2**26
"""A stretch of longer rows ends earlier: all of it is in memory at a time."""


@dataclass(frozen=True)
class Stretch:
    """Rows of one file that stand behind each other.

    Attributes:
        file: Number of the file among the inputs.
        row: Number of the first row in its file, from 1; blank lines are none.
        rows: How many there are.
        line: Line of the file in which the first row begins, from 1; 0 where there are no lines.
        offset: Byte of the file, read as UTF-8, with which the first row begins.
    """

    file: int
    row: int
    rows: int
    line: int = 0
    offset: int = 0


class Rejected(NamedTuple):
    """A row that got no answer.

    Attributes:
        row: Its number in its file, from 1.
        line: Where it begins; 0 where there are no lines.
        reason: Why.
    """

    row: int
    line: int
    reason: str


@dataclass
class Rows:
    """The rows of a stretch that could be read.

    Attributes:
        texts: Column of texts -> its cells, None for a missing one.
        raw: Each row as it stands in its file, without the line's end; empty where a file has no lines.
        table: Gives all columns.
        places: Row and line of each, see `Rejected`.
        rejected: Those that couldn't be read, in order.
    """

    texts: dict[str, list[Any]]
    raw: list[str]
    table: Callable[[], pa.Table]
    places: list[tuple[int, int]]
    rejected: list[Rejected] = field(default_factory=list)


class Input(Protocol):
    """A file that is read in stretches; of each format, one class."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def name(self) -> str:
        """As the user gave it, for the messages."""
        ...

    @property
    def args(self) -> TextArguments:
        """How it is read."""
        ...

    @property
    def columns(self) -> list[str]:
        """Names of its columns, as far as they are known before all of it is read."""
        ...

    def describe(self) -> dict[str, Any]:
        """How it is read, for the manifest."""
        ...

    def stretches(self, file: int, rows: int) -> Iterator[Stretch]:
        """Where each stretch of so many rows begins; `file` is the number of this one."""
        ...

    def read(self, stretch: Stretch) -> Rows:
        """Read one."""
        ...
