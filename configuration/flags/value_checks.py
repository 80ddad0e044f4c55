"""What values of flags are looked at for, where a comparison doesn't say it."""

import json
import os
from typing import Any


def is_json_object(text: Any) -> bool:
    """Whether a flag's value is a JSON object, as text or as it is."""
    try:
        return not isinstance(text, str) or isinstance(json.loads(text), dict)
    except ValueError:
        return False


def is_json_object_or_name(text: Any) -> bool:
    """Whether it is a JSON object, or may be the name of a file of one."""
    return not str(text).startswith("{") or is_json_object(text)


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_file_name(text: str) -> bool:
    """Whether a text can be the name of a file here."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def has_doubles(names: list[str] | None) -> bool:
    """Whether a name stands twice in a list."""
    return names is not None and len(set(names)) < len(names)
