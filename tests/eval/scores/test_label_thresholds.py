"""From which probability on each label is given: the best F1 or a wanted precision, worked out in another way."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import f1_score, precision_score

from salience.configuration import AttnPoolConfig
from salience.configuration.errors import UserError
from salience.configuration.problem_types import MULTI_LABEL
from salience.eval.scores.calibration import calibration
from salience.eval.scores.label_thresholds import NEVER, fit_label_thresholds, tell_label_thresholds
from salience.eval.scores.prediction_files import read_predictions, write_predictions
from salience.eval.scores.predictions import Predictions
from tests.helpers.tiny import LABELS

NAMES = ["garden", "cooking", "travel"]


def answers(num_texts=40, seed=0, **options):
    """Answers that are right more often than not; many are as sure as others."""
    random = np.random.default_rng(seed)
    labels = random.random((num_texts, 3)) < (0.1, 0.4, 0.7)
    labels[0] = True
    logits = np.round(3 * labels - 3 + 1.5 * random.standard_normal(labels.shape), 1)
    return Predictions(labels.astype(int), logits.astype(np.float32), MULTI_LABEL, NAMES, **options)


def all_thresholds(predictions, label):
    """A threshold for each way in which one can part a label's texts."""
    found = np.unique(predictions.probabilities[:, label])
    return [*((found[1:] + found[:-1]) / 2), found[0] / 2, (found[-1] + 1) / 2]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_has_a_better_f1(seed):
    predictions = answers(seed=seed)
    for label, threshold in enumerate(fit_label_thresholds(predictions)):
        truths, probabilities = predictions.labels[:, label], predictions.probabilities[:, label]
        others = [0.5, *all_thresholds(predictions, label)]
        f1 = {each: f1_score(truths, probabilities >= each, zero_division=0) for each in others}
        mine = f1_score(truths, probabilities >= threshold)
        assert mine == pytest.approx(max(f1.values()))
        assert threshold == 0.5 or mine > f1[0.5]
        assert abs(probabilities - threshold).min() > 1e-6 or threshold == 0.5  # no text decides by its last digit


@pytest.mark.parametrize("precision", [0.5, 0.8, 1.0])
def test_it_is_the_lowest_threshold_with_the_precision(precision):
    predictions = answers(seed=1)
    for label, threshold in enumerate(fit_label_thresholds(predictions, precision)):
        truths, probabilities = predictions.labels[:, label], predictions.probabilities[:, label]
        giving = [each for each in all_thresholds(predictions, label) if (probabilities >= each).any()]
        has_it = [each for each in giving if precision_score(truths, probabilities >= each) >= precision]
        if not has_it:
            assert threshold == NEVER
            continue
        given = probabilities >= threshold
        assert precision_score(truths, given) >= precision
        assert given.sum() == (probabilities >= min(has_it)).sum()  # none gives it to more


def test_labels_without_texts_or_precision_are_told(caplog):
    labels = np.array([[0, 1, 0], [0, 0, 1], [0, 1, 1]])
    predictions = Predictions(labels, np.array([[1.0, -2, 3], [0, -1, -1], [-1, -3, -2]]), MULTI_LABEL, NAMES)
    thresholds = fit_label_thresholds(predictions, 0.9)
    tell_label_thresholds(predictions, thresholds, 0.9)
    assert thresholds == [0.5, NEVER, NEVER]
    assert [each.rpartition(": ")[2] for each in caplog.messages] == ["garden", "cooking, travel"]
    given = Predictions(labels, predictions.logits, MULTI_LABEL, NAMES, label_thresholds=thresholds).answers
    assert given[:, 0].tolist() == [True, True, False] and not given[:, 1:].any()
    caplog.clear()
    tell_label_thresholds(predictions, fit_label_thresholds(predictions), None)
    assert [each.rpartition(": ")[2] for each in caplog.messages] == ["garden"]


def test_an_answer_is_as_sure_as_what_was_decided():
    thresholds = [0.3, 0.5, 0.9]
    predictions = answers(label_thresholds=thresholds)
    probabilities = expit(predictions.logits)
    given = probabilities >= thresholds
    assert (predictions.answers == given).all()
    sureness = np.where(given, probabilities, 1 - probabilities)
    np.testing.assert_allclose(predictions.confidence, sureness.min(1))
    np.testing.assert_allclose(predictions.decisions().confidence, sureness.ravel())
    assert (predictions.decisions().is_right == (given == predictions.truths).ravel()).all()
    assert calibration(predictions)["accuracy"] == pytest.approx((given == predictions.truths).mean())
    plain = answers()
    np.testing.assert_allclose(plain.confidence, np.maximum(probabilities, 1 - probabilities).min(1))
    assert (plain.answers == (plain.logits >= logit(0.5))).all()


def test_they_are_kept_beside_the_answers(tmp_path):
    predictions = answers(label_thresholds=[0.3, 0.5, 0.9])
    write_predictions(tmp_path, "test", np.arange(len(predictions)), predictions)
    found = read_predictions(tmp_path, "test")
    assert found.label_thresholds == [0.3, 0.5, 0.9] and (found.answers == predictions.answers).all()
    write_predictions(tmp_path, "test", np.arange(len(predictions)), answers())
    assert read_predictions(tmp_path, "test").label_thresholds is None
    object.__setattr__(predictions, "label_thresholds", [0.3, 0.5])
    write_predictions(tmp_path, "test", np.arange(len(predictions)), predictions)
    with pytest.raises(UserError, match="test_predictions.parquet is damaged"):
        read_predictions(tmp_path, "test")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"label_thresholds": [0.5, 0.5]}, "label_thresholds needs one number for each of the 3 labels"),
        ({"label_thresholds": [0.5, 1.5, 0]}, "must lie between 0 and 1"),
        ({"label_thresholds": [0.5, 0.5, 0], "problem_type": "regression"}, "are of multi_label_classification, not"),
    ],
)
def test_what_cannot_be_thresholds_is_refused(fields, says):
    with pytest.raises(ValueError, match=says):
        AttnPoolConfig(**{**LABELS, "problem_type": MULTI_LABEL, **fields})
