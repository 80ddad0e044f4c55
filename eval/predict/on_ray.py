"""Parts of a prediction done by actors of Ray, on one machine or many that see the same files."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from salience.configuration.errors import UserError, one_line
from salience.eval.predict.job import Done, Job


class PartWorker:
    """What an actor does: whole parts, from reading to writing. Rows never go through Ray.

    Args:
        job: The prediction; its model is loaded by the first part.
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        """Do the parts of these numbers."""
        done = [self.job.run(int(number)) for number in batch["part"]]
        return {
            "part": list(batch["part"]),
            "rows": [each.rows for each in done],
            "rejected": [each.rejected for each in done],
        }


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to a cluster.

    Args:
        address: Of the cluster; `auto` for that of this machine, `local` to start one here. One that this
            process is connected to already is taken, and stays.

    Raises:
        UserError: Ray isn't installed, or the cluster isn't there.
    """
    if address != "local":
        # Else Ray tries for eight minutes to reach one that isn't there. It reads this when it is imported.
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    if (ray := _import_ray()).is_initialized():
        yield
        return
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    except Exception as error:  # Ray raises plain ones, too
        reason = one_line(error, 200)
        raise UserError(f"--ray {address}: no such cluster answers ({reason}); local starts one here") from error
    try:
        yield
    finally:
        ray.shutdown()


def done_on_ray(job: Job, numbers: Sequence[int], num_actors: int) -> Iterator[tuple[int, Done]]:
    """Do parts on the connected cluster, and yield the number of each and what became of it, as they are done.

    Args:
        job: The prediction.
        numbers: Of the parts.
        num_actors: How many.

    Raises:
        UserError: An actor refuses something.
    """
    if not numbers:
        return
    ray = _import_ray()
    try:
        yield from _results(ray, job, numbers, num_actors)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from error
        raise


def _import_ray() -> Any:
    try:
        import ray.data
    except ImportError as error:
        raise UserError("--ray needs Ray: pip install -c constraints.txt -e '.[ray]'") from error
    return ray


def _results(ray: Any, job: Job, numbers: Sequence[int], num_actors: int) -> Iterator[tuple[int, Done]]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True  # a refusal in an actor stays one
    parts = ray.data.from_items([{"part": number} for number in numbers], override_num_blocks=len(numbers))
    results = parts.map_batches(
        PartWorker,
        fn_constructor_args=(job,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=num_actors),
        num_gpus=1 if ray.cluster_resources().get("GPU") else 0,
    )
    for row in results.iter_rows():
        yield int(row["part"]), Done(int(row["rows"]), int(row["rejected"]))
