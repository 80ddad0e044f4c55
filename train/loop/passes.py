"""A batch in passes of bounded size, so that a step costs as much memory whatever the length of its texts.

Losses are sums over the labels of a whole optimizer step (see `losses`): the gradients of the passes add up to its own.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor
from transformers.trainer_pt_utils import nested_concat

from salience.modeling.ragged import like_lengths


def rows_of_passes(inputs: dict[str, Any], limit: int, accelerator: Accelerator) -> list[list[int]] | None:
    """Which texts of this process's batch each pass reads, those of like length together; None for all at once.

    Args:
        inputs: Of the model: `labels` (B, ...), others (B, T), with `attention_mask`.
        limit: Cells (texts x tokens of the longest) of a pass; a longer text is alone in one. 0 for no limit.
        accelerator: Of the trainer, whose processes make equally many passes. DeepSpeed's engine takes one.
    """
    if not limit or accelerator.distributed_type == DistributedType.DEEPSPEED:
        return None
    lengths = inputs["attention_mask"].sum(1).clamp(min=1).tolist()
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    rows = [order[part] for part in like_lengths([lengths[row] for row in order], limit)]
    if accelerator.num_processes > 1:
        mine = torch.tensor([[len(rows), len(order)]], device=accelerator.device)
        wanted, possible = accelerator.gather(mine).unbind(1)
        rows = in_passes(rows, min(int(wanted.max()), int(possible.min())))
    return rows if len(rows) > 1 else None


def in_passes(rows: list[list[int]], count: int) -> list[list[int]]:
    """The same rows in `count` passes, by joining the shortest texts' or dividing those of most texts.

    Args:
        rows: Of each pass.
        count: At most as many as there are rows.
    """
    while len(rows) > count:
        rows = [rows[0] + rows[1], *rows[2:]]
    while len(rows) < count:
        most = max(range(len(rows)), key=lambda number: len(rows[number]))
        half = len(rows[most]) // 2
        rows = [*rows[:most], rows[most][:half], rows[most][half:], *rows[most + 1 :]]
    return rows


def of_rows(inputs: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """Some texts of a batch, without columns in which none of them has a token."""
    is_used = inputs["attention_mask"][rows].bool().any(0)
    is_used[0] |= not is_used.any()

    def part(name: str, value: Tensor) -> Tensor:
        return value[rows] if name == "labels" else value[rows][:, is_used]

    return {name: part(name, value) for name, value in inputs.items()}


def joined(answers: Sequence[Any], rows: list[list[int]]) -> Any:
    """Answers of all passes, (texts of a pass, ...) or tuples of such, in the order of the batch."""
    order = torch.tensor([row for each in rows for row in each]).argsort()

    def in_order(answer: Any) -> Any:
        return tuple(map(in_order, answer)) if isinstance(answer, tuple) else answer[order.to(answer.device)]

    return in_order(reduce(nested_concat, answers))
