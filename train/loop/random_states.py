"""The random numbers of a process, which one training draws from at a time."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from salience.configuration.errors import UserError

_TRAINING = threading.Lock()


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Let a training draw from the random numbers of this process, and give the caller's back.

    Raises:
        UserError: Another thread is training: both would draw from them, and neither could be repeated.
    """
    if not _TRAINING.acquire(blocking=False):
        raise UserError(
            "another thread of this process is training, and both would draw the same random numbers: train one after "
            "the other, or in processes"
        )
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        _TRAINING.release()
