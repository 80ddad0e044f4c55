"""How an exported classifier answers beside the one that it was made of, on real texts.

Shapes
    N = texts, C = classes
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

import numpy as np
from tqdm import tqdm

from salience.configuration.problem_types import REGRESSION
from salience.eval.reading.reader import Reader
from salience.model_cards.markdown import aligned_table

TOLERANCE = 1e-4
"""By which a logit in float32 may differ from torch's."""


def tolerance(reader: Reader, logits: np.ndarray) -> float:
    """By how much an exported graph may differ from the model in a logit.

    Args:
        reader: The model.
        logits: Its own, (N, C). Those of a regression are labels, which can be large or small: `TOLERANCE` is for the
            network behind them, and a number can't be closer than its rounding.
    """
    scale = getattr(reader.model.config, "label_scale", None)
    if scale is None:
        return TOLERANCE
    return max(TOLERANCE * scale[1], 4 * float(np.spacing(np.abs(logits).max(), dtype=np.float32)))


# Logits (N, C) of texts; the second argument is what a progress bar says, None for no bar.
Answering = Callable[[Sequence[str], str | None], np.ndarray]


class Measured(TypedDict):
    """One file of a model, or the model itself ("torch")."""

    file: str
    megabytes: float
    texts_per_second: float
    largest_difference: float | None  # of a logit to torch's; None for torch
    equal_answers: float | None  # share of the texts
    accuracy: float | None  # share of the texts whose labels are all right; None for a regression
    lost: float | None  # of torch's accuracy; None for torch
    lost_low: float | None  # 95 % interval of that difference, over the texts
    lost_high: float | None


def spread(num_texts: int, most: int) -> np.ndarray:
    """Which of the texts are read, `most` at most, spread evenly over those that are given."""
    return np.unique(np.linspace(0, num_texts - 1, min(num_texts, most)).round().astype(int))


def exported_logits(folder: Path, file: str) -> Answering:
    """What gives the logits (N, C) of texts in an exported folder: its own predict.py."""
    module = ModuleType("exported_predict")
    program = folder / "predict.py"
    module.__file__ = str(program)
    exec(compile(program.read_bytes(), program, "exec"), module.__dict__)  # an import would leave __pycache__ there
    classifier = module.Classifier(file)

    def logits(texts: Sequence[str], progress: str | None) -> np.ndarray:
        order: list[int] = []
        found = []
        with tqdm(total=len(texts), desc=progress, unit="text", disable=progress is None) as bar:
            for rows, answers in classifier.read(texts):
                order += rows
                found.append(answers[0])
                bar.update(len(rows))
        return np.concatenate(found)[np.argsort(order)]

    return logits


def timed(logits: Answering, texts: Sequence[str], name: str) -> tuple[np.ndarray, float]:
    """Logits (N, C) of texts, and texts per second; what is done once only has been done before."""
    logits(texts[:8], None)
    start = time.perf_counter()
    found = logits(texts, f"measuring {name}")
    return found, len(texts) / (time.perf_counter() - start)


def compared(
    file: str, num_bytes: int, answers: tuple[np.ndarray, float], torch_logits: np.ndarray, labels: Any, reader: Reader
) -> Measured:
    """The figures of one file.

    Args:
        file: Its name, or "torch".
        num_bytes: Its size, with that of the file beside it.
        answers: Its logits (N, C), and texts per second.
        torch_logits: (N, C) of the model itself.
        labels: (N,) class ids, or (N, C) zeros and ones.
        reader: The model.
    """
    logits, speed = answers
    is_torch = file == "torch"
    chosen = None if reader.problem_type == REGRESSION else reader.decide(logits)
    equal = accuracy = lost = low = high = None
    if chosen is not None:
        by_torch = reader.decide(torch_logits)
        equal = float((chosen == by_torch).all(1).mean())
        true = np.asarray(labels)
        true = np.eye(logits.shape[1], dtype=bool)[true] if true.ndim == 1 else true.astype(bool)
        is_right = (chosen == true).all(1)
        accuracy = float(is_right.mean())
        lost, low, high = paired_loss((by_torch == true).all(1), is_right)
    return Measured(
        file=file,
        megabytes=round(num_bytes / 1e6, 2),
        texts_per_second=round(speed, 2),
        largest_difference=None if is_torch else float(np.abs(logits - torch_logits).max()),
        equal_answers=None if is_torch else equal,
        accuracy=accuracy,
        lost=None if is_torch else lost,
        lost_low=None if is_torch else low,
        lost_high=None if is_torch else high,
    )


def paired_loss(was_right: np.ndarray, is_right: np.ndarray) -> tuple[float, float, float]:
    """How much accuracy was lost on the same texts, and its 95 % interval (Agresti and Min 2005).

    Theirs isn't empty where no text of few got another answer, as that of a bootstrap would be.

    Args:
        was_right: bool (N,).
        is_right: bool (N,).
    """
    lost, won, total = (was_right & ~is_right).sum() + 0.5, (~was_right & is_right).sum() + 0.5, len(is_right) + 2
    centre, within = (lost - won) / total, 1.96 * np.sqrt(lost + won - (lost - won) ** 2 / total) / total
    return float(was_right.mean() - is_right.mean()), float(centre - within), float(centre + within)


def table(measured: Sequence[Measured]) -> str:
    """The figures in columns, as the terminal shows them."""
    header = ["file", "MB", "texts/s", "largest difference", "equal answers", "accuracy", "points lost"]
    rows = []
    for each in measured:
        lost, low, high = each["lost"], each["lost_low"], each["lost_high"]
        rows.append(
            [
                each["file"],
                f"{each['megabytes']:.1f}",
                f"{each['texts_per_second']:.1f}",
                "" if each["largest_difference"] is None else f"{each['largest_difference']:.1e}",
                "" if each["equal_answers"] is None else f"{each['equal_answers']:.2%}",
                "" if each["accuracy"] is None else f"{each['accuracy']:.2%}",
                ""
                if lost is None or low is None or high is None
                else f"{100 * lost:.2f} ({100 * low:.2f} to {100 * high:.2f})",
            ]
        )
    return aligned_table("", header, rows).removeprefix("\n")
