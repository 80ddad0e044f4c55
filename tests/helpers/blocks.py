"""Fenced blocks of a page for readers, and the commands in them."""

import re
import shlex
from typing import NamedTuple


class Block(NamedTuple):
    """A fenced block: the line where it begins, its language and text, and why it can't be run, if it says so."""

    line: int
    language: str
    code: str
    not_run: str | None


def read_blocks(text):
    pattern = re.compile(r"(?:^<!-- not run: (.+) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [
        Block(text[: found.start(2)].count("\n") + 1, found[2], found[3], found[1]) for found in pattern.finditer(text)
    ]


def commands(code):
    """The commands of a block of the shell, each as its words."""
    for line in code.replace("\\\n", " ").splitlines():
        yield shlex.split(line, comments=True)


def usage_blocks(card):
    """The Python blocks of a card, in order; each may use the names of those before it."""
    return [block.code for block in read_blocks(card) if block.language == "python"]
