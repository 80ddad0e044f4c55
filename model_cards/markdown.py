"""Names and texts from data, made harmless for Markdown, HTML and YAML."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from salience.configuration.errors import one_line

MAX_NAME = 100  # characters of a name that a card shows
SIGNIFICANT = 0.05
"""P-values below tell a difference from chance."""


def escape(text: Any) -> str:
    """One line of Markdown that shows the text as it is: no HTML, no formatting, no table or link syntax."""
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", html.escape(one_line(text, MAX_NAME), quote=False))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; every cell is escaped, numbers with a fraction get four digits, None stays empty.

    Args:
        header: column names.
        rows: one sequence of cells per row.
    """
    lines = [header, *rows]
    cells = [[escape(_cell(cell)) for cell in line] for line in lines]
    numeric = [all(isinstance(row[i], int | float | None) for row in lines[1:]) for i in range(len(header))]
    cells.insert(1, ["---:" if right else "---" for right in numeric])
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def aligned_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as plain text under a title: the first column to the left, all others to the right.

    Args:
        title: may be empty.
        header: column names.
        rows: one sequence of cells per row.
    """
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [""] if not title else ["", title]
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        text.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(text)


def percent_text(mean: float | None, sd: float | None = None) -> str:
    """A score in percent, with its standard deviation where there is one; empty for None.

    Args:
        mean: 0 to 1.
        sd: the same.
    """
    if mean is None:
        return ""
    return f"{100 * mean:.2f}" + (f" ± {100 * sd:.2f}" if sd is not None else "")


def p_text(p_value: float) -> str:
    """A p-value with three decimals."""
    return f"{p_value:.3f}" if p_value > 0.001 else "≤ 0.001"


def against_random(own: float, random: float, p_value: float | None) -> str:
    """Where an explanation stands beside random orders, with its p-value.

    Args:
        own: mean of the explanation's scores, the higher the better.
        random: that of random orders.
        p_value: of their difference; None where it wasn't tested.
    """
    if p_value is None:
        return f"beside random orders with {random:.2f}, untested"
    place = "not told apart from" if p_value >= SIGNIFICANT else "ahead of" if own > random else "behind"
    return f"{place} random orders with {random:.2f} (p {p_text(p_value)})"


def difference_text(found: Mapping[str, Any] | None) -> str:
    """A difference of scores in points with its interval and p-value; empty for None.

    Args:
        found: `difference`, `low` and `high` (0 to 1) and `p_value`.
    """
    if found is None:
        return ""
    interval = f"{100 * found['low']:+.2f} to {100 * found['high']:+.2f}"
    return f"{100 * found['difference']:+.2f} ({interval}, p {p_text(found['p_value'])})"


def shell_block(text: str) -> str:
    """A fenced block of the shell with the text on one line, whatever number of backticks it holds."""
    text = one_line(text)
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}bash\n{text}\n{fence}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
