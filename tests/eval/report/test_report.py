"""eval.py report on runs of train.py that were trained here, with tiny models, hostile texts and hostile labels."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from transformers import BertModel

from salience.eval.cli import main
from salience.eval.scores.prediction_files import read_predictions
from salience.model_cards.card import make_card
from tests.helpers.slow import others_slow
from tests.helpers.tiny import tiny_encoder_config
from tests.helpers.toy import toy_texts, write_jsonl
from tests.helpers.training import read, train

ATTACK = "<script>alert(1)</script>"
LABELS = [f"{ATTACK} $x_{{", "../../money\u202e|", "wörld 🌍 `code`"]
ATTACKS = [ATTACK, "\x00\x1b[31m", "\u202e\u2066", "🙂" * 50, "<img src=x onerror=alert(1)>", "a" * 1_000_000, ""]
SIZES = ["--embedding_dim", "8", "--learning_rate", "0.02", "--num_train_epochs", "2"]
SMALL = ["--num_documents", "40", "--num_explained", "20"]
PICTURES = ("confusion_matrix", "per_class_performance", "training_curves", "reliability", "faithfulness")


def hostile_texts(num_texts, seed):
    """Toy texts, the first of which attack what shows them; a quarter of the labels is drawn anew."""
    random = np.random.default_rng(seed)
    rows = toy_texts(num_texts, seed, LABELS)
    rows = [(text, random.choice(LABELS) if random.random() < 0.25 else label) for text, label in rows]
    return [(f"{text} {attack}", label) for (text, label), attack in zip(rows, ATTACKS, strict=False)] + rows[7:]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data/train.jsonl and data/test.jsonl, and the hierarchical model trained on them."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "data").mkdir()
    write_jsonl(folder / "data/train.jsonl", hostile_texts(90, 0))
    write_jsonl(folder / "data/test.jsonl", hostile_texts(60, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        files = ["--train_file", "data/train.jsonl", "--test_file", "data/test.jsonl"]
        train(folder / "run", "--model", "hierarchical_attn", "--num_layers", 1, "--hidden_dim", 8, *SIZES, *files)
    return folder


@pytest.fixture(autouse=True)
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def report(home):
    """The report of the run on its own test split, in its own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        (home / "small.yaml").write_text("num_documents: 40\nnum_explained: 20\n")  # SMALL, as a recipe
        before = {file for file in home.rglob("*") if file.is_file()}
        assert main(["report", "small.yaml", "--model", "run"]) == 0
    written = {file.relative_to(home).as_posix() for file in home.rglob("*") if file.is_file() and file not in before}
    return home / "run/report", written


def test_numbers_are_those_of_scikit_learn(report, home):
    results = read(report[0] / "report.json")
    tested = read_predictions(home / "run", "test")
    answers = tested.logits.argmax(1)
    assert results["scores"]["accuracy"] == results["intervals"]["accuracy"]["value"]
    assert results["scores"]["accuracy"] == pytest.approx(accuracy_score(tested.labels, answers))
    assert results["scores"]["f1_macro"] == pytest.approx(f1_score(tested.labels, answers, average="macro"))
    assert results["confusion"] == confusion_matrix(tested.labels, answers).tolist()
    assert results["data"]["texts"] == 60
    assert results["data"]["split"] == "test"
    assert sum(row["texts"] for row in results["length"]["bins"]) == 60
    assert results["model"]["temperature"] == read(home / "run/config.json")["logit_temperature"]


def test_thresholds_are_of_validation_and_tell_what_they_give_here(report, home):
    thresholds = read(report[0] / "report.json")["thresholds"]
    assert thresholds["chosen_on"] == "validation"
    tested = read_predictions(home / "run", "test")
    exponents = np.exp(tested.logits.astype(float) - tested.logits.max(1, keepdims=True))
    confidence = (exponents / exponents.sum(1, keepdims=True)).max(1)
    for row in thresholds["rows"]:
        if row["threshold"] is not None:
            answered = confidence >= row["threshold"] - 1e-7
            assert row["coverage"] == pytest.approx(answered.mean(), abs=0.02)


def test_nothing_is_written_outside_of_the_report_but_the_card(report):
    _, written = report
    assert all(name.startswith("run/report/") or name == "run/reliability.png" for name in written)
    names = {name.removeprefix("run/report/") for name in written}
    assert {"report.html", "report.json", "failure_analysis.json"} < names
    assert {f"visualizations/{name}.png" for name in (*PICTURES, "attention_distributions")} < names
    assert any(re.fullmatch(r"visualizations/word_attention/\d+\.png", name) for name in names)
    assert any(re.fullmatch(r"visualizations/cross_attention/\d+\.png", name) for name in names)


class Page(HTMLParser):
    """Counts elements, and collects attributes and what is read."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.read = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.read.append(data)


def test_the_page_executes_nothing_and_needs_nothing(report):
    folder, _ = report
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert all(value.startswith("data:image/png;base64,") for name, value in page.attributes if name == "src")
    assert not any(name == "href" for name, _ in page.attributes)
    assert page.tags.count("img") >= 8
    assert ATTACK in " ".join(page.read)  # it is read, as text
    assert not set("\u202e\u2066\x00\x1b") & set(text)
    assert len(text) < 10_000_000


def test_every_picture_has_something_in_it(report):
    folder, _ = report
    pictures = list((folder / "visualizations").rglob("*.png"))
    assert all(imread(file)[..., :3].std() > 0.01 for file in pictures)


def test_attention_and_failures_are_told(report):
    folder, _ = report
    results, failures = read(folder / "report.json"), read(folder / "failure_analysis.json")
    assert results["attention"]["num_documents"] == 40
    assert results["attention"]["cross_attention"]
    assert results["faithfulness"]["num_documents"] == 20
    assert set(results["faithfulness"]["attributions"]) == {
        "attention", "random", "leave_one_out", "integrated_gradients", "gradient_x_input"
    }  # fmt: skip
    normalized, replacement = results["faithfulness"]["normalized"], results["faithfulness"]["replacement"]
    assert normalized["num_documents"] == replacement["num_documents"] == 8
    assert normalized["attributions"].keys() == replacement["attributions"].keys()
    assert normalized["lowest"] < normalized["highest"] and len(normalized["control"]["comprehensiveness"]) == 5
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "On this model's own scale" in page and "On texts like those that it knows" in page
    assert failures["applicable"]
    assert len(failures["modes"]) == 5
    for example in results["examples"]:
        assert sum(weight for _, weight in example["words"]) <= 1.001
        assert max(len(word) for word, _ in example["words"]) <= 40


def test_the_card_tells_of_the_report(report, home):
    card = (home / "run/README.md").read_text(encoding="utf-8")
    verdict = read(report[0] / "report.json")["faithfulness"]["verdict"]
    assert "Expected calibration error" in card
    assert "![Accuracy by confidence](reliability.png)" in card
    assert verdict.split(":")[0] in card
    assert "| Words | Texts |" in card
    assert "| Mode |" in card or "five known failures" in card
    assert ATTACK not in card


def test_a_report_is_never_overwritten(report, capsys):
    assert main(["report", "--model", "run", *SMALL]) == 2
    assert "report.json exists" in capsys.readouterr().err


@pytest.mark.parametrize("edit", others_slow([b"", b"\nCaf\xe9\n"]))
def test_another_report_is_told_unless_the_card_was_edited(edit, report, home, caplog):
    card, kept = home / "run/README.md", report[0].rename(home / "kept")
    ours = card.read_text(encoding="utf-8")
    old = ours.replace("Expected calibration error", "Of a report before").encode() + edit
    card.write_bytes(old)
    try:
        assert main(["report", "--model", "run", "--num_documents", "12", "--num_explained", "5"]) == 0
        assert card.read_bytes() == (old if edit else str(make_card(home / "run")).encode())
        assert ("the report isn't put into it" in caplog.text) == bool(edit)
    finally:
        card.write_text(ours, encoding="utf-8")
        shutil.rmtree(report[0], ignore_errors=True)
        kept.rename(report[0])


@pytest.mark.slow
def test_without_a_test_split_it_is_told_that_validation_is_what_was_looked_at(home, capsys):
    train(home / "untested", "--model", "cnn", *SIZES, "--train_file", "data/train.jsonl", "--validation_size", 0.4)
    assert main(["report", "--model", "untested", *SMALL]) == 0
    results = read(home / "untested/report/report.json")
    assert (results["data"]["split"], results["thresholds"]["chosen_on"]) == ("validation", "same")
    assert "These are the validation texts" in (home / "untested/report/report.html").read_text(encoding="utf-8")
    capsys.readouterr()


@pytest.mark.slow
def test_a_report_that_was_stopped_is_made_again_by_the_same_command(home, monkeypatch, capsys):
    words = ["report", "--model", "run", "--output_dir", "stopped", "--num_documents", "5", "--num_explained", "2"]

    def stop(*_):
        raise KeyboardInterrupt

    for step, left in (("command.as_png", False), ("output.write_json", True)):
        with monkeypatch.context() as patch:
            patch.setattr(f"salience.eval.report.{step}", stop)
            assert main(words) == 130
        assert (home / "stopped").exists() == left
        for picture in (home / "stopped/visualizations").glob("*/*.png"):
            picture.rename(picture.with_name("999.png"))  # as if other examples had been drawn
    assert "the same command goes on where it can, or begins again" in capsys.readouterr().err
    assert main(words) == 0
    assert read(home / "stopped/report.json")["data"]["texts"] == 60
    assert not list((home / "stopped").rglob("999.png")) and not list((home / "stopped").glob(".*"))
    assert main(words) == 2
    assert "stopped/report.json exists" in capsys.readouterr().err


def test_texts_of_one_word_lose_the_explanations_only(home, capsys):
    write_jsonl(home / "data/words.jsonl", [("word", label) for label in LABELS] * 4)
    assert main(["report", "--model", "run", "--test_file", "data/words.jsonl", "--output_dir", "words", *SMALL]) == 0
    found = read(home / "words/report.json")
    assert "two words" in found["faithfulness"]["reason"]
    assert found["data"]["texts"] == 12
    assert "nothing could be tested" in capsys.readouterr().out


@pytest.mark.slow
def test_more_classes_than_a_picture_holds(home, capsys):
    labels = [f"class {number}" for number in range(61)]
    write_jsonl(home / "data/many.jsonl", [(text, labels[row % 61]) for row, (text, _) in enumerate(toy_texts(183))])
    flags = ["--train_file", "data/many.jsonl", "--test_file", "data/many.jsonl", "--validation_size", 0.34]
    train(home / "many", "--model", "cnn", *SIZES, *flags)
    assert main(["report", "--model", "many", "--num_documents", "5", "--num_explained", "2"]) == 0
    page = (home / "many/report/report.html").read_text(encoding="utf-8")
    assert "61 classes are too many for a picture" in page
    capsys.readouterr()


@pytest.mark.slow
def test_other_texts_and_a_model_without_attention(home, capsys):
    write_jsonl(home / "data/few.jsonl", hostile_texts(30, 2))
    files = ["--train_file", "data/train.jsonl", "--test_file", "data/test.jsonl", "--max_train_samples", 40]
    train(home / "cnn", "--model", "cnn", *SIZES, *files)
    assert main(["report", "--model", "cnn", "--test_file", "data/few.jsonl", "--output_dir", "few", *SMALL]) == 0
    results = read(home / "few/report.json")
    assert results["data"]["texts"] == 30
    assert results["data"]["name"] == "few.jsonl"
    assert "reason" in results["attention"]
    assert "attention" not in results["faithfulness"]["attributions"]
    assert results["faithfulness"]["verdict"].startswith("No")
    assert not read(home / "few/failure_analysis.json")["applicable"]
    assert not (home / "few/visualizations/attention_distributions.png").exists()
    assert "report     few/report.html" in capsys.readouterr().out


def broken_models(home, tokenizer):
    """bare has no classifier, cut not all of its weights, damaged a run.json that says nothing, mute no tokenizer, torn
    half of one, odd a configuration that fits no model, shifted classes that count from 1."""
    if (home / "bare").exists():
        return
    BertModel(tiny_encoder_config()).save_pretrained(home / "bare")
    tokenizer.save_pretrained(home / "bare")
    for name in ("cut", "damaged", "mute", "torn", "odd", "shifted"):
        shutil.copytree(home / "run", home / name)
    for file in (home / "mute").glob("*token*"):
        file.unlink()
    half = (home / "torn/tokenizer.json").read_text(encoding="utf-8")[:2000]
    (home / "torn/tokenizer.json").write_text(half, encoding="utf-8")
    config = read(home / "odd/config.json")
    shifted = {int(number) + 1: name for number, name in config["id2label"].items()}
    (home / "shifted/config.json").write_text(json.dumps(config | {"id2label": shifted}))
    (home / "odd/config.json").write_text(json.dumps(config | {"hidden_size": "wide", "encoder_config": 3}))
    weights = home / "cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (home / "damaged/run.json").write_text("{}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "nowhere"], "--model nowhere can't be loaded"),
        (["--model", "run", "--report_seed", "-1"], "--report_seed -1 must be at least 0"),
        (["--model", "run", "--num_documents", "0"], "--num_documents 0 must be at least 1"),
        (["--model", "run", "--ablation", "none.json"], "--ablation none.json can't be read"),
        (["--model", "run", "--ablation", "run/run.json"], "--ablation run/run.json holds no study"),
        (["--model", "bare"], "--model bare lacks weights of a classifier (classifier."),
        (["--model", "cut"], "--model cut can't be loaded: "),
        (["--model", "mute"], "--model mute can't be loaded: "),
        (["--model", "torn"], "--model torn can't be loaded: "),
        (["--model", "shifted"], "the keys of id2label in its config.json must count from 0"),
        (["--model", "odd"], "--model odd can't be loaded: "),
        (["--model", "damaged"], "damaged/run.json: seed is missing"),
        (["--model", "run", "--train_file", "data/test.jsonl"], "were others"),
    ],
)
def test_bad_input_is_one_sentence(flags, message, home, tokenizer, capsys):
    broken_models(home, tokenizer)
    assert main(["report", *flags, "--output_dir", "bad"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in error
    assert not (home / "bad").exists()
