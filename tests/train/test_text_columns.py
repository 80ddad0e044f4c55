"""Texts of several columns, from reading them to the trained model, and the same refusals in every command."""

import json

import pandas as pd
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast, pipeline

from salience.configuration.flags.data_arguments import DataArguments
from salience.eval.cli import main as eval_main
from salience.eval.predict.predictor import Predictor
from salience.eval.reading.load import load_classifier, load_reader
from salience.eval.reading.reader import Reader
from salience.eval.report.command import _parser as report_parser
from salience.eval.report.command import file_data
from salience.eval.score.command import score_model
from salience.modeling import AttnPoolForSequenceClassification  # noqa: F401  # pipelines know our models by it
from salience.train.building.text_columns import separator_of
from salience.train.cli import main as train_main
from salience.train.data.load import load_splits
from tests.helpers.data_files import failure, load, write_csv
from tests.helpers.tiny import TINY_TOKENIZER
from tests.helpers.training import QUIET, read, train

HEADER = ("title", "body", "label")
ROWS = [(f"market {number % 5}", "the game", "sport" if number % 2 else "news") for number in range(24)]
COLUMNS = ["--text_column", "title", "body"]
SMALL = ["--num_train_epochs", "1", "--max_steps", "2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_csv(folder / "train.csv", ROWS, HEADER)
    write_csv(folder / "test.csv", ROWS[:6], HEADER)
    return folder


@pytest.fixture(scope="module")
def run(files, encoder_folder):
    flags = ["--train_file", files / "train.csv", "--test_file", files / "test.csv", "--encoder", encoder_folder]
    return train(files / "run", *flags, *COLUMNS, *SMALL)


def test_columns_of_other_names_are_joined_as_in_training(run, tmp_path):
    rows = [("a market", "the game"), ("won", "rates rose")]
    write_csv(tmp_path / "own.csv", rows, HEADER[:2])
    write_csv(tmp_path / "other.csv", rows, ("headline", "story"))
    own = pd.read_csv(tmp_path / "own.csv").to_dict("list")
    other = pd.read_csv(tmp_path / "other.csv").to_dict("list")
    expected = Predictor(run, bf16=False)(own)["probabilities"]
    found = Predictor(run, bf16=False, text_column=["headline", "story"])(other)["probabilities"]
    assert [list(each) for each in found] == [list(each) for each in expected]


def test_the_separator_makes_what_the_tokenizer_makes_of_a_pair():
    tokenizer = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    separator = separator_of(tokenizer)
    assert separator == tokenizer.sep_token
    joined = tokenizer(f"the market{separator}won a game")["input_ids"]
    assert joined == tokenizer("the market", "won a game")["input_ids"]


def prepending_tokenizer(add_special):
    """One that begins a text, but nothing behind a special token, with a mark for a space, as XLM-RoBERTa's does."""
    words = ["<s>", "</s>", "<pad>", "<unk>", "▁", "▁a", "▁the", "▁market", "▁won", "a", "the", "won"]
    backend = Tokenizer(models.Unigram([(word, -float(len(words) - i)) for i, word in enumerate(words)], 3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    pair = {"pair": "<s> $A </s> </s> $B </s>", "special_tokens": [("<s>", 0), ("</s>", 1)]}
    backend.post_processor = TemplateProcessing(single="<s> $A </s>" if add_special else "$A", **pair)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def test_a_separator_has_a_space_behind_it_where_a_pair_has():
    tokenizer = prepending_tokenizer(True)
    separator = separator_of(tokenizer)
    assert separator == "</s></s> "
    joined = tokenizer(f"the market{separator}won a")["input_ids"]
    assert joined == tokenizer("the market", "won a")["input_ids"]


@pytest.mark.parametrize("model", ["attn_pool", "hierarchical_attn", "sequence_classification", "lstm"])
def test_a_pair_in_a_pipeline_is_read_as_two_columns_are(model, files, encoder_folder, tmp_path):
    own = ["--min_frequency", 1] if model == "lstm" else ["--encoder", encoder_folder]
    run = train(tmp_path / "run", "--model", model, "--train_file", files / "train.csv", *own, *SMALL, *COLUMNS)
    classifier, tokenizer = load_classifier(run)
    title, body = "market 3\nof goals", "the game won"
    joined = f"{title}{classifier.config.text_separator}{body}"
    assert dict(tokenizer(title, body)) == dict(tokenizer(joined))
    classify = pipeline("text-classification", model=classifier, tokenizer=tokenizer, device="cpu")
    answers = classify({"text": title, "text_pair": body}, top_k=None, function_to_apply="none")
    reader = Reader(classifier, tokenizer)
    expected = reader.logits(reader.token_ids([joined]))[0]
    assert [each["score"] for each in sorted(answers, key=lambda each: each["label"])] == pytest.approx(expected)


def test_the_run_and_its_model_remember_the_columns(run):
    config = AutoConfig.from_pretrained(run)
    separator = AutoTokenizer.from_pretrained(run).sep_token
    assert (config.text_columns, config.text_separator) == (["title", "body"], separator)
    recorded = read(run / "run.json")["arguments"]
    assert (recorded["text_column"], recorded["text_separator"]) == (["title", "body"], separator)


def test_scores_read_the_same_columns(run, files, capsys):
    assert eval_main(["score", "--model", str(run), "--test_file", str(files / "test.csv")]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["accuracy"] == read(run / "test_results.json")["test_accuracy"]
    joined = AutoConfig.from_pretrained(run).text_separator.join(ROWS[0][:2])
    classify = pipeline("text-classification", model=str(run), tokenizer=str(run))
    data = load_splits(DataArguments(text_column=["title", "body"], text_separator="[SEP]"), {
        "train": pd.DataFrame(ROWS, columns=HEADER)
    })  # fmt: skip
    assert joined in data.splits["train"]["text"]
    assert classify(joined)[0]["label"] in ("news", "sport")


def test_a_single_column_of_another_name_is_remembered(tmp_path, capsys, caplog):
    rows = [(f"{label} game", "same", label) for _, _, label in ROWS]
    file = write_csv(tmp_path / "a.csv", rows, ("body", "text", "label"))
    flags = ["--min_frequency", 1, "--text_column", "body", "--num_train_epochs", 20, "--learning_rate", 0.05]
    run = train(tmp_path / "run", "--model", "cnn", "--train_file", file, *flags)
    assert AutoConfig.from_pretrained(run).text_columns == ["body"]
    assert score_model(run, test_file=file)["accuracy"] == 1
    assert list(Predictor(run)({"text": ["same"], "body": ["news game"]})["label"]) == ["news"]
    capsys.readouterr()
    assert eval_main(["score", "--model", str(run), "--test_file", file, "--text_column", "text"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["accuracy"] == 0.5
    assert "texts are read from the column text (--text_column), and the model was trained on body" in caplog.text
    arguments, data_args = report_parser().parse(["--model", str(run), "--test_file", file])
    assert set(file_data(data_args, load_reader(arguments)).splits["test"]["text"]) == {"news game", "sport game"}


def test_a_model_of_the_usual_column_says_nothing_of_it(files, tmp_path):
    file = write_csv(tmp_path / "a.csv", [(row[1], row[2]) for row in ROWS])
    run = train(tmp_path / "run", "--model", "cnn", "--min_frequency", 1, "--train_file", file, *SMALL)
    assert not hasattr(AutoConfig.from_pretrained(run), "text_columns")
    other = write_csv(tmp_path / "b.csv", [(row[1], row[2]) for row in ROWS], ("body", "label"))
    assert score_model(run, test_file=other, text_column="body") == score_model(run, test_file=file)


@pytest.mark.slow
def test_a_report_reads_the_data_of_the_run(run, files, monkeypatch):
    monkeypatch.chdir(files)
    sizes = ["--num_documents", "4", "--num_explained", "2"]
    assert (
        eval_main(["report", "--model", str(run), "--train_file", "train.csv", "--test_file", "test.csv", *sizes]) == 0
    )


def test_the_data_are_the_same_whatever_stands_between(tmp_path):
    file = write_csv(tmp_path / "a.csv", ROWS, HEADER)
    columns = {"text_column": ["title", "body"], "validation_file": file}
    plain, other = load(file, **columns), load(file, text_separator="</s></s>", **columns)
    assert plain.splits["train"]["text"][0] == "market 0\nthe game"
    assert other.splits["train"]["text"][0] == "market 0</s></s>the game"
    assert plain.fingerprint("train") == other.fingerprint("train")
    swapped = load(file, text_column=["body", "title"], validation_file=file)
    assert swapped.fingerprint("train") != plain.fingerprint("train")


def test_missing_texts_and_columns_are_named(tmp_path):
    file = write_csv(tmp_path / "a.csv", [("", "x", "a"), *ROWS], HEADER)
    columns = {"text_column": ["title", "body"]}
    assert "no text in row 1 (ends in line 2) in column 'title'" in failure(file, **columns)
    data = load(file, keep_empty_texts=True, validation_file=file, **columns)
    assert data.splits["train"]["text"][0] == "\nx"
    assert "no column 'titel' (--text_column)" in failure(file, text_column=["titel", "body"])
    assert "both 'label'" in failure(file, text_column=["title", "label"])


BAD = {
    "indicators.jsonl": ('{"text": "a", "label": [1, 0]}\n{"text": "b", "label": [0, 1]}\n' * 9, "--class_names"),
    "quote.csv": ('text,label\n"a,news\nb,sport\n' + "c,news\nd,sport\n" * 9, "--quoting none"),
    "lists.csv": ("text,label\n" + "a,\"['news', 'sport']\"\nb,\"['news']\"\n" * 9, "list written as text"),
    "null.jsonl": ("null\n" + '{"text": "a", "label": "news"}\n' * 9, "is not a JSON object"),
    "utf16.csv": ("text,label\na,news\nb,sport\n", "--encoding utf-8 utf-16"),
}


@pytest.mark.parametrize("name", BAD)
def test_every_command_refuses_with_the_same_sentence(name, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content, expected = BAD[name]
    (tmp_path / name).write_bytes(content.encode("utf-16" if "utf16" in name else "utf-8"))
    text = ["--text_column", "text", "--label_separator", ";"] if name == "indicators.jsonl" else []
    assert train_main(["--model", "lstm", "--train_file", name, "--output_dir", "out", *text, *QUIET]) == 2
    assert eval_main(["baseline", "tfidf_svm", "--train_file", name, "--output_dir", "out", *text]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(expected in error for error in errors)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["quote.csv", "null.jsonl", "utf16.csv"])
@pytest.mark.parametrize("command", ["score", "report"])
def test_a_test_file_is_refused_alike(name, command, files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content, expected = BAD[name]
    (tmp_path / name).write_bytes(content.encode("utf-16" if "utf16" in name else "utf-8"))
    plain = files / "plain"
    if not plain.exists():
        rows = write_csv(files / "plain.csv", [("a", "news"), ("b", "sport")] * 9)
        train(plain, "--train_file", rows, "--model", "lstm", "--min_frequency", 1, *SMALL)
    capsys.readouterr()
    assert eval_main([command, "--model", str(plain), "--test_file", name, "--output_dir", "out"]) == 2
    assert expected in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
