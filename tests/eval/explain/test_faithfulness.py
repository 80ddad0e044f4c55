import json

import numpy as np
import pytest
import torch

from salience.configuration.errors import UserError
from salience.eval.explain.attributions import ATTRIBUTIONS
from salience.eval.explain.faithfulness import FRACTIONS, erasure, faithfulness
from salience.eval.explain.sampling import cut
from salience.eval.explain.verdict import objections, verdict
from salience.eval.explain.weight_changes import changed_weights, shuffled, uniform
from salience.eval.reading.reader import Reader
from tests.helpers.bags import SCALE, bag_reader
from tests.helpers.tiny import TINY_MODELS, tiny_model

FILLERS = "the of and to in is was for on that".split()
DECIDERS = {"market": 1.0, "goal": -1.0}
TEXTS = ["market rates rose . and shares of the bank", "a goal ! the cup"]


def one_word_decides(num_documents=40, num_fillers=9):
    """Texts of fillers and one word that decides, anywhere among them; the answer is at index 1 for market."""
    generator = np.random.default_rng(0)
    texts = []
    for number in range(num_documents):
        words = list(generator.permutation(FILLERS)[:num_fillers])
        words.insert(generator.integers(num_fillers + 1), list(DECIDERS)[number % 2])
        texts.append(" ".join(words))
    return texts


def read(reader, texts):
    documents = reader.documents(texts)
    return documents, reader.read([document.ids for document in documents])


def true_attention(tokenizer, **options):
    return bag_reader(tokenizer, DECIDERS, dict.fromkeys(DECIDERS, 3.0), **options)


def reversed_attention(tokenizer):
    """Looks at fillers, and is decided by the little that is left of the word that decides."""
    return bag_reader(tokenizer, DECIDERS, dict.fromkeys(DECIDERS, -2.0), scale=2000.0)


def decider_only(reader, documents, readings):
    return [np.array([word in DECIDERS for word in document.words], float) for document in documents]


def all_but_decider(reader, documents, readings):
    return [-each for each in decider_only(reader, documents, readings)]


def test_the_few_that_are_looked_at_closely_are_of_all_classes_in_a_sorted_file(tokenizer, monkeypatch):
    seen = []
    for name in ("normalized", "replacement"):
        keep = lambda reader, documents, *_: seen.append([each.text for each in documents])  # noqa: E731
        monkeypatch.setattr(f"salience.eval.explain.faithfulness.{name}", keep)
    reader = true_attention(tokenizer)
    texts = one_word_decides(40)
    documents, readings = read(reader, sorted(texts, key=lambda text: "goal" in text))
    faithfulness(reader, documents, readings, {"true": decider_only}, 40)
    assert seen[0] == seen[1] and len(seen[0]) == 8
    assert 1 < sum("goal" in text for text in seen[0]) < 7


def test_erasing_the_word_that_decides_costs_what_it_must(tokenizer):
    reader = true_attention(tokenizer)
    documents, readings = read(reader, one_word_decides(6))
    comprehensiveness, sufficiency = erasure(reader, documents, readings, decider_only(reader, documents, readings))
    assert comprehensiveness.shape == sufficiency.shape == (6, len(FRACTIONS))
    # Without it both classes are equally likely; alone it is sure.
    np.testing.assert_allclose(comprehensiveness, 0.5, atol=1e-3)
    np.testing.assert_allclose(sufficiency, 0, atol=1e-3)
    comprehensiveness, sufficiency = erasure(reader, documents, readings, all_but_decider(reader, documents, readings))
    np.testing.assert_allclose(comprehensiveness, 0, atol=1e-3)
    np.testing.assert_allclose(sufficiency, 0.5, atol=1e-3)


def test_erasure_removes_fractions_of_the_words_rounded_up(tokenizer):
    """The probability after each erasure is that of the text written without the words."""
    reader = Reader(tiny_model("attn_pool"), tokenizer)
    text = "the of and to in is was for on that market goal"
    documents, readings = read(reader, [text])
    importance = np.arange(12)[::-1].astype(float)
    found = erasure(reader, documents, readings, [importance])[:, 0]
    words, answer = text.split(), readings[0].logits.argmax()

    def probability(words):
        with torch.no_grad():
            return reader.model(**tokenizer(" ".join(words), return_tensors="pt")).logits.softmax(-1)[0, answer].item()

    for column, count in enumerate([1, 1, 2, 3, 6]):
        assert found[0, column] == pytest.approx(probability(words) - probability(words[count:]), abs=1e-5)
        assert found[1, column] == pytest.approx(probability(words) - probability(words[:count]), abs=1e-5)


def test_attention_that_decides_is_faithful(tokenizer):
    reader = true_attention(tokenizer)
    documents, readings = read(reader, one_word_decides())
    found = faithfulness(reader, documents, readings, ATTRIBUTIONS | {"reversed": all_but_decider})
    scores = {name: each["comprehensiveness"]["mean"] for name, each in found["attributions"].items()}
    assert scores["attention"] == max(scores.values()) == pytest.approx(0.5, abs=1e-3)
    assert scores["reversed"] == min(scores.values()) < scores["random"]
    attention = found["attributions"]["attention"]
    assert attention["against"]["random"]["comprehensiveness"]["low"] > 0.2
    assert attention["against"]["random"]["sufficiency"]["high"] < -0.1
    assert found["attributions"]["reversed"]["against"]["random"]["comprehensiveness"]["high"] < 0
    assert attention["comprehensiveness"]["curve"] == pytest.approx([0.5] * 5, abs=1e-3)
    assert found["interventions"]["permutation"]["total_variation"]["mean"] > 0.05
    assert not objections(found)
    assert verdict(found).startswith("Yes: the attention of this model may be read as an explanation")
    assert "50.0 points" in verdict(found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_attention_that_looks_away_is_not(tokenizer):
    reader = reversed_attention(tokenizer)
    documents, readings = read(reader, one_word_decides())
    heaviest = ATTRIBUTIONS["attention"](reader, documents, readings)
    assert not any(decider_only(reader, documents, readings)[row][each.argmax()] for row, each in enumerate(heaviest))
    found = faithfulness(reader, documents, readings)
    assert found["attributions"]["attention"]["against"]["random"]["comprehensiveness"]["high"] < 0
    assert found["attributions"]["integrated_gradients"]["comprehensiveness"]["mean"] == pytest.approx(0.5, abs=0.01)
    assert len(objections(found)) == 4
    text = verdict(found)
    assert text.startswith("No: ")
    for clause in ("no more than removing random words", "no better than random words", "integrated gradients find"):
        assert clause in text


def test_uniform_attention_explains_nothing(tokenizer):
    reader = bag_reader(tokenizer, DECIDERS, {})
    documents, readings = read(reader, one_word_decides())
    found = faithfulness(reader, documents, readings)
    for test in ("permutation", "uniform"):
        assert found["interventions"][test]["total_variation"]["mean"] == pytest.approx(0, abs=1e-5)
        assert found["interventions"][test]["flipped"] == 0
    attention = found["attributions"]["attention"]
    assert attention["tau_leave_one_out"] is None or abs(attention["tau_leave_one_out"]["mean"]) < 0.5
    # Words of equal weight are taken in random order, not in that of the text.
    assert attention["against"]["random"]["comprehensiveness"]["p_value"] > 0.01
    assert "shuffling the weights among a text's words moves its probabilities by only 0.0 points" in verdict(found)


def test_attention_in_the_order_of_effects_has_tau_1(tokenizer):
    strengths = {word: 0.1 + 0.1 * place for place, word in enumerate(FILLERS[:9])}
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.permutation(list(strengths))) for _ in range(8)]
    for sign in (1, -1):
        reader = bag_reader(tokenizer, strengths, {word: sign * each for word, each in strengths.items()}, scale=4.0)
        documents, readings = read(reader, texts)
        found = faithfulness(reader, documents, readings)["attributions"]["attention"]["tau_leave_one_out"]
        assert found == pytest.approx({"mean": sign, "low": sign, "high": sign, "num_documents": 8}, abs=0.02)


def test_shuffled_and_even_weights_of_a_bag_give_the_answers_that_they_must(tokenizer):
    reader = true_attention(tokenizer, scale=8.0)
    text = "market the of and"
    documents, (reading,) = read(reader, [text])
    ids, weights = documents[0].ids, reading.weights
    np.testing.assert_allclose(reading.logits[1], 8 * weights[1], rtol=1e-4)
    with changed_weights(reader, uniform):
        np.testing.assert_allclose(reader.logits([ids])[0, 1], 8 * weights[1:5].mean(), rtol=1e-4)
    seen = set()
    for seed in range(12):
        with changed_weights(reader, shuffled(seed)):
            logit = reader.logits([ids])[0, 1]
        # The word that decides got the weight of a word, its own or that of a filler.
        assert any(logit == pytest.approx(8 * weights[place], rel=1e-3) for place in (1, 2))
        seen.add(round(float(logit), 3))
    assert len(seen) == 2
    np.testing.assert_array_equal(reader.logits([ids])[0], reading.logits)


WEIGHTED = [name for name in TINY_MODELS if name not in ("lstm", "cnn", "gat", "bag_of_words")]


@pytest.mark.parametrize("family", WEIGHTED)
def test_no_change_is_no_change(family, tokenizer):
    reader = Reader(tiny_model(family), tokenizer)
    documents, readings = read(reader, TEXTS)
    ids = [document.ids for document in documents]
    with changed_weights(reader, lambda values, texts: values):
        unchanged = reader.read(ids)
    for before, after in zip(readings, unchanged, strict=True):
        np.testing.assert_allclose(after.logits, before.logits, atol=1e-6)
        np.testing.assert_allclose(after.weights, before.weights, atol=1e-6)


@pytest.mark.parametrize("shuffle", [0, 1])
@pytest.mark.parametrize("family", ["attn_pool", "attn_pool_learned_alpha", "hierarchical"])
def test_weights_are_dealt_out_anew_among_the_words_of_a_text(family, shuffle, tokenizer):
    reader = Reader(tiny_model(family), tokenizer)
    documents, readings = read(reader, TEXTS)
    with changed_weights(reader, shuffled(shuffle)):
        changed = reader.read([document.ids for document in documents])
    for document, before, after in zip(documents, readings, changed, strict=True):
        is_word = document.word_of >= 0
        np.testing.assert_allclose(np.sort(after.weights[is_word]), np.sort(before.weights[is_word]), atol=1e-6)
        np.testing.assert_allclose(after.weights[~is_word], before.weights[~is_word], atol=1e-6)
        assert np.abs(after.weights - before.weights).max() > 1e-4
        assert np.abs(after.logits - before.logits).max() > 1e-6


@pytest.mark.parametrize("family", ["attn_pool", "attn_pool_learned_alpha", "hierarchical", "hierarchical_encoder"])
def test_even_weights_are_even(family, tokenizer):
    reader = Reader(tiny_model(family), tokenizer)
    documents, readings = read(reader, TEXTS)
    with changed_weights(reader, uniform):
        changed = reader.read([document.ids for document in documents])
    for document, before, after in zip(documents, readings, changed, strict=True):
        is_word = document.word_of >= 0
        np.testing.assert_allclose(after.weights[is_word], before.weights[is_word].mean(), atol=1e-6)
        assert np.ptp(before.weights[is_word]) > 1e-4


def test_the_model_is_itself_again_after_an_error(tokenizer):
    reader = true_attention(tokenizer)
    documents, readings = read(reader, TEXTS)
    with pytest.raises(RuntimeError, match="stop"), changed_weights(reader, uniform):
        raise RuntimeError("stop")
    np.testing.assert_array_equal(reader.logits([each.ids for each in documents])[0], readings[0].logits)


def test_a_model_without_weights_says_so(tokenizer):
    reader = Reader(tiny_model("cnn"), tokenizer)
    documents, readings = read(reader, TEXTS)
    found = faithfulness(reader, documents, readings)
    assert found["interventions"] is None
    assert set(found["attributions"]) == {"random", "gradient_x_input", "integrated_gradients", "leave_one_out"}
    assert "no pooling_weights" in found["left_out"]["attention"]
    assert "no pooling_weights" in verdict(found)


def test_counts_of_ngrams_are_named_in_the_verdict(tokenizer):
    reader = true_attention(tokenizer)
    documents, readings = read(reader, one_word_decides(4))
    found = faithfulness(reader, documents, readings)
    assert "counts words and word pairs" not in verdict(found)
    assert "counts words and word pairs (ngram_weight 0.5)" in verdict(found | {"ngram_weight": 0.5})


def test_the_same_seed_draws_the_same_texts(tokenizer):
    reader = true_attention(tokenizer)
    documents, readings = read(reader, [*one_word_decides(10), "goal", ""])
    options = {"num_documents": 6, "attributions": {"random": ATTRIBUTIONS["random"]}}
    found = faithfulness(reader, documents, readings, **options)
    assert found == faithfulness(reader, documents, readings, **options)
    assert (found["num_documents"], found["too_short"], found["shortened"]) == (6, 2, 0)
    assert len(set(found["rows"])) == 6 and max(found["rows"]) < 10
    assert found["rows"] != faithfulness(reader, documents, readings, **options, seed=1)["rows"]
    with pytest.raises(UserError, match="two words or more"):
        faithfulness(reader, documents[10:], readings[10:])


def test_long_texts_are_cut_behind_a_whole_word(tokenizer):
    reader = true_attention(tokenizer)
    documents, readings = read(reader, ["market the zyzzyva of goal", "the market"])
    assert len(documents[0].ids) == 13  # the long word is seven tokens
    for max_tokens, words in ((13, 5), (12, 4), (11, 3), (10, 2), (5, 2), (4, 2), (3, 1)):
        assert cut(documents[0], max_tokens).words == documents[0].words[:words]
        assert len(cut(documents[0], max_tokens).ids) <= max_tokens
    found = faithfulness(reader, documents, readings, {"only": decider_only}, max_tokens=5)
    assert found["shortened"] == 1
    # Of the first text "market the" is left, which is sure; with its last word it was not.
    assert readings[0].logits[1] == pytest.approx(0, abs=1e-3)
    assert found["attributions"]["only"]["comprehensiveness"]["mean"] == pytest.approx(0.5, abs=1e-3)


def test_few_texts_are_too_few(tokenizer):
    reader = true_attention(tokenizer)
    found = faithfulness(reader, *read(reader, one_word_decides(4)))
    assert objections(found)
    assert "on 4 texts, which are too few" in verdict(found)


def test_several_labels_are_judged_one_by_one(tokenizer):
    reader = true_attention(tokenizer, scale=SCALE, problem_type="multi_label_classification")
    documents, readings = read(reader, one_word_decides(4))
    found = faithfulness(reader, documents, readings)
    # The class of the word that decides is sure, and as likely as not without that word.
    assert found["attributions"]["attention"]["comprehensiveness"]["mean"] == pytest.approx(0.5, abs=1e-3)
    moved = found["interventions"]["permutation"]
    assert moved["flipped"] == 0 and moved["total_variation"]["mean"] < 0.5
