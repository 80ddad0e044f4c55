"""Why a model answered as it did, as one page that needs no network, and in which nothing can be executed."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from salience.configuration.errors import one_line
from salience.eval.explain.telling import about_logit, about_method, about_score, counted, heaviest
from salience.model_cards.files import write_whole
from salience.model_cards.markdown import MAX_NAME

NUM_BARS = 15


def write_page(file: Path, content: Mapping[str, Any]) -> None:
    """Write the page; whatever comes from data is escaped.

    Args:
        file: Where it goes.
        content: model, revision, text, and answers, each with its explanation.
    """
    write_whole(file, environment().get_template("explanation.html.j2").render(c=content))


def environment() -> Environment:
    """Of the templates that lie here."""
    filters: dict[str, Callable[..., Any]] = {"clean": clean, "largest": largest}
    filters |= {"heaviest": partial(heaviest, count=NUM_BARS), "counted": counted}
    filters |= {"about_method": about_method, "about_logit": about_logit, "about_score": about_score}
    return html_environment(Path(__file__).parent, **filters)


def html_environment(folder: Path, **filters: Callable[..., Any]) -> Environment:
    """Of the templates in a folder; whatever comes from data is escaped, and an unknown name is an error.

    Args:
        folder: Where the templates lie.
        filters: What they call, by name.
    """
    found = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= filters
    return found


def clean(text: Any, limit: int = MAX_NAME) -> str:
    """A text from data on one line, no longer than a name unless another limit is given."""
    return one_line(text, limit)


def largest(items: Sequence[Mapping[str, Any]]) -> float:
    """The weight that a full bar stands for."""
    return max((abs(each["weight"]) for each in items), default=0) or 1
