"""`--model RUN`: a trained model goes on, with its labels or with others; what was fitted to it is fitted anew."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification

from salience.configuration.configuration_salience import FITTED
from salience.eval.cli import main as evaluate
from salience.eval.reading.load import load_classifier
from salience.train import cli, train_model
from tests.helpers.run_folders import read
from tests.helpers.tiny import TINY_TOKENIZER, tiny_encoder_config
from tests.helpers.toy import texts_with_several_labels, toy_csv, toy_texts, write_csv, write_jsonl
from tests.helpers.training import QUIET, train

FITS_NOTHING = ["--ngram_evidence", "false", "--calibrate", "false", "--explained_texts", "0"]
STILL = ["--learning_rate", "0", "--num_train_epochs", "1", "--weight_decay", "0", *FITS_NOTHING]
QUICK = ["--num_train_epochs", "1", "--learning_rate", "0.01", "--explained_texts", "0"]
SMALL = {
    "attn_pool": [],  # on the encoder
    "hierarchical_attn": ["--embedding_dim", "8", "--hidden_dim", "8"],
    "cnn": ["--embedding_dim", "8", "--num_filters", "4"],
    "lstm": ["--embedding_dim", "8", "--hidden_dim", "8"],
    "transformer": [],
    "bag_of_words": [],
}
TOPICS = ["business", "culture", "sport"]
OTHERS = {"business": "economy", "culture": "arts", "sport": "sport"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder_folder):
    """A run of each family, each with all that is fitted after training, and files of further texts."""
    folder = tmp_path_factory.mktemp("further")
    data = toy_csv(folder)
    for name, sizes in SMALL.items():
        encoder = ["--encoder", encoder_folder] if name == "attn_pool" else []
        fitted = ["--prior_correction", "0.5", "--target_accuracy", "0.8", "--explained_texts", "2"]
        train(folder / name, "--model", name, *sizes, *encoder, *data, *QUICK, *fitted)
    further = toy_texts(36, seed=7)
    write_csv(folder / "same.csv", further[::-1])
    write_csv(folder / "fewer.csv", [(text, label) for text, label in further if label != "culture"])
    write_csv(folder / "other.csv", [(text, OTHERS[label]) for text, label in further])
    write_jsonl(folder / "several.jsonl", [(text, labels) for text, labels in texts_with_several_labels(36)])
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def bare_logits(run, texts):
    """Logits of a run's network, without what was fitted to it."""
    model, tokenizer = load_classifier(run)
    model.config.drop_fitted(tuple(FITTED), "a test")
    model.ngrams = None
    with torch.no_grad():
        return torch.cat([model.eval()(**tokenizer(text, return_tensors="pt")).logits for text in texts])


def weights_of(run):
    return {name: weight for name, weight in load_file(run / "model.safetensors").items() if "ngrams." not in name}


@pytest.mark.parametrize("family", SMALL)
def test_before_a_step_the_same_labels_have_the_same_logits(family, folder, here, tmp_path):
    run = train(tmp_path / "run", "--model", folder / family, "--train_file", "same.csv", *STILL)
    texts = [text for text, _ in toy_texts(5, seed=3)]
    model, tokenizer = load_classifier(run)
    with torch.no_grad():
        logits = torch.cat([model.eval()(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    assert_close(logits, bare_logits(folder / family, texts))
    before, after = weights_of(folder / family), weights_of(run)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert {name: getattr(model.config, name) for name in FITTED} == FITTED
    assert list(model.config.id2label.values()) == TOPICS
    assert (run / "tokenizer.json").read_bytes() == (folder / family / "tokenizer.json").read_bytes()
    record, old = read(run, "run.json")["model"], read(folder / family, "run.json")["model"]
    assert (record["family"], record["encoder"]) == (family, old["encoder"])


def test_texts_that_the_start_may_have_learned_are_told(folder, here, tmp_path, caplog, capsys):
    data = ["--train_file", "same.csv", "--test_size", "0.3"]
    start = train(tmp_path / "start", "--model", "cnn", *SMALL["cnn"], *data, *QUICK)
    for seed, is_told in ((0, False), (1, True)):
        caplog.clear()
        run = train(tmp_path / f"run_{seed}", "--model", start, *data, "--split_seed", seed, *QUICK)
        told = "was trained on same.csv, too, of which other validation and test texts were held out"
        assert (told in caplog.text) == is_told
        assert read(run, "run.json")["model"]["start"].get("split_otherwise", False) == is_told
        assert ("may have been trained on texts that were held out" in (run / "README.md").read_text()) == is_told
        assert ("leaked   test texts may be among those" in capsys.readouterr().out) == is_told


NEW_TEST = ["--test_file", "fewer.csv"]
PERHAPS_SEEN = {
    "the same split": (["--train_file", "same.csv", "--test_size", "0.3"], []),
    "other names of the classes": (["--train_file", "renamed.csv", "--test_size", "0.3"], []),
    "another test file": (["--train_file", "same.csv", *NEW_TEST], ["validation"]),
    "its training file as test file": (["--train_file", "fewer.csv", "--test_file", "same.csv"], ["test"]),
    "its training file split anew": (["--train_file", "same.csv", *NEW_TEST, "--test_size", "0.3", "--resplit", "true"],
                                     ["validation", "test"]),
    "other files": (["--train_file", "fewer.csv", "--test_size", "0.3"], []),
}  # fmt: skip


@pytest.fixture(scope="module")
def start(folder):
    """A model trained on a part of same.csv, and the same texts of classes that are called otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data = ["--train_file", "same.csv", "--test_size", "0.3"]
        run = train(folder / "start", "--model", "cnn", *SMALL["cnn"], *data, *QUICK)
    names = dict(zip(TOPICS, ("a", "b", "c"), strict=True))
    (folder / "again").mkdir()
    texts = [(text, names[label]) for text, label in toy_texts(36, seed=7)[::-1]]
    write_csv(folder / "again" / "same.csv", texts)
    return run


@pytest.mark.parametrize(("data", "splits"), PERHAPS_SEEN.values(), ids=PERHAPS_SEEN)
def test_each_split_that_the_start_may_have_learned_is_told(start, here, tmp_path, caplog, capsys, data, splits):
    data = ["again/same.csv" if word == "renamed.csv" else word for word in data]
    run = train(tmp_path / "run", "--model", start, *data, *QUICK)
    assert read(run, "run.json")["model"]["start"].get("perhaps_seen", []) == splits
    assert ("too, of which other " + " and ".join(splits or ["none"]) in caplog.text) == bool(splits)
    assert ("leaked   test texts may be among those" in capsys.readouterr().out) == ("test" in splits)


def test_a_family_keeps_its_learning_rate(folder, here, tmp_path):
    words = ["--train_file", "same.csv", "--max_steps", "1", "--explained_texts", "0"]
    for family, rate in (("bag_of_words", 5e-2), ("cnn", 1e-3)):
        run = train(tmp_path / family, "--model", folder / family, *words)
        assert read(run, "run.json")["arguments"]["learning_rate"] == rate


def test_what_was_fitted_is_dropped_and_fitted_anew(folder, here, tmp_path, caplog):
    old = AutoConfig.from_pretrained(folder / "attn_pool")
    assert old.prior_correction is not None and old.review_threshold is not None and old.explanation is not None
    run = train(tmp_path / "run", "--model", folder / "attn_pool", "--train_file", "same.csv", *QUICK)
    new = AutoConfig.from_pretrained(run)
    assert (new.prior_correction, new.review_threshold, new.explanation) == (None, None, None)
    assert new.logit_temperature != old.logit_temperature
    assert new.logit_temperature == read(run, "eval_results.json").get("eval_temperature")
    (told,) = [each for each in caplog.messages if "what was fitted before that is dropped" in each]
    assert told.startswith(f"--model {folder / 'attn_pool'} is trained on: ") and "prior_correction" in told


def test_fewer_labels_are_still_those_of_the_model(folder, here, tmp_path, caplog):
    run = train(tmp_path / "run", "--model", folder / "cnn", "--train_file", "fewer.csv", "--test_size", "0.2", *QUICK)
    assert list(AutoConfig.from_pretrained(run).id2label.values()) == TOPICS
    told = "no training text has these labels, so that nothing is learned of them: culture"
    assert told in caplog.text and "new output layer" not in caplog.text
    assert read(run, "run.json")["data"]["splits"]["train"]["labels"]["culture"] == 0
    flags = ["--train_file", "fewer.csv", "--num_documents", "8", "--num_explained", "2"]
    assert evaluate(["report", "--model", str(run), *flags]) == 0  # it finds the same splits again


def test_other_labels_get_an_output_layer_and_all_else_is_kept(folder, here, tmp_path, caplog):
    for family, layer in (("attn_pool", "classifier."), ("hierarchical_attn", "classifier.3.")):
        run = train(tmp_path / family, "--model", folder / family, "--train_file", "other.csv", *STILL)
        before, after = weights_of(folder / family), weights_of(run)
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert before.keys() == after.keys() and f"{layer}weight" in changed
        assert all(name.startswith(layer) for name in changed)
        assert list(AutoConfig.from_pretrained(run).id2label.values()) == ["arts", "economy", "sport"]
    told = [each for each in caplog.messages if "gets a new output layer" in each]
    assert len(told) == 2 and "as it doesn't know 'arts', 'economy'; all else of it is kept" in told[0]


def test_several_labels_can_follow_one(folder, here, tmp_path, caplog):
    run = train(tmp_path / "run", "--model", folder / "lstm", "--train_file", "several.jsonl", *QUICK)
    config = AutoConfig.from_pretrained(run)
    assert config.problem_type == "multi_label_classification" and len(config.label_thresholds) == 3
    assert "answers single_label_classification, and the new texts are multi_label_classification" in caplog.text
    again = train(tmp_path / "again", "--model", run, "--train_file", "several.jsonl", *STILL,
                  "--fit_thresholds", "false")  # fmt: skip
    assert AutoConfig.from_pretrained(again).label_thresholds is None
    texts = [text for text, _ in toy_texts(3)]
    assert_close(bare_logits(again, texts), bare_logits(run, texts))


def test_numbers_can_follow_classes(folder, here, tmp_path, caplog):
    write_csv(tmp_path / "numbers.csv", [(text, len(text) / 7) for text, _ in toy_texts(24)])
    run = train(tmp_path / "run", "--model", folder / "cnn", "--train_file", tmp_path / "numbers.csv", *QUICK)
    config = AutoConfig.from_pretrained(run)
    assert (config.problem_type, config.num_labels) == ("regression", 1) and config.label_scale[1] > 0
    again = train(tmp_path / "again", "--model", run, "--train_file", tmp_path / "numbers.csv", *STILL)
    assert weights_of(again)["classifier.weight"].equal(weights_of(run)["classifier.weight"])
    assert AutoConfig.from_pretrained(again).label_scale == config.label_scale
    write_csv(tmp_path / "large.csv", [(text, 3_000.3 * len(text)) for text, _ in toy_texts(24)])
    other = train(tmp_path / "other", "--model", run, "--train_file", tmp_path / "large.csv", *STILL)
    assert (
        "it has learned numbers of 12.56 ± 4.76, and the new ones are 2.639e+05" in caplog.text
        and AutoConfig.from_pretrained(other).label_scale[0] > 100_000
    )
    back = train(tmp_path / "back", "--model", run, "--train_file", "several.jsonl", *QUICK)
    assert AutoConfig.from_pretrained(back).label_scale is None


def test_from_python_and_in_the_record_and_the_card(folder, here, tmp_path):
    rows = [text for text, _ in toy_texts(36, seed=7)], [label for _, label in toy_texts(36, seed=7)]
    quiet = {"bf16": False, "report_to": "none", "disable_tqdm": True, "explained_texts": 0}
    run = train_model(
        rows, model=folder / "cnn", output_dir=tmp_path / "run", max_ngrams=50, num_train_epochs=1, **quiet
    )
    assert run.model.config.max_ngrams == 50 and run.scores["samples"] > 0
    record = read(run.folder, "run.json")
    start = record["model"]["start"]
    assert (start["name"], start["revision"]) == ("cnn", None) and len(start["sha256"]) == 64
    assert record["arguments"]["model"] == "cnn" and str(folder) not in (run.folder / "run.json").read_text()
    card = (run.folder / "README.md").read_text()
    assert "its training went on from cnn" in card and str(folder) not in card
    assert str(folder) not in (run.folder / "config.json").read_text()
    other = train(tmp_path / "other", "--model", run.folder, "--train_file", "same.csv", *STILL)
    assert read(other, "run.json")["model"]["start"]["sha256"] != start["sha256"]


@pytest.mark.slow
def test_the_columns_are_the_runs(folder, tmp_path):
    rows = toy_texts(36)
    table = {"title": [text[:9] for text, _ in rows], "body": [text for text, _ in rows], "label": [y for _, y in rows]}
    quiet = {"bf16": False, "report_to": "none", "disable_tqdm": True, "explained_texts": 0, "num_train_epochs": 1}
    flags = {"text_column": ["title", "body"], "text_separator": " ## "}
    run = train_model(table, model=folder / "cnn", output_dir=tmp_path / "run", **flags, **quiet)
    assert (run.model.config.text_columns, run.model.config.text_separator) == (["title", "body"], " ## ")
    again = train_model(table, model=run.folder, output_dir=tmp_path / "again", **quiet)
    assert (again.model.config.text_columns, again.model.config.text_separator) == (["title", "body"], " ## ")
    plain = train_model({"text": table["body"], "label": table["label"]}, model=run.folder, text_column="text",
                        output_dir=tmp_path / "plain", **quiet)  # fmt: skip
    assert getattr(AutoConfig.from_pretrained(plain.folder), "text_columns", None) is None


@pytest.mark.slow
def test_such_a_run_is_resumed_and_ends_with_the_same_weights(folder, here, tmp_path, capsys):
    start = shutil.copytree(folder / "cnn", tmp_path / "start")
    epochs = ["--num_train_epochs", "2", "--save_total_limit", "2"]
    flags = ["--model", start, "--train_file", "other.csv", *QUICK, *epochs]
    whole = train(tmp_path / "whole", *flags)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cli, "evaluate", interrupt)
        patch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        cli.run_command(["--output_dir", str(tmp_path / "run"), *QUIET, *map(str, flags)])
    shutil.rmtree(sorted((tmp_path / "run").glob("checkpoint-*"))[-1])  # what is left is of the first epoch
    resume = [*flags, "--resume_from_checkpoint", "last"]
    for path in ("model.safetensors", "config.json"):  # another model under this name
        shutil.copy(start / path, tmp_path / path)
        shutil.copy(folder / "transformer" / path, start / path)
    capsys.readouterr()
    assert cli.main(["--output_dir", str(tmp_path / "run"), *QUIET, *map(str, resume)]) == 2
    assert "holds a run with another model" in capsys.readouterr().err
    for path in ("model.safetensors", "config.json"):
        shutil.copy(tmp_path / path, start / path)
    train(tmp_path / "run", *resume)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    BertForSequenceClassification(tiny_encoder_config()).save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY_TOKENIZER).save_pretrained(folder)
    return folder


def damaged(run, tmp_path, name, content):
    shutil.copytree(run, tmp_path / "damaged")
    (tmp_path / "damaged" / name).write_bytes(content)
    return tmp_path / "damaged"


@pytest.mark.parametrize(
    ("model", "flags", "says"),
    [
        ("cnn", ["--encoder", "x"], "--encoder x is of a new model, and --model {} goes on with a trained one; leave"),
        ("cnn", ["--num_filters", "9"], "--num_filters 9 is of a new model, and --model {} goes on with a trained one"),
        ("cnn", ["--model_revision", "x"], "--model_revision belongs to a Hub id, and --model {} is a folder"),
        ("cnn", ["--freeze_encoder", "true"], "need a pretrained encoder (--encoder)"),
        ("attn_pool", ["--lora", "true"], "--lora is not offered with --model {}"),
        ("none", [], "--model {} can't be loaded: there is no such folder"),
        ("foreign", [], "--model {} is a bert model and none of ours: give --model sequence_classification --encoder"),
        ("weights", [], "model.safetensors is damaged"),
        ("config", [], "config.json is damaged"),
        ("same.csv", [], "--model {} can't be loaded: {} is a file, not a folder"),
    ],
)
def test_what_cannot_go_on_is_refused_in_a_sentence(model, flags, says, folder, foreign, here, tmp_path, capsys):
    broken = {"weights": ("model.safetensors", b"x" * 99), "config": ("config.json", b"{")}
    place = foreign if model == "foreign" else folder / model
    place = damaged(folder / "cnn", tmp_path, *broken[model]) if model in broken else place
    given = ["--model", str(place), "--train_file", "same.csv", *flags]
    assert cli.main(["--output_dir", str(tmp_path / "run"), *QUIET, *QUICK, *given]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert says.replace("{}", str(place)) in told
    assert not (tmp_path / "run").exists()
