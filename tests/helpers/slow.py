"""Cases of a test of which CI runs some, and `make test-slow` the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def others_slow(cases: Iterable[Any], *quick: Any) -> list[Any]:
    """The cases of `pytest.mark.parametrize`; all but the `quick` ones are marked as slow."""
    return [case if case in quick else slow_case(case) for case in cases]


def slow_case(case: Any) -> Any:
    """One case, a tuple for several names, marked as slow."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
