"""The processes of `accelerate launch`, which share the parts of a prediction; nothing is gathered."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState

from salience.configuration.flags.library_errors import cannot_start

WAIT = timedelta(days=30)
"""One process may be done long before another. That all of them are there is waited for as long as torch does."""


class Alone:
    """A process without others."""

    process_index, num_processes, is_main_process = 0, 1, True

    def wait_for_everyone(self) -> None:
        """There is nobody to wait for."""


class Team:
    """This process among those that were launched together.

    Raises:
        Exception: Of any kind: they can't be brought together.
    """

    def __init__(self) -> None:
        state = PartialState(cpu=not torch.cuda.is_available())
        self.process_index, self.num_processes = state.process_index, state.num_processes
        self.is_main_process = state.is_main_process
        self._waiting: Any = torch.distributed.new_group(timeout=WAIT, backend="gloo")

    def wait_for_everyone(self) -> None:
        """Come here as all others do."""
        torch.distributed.barrier(self._waiting)


@contextmanager
def processes() -> Iterator[Alone | Team]:
    """This process among those that were launched together.

    Raises:
        UserError: The environment tells of others, and they aren't there.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield Alone()
        return
    try:
        try:
            team = Team()
        except Exception as error:  # any: torch and accelerate have their own
            PartialState._reset_state()  # what is half made is taken for whole
            raise cannot_start(error) from error
        yield team
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
