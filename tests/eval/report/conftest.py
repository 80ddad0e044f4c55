import pytest

from salience.eval.report import content


@pytest.fixture(scope="module", autouse=True)
def few_examples():
    """A picture of a text takes longer than all else in a report of tiny models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "NUM_EXAMPLES", 2)
        yield
