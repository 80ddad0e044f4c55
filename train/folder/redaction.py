"""Secrets and the folders of this machine, taken out of what a run tells of itself."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

REDACTED = "REDACTED"
# hub_token, push-to-hub-token, token_file; not tokenizer, max_tokens
SECRET_NAME = re.compile(r"token(?!iz|s)", re.IGNORECASE)
# A Hub token wherever it stands, and the password in https://user:password@host
SECRET_VALUE = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?<=://)[^/\s@]+(?=@)|(?<=://)[^\s@/:]+:[^\s@]+(?=@)")
# /folder/name or ~/folder/name where a word begins; not the path of an address such as https://hf.co/a/b
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~-])~?(?:/[\w.+@~-]+){2,}/?")


def redact_command(command: Sequence[str]) -> str:
    """The command as one line for a shell, without tokens and without the folders of absolute paths.

    Args:
        command: `sys.argv`; of the first word only the file name is kept.

    Returns:
        For example `train.py recipe.yaml --hub_token REDACTED --train_file news.csv`.
    """
    words = [Path(command[0]).name]
    secret = False
    for word in command[1:]:
        flag, equals, _ = word.partition("=")
        if secret and not word.startswith("--"):
            words.append(REDACTED)
            secret = False
            continue
        secret = word.startswith("-") and bool(SECRET_NAME.search(flag))
        words.append(f"{flag}={REDACTED}" if secret and equals else word)
        secret = secret and not equals
    return clean(shlex.join(map(_named, words)))


def without_secrets(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Flags by name, also within each other, without the values of those that are secret."""
    safe: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            safe[name] = without_secrets(value)
        else:
            safe[name] = REDACTED if value and SECRET_NAME.search(name) else value
    return safe


def tidy(value: Any) -> Any:
    """Clean every string, also inside lists and dictionaries (their keys stay)."""
    if isinstance(value, Mapping):
        return {str(key): tidy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(item) for item in value]
    return clean(_named(str(value))) if isinstance(value, str | Path) else value


def _named(word: str) -> str:
    """A path, or a flag's, without its folders, which may have any characters in their names; others as they are."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    path = value.removeprefix("file://")
    is_path = re.match(r"~?/[^/]+/.", path) and "\n" not in path
    return f"{flag}{equals}{PurePosixPath(path).name}" if is_path else word


def clean(text: str) -> str:
    """A text without Hub tokens, passwords in addresses, and the folders of absolute paths."""
    text = SECRET_VALUE.sub(REDACTED, text)
    # Absolute paths end in what matters; the folders before it say something about this machine only.
    return ABSOLUTE_PATH.sub(lambda match: match.group(0).rstrip("/").rpartition("/")[2], text)
