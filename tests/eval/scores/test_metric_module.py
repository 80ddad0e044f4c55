"""The metric as `evaluate` loads it, beside the function that training and scoring call."""

import evaluate
import pytest

from salience.eval.scores.salience_classification import salience_classification
from tests.helpers.paths import ROOT

SCORES, ANSWERS = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [[1, 0], [0, 1], [1, 0]]
CASES = {
    "single_label_classification": {"predictions": SCORES, "references": [0, 1, 1], "answers": ANSWERS},
    "multi_label_classification": {"predictions": SCORES, "references": [[1, 0], [0, 1], [1, 1]], "answers": ANSWERS},
    "regression": {"predictions": [[0.5], [1.0], [4.0]], "references": [[0.0], [1.5], [3.0]]},
}


@pytest.mark.parametrize("problem_type", CASES)
def test_evaluate_gives_the_same(problem_type, tmp_path):
    folder = ROOT / "eval" / "scores" / "salience_classification"
    metric = evaluate.load(str(folder), problem_type, cache_dir=str(tmp_path), keep_in_memory=True)
    expected = metric.compute(**CASES[problem_type])
    assert salience_classification.score(problem_type, **CASES[problem_type]) == expected
