"""What files of any format are made of for a prediction: stretches of rows, which are read one at a time."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import TextArguments
from salience.eval.predict.columns import refuse_taken
from salience.eval.predict.predictor import PickledAsFields

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


class Survey(NamedTuple):
    """What is found out by reading a file from its beginning to its end.

    Attributes:
        stretches: It, divided.
        kinds: Key -> the types of its values, of JSON lines that go into parquet files.
    """

    stretches: list[Stretch]
    kinds: dict[str, set[type]]


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


@dataclass(frozen=True)
class Input(PickledAsFields, ABC):
    """A file that is read in stretches; of each format, one class.

    Attributes:
        path: Where it is.
        name: As the user gave it, for the messages.
        args: How it is read.
        added: Names of the columns that it will get.
        to_parquet: Whether its rows go into parquet files, whatever it is itself.
        state: What `state_of` said before anything was read.
        columns: Names of its columns, as far as they are known before all of it is read.
    """

    path: Path
    name: str
    args: TextArguments
    added: Sequence[str]
    to_parquet: bool
    state: tuple[int, int] | None
    columns: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, name: str, args: TextArguments, added: Sequence[str], to_parquet: bool) -> "Input":
        """Find out how a file is read. For the arguments see the attributes.

        Raises:
            UserError: It can't be, lacks a column, or has one that it will get.
        """
        file = cls(path, name, args, added, to_parquet, state_of(path))
        with file.unchanged():
            found = file.looked_at()
        refuse_taken(found.columns, added, f"'{name}'")
        return found

    @abstractmethod
    def looked_at(self) -> "Input":
        """The same file, with its columns and all else that must be known to read it.

        Raises:
            UserError: It can't be read, or lacks a column.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """How it is read, for the manifest."""

    @abstractmethod
    def survey(self, file: int, rows: int) -> Survey:
        """Divide it.

        Args:
            file: Its number among the inputs.
            rows: Of a stretch; fewer where they are long.

        Raises:
            UserError: It can't be read.
        """

    @abstractmethod
    def read(self, stretch: Stretch) -> Rows:
        """Read one.

        Raises:
            UserError: It can't be read.
        """

    def close(self) -> None:
        """Give the file back to the system, which has few at a time; what is read next opens it again."""
        for name in self.__dict__.keys() - {each.name for each in fields(self)}:
            del self.__dict__[name]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Do something with the file that counts only if it is the one that was opened.

        Raises:
            UserError: It has changed since; what went wrong with it for that isn't told.
        """
        try:
            yield
        except Exception as error:
            if state_of(self.path) != self.state:
                raise self.changed() from error
            raise
        if state_of(self.path) != self.state:
            raise self.changed()

    def changed(self) -> UserError:
        """What to say of a file that isn't the one that was opened."""
        return UserError(
            f"'{self.name}' was changed while it was read, and rows of two files would be mixed: bring the old one "
            "back and the same command goes on, or choose another --output for the new one"
        )


def state_of(path: Path) -> tuple[int, int] | None:
    """By what a file is known to be the same while one command reads it: size and time; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def divided(file: int, rows: int, found: Iterable[tuple[int, int, int, bool]]) -> list[Stretch]:
    """Stretches of the rows of a text file.

    Args:
        file: Its number among the inputs.
        rows: Of a stretch; fewer where they are long.
        found: Where each row begins, its first line, its bytes, and whether the next one must be read with it.
    """
    stretches: list[Stretch] = []
    begin, count, size, number, holds_on = (0, 0), 0, 0, 1, False
    for offset, line, num_bytes, holds_next in found:
        is_full = count >= rows or size >= STRETCH_BYTES
        if is_full and (not holds_on or size >= 2 * STRETCH_BYTES):
            stretches.append(Stretch(file, number, count, *begin))
            number, count, size = number + count, 0, 0
        if count == 0:
            begin = line, offset
        count, size, holds_on = count + 1, size + num_bytes, holds_next
    return [*stretches, Stretch(file, number, count, *begin)] if count else stretches
