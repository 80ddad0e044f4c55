import json

import pytest

from salience.eval.study.table import render
from salience.model_cards.results_page import RESULTS

STUDIES = sorted(path.parent.name for path in RESULTS.glob("*/study.json"))


@pytest.mark.parametrize("name", STUDIES)
def test_the_table_of_a_committed_study_is_that_of_its_numbers(name):
    content = json.loads((RESULTS / name / "study.json").read_text(encoding="utf-8"))
    assert render(content) == (RESULTS / name / "study.md").read_text(encoding="utf-8")
