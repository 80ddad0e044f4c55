"""`pipeline(...)` answers as it always did, and says why where it is asked."""

import copy
import json
import pickle

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    TextClassificationPipeline,
    pipeline,
)

from salience.modeling.attributions import METHODS
from salience.modeling.explaining_pipeline import ExplainingPipeline
from salience.modeling.subject import twin
from salience.train.building.evidence import attach
from tests.helpers.counting import learned
from tests.helpers.slow import others_slow
from tests.helpers.tiny import random_batch, tiny_encoder_config, tiny_model

NOTHING = {"sum": 0.0, "logit_change": 0.0}
TEXTS = [
    "market rates rose and shares of the bank . a goal in the last minute !",
    "  the bank\traised its rates .\n\n a goal  ",
    "caf\u00e9 cafe\u0301 na\u00efve \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd cup \u2764\ufe0f",
    "\u94f6\u884c\u63d0\u9ad8\u4e86\u5229\u7387\u3002\u6bd4\u8d5b\u8fdb\u7403\uff01",
    "\u0627\u0644\u0628\u0646\u0643 \u0631\u0641\u0639 \u05e9\u05dc\u05d5\u05dd goal",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \ufdfa goal",
    "",
    "   ",
    "goal " * 60,
]


def pipelines(name, tokenizer, **options):
    model = tiny_model(name)
    for field, value in options.items():
        setattr(model.config, field, value)
    return (
        each(model=model, tokenizer=tokenizer, device="cpu")
        for each in (ExplainingPipeline, TextClassificationPipeline)
    )


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "lstm"])
def test_unexplained_answers_are_those_of_transformers(name, tokenizer):
    ours, theirs = pipelines(name, tokenizer)
    for inputs in (TEXTS[0], TEXTS, {"text": TEXTS[0], "text_pair": TEXTS[1]}):
        for options in ({}, {"top_k": None}, {"top_k": 2}, {"function_to_apply": "none"}, {"batch_size": 4}):
            assert ours(inputs, **options) == theirs(inputs, **options)
            assert ours(inputs, explain=False, **options) == theirs(inputs, **options)


def as_answers(explained):
    return [{name: each[name] for name in ("label", "score")} for each in explained]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "name",
    others_slow(
        ["attn_pool", "hierarchical", "hierarchical_windows", "hierarchical_all_options"], "attn_pool", "hierarchical"
    ),
)
def test_explained_answers_are_the_same_and_their_spans_are_the_text(name, method, tokenizer):
    ours, theirs = pipelines(name, tokenizer)
    explained = ours(TEXTS, explain=True, method=method)
    assert as_answers(explained) == theirs(TEXTS)
    for text, each in zip(TEXTS, explained, strict=True):
        assert "".join(part for part, _ in each["spans"]) == text
        assert all(part for part, _ in each["spans"])
        assert all(weight is None or -1 <= weight <= 1 for _, weight in each["spans"])
        assert each["method"] == method and each["target"] == each["label"]
        words = each["words"]
        assert [text[word["start"] : word["end"]] for word in words] == [word["word"] for word in words]
        assert [part for part, weight in each["spans"] if weight is not None] == [word["word"] for word in words]
        assert all(before["end"] <= after["start"] for before, after in zip(words, words[1:], strict=False))
        assert all(text[one["start"] : one["end"]] == one["sentence"] for one in each["sentences"])
        assert ("dropped" in each) == name.startswith("hierarchical")
        json.dumps(each)
    assert len(explained[0]["words"]) == 16
    marked = {word["word"] for word in explained[2]["words"]}
    assert {"cafe\u0301", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd"} <= marked
    assert explained[6]["words"] == explained[7]["words"] == []


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "lstm"])
def test_a_text_without_any_token_has_no_words_to_explain(name, tokenizer):
    bare = copy.deepcopy(tokenizer)
    bare.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    ours, theirs = pipelines(name, bare)
    for method in METHODS.keys() - ({"attention"} if name == "lstm" else set()):
        for text in ("", "\u200b"):
            assert bare(text)["input_ids"] == []
            first, second = ours(["goal bank", text], explain=True, method=method)
            assert first["words"] and second["words"] == [] == second["sentences"]
            assert "".join(part for part, _ in second["spans"]) == text
            assert second["score"] == pytest.approx(theirs(text)[0]["score"], abs=1e-6)
            assert second.get("completeness", NOTHING) == NOTHING


def test_variants_of_a_text_are_read_so_many_at_once(tokenizer):
    ours, _ = pipelines("attn_pool", tokenizer)
    rows = []
    ours.model.register_forward_pre_hook(lambda _, __, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True)
    (few,) = ours(TEXTS[0], explain=True, method="leave_one_out", most_rows=2)
    assert max(rows) == 2
    (many,) = ours(TEXTS[0], explain=True, method="leave_one_out")
    assert max(rows) > 2
    for one, other in zip(few["words"], many["words"], strict=True):
        assert one["weight"] == pytest.approx(other["weight"], abs=1e-5)


@pytest.mark.parametrize("is_counting", others_slow([False, True], True))
@pytest.mark.parametrize("name", others_slow(["attn_pool", "hierarchical", "lstm"], "hierarchical"))
def test_batches_explain_as_single_texts_do(name, is_counting, tokenizer):
    ours, _ = pipelines(name, tokenizer)
    if is_counting:
        attach(ours.model, learned(tokenizer(TEXTS, return_tensors="pt", padding=True), [0, 1, 2] * 3), 3.0, 0.5)
    for method in METHODS.keys() - ({"attention"} if name == "lstm" else set()):
        together = ours(TEXTS, explain=True, method=method, batch_size=4)
        for text, each in zip(TEXTS, together, strict=True):
            (alone,) = ours(text, explain=True, method=method)
            assert each["label"] == alone["label"]
            for one, other in zip(each["words"], alone["words"], strict=True):
                assert one["weight"] == pytest.approx(other["weight"], abs=1e-5)
                assert ("counts" in one) == is_counting
                assert one.get("counts") == pytest.approx(other.get("counts"), abs=1e-5)


@pytest.mark.parametrize("name", others_slow(["attn_pool", "hierarchical", "lstm"], "attn_pool"))
@pytest.mark.parametrize("method", ["leave_one_out", "integrated_gradients"])
def test_padding_is_no_part_of_what_is_explained(name, method, tokenizer):
    explains, _ = pipelines(name, tokenizer)
    padded = {"padding": "max_length", "max_length": 40, "truncation": True}
    expected = explains(TEXTS[0], explain=True, method=method)[0]["words"]
    for side in ("right", "left"):
        explains.tokenizer.padding_side = side
        found = explains(TEXTS[0], explain=True, method=method, **padded)[0]["words"]
        assert [each["word"] for each in found] == [each["word"] for each in expected]
        assert [each["weight"] for each in found] == pytest.approx([each["weight"] for each in expected], abs=1e-6)


def test_what_an_explanation_hooks_into_its_model_reaches_no_other_answer():
    model = tiny_model("attn_pool")
    other = twin(model)
    other.register_forward_hook(lambda *_: pytest.fail("it was reached"))
    model(**random_batch([5]))
    assert all(ours is theirs for ours, theirs in zip(model.parameters(), other.parameters(), strict=True))
    assert torch.equal(model(**random_batch([5])).logits, twin(model)(**random_batch([5])).logits)


def test_each_answered_label_is_explained_and_any_class_on_demand(tokenizer):
    ours, theirs = pipelines("attn_pool", tokenizer, problem_type="multi_label_classification")
    (answers,) = ours([TEXTS[0]], explain=True, top_k=None)
    assert as_answers(answers) == theirs([TEXTS[0]], top_k=None)[0]
    assert [each["target"] for each in answers] == [each["label"] for each in answers]
    weights = {each["label"]: [word["weight"] for word in each["words"]] for each in answers}
    assert weights["economy"] != weights["sports"]
    for target in ("sports", 2):
        (answer,) = ours(TEXTS[0], explain=True, target=target)
        assert answer["target"] == "sports"
        assert [word["weight"] for word in answer["words"]] == pytest.approx(weights["sports"], abs=1e-6)
        assert answer["label"] == theirs(TEXTS[0])[0]["label"]


def test_a_pipeline_can_be_made_to_explain(tokenizer):
    model = tiny_model("attn_pool")
    classify = ExplainingPipeline(model=model, tokenizer=tokenizer, explain=True, method="attention", device="cpu")
    assert classify(TEXTS[0])[0]["method"] == "attention"
    assert classify(TEXTS[0], method="leave_one_out")[0]["method"] == "leave_one_out"
    assert "words" not in classify(TEXTS[0], explain=False)[0]
    assert list(classify(text for text in TEXTS[:2]))[1]["words"]
    assert pickle.loads(pickle.dumps(classify.preprocess(TEXTS[0], explain=True)["document"])).text == TEXTS[0]


def test_the_weights_are_what_their_methods_say(tokenizer):
    ours, _ = pipelines("hierarchical", tokenizer)
    (answer,) = ours(TEXTS[0], explain=True, method="attention")
    dropped = {word["start"] for word in answer["dropped"]}
    assert dropped and dropped == {word["start"] for word in answer["words"] if word["weight"] == 0}
    assert [each["sentence"] for each in answer["sentences"]] == [
        "market rates rose and shares of the bank .", "a goal in the last minute !",
    ]  # fmt: skip
    inside = sum(word["weight"] for word in answer["words"] if word["end"] <= 42)
    assert answer["sentences"][0]["weight"] == pytest.approx(inside)
    ours, _ = pipelines("attn_pool", tokenizer)
    (answer,) = ours(TEXTS[0], explain=True)
    assert answer["method"] == "integrated_gradients" and "faithfulness" not in answer
    total = sum(word["weight"] for word in answer["words"])
    assert total == pytest.approx(answer["completeness"]["sum"])
    assert total == pytest.approx(answer["completeness"]["logit_change"], rel=0.01)


def test_the_method_that_was_measured_explains_and_its_figures_are_told(tokenizer):
    figures = {"attention": 0.1, "leave_one_out": 0.3}
    measured = {"method": "leave_one_out", "comprehensiveness": figures, "random": 0.05, "texts": 16}
    ours, _ = pipelines("attn_pool", tokenizer, explanation=measured)
    (answer,) = ours(TEXTS[0], explain=True)
    assert answer["method"] == "leave_one_out"
    assert answer["faithfulness"] == {"comprehensiveness": 0.3, "random": 0.05, "texts": 16}
    assert "faithfulness" not in ours(TEXTS[0], explain=True, method="gradient_x_input")[0]


def test_any_classifier_is_explained(tokenizer):
    config = tiny_encoder_config()
    config.num_labels = 3
    classify = pipeline(
        "text-classification", model=BertForSequenceClassification(config), tokenizer=tokenizer, device="cpu"
    )
    answers = classify(TEXTS, explain=True, truncation=True, max_length=24)
    for text, each in zip(TEXTS, answers, strict=True):
        assert "".join(part for part, _ in each["spans"]) == text
    assert len(answers[-1]["words"]) == 22


def test_what_cant_be_explained_is_one_sentence(tokenizer):
    ours, _ = pipelines("cnn", tokenizer)
    with pytest.raises(ValueError, match='method = "lime" is unknown; choose from attention'):
        ours(TEXTS[0], explain=True, method="lime")
    with pytest.raises(ValueError, match="'weather' is no class of this model; choose from economy, science, sports"):
        ours(TEXTS[0], explain=True, target="weather")
    with pytest.raises(ValueError, match="no pooling_weights"):
        ours(TEXTS[0], explain=True, method="attention")
    with pytest.raises(ValueError, match="single texts"):
        ours({"text": "one", "text_pair": "two"}, explain=True)


def test_loading_needs_no_trust_where_the_classes_are_installed(tmp_path, tokenizer):
    tiny_model("attn_pool").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["custom_pipelines"]["text-classification"]["impl"] == "explaining_pipeline.ExplainingPipeline"
    assert (tmp_path / "explaining_pipeline.py").is_file()
    for trust in ({}, {"trust_remote_code": True}):
        classify = pipeline("text-classification", model=str(tmp_path), device="cpu", **trust)
        plain = TextClassificationPipeline(model=classify.model, tokenizer=classify.tokenizer, device="cpu")
        assert classify(TEXTS) == plain(TEXTS)
        assert as_answers(classify(TEXTS, explain=True)) == plain(TEXTS)
    assert isinstance(AutoTokenizer.from_pretrained(tmp_path), PreTrainedTokenizerFast)
