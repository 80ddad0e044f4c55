"""Reads recipes and studies: YAML without what could be read in two ways, or has no end."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from salience.configuration.errors import UserError, one_line

MOST_VALUES = 100_000


NULL, TEXT, INTEGER, FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("null", "str", "int", "float"))
AMBIGUOUS = re.compile(r"[-+]?0[0-9_]+$|.*:")
"""Octal, and of base 60."""


class _CarefulLoader(yaml.SafeLoader):
    """Refuses keys that stand twice, of which YAML would forget one, and what has two meanings or no end."""

    text_keys: Collection[str] = ()

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        waiting, count = [] if node is None else [node], 0
        while waiting:
            each = waiting.pop()
            count += 1
            if isinstance(each, yaml.MappingNode):
                waiting += [part for pair in each.value for part in pair]
                self._keep_texts(each)
            elif isinstance(each, yaml.SequenceNode):
                waiting += each.value
            if count + len(waiting) > MOST_VALUES:
                reason = f"it refers to itself, or holds more than {MOST_VALUES:,} values"
                raise yaml.constructor.ConstructorError(None, None, reason)
        return node

    def _keep_texts(self, node: yaml.MappingNode) -> None:
        """Make what stands behind the `text_keys` text, as it is written: 1.10 isn't 1.1 there, nor is no False."""
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in self.text_keys:
                for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(each, yaml.ScalarNode) and each.tag != NULL:
                        each.tag = TEXT

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):  # YAML itself refuses lists and maps
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number that people read as YAML 1.1 does; not 010, which is 8 there, nor 1:30, which is 90."""
        if AMBIGUOUS.match(node.value):
            reason = f"{node.value} is another number in YAML than it looks like; write it with decimal digits only"
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark)
        return self.construct_yaml_float(node) if node.tag == FLOAT else self.construct_yaml_int(node)


_CarefulLoader.add_constructor(INTEGER, _CarefulLoader.construct_number)
_CarefulLoader.add_constructor(FLOAT, _CarefulLoader.construct_number)


# What a user means by them is data.
DATA_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".txt", ".xlsx")


def read_yaml(name: str | Path, kind: str, text_keys: Collection[str] = ()) -> Any:
    """What a YAML file holds.

    Args:
        name: The file.
        kind: What it is, for the messages.
        text_keys: Keys whose values, or lists of values, are text as it is written, whatever YAML takes it for.

    Raises:
        UserError: It can't be read, isn't valid, has a key twice, or holds too much.
    """
    file = Path(name)
    if kind == "recipe" and file.suffix.lower() in DATA_ENDINGS:
        raise UserError(f"{name} is no recipe: if it holds texts, write --train_file {name}")
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # reading a pipe or a device may never end
            raise UserError(f"{kind} {name} is no regular file; save it as one")
        loader = _CarefulLoader(file.read_text(encoding="utf-8"))
        loader.text_keys = text_keys
        return loader.get_single_data()
    except OSError as error:
        raise UserError(f"{kind} {name} can't be read: {error.strerror}") from error
    except RecursionError as error:
        raise UserError(f"{kind} {name} is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # also of another encoding, or with a 13th month
        raise UserError(f"{kind} {name} is not valid YAML: {one_line(error)}") from error
