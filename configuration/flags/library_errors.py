"""What transformers, accelerate and torch raise about flags, told in one sentence that names them."""

import os
import re
from collections.abc import Callable, Mapping, Set
from typing import Any, TypeVar

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.rule_kinds import shown

T = TypeVar("T")
# Variables by which those who start processes tell them what to do.
LAUNCHER = re.compile("(ACCELERATE_|FSDP_|MASTER_)|(LOCAL_|GROUP_)?(RANK|WORLD_SIZE)$")


def blame(attempt: Callable[[Set[str]], T], flags: Mapping[str, Any]) -> T:
    """Do something with flags of which libraries know more than we do; where it fails, find the flags.

    Args:
        attempt: What to do; takes the names of flags that it shall leave at their defaults. Must not change anything
            that another attempt would find.
        flags: Those that a user has set, and their values.

    Returns:
        What `attempt` returns.

    Raises:
        UserError: It can't be done; the sentence names the flags without which it could.
    """
    try:
        return attempt(frozenset())
    except UserError:
        raise
    except Exception as error:  # any: each library and version has its own
        guilty = frozenset(flags)
        if not _succeeds(attempt, guilty):  # of no flag
            raise cannot_start(error) from error
        for name in flags:
            if _succeeds(attempt, guilty - {name}):
                guilty -= {name}
        told = " ".join(f"--{name} {one_line(shown(flags[name]), 100)}" for name in flags if name in guilty)
        raise UserError(f"{told} can't be used here: {one_line(error, 300) or type(error).__name__}") from error


def cannot_start(error: Exception) -> UserError:
    """What to say where no flag is to blame, but maybe what a launcher left in the environment."""
    variables = sorted(f"{name}={value}" for name, value in os.environ.items() if LAUNCHER.match(name))
    where = f" with {one_line(' '.join(variables), 300)} in the environment" if variables else ""
    return UserError(f"this can't start here{where}: {one_line(error, 300)}")


def _succeeds(attempt: Callable[[Set[str]], Any], left_out: Set[str]) -> bool:
    try:
        attempt(left_out)
    except Exception:
        return False
    return True
