"""Times of calls that take turns, so that whatever else the machine does slows all of them alike."""

import time
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
import torch
from tqdm.auto import tqdm

Call = Callable[[], Any]
MODES = ("training", "inference")


def seconds(call: Call, device: torch.device) -> float:
    """Wall-clock seconds of one call, to the end of its work on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def interleaved(
    calls: dict[str, list[Call]],
    repetitions: int,
    device: torch.device,
    title: str,
    one_each: frozenset[str] = frozenset(),
) -> dict[str, np.ndarray]:
    """Time calls in turn: the first one of each name, the second one of each, ..., and all of it again.

    Args:
        calls: By name; as many for each. They are run once before anything is timed (of `one_each`, the first one).
        repetitions: How often.
        device: Where they run.
        title: Of the progress bar.
        one_each: Names of which each repetition runs one call only, the next one each time, because they are slow.

    Returns:
        By name, the seconds of each call in each repetition, (repetitions, calls); nan where it wasn't run.
    """
    num_calls = len(next(iter(calls.values())))
    times = {name: np.full((repetitions + 1, num_calls), np.nan) for name in calls}
    with tqdm(total=(repetitions + 1) * num_calls, desc=title, leave=False) as progress:
        for repetition in range(repetitions + 1):
            for number in range(num_calls):
                for name, own in calls.items():
                    if name not in one_each or number == repetition % num_calls:
                        times[name][repetition, number] = seconds(own[number], device)
                progress.update()
    return {name: each[1:] for name, each in times.items()}  # the first one is the warm-up


class Spread(TypedDict):
    """Of repetitions."""

    median: float
    low: float
    high: float


class StepRow(TypedDict):
    """What `compared` says of one model."""

    mode: str
    batches: str
    model: str
    seconds: Spread
    slow: int
    ratios: dict[str, Spread]


def spread(values: np.ndarray) -> Spread:
    """Median, lowest and highest."""
    return {"median": float(np.median(values)), "low": float(values.min()), "high": float(values.max())}


SLOW = 3.0
"""How many times its median a repetition takes that something else on the machine has held up."""


def num_slow(times: np.ndarray) -> int:
    """How many calls took many times as long as the same call in other repetitions.

    Args:
        times: Seconds (repetitions, calls); nan where a call wasn't made.
    """
    times = times[:, np.isfinite(times).any(axis=0)]
    return int((times > SLOW * np.nanmedian(times, axis=0)).sum())


def compared(times: dict[str, np.ndarray], references: tuple[str, ...], mode: str, batches: str) -> list[StepRow]:
    """A row for each name: what is known of it, its seconds, and their ratios to others' for the same calls.

    Args:
        times: From `interleaved`.
        references: Names by whose seconds each repetition's are divided: those of the calls that both have run.
        mode: What was timed, for the rows.
        batches: Which batches, for the rows.

    Returns:
        Rows with `mode`, `batches`, `model`, `seconds` (as in `spread`), `slow` (see `num_slow`) and `ratios`
        (reference -> as in `spread`).
    """
    return [
        {
            "mode": mode,
            "batches": batches,
            "model": name,
            "seconds": spread(np.nanmean(each, axis=1)),
            "slow": num_slow(each),
            "ratios": {reference: spread(_ratios(each, times[reference])) for reference in references},
        }
        for name, each in times.items()
    ]


def _ratios(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Of the seconds in each repetition, (repetitions,)."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    return np.sum(ours, axis=1, where=both) / np.sum(theirs, axis=1, where=both)


def growth_exponent(sizes: list[int], values: list[float], smallest: int = 1000) -> float | None:
    """Slope of the least-squares line through (log size, log value): 1 for what grows with the size, 2 with its square.

    Args:
        sizes: Above 0.
        values: One for each size; those that aren't above 0 are left out.
        smallest: Sizes below are left out, where what is constant would hide the growth.

    Returns:
        The slope; None for fewer than two points.
    """
    points = [(size, value) for size, value in zip(sizes, values, strict=True) if size >= smallest and value > 0]
    if len(points) < 2:
        return None
    log_sizes, log_values = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(log_sizes, log_values, deg=1)[0])
