"""The object that labels texts: columns in, columns out, wherever it is carried."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from transformers import pipeline

from salience.eval import Predictor, UserError, score_model
from tests.helpers.predicting import MANY, NUMBERS, TEXTS, many_texts, probabilities_of, save_model
from tests.helpers.tiny import LABELS, tiny_model

NAMES = list(LABELS["label2id"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("predictor") / "run")


def test_columns_come_back_with_the_answers_beside_them(run):
    numbers = np.arange(len(TEXTS))
    found = Predictor(run, bf16=False)({"id": numbers, "text": TEXTS})
    assert list(found) == ["id", "text", "label", "score", "probabilities"]
    assert found["id"] is numbers and found["text"].tolist() == TEXTS
    for row, text in enumerate(TEXTS):
        if not text:
            assert found["label"][row] is None and np.isnan(found["score"][row])
            assert found["probabilities"][row] is None
            continue
        expected = probabilities_of(run, text)
        np.testing.assert_allclose(found["probabilities"][row], expected, atol=1e-6)
        assert found["label"][row] == NAMES[expected.argmax()]
        assert found["score"][row] == pytest.approx(expected.max(), abs=1e-6)
    assert found["score"].dtype == np.float32


def test_labels_and_scores_are_those_of_the_pipeline_and_of_score(run):
    texts = ["word " * count for count in (1, 3, 300, 2000)] + many_texts(40)
    found = Predictor(run, bf16=False)({"text": texts})
    classify = pipeline("text-classification", model=str(run), trust_remote_code=True, device="cpu")
    for text, label, score in zip(texts, found["label"], found["score"], strict=True):
        (answer,) = classify([text])
        assert (answer["label"], answer["score"]) == (label, pytest.approx(score, abs=1e-5))
    assert score_model(run, (texts, found["label"].tolist()), bf16=False)["accuracy"] == 1


def test_a_missing_text_is_whatever_libraries_have_in_its_place(run):
    predictor = Predictor(run, bf16=False)
    for missing in (None, float("nan"), np.nan, pd.NA, pd.NaT, "", "  \n", pa.scalar(None, pa.string())):
        assert predictor({"text": [missing, "a goal"]})["label"].tolist()[0] is None
    for texts in (np.array(["a goal"]), pd.Series(["a goal"]), pa.array(["a goal"]), ("a goal",)):
        assert predictor({"text": texts})["label"].tolist() == predictor({"text": ["a goal"]})["label"].tolist()
    assert len(predictor({"text": []})["label"]) == 0
    with pytest.raises(UserError, match="column 'text' holds int64, not text"):
        predictor({"text": [7]})
    with pytest.raises(UserError, match="there is no column 'text'.*'title', 'body'"):
        predictor({"title": ["a"], "body": ["b"]})


def test_several_labels_are_lists(tmp_path):
    found = Predictor(save_model(tmp_path, **MANY), bf16=False)({"text": TEXTS[:3]})
    for label, score, all_scores in zip(found["label"], found["score"], found["probabilities"], strict=True):
        assert label is None or label == [name for name, p in zip(NAMES, all_scores, strict=True) if p >= 0.5]
        assert label is None or score == [p for p in all_scores if p >= 0.5]
    assert any(found["label"][:2]) and found["label"][2] is None


def test_a_regression_answers_a_number(tmp_path):
    found = Predictor(save_model(tmp_path, **NUMBERS), bf16=False)({"text": TEXTS[:3]})
    assert list(found) == ["text", "score"] and np.isnan(found["score"]).tolist() == [False, False, True]


def test_a_predictor_is_pickled_without_what_it_has_loaded(run):
    predictor = Predictor(run, bf16=False)
    expected = predictor({"text": TEXTS})
    small = pickle.dumps(predictor)
    assert len(small) < 1000
    again = pickle.loads(small)
    assert again == predictor and "reader" not in vars(again)
    assert again({"text": TEXTS})["label"].tolist() == expected["label"].tolist()


def test_another_model_in_the_folder_is_another_predictor(tmp_path):
    """`datasets` names the answers that it keeps by what is pickled."""
    first = pickle.dumps(Predictor(save_model(tmp_path / "run")))
    assert pickle.dumps(Predictor(tmp_path / "run")) == first
    save_model(tmp_path / "run")
    assert pickle.dumps(Predictor(tmp_path / "run")) != first


def test_a_name_that_is_taken_is_refused_and_a_prefix_helps(run):
    with pytest.raises(UserError, match="the input has a column 'label' already: give the new ones a prefix"):
        Predictor(run)({"text": ["a"], "label": ["x"]})
    found = Predictor(run, prefix="my ")({"text": ["a"], "label": ["x"]})
    assert list(found) == ["text", "label", "my label", "my score", "my probabilities"] and found["label"] == ["x"]


def test_the_heaviest_words_are_named_where_a_model_weighs_them(run, tmp_path, tokenizer):
    predictor = Predictor(run, heaviest_words=2, bf16=False)
    found = predictor({"text": ["The bank, the goal", "", "goal"]})["heaviest_words"]
    assert len(found[0]) == 2 and set(found[0]) <= {"the", "bank", "goal"} and found[1] is None
    assert found[2] == ["goal"]
    tiny_model("lstm").save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="--heaviest_words 2 needs a model that weighs words"):
        Predictor(tmp_path, heaviest_words=2)({"text": ["a"]})


def test_texts_of_several_columns_are_joined_as_in_training(tmp_path):
    run = save_model(tmp_path, text_columns=["title", "body"], text_separator=" [SEP] ")
    columns = {"title": ["a goal", "a goal", "", None], "body": ["the end", "", "  ", "the end"]}
    predictor = Predictor(run, bf16=False)
    labels = predictor(columns)["probabilities"]
    np.testing.assert_allclose(labels[0], probabilities_of(run, "a goal [SEP] the end"), atol=1e-6)
    np.testing.assert_allclose(labels[1], probabilities_of(run, "a goal [SEP] "), atol=1e-6)
    assert labels[2] is None and labels[3] is None
    kept = Predictor(run, keep_empty_texts=True, bf16=False)(columns)["probabilities"]
    np.testing.assert_allclose(kept[3], probabilities_of(run, " [SEP] the end"), atol=1e-6)
    other = Predictor(run, text_column="body", bf16=False)(columns)["probabilities"]
    np.testing.assert_allclose(other[0], probabilities_of(run, "the end"), atol=1e-6)


def test_long_texts_are_tokenized_a_few_at_a_time(run, monkeypatch):
    texts = [*many_texts(9), "the market " * 30]
    expected = Predictor(run, bf16=False)({"text": texts})
    monkeypatch.setattr("salience.eval.predict.predictor.CHARACTERS_AT_ONCE", 60)
    found = Predictor(run, bf16=False)({"text": texts})
    assert found["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-6)


def test_no_whole_number_of_a_column_is_rounded(run):
    predictor = Predictor(run, bf16=False)
    assert predictor({"text": ["a", "b"], "id": [True, 2]})["id"].tolist() == [True, 2]
    assert predictor({"text": ["a", "b"], "id": [True, 2]})["id"][0] is True
    for numbers in ([2**60 + 1, 0.5], [2**63 + 1, -1], [1, 2], [0.5, 1]):
        found = predictor({"text": ["a", "b"], "id": numbers})["id"]
        assert found.tolist() == numbers
        assert (found.dtype == object) == (max(numbers) > 2**53)
    assert predictor({"text": ["a", "b"], "id": [float("nan"), 1]})["id"].dtype == float


def test_a_text_of_which_cleaning_leaves_nothing_is_none(run):
    quoted = "> what somebody else wrote\n> and more of it"
    for keeps, labels in ((False, 1), (True, 2)):
        predictor = Predictor(run, bf16=False, clean=["quotes"], keep_empty_texts=keeps)
        found = predictor({"text": [quoted, quoted + "\nWhat I say."]})["label"]
        assert sum(label is not None for label in found) == labels and found[1] is not None


def test_fewer_than_no_words_are_refused(run):
    with pytest.raises(UserError, match="heaviest_words = -1 must be at least 0"):
        Predictor(run, heaviest_words=-1)({"text": ["a"]})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"bf16": "false"}, "--bf16 false is of the type str; give it as bool"),
        ({"batch_size": "8"}, "--batch_size 8 is of the type str; give it as int"),
        ({"heaviest_words": True}, "--heaviest_words True is of the type bool; give it as int"),
        ({"prefix": None}, "--prefix None is of the type NoneType; give it as str"),
        ({"model": 3}, "model is a int; name a folder or a Hub id"),
    ],
)
def test_options_of_another_type_are_refused(run, options, told):
    with pytest.raises(UserError, match=told):
        Predictor(**{"model": run, **options})


def test_the_folder_is_meant_that_lies_there_when_it_is_named(run, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(run).parent)
    predictor = Predictor(Path(run).name)
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickle.dumps(predictor))({"text": ["a goal"]})["label"][0] is not None


def test_a_model_that_is_not_there_is_told_when_it_is_first_asked(tmp_path):
    predictor = Predictor(tmp_path / "none")
    with pytest.raises(UserError, match="can't be loaded"):
        predictor({"text": ["a"]})


@pytest.mark.parametrize(
    "given, told",
    [
        (["a", "b"], "the input is a list; give columns, as in"),
        (pd.Series(["a"]), "the input is a Series; give columns"),
        (None, "the input is a NoneType"),
        ({"text": "one text"}, "column 'text' is a str; give a list, with one value for each row"),
        ({"text": {"a": 1}}, "column 'text' is a dict; give a list"),
        ({"text": ["a"], "id": 7}, "column 'id' is a int; give a list"),
        ({"text": np.array("a")}, "column 'text' is a ndarray; give a list"),
        ({"text": ["a", "b"], "id": [1]}, r"columns of several lengths \(2 in 'text', 1 in 'id'\)"),
        ({"text": np.array([["a", "b"]])}, "column 'text' holds ndarray, not text"),
        (pd.DataFrame([["a", 1, 2]], columns=["text", "id", "id"]), "the input has two columns 'id'"),
        ({"text": pd.DataFrame({"text": ["a", "b"]})}, r"column 'text' is a data frame; give one column of it"),
    ],
)
def test_what_is_no_table_is_refused(run, given, told):
    with pytest.raises(UserError, match=told):
        Predictor(run, bf16=False)(given)
