"""Failure modes: their scores, what they are read from, and the analysis of a model."""

import json

import numpy as np
import pytest
import torch

from salience.configuration import AttnPoolConfig
from salience.configuration.errors import UserError
from salience.eval.failures.analysis import analyse_mode, failure_analysis
from salience.eval.failures.internals import Insides, read_insides
from salience.eval.failures.modes import FAILURE_MODES
from salience.eval.reading.reader import Reader
from salience.modeling.windows import pack_inputs
from tests.helpers.tiny import tiny_model
from tests.helpers.toy import TOPICS, toy_texts

NONE = np.array([], dtype=int)
TEXTS = ["the bank . a goal !", "", "cat dog red blue . the law of shares is good news . year . people win", "goal"]
HIERARCHICAL = ["hierarchical", "hierarchical_windows", "hierarchical_encoder", "hierarchical_all_options"]


def made(importance=(0.5, 0.5), position=None, cosine=0.0, entropy=None, sentences=None):
    importance = np.array(importance, dtype=np.float32)
    position = np.arange(len(importance)) if position is None else np.array(position)
    entropy = None if entropy is None else np.array(entropy, dtype=np.float32)
    return Insides(np.zeros(3), importance, position, np.ones(len(importance)), cosine, entropy, sentences)


def shown(name, insides):
    """Score of a failure mode, and whether the report's limits say that it occurs."""
    mode = FAILURE_MODES[name]
    score = mode.score(insides)
    return pytest.approx(score, abs=1e-6, nan_ok=True), bool(mode.seed.outside(np.array([score]))[0])


def test_equal_scores_are_uniform_and_different_ones_are_not():
    assert shown("uniform_scores", made([0.3] * 9)) == (0.0, True)
    assert shown("uniform_scores", made([0.0, 1.0] * 5)) == (0.5, False)
    assert shown("uniform_scores", made([0.4])) == (np.nan, False)
    relative = FAILURE_MODES["uniform_scores"].relative_score
    assert relative(made([0.1, 0.3])) == pytest.approx(0.5)
    assert relative(made([0.001, 0.003] * 50)) == pytest.approx(0.5)
    assert np.isnan(relative(made([])))


def test_vectors_collapse_above_a_mean_cosine_of_nine_tenths():
    assert shown("collapsed_context", made(cosine=0.95)) == (0.95, True)
    assert shown("collapsed_context", made(cosine=0.85)) == (0.85, False)


def test_concentration_is_what_the_top_tenth_of_words_have():
    assert shown("concentration", made([0.2] * 30)) == (0.1, False)
    assert shown("concentration", made([0.05 / 18] * 9 + [0.45, 0.5] + [0.05 / 18] * 9)) == (0.95, True)
    assert shown("concentration", made([0.1, 0.9] + [0] * 3)) == (0.45, False)  # half a word of five
    assert shown("concentration", made([0.0] * 4)) == (np.nan, False)


def test_boundary_words_are_the_first_and_last_three_positions():
    outer, inner = [0.2] * 3, [0.8 / 14] * 14
    assert shown("boundary_words", made([*outer, *inner, *outer])) == (0.6, True)
    assert shown("boundary_words", made([0.05] * 20)) == (0.3, False)
    assert FAILURE_MODES["boundary_words"].relative_score(made([*outer, *inner, *outer])) == pytest.approx(2)
    # Positions 3 and 4 of 8 are inside; each word stands in two sentences.
    twice = made([1.0] * 16, position=[0, 1, 2, 3, 4, 5, 6, 7] * 2)
    assert shown("boundary_words", twice) == (0.75, True)
    assert FAILURE_MODES["boundary_words"].relative_score(twice) == pytest.approx(1)


def test_entropy_of_cross_attention_is_judged_by_the_number_of_sentences():
    mode = FAILURE_MODES["misaligned_cross_attention"]
    two = made(entropy=[[np.log(2), np.log(2)]], sentences=2)
    assert shown("misaligned_cross_attention", two) == (np.log(2), True)  # it can't be higher
    assert mode.relative_score(two) == pytest.approx(1)
    twenty = made(entropy=[[np.log(20) / 2] * 2, [np.log(20)] * 2], sentences=20)
    assert shown("misaligned_cross_attention", twenty) == (0.75 * np.log(20), False)
    assert mode.relative_score(twenty) == pytest.approx(0.75)
    assert shown("misaligned_cross_attention", made(entropy=[[2.6]], sentences=20)) == (2.6, True)
    assert np.isnan(mode.relative_score(made(entropy=[[0.0]], sentences=1)))
    assert not mode.can_occur([made()])


@pytest.mark.parametrize("family", HIERARCHICAL)
def test_insides_in_batches_are_those_of_a_document_alone(family, tokenizer):
    model = tiny_model(family)
    reader = Reader(model, tokenizer, batch_size=3)
    ids = [document.ids for document in reader.documents(TEXTS)]
    for text, insides in zip([NONE, *ids, NONE], read_insides(reader, [NONE, *ids, NONE]), strict=True):
        if not len(text):
            assert (len(insides.importance), insides.num_sentences, insides.entropy.size) == (0, 0, 0)
            assert np.isnan(insides.mean_cosine)
            continue
        with torch.inference_mode():
            packed = pack_inputs(None, input_ids=torch.tensor(text)[None])
            words = model.model.read_words(packed)
            outputs = model(input_ids=torch.tensor(text)[None])
            _, importance, kept = model.model.word_filter(words)
            unit = words.vectors_ND / words.vectors_ND.norm(dim=1, keepdim=True)
        if words.sentences.membership_N is not None:
            kept = kept * words.sentences.membership_N
        np.testing.assert_allclose(insides.logits, outputs.logits[0], atol=1e-5)
        np.testing.assert_allclose(insides.importance, importance, atol=1e-5)
        np.testing.assert_allclose(insides.kept, kept, atol=1e-4)
        np.testing.assert_array_equal(insides.position, words.sentences.token_N)
        pairs = (unit @ unit.T)[~torch.eye(len(unit), dtype=torch.bool)]
        assert insides.mean_cosine == pytest.approx(float(pairs.mean()), abs=1e-5)
        assert insides.num_sentences == len(words.sentences.words.lengths_S)
        assert insides.entropy.shape == (int((kept > 0).sum()), 2)


@pytest.mark.parametrize("family", ["hierarchical", "hierarchical_encoder"])
@pytest.mark.parametrize("chunk", [1, 2**23])
def test_entropy_is_that_of_the_cross_attention_that_the_model_returns(family, chunk, tokenizer, monkeypatch):
    monkeypatch.setattr("salience.eval.failures.internals.CELLS_OF_CHUNK", chunk)
    reader = Reader(tiny_model(family), tokenizer, batch_size=4)
    ids = [document.ids for document in reader.documents([*TEXTS, "a . b . c . d . e ."])]
    for text, insides in zip(ids, read_insides(reader, ids), strict=True):
        with torch.inference_mode():
            outputs = reader.model(input_ids=torch.tensor(text)[None], output_attentions=True)
        entropy = torch.special.entr(outputs.cross_attentions[0]).sum(-1).T[outputs.pooling_weights[0] > 0]
        np.testing.assert_allclose(insides.entropy, entropy, atol=1e-4)


def test_insides_of_attention_pooling_are_its_weights_and_token_vectors(tokenizer):
    reader = Reader(tiny_model("attn_pool"), tokenizer, batch_size=3)
    ids = [document.ids for document in reader.documents(TEXTS)]
    for text, insides in zip([*ids, NONE], read_insides(reader, [*ids, NONE]), strict=True):
        assert insides.kept is insides.entropy is insides.num_sentences is None
        if len(text):
            with torch.inference_mode():
                document = reader.model.model(input_ids=torch.tensor(text)[None])
            unit = torch.nn.functional.normalize(document.last_hidden_state[0], dim=1)
            pairs = (unit @ unit.T)[~torch.eye(len(unit), dtype=torch.bool)]
            np.testing.assert_allclose(insides.importance, document.pooling_weights[0], atol=1e-5)
            assert insides.mean_cosine == pytest.approx(float(pairs.mean()), abs=1e-5)
    assert len(insides.importance) == 0


def test_calibrated_limits_are_used_where_the_reports_tell_nothing():
    random = np.random.default_rng(0)
    cosine = random.uniform(0.2, 0.6, 200)
    documents, is_wrong = [made(cosine=each) for each in cosine], cosine > 0.4
    found = analyse_mode(FAILURE_MODES["collapsed_context"], documents, is_wrong, seed=0)
    assert (found["seed"]["share"], found["seed"]["discriminates"], found["use"]) == (0.0, False, "calibrated")
    assert found["goes_with_errors"]
    assert found["calibrated"]["high"] == pytest.approx(0.4, abs=0.02)
    assert found["examples"][0] == cosine.argmax()
    assert found == analyse_mode(FAILURE_MODES["collapsed_context"], documents, is_wrong, seed=0)
    documents = [made(cosine=0.6 + each) for each in cosine]
    found = analyse_mode(FAILURE_MODES["collapsed_context"], documents, is_wrong, seed=0)
    assert (found["seed"]["discriminates"], found["use"], found["goes_with_errors"]) == (True, "seed", True)
    found = analyse_mode(FAILURE_MODES["collapsed_context"], documents, random.permutation(is_wrong), seed=0)
    assert (found["use"], found["goes_with_errors"]) == ("seed", False)
    found = analyse_mode(FAILURE_MODES["collapsed_context"], [made()] * 200, np.zeros(200, dtype=bool), seed=0)
    assert (found["calibrated"], found["use"], found["goes_with_errors"], found["examples"]) == (None, None, None, [])


def test_chosen_limits_that_tell_nothing_on_the_other_half_are_not_used():
    """Wrong answers lie on the harmless side: no limit helps, though the scores tell them apart."""
    cosine = np.random.default_rng(0).uniform(0.2, 0.6, 200)
    found = analyse_mode(FAILURE_MODES["collapsed_context"], [made(cosine=each) for each in cosine], cosine < 0.4, 0)
    assert found["calibrated"]["youden_j"] == 0
    assert (found["calibrated"]["discriminates"], found["use"], found["goes_with_errors"]) == (False, None, None)


def test_remedies_are_those_that_a_model_has_and_does_not_use(tokenizer):
    reader = Reader(tiny_model("hierarchical"), tokenizer)
    found = failure_analysis(reader, reader.documents(TEXTS), np.zeros(4, dtype=int), num_interventions=1)["modes"]
    flags = {name: [each["flag"] for each in mode["remedies"]] for name, mode in found.items() if mode}
    assert flags["uniform_scores"] == ["learn_temperature", "entropy_weight"]
    assert flags["collapsed_context"] == ["encoder", "reconstruction_weight"]
    pooling = failure_analysis(
        Reader(tiny_model("attn_pool"), tokenizer), reader.documents(TEXTS), np.zeros(4, dtype=int)
    )["modes"]
    assert pooling["collapsed_context"]["remedies"] == []  # its encoder is a pretrained one


@pytest.mark.parametrize(("alpha", "lower", "higher"), [(0.0, False, True), (0.5, True, True), (1.0, True, False)])
def test_an_option_at_its_limit_is_not_moved_further(alpha, lower, higher):
    config = AttnPoolConfig(alpha=alpha)
    offered = {
        name: [remedy.advice for remedy in mode.remedies if remedy.flag == "alpha" and remedy.is_offered(config)]
        for name, mode in FAILURE_MODES.items()
    }
    assert offered["uniform_scores"] == ["lower"] * lower
    assert offered["concentration"] == offered["boundary_words"] == ["higher"] * higher


@pytest.mark.parametrize("family", ["hierarchical_all_options", "attn_pool"])
def test_the_analysis_is_json_and_the_same_each_time(family, tokenizer):
    reader = Reader(tiny_model(family), tokenizer, batch_size=16)
    rows = toy_texts(30)
    documents = reader.documents([text for text, _ in rows] + ["", "."])
    labels = np.array([list(TOPICS).index(label) for _, label in rows] + [0, 1])
    found = failure_analysis(reader, documents, labels, num_interventions=3)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found == failure_analysis(reader, documents, labels, num_interventions=3)
    assert found["right"] + found["wrong"] == found["documents"] == 32
    assert list(found["modes"]) == list(FAILURE_MODES)
    is_pooling = family == "attn_pool"
    assert (found["modes"]["misaligned_cross_attention"] is None) == is_pooling
    assert (found["interventions"] is None) == is_pooling
    flags = [remedy["flag"] for remedy in found["modes"]["uniform_scores"]["remedies"]]
    assert flags == (["alpha"] if is_pooling else [])  # the other model has all options already


def test_several_labels_for_a_text_are_right_together(tokenizer):
    reader = Reader(tiny_model("hierarchical"), tokenizer)
    reader.model.config.problem_type = "multi_label_classification"
    documents = reader.documents(TEXTS)
    answers = (reader.logits([document.ids for document in documents]) >= 0).astype(float)
    answers[0, 0] = 1 - answers[0, 0]
    found = failure_analysis(reader, documents, answers)
    assert (found["right"], found["wrong"]) == (3, 1)
    assert found["interventions"]["documents"] == 0
    assert "several labels" in found["interventions"]["reason"]


def test_a_model_without_attention_has_nothing_to_detect(tokenizer):
    reader = Reader(tiny_model("lstm"), tokenizer)
    found = failure_analysis(reader, reader.documents(TEXTS), np.zeros(4, dtype=int))
    assert not found["applicable"]
    assert "nothing to detect" in found["reason"]
    with pytest.raises(UserError, match="no texts"):
        failure_analysis(reader, [], np.zeros(0, dtype=int))
