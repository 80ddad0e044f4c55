"""The page of a Space, asked as its visitors' browsers ask it."""

import os

import pytest

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
pytest.importorskip("gradio", reason="pip install gradio, in the version of the extra `space`")

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from salience.eval import Predictor, cli, predict_files
from salience.eval.predict import predictor
from salience.eval.space.interface import LOOKS, build
from salience.modeling.attributions import UNMEASURED_METHOD
from tests.helpers.predicting import MANY, NUMBERS, save_model

HOSTILE = (
    "<script>alert(1)</script> \u202egoal\u202c مرحبا \U0001f469\U0001f3fd\u200d\U0001f680 "
    "</bdi><img src=x> \"'&lt; {{ 7 }} . The bank ."
)
HOSTILE_NAMES = {0: "<script>alert(2)</script>", 1: "\"'><img src=x onerror=alert(3)>", 2: "رياضة \U0001f600"}
TEXT = "a goal in the last minute . the bank raised its rates"


class Served:
    def __init__(self, folder):
        self.page, self.model = build(folder), folder / "model"
        _, url, _ = self.page.launch(
            prevent_thread_lock=True, server_name="127.0.0.1", ssr_mode=False, quiet=True, **LOOKS
        )
        self.client = Client(url, verbose=False)

    def classify(self, *args):
        return self.client.predict(*args, api_name="/classify")


def serve(folder, **options):
    model = save_model(folder / "my_model", **options)
    assert cli.main(["space", "--model", str(model), "--output", str(folder / "demo")], "salience", cli.COMMANDS) == 0
    return Served(folder / "demo")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    found = serve(tmp_path_factory.mktemp("served"))
    yield found
    found.page.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    names = {"id2label": HOSTILE_NAMES, "label2id": {name: key for key, name in HOSTILE_NAMES.items()}}
    found = serve(tmp_path_factory.mktemp("hostile"), **names)
    yield found
    found.page.close()


def joined(words):
    return "".join(each["token"] for each in words)


def test_a_text_gets_the_scores_of_the_predictor_and_its_words_back(served):
    scores, words, why = served.classify(TEXT, None)
    (expected,) = Predictor(served.model).answers([TEXT])["probabilities"]
    assert [each["confidence"] for each in sorted(scores["confidences"], key=lambda each: each["label"])] == expected
    assert joined(words) == TEXT
    assert max(abs(each["class_or_confidence"] or 0) for each in words) == pytest.approx(1)
    assert scores["label"] in why and UNMEASURED_METHOD in why and why.count('class="bar"') == 2


def test_any_class_can_be_explained(served):
    _, words, why = served.classify(TEXT, "sports")
    _, other_words, _ = served.classify(TEXT, "science")
    assert "<b><bdi>sports</bdi></b>" in why and words != other_words


def test_no_text_is_told_on_the_page(served):
    for nothing in ("", " \n"):
        with pytest.raises(AppError, match="Write a text first"):
            served.classify(nothing, None)


def test_hostile_texts_and_names_come_back_as_text(hostile):
    scores, words, why = hostile.classify(HOSTILE, None)
    assert joined(words) == HOSTILE
    assert {each["label"] for each in scores["confidences"]} == set(HOSTILE_NAMES.values())
    for name in HOSTILE_NAMES.values():
        _, _, why = hostile.classify(HOSTILE, name)
        assert "<script" not in why and "<img" not in why and "{{ 7 }}" in why


def test_a_file_comes_back_as_predict_writes_it_and_no_model_is_loaded_for_it(served, tmp_path, monkeypatch):
    (tmp_path / "texts.csv").write_text(f'id,text\n1,{TEXT}\n2,"a ""quoted"", text\nof two lines"\n3,\n')
    predict_files(served.model, tmp_path / "texts.csv", tmp_path / "expected.csv")
    monkeypatch.setattr(predictor, "load_reader", None)
    files, told = served.client.predict(handle_file(tmp_path / "texts.csv"), "", "", api_name="/label_file")
    assert [os.path.basename(each) for each in files] == ["labelled_texts.csv", "labelled_texts.csv.rejected.jsonl"]
    with open(files[0], "rb") as file:
        assert file.read() == (tmp_path / "expected.csv").read_bytes()
    assert told == "3 rows, 1 of them without an answer"


def test_what_is_wrong_with_a_file_is_told_and_mended_on_the_page(served, tmp_path):
    (tmp_path / "texts.csv").write_text(f"body,label\n{TEXT},<b>x</b>\n")
    file = handle_file(tmp_path / "texts.csv")
    with pytest.raises(AppError, match="--text_column"):
        served.client.predict(file, "", "", api_name="/label_file")
    with pytest.raises(AppError, match="--prefix"):
        served.client.predict(file, "body", "", api_name="/label_file")
    with pytest.raises(AppError, match="&lt;img&gt;"):
        served.client.predict(file, "<img>", "", api_name="/label_file")
    files, told = served.client.predict(file, "body", "new_", api_name="/label_file")
    with open(files[0], encoding="utf-8") as labelled:
        assert labelled.readline() == "body,label,new_label,new_score,new_probabilities\n"
    assert told == "1 rows, 0 of them without an answer"


def test_a_model_of_several_labels_shows_each_score_and_no_single_answer(tmp_path):
    served = serve(tmp_path, **MANY)
    scores, words, _ = served.classify(TEXT, None)
    (expected,) = Predictor(tmp_path / "my_model").answers([TEXT])["probabilities"]
    assert sorted(each["confidence"] for each in scores["confidences"]) == sorted(expected)
    assert joined(words) == TEXT
    served.page.close()


def test_an_answer_that_the_model_is_not_sure_enough_of_is_for_review(tmp_path):
    for threshold, is_told in ((1.0, True), (0.0, False)):
        found = serve(tmp_path / str(threshold), review_threshold=threshold)
        _, _, why = found.classify(TEXT, None)
        assert ("For review:" in why) == is_told
        found.page.close()


def test_a_regression_shows_its_number(tmp_path):
    served = serve(tmp_path, **NUMBERS)
    scores, words, _ = served.classify(TEXT, None)
    (expected,) = Predictor(tmp_path / "my_model").answers([TEXT])["score"]
    assert scores["label"] == f"value {expected:.4g}" and joined(words) == TEXT
    served.page.close()
