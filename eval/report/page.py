"""report.html: a report as one page that needs no other file and no network, and in which nothing can be executed."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from salience.eval.explain.page import clean, html_environment
from salience.eval.failures.analysis import LARGEST_P_VALUE
from salience.eval.runs import HOW_SEVERAL_COUNT
from salience.model_cards.facts import METRICS
from salience.model_cards.markdown import p_text


def write_page(
    file: Path, results: Mapping[str, Any], failures: Mapping[str, Any], pictures: Mapping[str, bytes]
) -> None:
    """Write the page; whatever comes from data is escaped.

    Args:
        file: Where it goes.
        results: The content of report.json, see `salience.eval.report.command`.
        failures: The content of failure_analysis.json, see `salience.eval.failures.analysis`.
        pictures: PNG files by name, without `.png`; see `salience.eval.report.pictures`.
    """
    filters: dict[str, Callable[..., Any]] = {"percent": percent, "number": number, "points": points}
    filters |= {"clean": clean, "shade": shade, "p": p_value}
    environment = html_environment(Path(__file__).parent, **filters)
    page = environment.get_template("report.html.j2").render(
        r=results,
        f=failures,
        pictures={name: data_uri(content) for name, content in pictures.items()},
        score_names={metric.key: metric.title for metric in METRICS},
        largest_p_value=LARGEST_P_VALUE,
        how_several_count=HOW_SEVERAL_COUNT,
    )
    file.write_text(page, encoding="utf-8")


def data_uri(picture: bytes) -> Markup:
    """A PNG as an address that holds it."""
    return Markup("data:image/png;base64," + b64encode(picture).decode())


def percent(share: float | None, digits: int = 1) -> str:
    """0.934 as 93.4 %; – for None."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many digits behind the point; – for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def points(difference: float | None) -> str:
    """0.012 as +1.2, in points of a hundred."""
    return "–" if difference is None else f"{round(100 * difference, 1) + 0.0:+.1f}"  # no minus before a zero


def p_value(value: float | None) -> str:
    """A p-value, as short as it may be; – for None."""
    return "–" if value is None else p_text(value)


def shade(words: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Words with the opacity of their background, 0 to 1: their weight over the largest."""
    largest = max((weight for _, weight in words), default=0) or 1
    return [(word, round(weight / largest, 2)) for word, weight in words]
