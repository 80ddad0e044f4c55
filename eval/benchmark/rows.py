"""What the processes of contestants took and answered, as rows of benchmark.json."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from salience.eval.benchmark.processes import Contestant, Outcome, Race
from salience.eval.benchmark.timing import num_slow, spread

Row = dict[str, Any]
Answers = Sequence[str] | Sequence[Mapping[str, float]]
"""Of each text its label, or the logit of each label."""


def seconds_of(outcomes: Sequence[Outcome], only: Collection[str] = (), but: Collection[str] = ()) -> np.ndarray:
    """Seconds of each repetition, (R,), in some phases."""
    return np.array(
        [
            sum(each for phase, each in outcome.seconds.items() if (phase in only or not only) and phase not in but)
            for outcome in outcomes
        ]
    )


def row_of(
    contestant: Contestant, outcomes: Sequence[Outcome], seconds_R: np.ndarray, num_texts: float, batches: str = ""
) -> Row:
    """What is told of every contestant.

    Args:
        contestant: Who.
        outcomes: Of its R repetitions.
        seconds_R: What they took.
        num_texts: Texts that each repetition read.
        batches: Which texts.
    """
    return {
        "model": contestant.name,
        "about": contestant.about,
        "batches": batches,
        "seconds": spread(seconds_R),
        "repetitions": seconds_R.tolist(),
        "slow": num_slow(seconds_R[:, None]),
        "phases": {name: float(np.median([each.seconds[name] for each in outcomes])) for name in outcomes[0].seconds},
        "cpu_seconds": spread(np.array([each.cpu_seconds for each in outcomes])),
        "megabytes": spread(np.array([each.result["megabytes"] for each in outcomes])),
        "versions": outcomes[0].result.get("versions", {}),
        "texts": num_texts,
        "texts_per_second": num_texts / float(np.median(seconds_R)),
    }


def best_labels(answers: Answers) -> list[str]:
    """The answer to each text."""
    return [answer if isinstance(answer, str) else max(answer, key=answer.__getitem__) for answer in answers]


def agreement(answers: Answers, reference: Sequence[Mapping[str, float]]) -> Row:
    """Whether a model answers as in float32.

    Args:
        answers: The model's.
        reference: Logits in float32.

    Returns:
        `same`, the share of equal answers, and `margin`: of the texts with others, the largest distance between the two
        highest probabilities in float32, 0 where there is none.
    """
    pairs = zip(best_labels(answers), best_labels(reference), reference, strict=True)
    margins = [_margin(logits) for ours, theirs, logits in pairs if ours != theirs]
    return {"same": 1 - len(margins) / len(reference), "margin": max(margins, default=0.0)}


def _margin(logits: Mapping[str, float]) -> float:
    values = np.array(sorted(logits.values()))
    weights = np.exp(values - values[-1])
    return float((weights[-1] - weights[-2]) / weights.sum())


def finished(
    rows: list[Row], found: Race, limits: list[dict[str, float]], reference: str, meaning: str, unit: str
) -> Row:
    """The result of a suite: rows with their ratios and shares of what the machine can do.

    Args:
        rows: Of `row_of`; `tokens` and `operations` of a repetition where they are known.
        found: Who isn't among them, and why.
        limits: What the machine could do, measured in this run.
        reference: Whom the others are compared with, for the same texts in the same repetition.
        meaning: What the ratios mean.
        unit: `texts` or `tokens`: how many of them were read is taken into account in the second kind of ratios.
    """
    best = {name: max(each[name] for each in limits) for name in limits[0]}
    own = {row["batches"]: row for row in rows if row["model"] == reference}
    for row in rows:
        middle, other = row["seconds"]["median"], own.get(row["batches"])
        if "tokens" in row:
            row["tokens_per_second"] = row["tokens"] / middle
        if "operations" in row:
            row |= {f"share_{name}": row["operations"] / middle / best[f"{name}_flops"] for name in ("fp32", "bf16")}
        row["ratios"], row["ratios_per_one"] = {}, {}
        if other:
            ratios = np.array(row["repetitions"]) / np.array(other["repetitions"])
            row["ratios"][reference] = spread(ratios)
            row["ratios_per_one"][reference] = spread(ratios * other[unit] / row[unit])
    return {
        "rows": rows,
        "unit": unit,
        "absent": found.absent,
        "limits": best,
        "limits_measured": limits,
        "meaning": meaning,
    }
