"""How much a network and evidence beside it count."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from salience.configuration.problem_types import MULTI_LABEL, SINGLE_LABEL
from salience.eval import weighing
from salience.eval.scores.calibration import negative_log_likelihood
from salience.eval.scores.predictions import Predictions
from salience.eval.weighing import Weighed, choose, share_of, weigh
from salience.modeling.ngram_evidence import damped, damping_factor

NAMES = ["a", "b", "c"]


def drawn(logits, seed=0):
    """Classes, as often as these logits say."""
    draw = np.random.default_rng(seed).random((len(logits), 1))
    return (softmax(logits, axis=1).cumsum(1) < draw).sum(1)


def sum_of(weights, evidences, damping):
    """What `Weighed` says of evidence, damped."""
    total = sum(weights)
    mean = sum(weight / total * evidence for weight, evidence in zip(weights, evidences, strict=True))
    return total * damped(torch.from_numpy(mean), damping).numpy()


def two_witnesses(num_texts=4000, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(num_texts, 3)), random.normal(size=(num_texts, 3))


def test_it_finds_how_labels_were_drawn():
    network, evidence = two_witnesses()
    labels = drawn((network + 3 * evidence) / 0.5)
    found = weigh(Predictions(labels, network, SINGLE_LABEL, NAMES), [evidence])
    assert found.weights[0] == pytest.approx(3, rel=0.1) and found.temperature == pytest.approx(0.5, rel=0.1)


def test_it_finds_how_several_labels_were_drawn():
    network, evidence = two_witnesses()
    chance = 1 / (1 + np.exp(-(network + 3 * evidence) / 2))
    labels = np.random.default_rng(1).random(chance.shape) < chance
    found = weigh(Predictions(labels.astype(int), network, MULTI_LABEL, NAMES), [evidence])
    assert found.weights[0] == pytest.approx(3, rel=0.1) and found.temperature == pytest.approx(2, rel=0.1)


def test_no_other_weights_are_likelier():
    network, evidence = two_witnesses(300)
    labels = drawn(2 * network + evidence)
    predictions = Predictions(labels, network, SINGLE_LABEL, NAMES)
    (weight,), damping, temperature, _ = weigh(predictions, [evidence])

    def loss(weight, damping, temperature):
        logits = (network + sum_of([weight], [evidence], damping)) / temperature
        return negative_log_likelihood(Predictions(labels, logits, SINGLE_LABEL, NAMES))

    least = loss(weight, damping, temperature)
    for factor in (0.8, 1.25):
        assert least < min(loss(factor * weight, damping, temperature), loss(weight, damping, factor * temperature))
    assert least <= min(loss(weight, max(damping - 0.1, 0), temperature), loss(weight, damping + 0.1, temperature))


@pytest.mark.parametrize("truth", [0.0, 0.3, 0.6])
def test_it_finds_how_evidence_was_damped(truth):
    network, evidence = two_witnesses(8000)
    evidence *= np.random.default_rng(2).uniform(0.1, 3, (8000, 1))
    predictions = Predictions(drawn(network + sum_of([3], [evidence], truth)), network, SINGLE_LABEL, NAMES)
    (weight,), damping, temperature, loss = choose(predictions, [evidence])
    assert damping == pytest.approx(truth, abs=0.05) and temperature == pytest.approx(1, rel=0.1)
    assert weight == pytest.approx(3, rel=0.15)
    logits = (network + sum_of([weight], [evidence], damping)) / temperature
    expected = negative_log_likelihood(Predictions(predictions.labels, logits, SINGLE_LABEL, NAMES))
    assert loss / 8000 == pytest.approx(expected, rel=1e-2)  # there is one text more, of no known class


def test_two_kinds_are_damped_as_one():
    network, first = two_witnesses(8000)
    second, _ = two_witnesses(8000, seed=1)
    first, second = 0.1 * first, second * np.random.default_rng(2).uniform(0.1, 3, (8000, 1))
    truth = network + sum_of([5, 1], [first, second], 0.5)
    found = choose(Predictions(drawn(truth / 2), network, SINGLE_LABEL, NAMES), [first, second])
    assert found.damping == pytest.approx(0.5, abs=0.1) and found.temperature == pytest.approx(2, rel=0.1)
    logits = (network + sum_of(found.weights, [first, second], found.damping)) / found.temperature
    assert np.abs(logits - truth / 2).mean() < 0.1 * np.abs(truth / 2).mean()


@pytest.mark.parametrize("calibrates", [True, False])
def test_several_labels_are_damped_too(calibrates):
    network, evidence = two_witnesses(8000)
    evidence = evidence * np.random.default_rng(2).uniform(0.1, 10, (8000, 1)) - 1  # not centred
    chance = 1 / (1 + np.exp(-(network + sum_of([1.5], [evidence], 0.4))))
    labels = np.random.default_rng(1).random(chance.shape) < chance
    found = choose(Predictions(labels.astype(int), network, MULTI_LABEL, NAMES), [evidence], calibrates)
    assert found.damping == pytest.approx(0.4, abs=0.05) and found.weights[0] == pytest.approx(1.5, rel=0.15)
    assert found.temperature == (pytest.approx(1, rel=0.1) if calibrates else 1)


@pytest.mark.parametrize("seed", [*range(20), 62, 127])
def test_evidence_never_makes_the_fit_worse(seed):
    random = np.random.default_rng(seed)
    network = random.normal(size=(300, 3))
    evidence = random.normal(size=(300, 3)) * np.exp(random.normal(size=(300, 1)))
    evidence -= evidence.mean(1, keepdims=True)
    labels = (softmax(2 * network, axis=1).cumsum(1) < random.random((300, 1))).sum(1)
    predictions = Predictions(labels, network, SINGLE_LABEL, NAMES)
    assert weigh(predictions, [evidence]).loss <= weigh(predictions, []).loss + 0.01


@pytest.mark.parametrize("weight", [0.15, 0.3])
def test_a_small_weight_is_found(weight):
    network, evidence = two_witnesses(8000)
    labels = drawn(network + weight * evidence)
    found = choose(Predictions(labels, network, SINGLE_LABEL, NAMES), [evidence], calibrates=False)
    assert found.weights[0] == pytest.approx(weight, abs=0.06)


def test_a_damping_factor_by_hand():
    evidence = torch.tensor([[3.0, -3.0], [0.0, 0.0], [1e-3, 0.0]])
    found = evidence * damping_factor(evidence, 0.5)
    torch.testing.assert_close(found[0], torch.tensor([3**0.5, -(3**0.5)]))
    assert not found[1].any() and found[2, 0] == pytest.approx(1e-3**0.5 * 2**0.25, rel=1e-4)
    assert torch.equal(damping_factor(evidence, 0.0), torch.ones(3, 1))


@pytest.mark.parametrize("seed", range(5))
def test_evidence_of_nothing_weighs_nothing(seed):
    network, evidence = two_witnesses(400, seed)
    predictions = Predictions(drawn(2 * network, seed), network, SINGLE_LABEL, NAMES)
    assert not choose(predictions, [evidence]).weights.any()
    assert not choose(predictions, [np.zeros_like(evidence)]).weights.any()
    assert not choose(predictions, [-network]).weights.any()  # never against what it says
    assert not choose(predictions, [evidence, -network, np.zeros_like(evidence)]).weights.any()


def test_of_several_kinds_all_that_help_are_heard_and_no_other():
    network, first = two_witnesses()
    second, noise = two_witnesses(seed=1)
    labels = drawn(network + 3 * first + 2 * second)
    found = choose(Predictions(labels, network, SINGLE_LABEL, NAMES), [noise, first, first + 1e-3 * noise, second])
    weights = found.weights
    assert weights[0] == 0 and (weights[1] == 0) != (weights[2] == 0)  # what says the same is heard once
    assert weights[1:3].sum() == pytest.approx(3, rel=0.1) and weights[3] == pytest.approx(2, rel=0.1)
    assert found.temperature == pytest.approx(1, rel=0.1)


def test_a_kind_that_others_make_needless_is_left_out():
    """Alone it says the most."""
    first, second = two_witnesses()
    noise, network = two_witnesses(seed=1)
    labels = drawn(2 * first + 2 * second)
    found = choose(
        Predictions(labels, 1e-3 * network, SINGLE_LABEL, NAMES), [first + second + 0.3 * noise, first, second]
    )
    assert found.weights[0] == 0 and (found.weights[1:] > 0).all()


@pytest.mark.parametrize("is_loud", [False, True])
def test_a_network_that_knows_nothing_leaves_the_answer_to_the_evidence(is_loud):
    noise, evidence = two_witnesses(400)
    labels = evidence.argmax(1)
    network = noise * 10 if is_loud else np.zeros_like(noise)
    (weight,), damping, temperature, _ = weigh(Predictions(labels, network, SINGLE_LABEL, NAMES), [evidence])
    logits = (network + sum_of([weight], [evidence], damping)) / temperature
    assert np.isfinite(logits).all() and (logits.argmax(1) == labels).mean() > 0.97
    assert np.abs(logits).max() < 100  # though no finite weight makes the right answers sure enough


def test_a_temperature_that_is_not_fitted_stays_1():
    network, evidence = two_witnesses()
    labels = drawn(network + 3 * evidence)
    found = weigh(Predictions(labels, network, SINGLE_LABEL, NAMES), [evidence], calibrates=False)
    assert found.temperature == 1 and found.weights[0] == pytest.approx(3, rel=0.1)


def test_shares_of_two_summands():
    first, second = np.array([[1.0, -1.0], [2.0, 0.0]]), np.array([[3.0, -3.0], [0.0, 6.0]])
    assert share_of(first, second) == pytest.approx(0.25)
    assert share_of(np.zeros((2, 2)), second) == 0 and share_of(first, np.zeros((2, 2))) == 1


LOSSES = {  # of the network alone, of each kind, and of both
    "one is hardly better": ((10.0, 9.6, 9.8, 9.5), []),
    "one is better": ((10.0, 9.2, 9.8, 9.0), [0]),
    "both are not better enough": ((10.0, 9.2, 9.8, 7.3), [0]),
    "both are better": ((10.0, 9.2, 9.8, 7.1), [0, 1]),
}


@pytest.mark.parametrize(("losses", "kinds"), LOSSES.values(), ids=LOSSES)
def test_a_further_kind_must_help_more_than_the_first(monkeypatch, losses, kinds):
    tried = dict(zip(((), (0,), (1,), (0, 1)), losses, strict=True))
    evidences = [np.full((2, 2), 0.0), np.full((2, 2), 1.0)]
    monkeypatch.setattr(
        weighing, "weigh",
        lambda _, given, __: Weighed(np.ones(len(given)), 0.0, 1.0, tried[tuple(int(each[0, 0]) for each in given)]),
    )  # fmt: skip
    network = Predictions(np.array([0, 1]), np.eye(2), SINGLE_LABEL, ["a", "b"])
    assert np.flatnonzero(weighing.choose(network, evidences).weights).tolist() == kinds
