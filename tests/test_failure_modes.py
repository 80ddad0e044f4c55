import json

import numpy as np
import pytest
import torch
from scipy.stats import fisher_exact
from sklearn.metrics import roc_auc_score, roc_curve

from salience.eval.failure_analysis import analyse_mode, failure_analysis
from salience.eval.failure_modes import FAILURE_MODES
from salience.eval.failure_rates import Band, auc_of_wrong, best_band, calibrate, first_half, occurrence
from salience.eval.internals import Insides, read_insides
from salience.eval.reader import Reader
from salience.eval.remedies import measured_effect, read_ablation
from salience.modeling.windows import pack_inputs
from salience.train.errors import UserError

from .tiny import tiny_model
from .toy import TOPICS, toy_texts

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
    monkeypatch.setattr("salience.eval.internals.CELLS_OF_CHUNK", chunk)
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


def test_occurrence_counts_right_and_wrong_apart():
    flagged = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], dtype=bool)
    is_wrong = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    found = occurrence(flagged, is_wrong)
    assert found["wrong"] == {"documents": 4, "flagged": 3, "share": 0.75}
    assert found["right"] == {"documents": 6, "flagged": 1, "share": pytest.approx(1 / 6)}
    assert (found["odds_ratio"], found["p_value"]) == pytest.approx((15.0, fisher_exact([[3, 1], [1, 5]]).pvalue))
    assert found["share"] == 0.4
    never = occurrence(np.zeros(10, dtype=bool), is_wrong)
    assert (never["share"], never["odds_ratio"], never["p_value"]) == (0.0, None, 1.0)
    assert occurrence(flagged[:0], is_wrong[:0])["share"] is None


@pytest.mark.parametrize("seed", range(5))
def test_the_best_band_has_the_largest_j(seed):
    random = np.random.default_rng(seed)
    scores, is_wrong = random.integers(0, 12, 80).astype(float), random.random(80) < 0.4

    def j_of(band):
        outside = band.outside(scores)
        return outside[is_wrong].mean() - outside[~is_wrong].mean()

    for tails, sign in (("high", 1), ("low", -1)):
        false_rate, true_rate, _ = roc_curve(is_wrong, sign * scores, drop_intermediate=False)
        band = best_band(scores, is_wrong, tails)
        assert np.isinf(band.low if tails == "high" else band.high)
        assert j_of(band) == pytest.approx((true_rate - false_rate).max())
    limits = [*np.unique(scores), np.inf]
    best = max(j_of(Band(low, high)) for low in [-np.inf, *limits] for high in limits)
    assert j_of(best_band(scores, is_wrong, "both")) == pytest.approx(best)


def test_there_are_no_limits_where_none_helps():
    is_wrong = np.array([True, False] * 10)
    for tails in ("low", "high", "both"):
        assert best_band(np.ones(20), is_wrong, tails) == Band()
    assert best_band(np.where(is_wrong, 0.0, 1.0), is_wrong, "high") == Band()
    assert best_band(np.where(is_wrong, 0.0, 1.0), is_wrong, "low") == Band(low=1.0)


def test_auc_is_scikit_learns_and_lies_in_its_interval():
    random = np.random.default_rng(0)
    is_wrong = random.random(300) < 0.3
    badness = (random.normal(size=300) + is_wrong).round(1)
    found = auc_of_wrong(badness, is_wrong, random)
    assert found["auc"] == pytest.approx(roc_auc_score(is_wrong, badness))
    assert found["auc"] - 0.1 < found["low"] < found["auc"] < found["high"] < found["auc"] + 0.1
    assert auc_of_wrong(np.zeros(300), is_wrong, random) == {"auc": 0.5, "low": 0.5, "high": 0.5}


def test_limits_are_chosen_on_one_half_and_judged_on_the_other():
    random = np.random.default_rng(0)
    scores = random.uniform(0, 1, 400)
    is_wrong = (scores < 0.2) | (scores > 0.7)
    found = calibrate(scores, is_wrong, "both", random)
    assert (found["low"], found["high"]) == pytest.approx((0.2, 0.7), abs=0.03)
    assert found["chosen_on"] == found["documents"] == 200
    assert found["youden_j"] > 0.9
    assert found["auc"]["low"] > 0.99
    shuffled = calibrate(scores, random.permutation(is_wrong), "both", random)
    assert shuffled["auc"]["low"] < 0.5 < shuffled["auc"]["high"]
    assert calibrate(scores, np.arange(400) < 9, "both", random) is None


def test_halves_share_wrong_and_right_evenly():
    is_wrong = np.arange(100) < 30
    first = first_half(is_wrong, np.random.default_rng(0))
    assert (first.sum(), (first & is_wrong).sum()) == (50, 15)
    assert not np.array_equal(first, first_half(is_wrong, np.random.default_rng(1)))


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
    assert flags == (["alpha"] if is_pooling else ["learn_temperature", "entropy_weight"])


def test_several_labels_for_a_text_are_right_together(tokenizer):
    reader = Reader(tiny_model("hierarchical"), tokenizer)
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


def study(**rows):
    """An ablation in which each row changes accuracy by 0.01 more than the one before."""
    content = {"reference": "full", "rows": {}}
    for number, (name, flags) in enumerate(rows.items()):
        against = {"full": {"difference": number / 100, "low": 0.0, "high": 0.1, "p_value": 0.5, "mcnemar": {}}}
        mean = {"accuracy": 0.5 + number / 100}
        content["rows"][name] = {"kind": "model", "flags": flags, "mean": mean, "against": against if number else {}}
    return content


def test_an_ablation_says_what_a_remedy_brings():
    ablation = study(
        full={}, gated={"fusion": "gated"}, wide={"hidden_dim": 512}, both={"fusion": "gated", "hidden_dim": 512}
    )
    alone, together = measured_effect("fusion", ablation)
    assert alone == {
        "row": "gated", "value": "gated", "reference_value": None, "alone": True, "reference": "full",
        "accuracy": 0.51, "reference_accuracy": 0.5, "difference": 0.01, "low": 0.0, "high": 0.1, "p_value": 0.5,
    }  # fmt: skip
    assert (together["row"], together["alone"]) == ("both", False)
    assert measured_effect("idf_prior", ablation) is None
    (removed,) = measured_effect("idf_prior", study(full={"idf_prior": True}, without={}))
    assert (removed["value"], removed["reference_value"]) == (None, True)
    assert measured_effect("fusion", {**ablation, "reference": None}) is None


def test_what_is_no_study_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="not a study.json"):
        measured_effect("fusion", {"rows": 3})
    file = tmp_path / "study.json"
    with pytest.raises(UserError, match="can't be read"):
        read_ablation(file)
    for content, message in (("{", "not valid JSON"), ("[]", "holds no study")):
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            read_ablation(file)
    file.write_text(json.dumps(study(full={})))
    assert read_ablation(file) == study(full={})
