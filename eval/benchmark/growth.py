"""Time and peak memory of one document by its length: each point in a process of its own, whose peak is its own."""

import multiprocessing
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, TypedDict

import numpy as np
import psutil
import torch
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from salience.eval.benchmark.models import contestant, make_batch
from salience.eval.benchmark.timing import growth_exponent, seconds

WARM_UP_WORDS = 100
# A point is measured again until this time is up, and as often as there are repetitions.
SECONDS_OF_A_POINT = 1.0
MEGABYTE = 2**20


@dataclass
class Point:
    """One document.

    Attributes:
        words: Its length.
        seconds: Of each run; more than one where it is short.
        megabytes: Peak memory above that of the same model after a document of 100 words.
        peak_megabytes: Peak memory of the whole process, or of the device.
    """

    words: int
    seconds: list[float]
    megabytes: float
    peak_megabytes: float


class CurveRow(TypedDict):
    """A `Curve` in benchmark.json; an exponent is null where too few points tell it."""

    variant: str
    mode: str
    words: list[int]
    seconds: list[float]
    seconds_low: list[float]
    seconds_high: list[float]
    megabytes: list[float]
    peak_megabytes: list[float]
    time_exponent: float | None
    memory_exponent: float | None
    time_exponent_from_10000: float | None
    memory_exponent_from_10000: float | None
    stopped: str | None


@dataclass
class Curve:
    """A variant's points in one mode, and why they end before the longest document, if they do."""

    variant: str
    mode: str
    points: list[Point] = field(default_factory=list)
    stopped: str | None = None

    def row(self) -> CurveRow:
        """For benchmark.json: medians of each point, and the exponents from 1,000 and from 10,000 words."""
        words = [point.words for point in self.points]
        medians = [float(np.median(point.seconds)) for point in self.points]
        megabytes = [point.megabytes for point in self.points]
        return {
            "variant": self.variant,
            "mode": self.mode,
            "words": words,
            "seconds": medians,
            "seconds_low": [min(point.seconds) for point in self.points],
            "seconds_high": [max(point.seconds) for point in self.points],
            "megabytes": megabytes,
            "peak_megabytes": [point.peak_megabytes for point in self.points],
            "time_exponent": growth_exponent(words, medians),
            "memory_exponent": growth_exponent(words, megabytes),
            "time_exponent_from_10000": growth_exponent(words, medians, smallest=10_000),
            "memory_exponent_from_10000": growth_exponent(words, megabytes, smallest=10_000),
            "stopped": self.stopped,
        }

    def expected(self, num_words: int) -> tuple[float, float]:
        """Seconds and megabytes of a longer document, if they go on to grow as they did between the last two."""
        if len(self.points) < 2:
            return 0.0, 0.0
        before, last = self.points[-2:]

        def further(first: float, second: float) -> float:
            slope = np.log(max(second / max(first, 1e-9), 1.0)) / np.log(last.words / before.words)
            return second * (num_words / last.words) ** min(slope, 2.0)

        return further(min(before.seconds), min(last.seconds)), further(before.megabytes, last.megabytes)


class Measurer:
    """Measures points, each in a fresh process.

    Args:
        device: Where the model runs.
        repetitions: Runs of a short document.
        max_seconds: A point that is expected to take longer isn't measured, nor are longer ones.
        max_megabytes: Likewise for its memory.
        most_kept: Tokens whose activations a training step keeps, as training does.
    """

    def __init__(
        self, device: torch.device, repetitions: int, max_seconds: float, max_megabytes: float, most_kept: int
    ) -> None:
        self.device, self.repetitions = device, repetitions
        self.max_seconds, self.max_megabytes, self.most_kept = max_seconds, max_megabytes, most_kept
        # A fork server imports torch once for all processes; they start as clean as by "spawn", and in milliseconds.
        methods = multiprocessing.get_all_start_methods()
        self.context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        self.context.set_forkserver_preload([__name__])

    def extend(self, curve: Curve, config: Any, document: list[int], num_words: int) -> None:
        """Measure a document that is longer than the curve's last one, unless that is expected to take too much.

        Args:
            curve: Gets the point.
            config: Of a classifier of ours.
            document: Token ids.
            num_words: Its words, which may be more than one token.
        """
        if curve.stopped:
            return
        time_needed, memory_needed = curve.expected(num_words)
        if time_needed > self.max_seconds:
            curve.stopped = f"{num_words:,} words would take about {time_needed:.0f} s"
        elif memory_needed > self.max_megabytes:
            curve.stopped = f"{num_words:,} words would take about {memory_needed:,.0f} MiB"
        else:
            try:
                curve.points.append(self.measure(config, document, num_words, curve.mode))
            except RuntimeError as error:
                curve.stopped = str(error)

    def measure(self, config: Any, document: list[int], num_words: int, mode: str) -> Point:
        """One point.

        Raises:
            RuntimeError: Its process ended without a result, for instance for want of memory.
        """
        receiver, sender = self.context.Pipe(duplex=False)
        arguments = (sender, config, document, num_words, mode, str(self.device), self.repetitions)
        process = self.context.Process(target=_measure, args=(*arguments, self.most_kept, torch.get_num_threads()))
        process.start()
        sender.close()
        try:
            return receiver.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"{mode} on {num_words:,} words ended with status {process.exitcode}") from None
        finally:
            process.join()


def _measure(
    sender: Connection,
    config: PretrainedConfig,
    document: list[int],
    num_words: int,
    mode: str,
    device_name: str,
    repetitions: int,
    most_kept: int,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    device = torch.device(device_name)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    model.base_model.keep_at_most = most_kept
    batches = [make_batch([document[:WARM_UP_WORDS]]), make_batch([document])]
    warm_up, call = contestant(model, batches, device).calls(mode)
    warm_up()
    start = time.perf_counter()
    with PeakMemory(device) as peak:
        times = [seconds(call, device)]
    while time.perf_counter() - start < SECONDS_OF_A_POINT and len(times) <= repetitions:
        times.append(seconds(call, device))
    # The first run also prepares kernels for new shapes.
    sender.send(Point(num_words, times[1:] or times, peak.bytes / MEGABYTE, peak.highest / MEGABYTE))


class PeakMemory:
    """Most bytes in use while its block runs, beyond those before: of the device, or resident ones of this process.

    Resident bytes are looked at each millisecond: a shorter peak may be missed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.bytes, self.is_over = device, 0, threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
        else:
            self.before = self.highest = resident_bytes()
            self.watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cuda":
            self.highest = torch.cuda.max_memory_allocated(self.device)
        else:
            self.highest = max(self.highest, resident_bytes())
            self.is_over.set()
            self.watcher.join()
        self.bytes = self.highest - self.before

    def _watch(self) -> None:
        while not self.is_over.wait(0.001):
            self.highest = max(self.highest, resident_bytes())


def resident_bytes() -> int:
    """Of this process."""
    return psutil.Process().memory_info().rss
