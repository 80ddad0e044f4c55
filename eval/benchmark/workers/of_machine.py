"""What the machine, or its GPU, can do at most: products of matrices in float32 and bfloat16, and bytes of memory."""

import time
from collections.abc import Callable

import torch
from worker import Job, run

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}[DEVICE]
NUM_RUNS = 5
LONG_ENOUGH = 1.0
"""Seconds after which nothing is repeated: a CPU without bfloat16 takes half a minute for a large product."""
COPIED = 2**26  # float32: 256 MB, which no cache holds


def best_seconds(call: Callable[[], object]) -> float:
    """The shortest of some runs, after one that nobody times; of fewer, where they are long."""

    def to_the_end() -> None:
        call()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    to_the_end()
    times: list[float] = []
    while len(times) < NUM_RUNS and sum(times) < LONG_ENOUGH:
        start = time.perf_counter()
        to_the_end()
        times.append(time.perf_counter() - start)
    return min(times)


def matrix_rate(dtype: torch.dtype) -> float:
    """Floating-point operations a second."""
    rates = []
    for size in SIZES:
        left, right, product = (torch.rand(size, size, device=DEVICE).to(dtype) for _ in range(3))
        seconds = best_seconds(lambda: torch.mm(left, right, out=product))  # noqa: B023  called here
        rates.append(2 * size**3 / seconds)
        if seconds > LONG_ENOUGH:
            break
    return max(rates)


def measure(job: Job) -> None:
    """All three."""
    source, target = torch.rand(COPIED, device=DEVICE), torch.empty(COPIED, device=DEVICE)
    with job.phase("measure"), torch.inference_mode():
        job.found["limits"] = {
            "fp32_flops": matrix_rate(torch.float32),
            "bf16_flops": matrix_rate(torch.bfloat16),
            "bytes_per_second": 2 * source.numel() * source.element_size() / best_seconds(lambda: target.copy_(source)),
        }


if __name__ == "__main__":
    run(measure=measure)
