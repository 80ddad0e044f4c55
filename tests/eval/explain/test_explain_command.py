"""`salience explain`: in the terminal, as a page and in numbers."""

import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from transformers import AutoConfig

from salience.configuration.errors import UserError
from salience.configuration.terminal import harmless
from salience.eval import Predictor, cli, explain_texts
from salience.eval.explain.telling import about_method, coloured
from salience.modeling.attributions import METHODS
from salience.train.building.evidence import attach
from tests.helpers.counting import learned
from tests.helpers.predicting import MANY, save_model
from tests.helpers.tiny import tiny_model

TEXT = "market rates rose and shares of the bank . a goal in the last minute !"
HOSTILE = "<script>alert(1)</script> \x1b[31m goal </bdi><img src=x onerror=alert(2)> \u202e bank {{ 7 * 7 }} \"'&lt;"


def folder_of(name, tokenizer, folder, **options):
    model = tiny_model(name)
    for field, value in options.items():
        setattr(model.config, field, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer):
    return folder_of("hierarchical", tokenizer, tmp_path_factory.mktemp("explained") / "run")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.attributes, self.text = set(), set(), ""

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def test_an_explanation_is_printed_without_colours_where_there_is_no_terminal(run, capsys):
    assert cli.main(["explain", "--model", str(run), "--text", TEXT, "--method", "leave_one_out"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    label = out.split()[1]
    assert label in ("economy", "science", "sports") and f"for        {label}" in out
    assert "leave_one_out; nobody has measured how faithful it is for this model" in out
    assert "sentence " in out and "words have no part in the answer" in out and "goal " in out


@pytest.mark.parametrize(("no_color", "has_colours"), [("", True), ("1", False)])
def test_a_terminal_gets_colours_and_nothing_that_steers_it(run, capsys, monkeypatch, no_color, has_colours):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert cli.main(["explain", "--model", str(run), f"--text={HOSTILE}", "--method", "attention"]) == 0
    out = capsys.readouterr().out
    assert ("\x1b[38;5;16;48;5;" in out) == has_colours
    assert "\x1b[31m" not in out and "\u202e" not in out


def test_colours_are_of_the_weights_and_the_text_stays():
    line = coloured([("goal", 1.0), (" and ", None), ("bank", -0.5), (" \x1b[31mso", 0.01)], harmless)
    assert line == "\x1b[38;5;16;48;5;33mgoal\x1b[0m and \x1b[38;5;16;48;5;223mbank\x1b[0m [31mso"


def test_the_numbers_are_those_of_the_pipeline(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(f"{TEXT}\r\nline \U0001f600\n", encoding="utf-8", newline="")
    words = ["explain", "--model", str(run), "--file", "text.txt", "--target", "sports", "--top_k", "2"]
    assert cli.main([*words, "--output", "out.json"]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["text"] == f"{TEXT}\r\nline \U0001f600\n"
    (answers,) = explain_texts(run, [found["text"]], target="sports", top_k=2)
    assert json.loads(json.dumps(answers)) == found["answers"]
    assert [each["target"] for each in answers] == ["sports", "sports"]
    assert "".join(text for text, _ in answers[0]["spans"]) == found["text"]
    assert cli.main([*words, "--output", "out.json"]) == 2
    assert "--output out.json exists" in capsys.readouterr().err


def test_answers_are_those_of_the_predictor(run):
    texts = [TEXT, "goal " * 60, "a"]
    found = Predictor(run).answers(texts)
    answers = [answer for (answer,) in explain_texts(run, texts)]
    assert [each["label"] for each in answers] == list(found["label"])
    assert [each["score"] for each in answers] == pytest.approx(list(found["score"]), abs=1e-6)


def test_a_page_holds_the_text_and_executes_nothing(tmp_path, tokenizer, capsys):
    names = {0: "<script>alert(3)</script>", 1: "a\u202eb", 2: "'\"><b onclick=x>"}
    run = folder_of("attn_pool", tokenizer, tmp_path / "run", id2label=names)
    page = tmp_path / "page.html"
    assert cli.main(["explain", "--model", str(run), f"--text={HOSTILE}", "--top_k", "3", "--output", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(html)
    assert tags.found == {
        "html", "head", "meta", "title", "style", "body", "header", "div", "h1", "h2", "h3", "p", "main", "bdi", "span",
        "i", "footer",
    }  # fmt: skip
    assert tags.attributes <= {"lang", "charset", "name", "content", "http-equiv", "class", "style", "dir"}
    assert "default-src 'none'" in html and "http:" not in html and "https:" not in html
    assert "alert(1)" in tags.text and "{{ 7 * 7 }}" in tags.text and "integrated_gradients" in tags.text


def test_what_was_measured_is_told(tokenizer, tmp_path):
    measured = {"method": "attention", "comprehensiveness": {"attention": 0.25}, "random": 0.1, "texts": 16}
    run = folder_of("attn_pool", tokenizer, tmp_path / "run", explanation=measured)
    ((answer,),) = explain_texts(run, [TEXT])
    assert "by 25.0 points, without random words by 10.0 (measured on 16 validation texts)" in about_method(answer)
    assert "NAOPC" not in about_method(answer)
    for own, p_values, place in (
        (0.9, {"attention": 0.01}, "ahead of random orders with 0.45 (p 0.010)"),
        (0.9, {"attention": 0.06}, "not told apart from random orders with 0.45 (p 0.060)"),
        (0.1, {"attention": 0.01}, "behind random orders with 0.45 (p 0.010)"),
        (0.9, None, "beside random orders with 0.45, untested"),  # of an earlier version
    ):
        measured["naopc"] = {"methods": {"attention": own}, "random": 0.45, "texts": 8}
        measured["naopc"] |= {"p_values": p_values} if p_values else {}
        run = folder_of("attn_pool", tokenizer, tmp_path / place, explanation=measured)
        ((answer,),) = explain_texts(run, [TEXT])
        figures = {"method": own, "random": 0.45, "texts": 8, "p_value": p_values and p_values["attention"]}
        assert answer["faithfulness"]["naopc"] == figures
        others = "other validation texts" if p_values else "of these texts"
        assert f"NAOPC {own:.2f}, {place}, on 8 {others}" in about_method(answer)


def test_counts_are_told_in_the_terminal_and_on_the_page(tokenizer, tmp_path, capsys):
    model = tiny_model("attn_pool")
    texts = tokenizer([TEXT, "the bank of rates", "a cup"], return_tensors="pt", padding=True)
    attach(model, learned(texts, [0, 1, 2]), 3.0, 0.5)
    model.save_pretrained(tmp_path / "run")
    tokenizer.save_pretrained(tmp_path / "run")
    page = tmp_path / "page.html"
    words = ["explain", "--model", str(tmp_path / "run"), "--text", TEXT, "--method", "integrated_gradients"]
    assert cli.main([*words, "--output", str(page)]) == 0
    out = capsys.readouterr().out
    assert "by the network" in out and "by counts of words and word pairs" in out and "\ncounts     " in out
    html = page.read_text(encoding="utf-8")
    assert "Counted words" in html and "which is a part of its weight above" in html
    ((answer,),) = explain_texts(tmp_path / "run", [TEXT])
    assert f"{answer['logit']['value']:+.3f}: " in html and all("counts" in word for word in answer["words"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--text", "a", "--method", "lime"], f"--method lime is unknown; choose from {', '.join(METHODS)}"),
        (["--text", "a", "--target", "weather"], "'weather' is no class of this model; choose from economy"),
        (["--text", "a", "--file", "b"], "name one text: --text TEXT, or --file FILE"),
        ([], "name one text: --text TEXT, or --file FILE"),
        (["--file", "nowhere.txt"], "--file nowhere.txt is no file"),
        (["--text", "a", "--output", "page.pdf"], "must end in .html (a page) or .json (numbers)"),
        (["--text", "a", "--output", "nowhere/page.html"], "nowhere is no folder"),
        (["--text", "a", "--top_k", "0"], "--top_k 0 must be at least 1"),
        (["--text", " "], "--text is blank; write a text"),
        (["--text", "caf\udce9 a"], "the text 'caf\\udce9 a' has half a character; write texts in UTF-8"),
    ],
)
def test_what_cant_be_explained_is_one_sentence(run, capsys, monkeypatch, tmp_path, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["explain", "--model", str(run), *words]) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error:")]
    assert sentence in line
    assert not list(tmp_path.iterdir())


def test_texts_are_a_list(run):
    with pytest.raises(UserError, match="must be a list of texts"):
        explain_texts(run, "the bank")
    with pytest.raises(UserError, match="has half a character"):
        explain_texts(run, ["a goal", "the bank \ud83d"])
    with pytest.raises(UserError, match="texts hold NoneType, and must be a list of texts"):
        explain_texts(run, ["a goal", None])
    assert explain_texts(run, []) == []


def test_of_several_labels_those_that_a_text_gets_are_explained(tmp_path, capsys):
    thresholds = [0.99, 0.01, 0.02]
    run = save_model(tmp_path / "run", **MANY, label_thresholds=thresholds)
    texts = ["a goal in the last minute", "the bank raised its rates"]
    predicted = Predictor(run, bf16=False).answers(texts)
    for answers, labels in zip(explain_texts(run, texts, method="gradient_x_input"), predicted["label"], strict=True):
        assert {answer["label"] for answer in answers} == set(labels) == {answer["target"] for answer in answers}
        scores = [answer["score"] for answer in answers]
        assert scores == sorted(scores, reverse=True) and all(answer["is_given"] for answer in answers)
    (answers,) = explain_texts(run, texts[:1], top_k=3)
    assert [answer["is_given"] for answer in answers] == [True, True, False]
    refused = answers[2]["label"]
    (((answer,),)) = explain_texts(run, texts[:1], target=refused)
    assert answer["is_given"] and answer["label"] != refused and answer["target"] == refused
    nothing = save_model(tmp_path / "nothing", **MANY, label_thresholds=[0.99] * 3)
    assert cli.main(["explain", "--model", str(nothing), "--text", texts[0], "--output", str(tmp_path / "a.html")]) == 0
    assert ", below its threshold: not given)" in capsys.readouterr().out
    assert ", below its threshold: not given)" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_the_score_of_a_number_is_the_number(tmp_path):
    run = save_model(tmp_path / "run", id2label={0: "value"}, label2id={"value": 0}, problem_type=None)
    config = json.loads((run / "config.json").read_text())
    assert config.get("problem_type") is None
    (number,) = Predictor(run, bf16=False).answers(["a goal"])["score"]
    (((answer,),)) = explain_texts(run, ["a goal"], method="gradient_x_input")
    assert answer["score"] == pytest.approx(number, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.txt", "", "empty.txt is blank; name a file that holds the text"),
        ("blank.txt", "\n \n", "blank.txt is blank; name a file that holds the text"),
        ("rows.CSV", "text\na goal\n", "rows.CSV holds rows, and one text is explained"),
    ],
)
def test_a_file_without_one_text_is_refused(run, capsys, tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    assert cli.main(["explain", "--model", str(run), "--file", str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err


def test_models_without_attention_say_so(tokenizer, tmp_path):
    run = folder_of("cnn", tokenizer, tmp_path / "run")
    with pytest.raises(UserError, match="no pooling_weights"):
        explain_texts(run, [TEXT], method="attention")


def test_texts_are_any_list_and_a_class_has_a_name_or_a_number(tokenizer, tmp_path):
    run = folder_of("attn_pool", tokenizer, tmp_path / "run")
    expected = explain_texts(run, [TEXT], target="sports")
    for texts in (pd.Series([TEXT]), np.array([TEXT]), (TEXT,)):
        assert explain_texts(run, texts, target="sports") == expected
    number = AutoConfig.from_pretrained(run).label2id["sports"]
    assert explain_texts(run, [TEXT], target=number) == explain_texts(run, [TEXT], target=np.int64(number)) == expected
    for wrong, told in (
        ({"output": "page.html"}, "output is for the command line"),
        ({"target": True}, "target = True is no class"),
        ({"texts": None}, "texts are a NoneType, and must be a list of texts"),
        ({"texts": {TEXT}}, "texts are a set, and must be a list of texts"),
    ):
        with pytest.raises(UserError, match=told):
            explain_texts(**{"model": run, "texts": [TEXT], **wrong})
