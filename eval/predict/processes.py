"""The processes of `accelerate launch`, which share the parts of a prediction; nothing is gathered."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import PartialState

WAIT = timedelta(days=30)
"""One process may be done long before another."""


class Alone:
    """A process without others."""

    process_index, num_processes, is_main_process = 0, 1, True

    def wait_for_everyone(self) -> None:
        """There is nobody to wait for."""


@contextmanager
def processes() -> Iterator[Alone | PartialState]:
    """This process among those that were launched together."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Alone()
        return
    try:
        yield PartialState(cpu=not torch.cuda.is_available(), timeout=WAIT)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
