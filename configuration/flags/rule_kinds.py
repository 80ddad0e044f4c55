"""Kinds of rows of the table of flag rules (`flag_rules`), and how each is applied."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from types import SimpleNamespace
from typing import Any

from salience.configuration.errors import UserError


def shown(value: Any) -> str:
    """A flag's value as one would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    return " ".join(map(shown, value)) if isinstance(value, list) else str(getattr(value, "value", value))


@dataclass(frozen=True)
class Values:
    """What each value of some flags must be; an unset flag (None) may be anything.

    Attributes:
        says: End of the sentence that begins with the flag and its value.
        hold: Whether a value is right.
        flags: Without dashes. Of a list, each value must be right, and there must be one.
    """

    says: str
    hold: Callable[[Any], bool]
    flags: tuple[str, ...]

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise UserError for the first flag that is wrong."""
        for flag in self.flags:
            value = values.get(flag)
            each = value if isinstance(value, list) else [value]
            if value is not None and not (each and all(map(self.hold, each))):
                raise UserError(" ".join(f"--{flag} {shown(value)} {self.says}".split()))


@dataclass(frozen=True)
class Choice:
    """Flags that take one of some words, or a list of them; an unset flag (None) may be anything."""

    flags: tuple[str, ...]
    known: Callable[[], Iterable[str]]  # some stand in libraries that are slow to import

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise UserError for the first flag that is wrong."""
        for flag in self.flags:
            value = values.get(flag)
            for each in value if isinstance(value, list) else [] if value is None else [value]:
                known = list(self.known())
                if shown(each) not in known:
                    raise UserError(f"--{flag} {shown(each)} is unknown; choose from {', '.join(known)}")


@dataclass(frozen=True)
class Fixed:
    """A flag of transformers on whose default training, scores or the safety of the run's folder rest."""

    flag: str
    value: Any
    why: str = ""

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise UserError if the flag is wrong."""
        value = values.get(self.flag, self.value)
        if value not in (None, self.value):
            raise UserError(
                f"--{self.flag} {shown(value)} is not offered{f': {self.why}' if self.why else '; leave it out'}"
            )


@dataclass(frozen=True)
class Together:
    """Flags that don't go together.

    Attributes:
        flags: Those that the row reads; it counts where all of them are there.
        clash: Whether they clash; reads them as attributes, and in `changed` the names of those that were set.
        says: The sentence, in which {flag} stands for a flag's value.
    """

    flags: tuple[str, ...]
    clash: Callable[[Any], Any]
    says: str


def belongs_to(other: str, words: tuple[str, ...], *flags: str, says: str) -> list[Together]:
    """Flags that count only where another one has one of these words, or, without words, is set at all.

    Args:
        other: The flag that they belong to.
        words: Of it.
        flags: Those that belong to it.
        says: The sentence behind a flag's name; {} stands for the other flag and its words.
    """
    where = f"--{other}{' ' if words else ''}{' or '.join(words)}"

    def row(flag: str) -> Together:
        def clash(f: Any) -> bool:
            value = getattr(f, other)
            return flag in f.changed and not (str(value).lower() in words if words else value)

        return Together((flag, other), clash, f"--{flag} {says.format(where)}")

    return [row(flag) for flag in flags]


def excludes(first: str, second: str) -> Together:
    """Two flags of which one at most may be set."""
    clash = lambda f: getattr(f, first) and getattr(f, second)  # noqa: E731
    return Together((first, second), clash, f"--{first} and --{second} exclude each other")


def refuse(rows: Iterable[Together], values: Mapping[str, Any], changed: Collection[str]) -> None:
    """Raise the sentence of the first row that is broken.

    Args:
        rows: Of the table.
        values: Of all flags, by name.
        changed: Names of those that were set.

    Raises:
        UserError: A row is broken.
    """
    flags = SimpleNamespace(**{**values, "changed": changed})
    for row in rows:
        if values.keys() >= set(row.flags) and row.clash(flags):
            raise UserError(row.says.format_map(values))


def changed_flags(group: Any) -> dict[str, Any]:
    """The flags of one group that differ from their defaults."""
    flags = fields(group) if is_dataclass(group) else ()
    changed = (each for each in flags if each.init and getattr(group, each.name) != default_of(each))
    return {each.name: getattr(group, each.name) for each in changed}


def refuse_idle(group: Any, idle: Collection[str], why: str) -> None:
    """Refuse flags that have no effect where they were given.

    Args:
        group: Arguments.
        idle: Names of flags.
        why: They have none, for the sentence.

    Raises:
        UserError: One of them differs from its default.
    """
    for flag, value in changed_flags(group).items():
        if flag in idle:
            raise UserError(f"--{flag} {shown(value)} has no effect here: {why}; leave it out")


def default_of(flag: Field) -> Any:
    """What a flag is where nobody sets it."""
    return flag.default if flag.default_factory is MISSING else flag.default_factory()
