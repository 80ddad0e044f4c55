"""What is learned of n-grams after training, and how much it weighs."""

import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from salience.configuration import AttnPoolConfig
from salience.configuration.problem_types import SINGLE_LABEL
from salience.eval import after_training
from salience.eval.scores.prediction_files import read_predictions
from salience.eval.scores.predictions import Predictions
from salience.eval.weighing import Weighed
from salience.modeling.ngram_evidence import damped
from salience.train import cli
from salience.train.building.evidence import LEARNERS, OF_SEVERAL_LABELS
from salience.train.building.lora import load_adapter
from tests.helpers.counting import learned, pack, rows_of
from tests.helpers.slow import others_slow
from tests.helpers.tiny import random_batch
from tests.helpers.toy import texts_with_several_labels, toy_texts, write_csv, write_jsonl
from tests.helpers.training import COUNTS, QUIET

QUICK = [*QUIET, *COUNTS, "--per_device_train_batch_size", "8"]
CNN = ["--model", "cnn", "--embedding_dim", "12", "--num_filters", "8"]
ENCODER = ["--model", "attn_pool", "--encoder", "ENCODER"]
# Nothing is learned: what is right is right by the counts.
USELESS = ["--learning_rate", "1e-12", "--num_train_epochs", "1"]


@pytest.fixture
def train(tmp_path, monkeypatch, encoder_folder):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")

    def run(name, *flags):
        flags = [str(encoder_folder) if flag == "ENCODER" else str(flag) for flag in flags]
        assert cli.main(["--output_dir", str(tmp_path / name), *QUICK, *flags]) == 0
        return tmp_path / name

    return run


@pytest.fixture
def data(tmp_path):
    rows, test_rows = toy_texts(150), toy_texts(30, seed=1)
    return ["--train_file", write_csv(tmp_path / "train.csv", rows), "--validation_size", "0.3",
            "--test_file", write_csv(tmp_path / "test.csv", test_rows)]  # fmt: skip


def read(folder, name):
    return json.loads((folder / name).read_text())


@torch.no_grad()
def logits_of(model, folder, texts):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return np.concatenate([model.eval()(**tokenizer(text, return_tensors="pt")).logits.numpy() for text in texts])


def test_training_that_makes_up_for_rare_classes_goes_without(train, data, caplog):
    run = train("weighted", *data, *CNN, *USELESS, "--loss", "weighted")
    assert "ngrams" not in read(run, "eval_results.json") and "eval_temperature" in read(run, "eval_results.json")
    assert "would take back what --loss weighted has done" in caplog.text
    assert AutoConfig.from_pretrained(run).ngram_weight == 0


def ordered_texts(num_texts, seed=0):
    """Texts of which the class is whether `goal` stands before `bank`, with many words between them."""
    random_words = random.Random(seed)
    rows = []
    for number in range(num_texts):
        label = number % 2
        words = [random_words.choice("the of and to in is was for on that".split()) for _ in range(12)]
        first, last = ("goal", "bank") if label else ("bank", "goal")
        rows.append(
            (" ".join(["the", *words[:4], first, "of", *words[4:8], "of", last, "of", *words[8:], "of"]), label)
        )
    return rows


@pytest.mark.parametrize(
    "model", others_slow([CNN, ENCODER, [*ENCODER, "--lora", "true"]], CNN), ids=["cnn", "attn_pool", "lora"]
)
def test_a_useless_network_ends_with_the_counts(train, data, model):
    folder = train("run", *data, *model, *USELESS, "--max_length", "3")
    assert read(folder, "test_results.json")["test_accuracy"] == 1
    config, record = AutoConfig.from_pretrained(folder), read(folder, "run.json")["model"]
    found = read(folder, "eval_results.json")["eval_ngrams"]
    assert found == record["ngrams"] and set(found["kind"].split(" + ")) <= set(LEARNERS)
    fitted = config.ngram_weight, config.ngram_damping, config.num_ngrams
    assert fitted == tuple(found[name] for name in ("weight", "damping", "num_ngrams"))
    assert found["share"] > 0.5
    card = (folder / "README.md").read_text()
    damping = f", damping {found['damping']:.2g}" if found["damping"] else ""
    weighed = f"weight {found['weight']:.3g}{damping}), which make up {100 * found['share']:.0f} % of the spread"
    assert f"{found['kind']}, {weighed}" in card
    alone = read(folder, "test_results.json")["test_network_accuracy"]
    assert alone < 1 and f"the network alone has {100 * alone:.2f} % test accuracy" in card
    saved = AutoModelForSequenceClassification.from_pretrained(folder)
    counts = saved.ngrams.weight_GC.numel()
    assert record["parameters"] == saved.num_parameters() + counts
    texts = [text for text, _ in toy_texts(30, seed=1)]
    logits = logits_of(saved, folder, texts)
    np.testing.assert_allclose(logits, read_predictions(folder, "test").logits, atol=1e-4)
    if "--lora" in model:
        adapted = load_adapter(folder / "adapter")
        np.testing.assert_allclose(logits_of(adapted, folder, texts), logits, atol=1e-4)


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_kinds_that_help_are_one_table(monkeypatch, damping):
    weights = np.array([3.0, 0.0, 1.5])
    monkeypatch.setattr(after_training, "choose", lambda *_: Weighed(weights, damping, 2.0, 0.0))
    batch, classes = random_batch([9, 12, 20, 15, 11, 8]), [0, 1, 2, 0, 1, 2]
    rows = rows_of(batch).add_column("labels", classes)
    network = Predictions(classes, np.eye(3)[classes], SINGLE_LABEL, ["a", "b", "c"])
    found = after_training.find_evidence(AttnPoolConfig(ngram_size=2), rows, rows, network, True)
    parts = [learned(batch, classes, kind)(pack(batch)) for kind in LEARNERS]
    mean = sum(weight / 4.5 * part for weight, part in zip(weights, parts, strict=True))
    expected = 4.5 * damped(mean, damping).numpy()
    np.testing.assert_allclose(found.weighted_NC, expected, rtol=0.01, atol=0.01)
    counted = 4.5 * damped(found.table(pack(batch)), damping).numpy()
    np.testing.assert_allclose(counted, found.weighted_NC, rtol=1e-4, atol=1e-5)
    assert found.record["kind"] == "naive Bayes + linear SVM"
    assert (found.record["weight"], found.record["damping"]) == (4.5, damping)
    assert found.temperature == 2


def test_validation_answers_are_those_of_the_saved_model(train, data, tmp_path):
    rows = toy_texts(60, seed=2)
    validation = write_csv(tmp_path / "validation.csv", rows)
    folder = train("run", "--validation_file", validation, *data[:2], *CNN, *USELESS, "--prior_correction", "1")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.ngrams is not None and model.config.logit_temperature != 1
    expected = logits_of(model, folder, [text for text, _ in rows])
    np.testing.assert_allclose(read_predictions(folder, "validation").logits, expected, atol=1e-4)


def test_what_counts_cannot_tell_leaves_no_trace(train, tmp_path):
    files = ["--train_file", write_csv(tmp_path / "train.csv", ordered_texts(120)), "--validation_size", "0.3"]
    files += ["--test_file", write_csv(tmp_path / "test.csv", ordered_texts(40, seed=1))]
    model = ["--model", "lstm", "--embedding_dim", "16", "--hidden_dim", "16", "--learning_rate", "0.02"]
    flags = [*files, *model, "--num_train_epochs", "6", "--dropout", "0"]
    folder, without = train("run", *flags), train("without", *flags, "--ngram_evidence", "false")
    results = read(folder, "test_results.json")
    assert results["test_network_accuracy"] == results["test_accuracy"] > 0.8
    assert AutoConfig.from_pretrained(folder).ngram_weight == 0
    assert not [name for name in load_file(folder / "model.safetensors") if "ngrams" in name]
    assert "eval_ngrams" not in read(folder, "eval_results.json")
    assert "n-grams" not in (folder / "README.md").read_text()
    for name in ("model.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (without / name).read_bytes()
    for split in ("validation", "test"):
        found, expected = read_predictions(folder, split), read_predictions(without, split)
        assert np.array_equal(found.logits, expected.logits)


def test_it_can_be_left_out_and_has_flags(train, data):
    folder = train("without", *data, *CNN, *USELESS, "--ngram_evidence", "false")
    assert AutoConfig.from_pretrained(folder).ngram_weight == 0
    alone = {split: read(folder, f"{split}_results.json") for split in ("eval", "test")}
    folder = train("few", *data, *CNN, *USELESS, "--ngram_size", "1", "--max_ngrams", "30", "--calibrate", "false")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.ngrams.size == 1 and len(model.ngrams.key_G) == model.config.num_ngrams == 30
    assert model.config.logit_temperature == 1 and "eval_temperature" not in read(folder, "eval_results.json")
    for split, results in alone.items():
        found = read(folder, f"{split}_results.json")
        assert found[f"{split}_network_accuracy"] == results[f"{split}_accuracy"] < found[f"{split}_accuracy"]
        assert f"{split}_network_accuracy" not in results


def test_several_labels_for_each_text(train, tmp_path):
    rows = texts_with_several_labels(160)
    files = ["--train_file", write_jsonl(tmp_path / "train.jsonl", rows[:120]), "--validation_size", "0.3"]
    files += ["--test_file", write_jsonl(tmp_path / "test.jsonl", rows[120:])]
    folder = train("run", *files, *CNN, *USELESS)
    kinds = read(folder, "eval_results.json")["eval_ngrams"]["kind"].split(" + ")
    assert set(kinds) <= set(OF_SEVERAL_LABELS)
    assert read(folder, "test_results.json")["test_f1_macro"] > 0.9
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    logits = logits_of(model, folder, [text for text, _ in rows[120:]])
    np.testing.assert_allclose(read_predictions(folder, "test").logits, logits, atol=1e-4)


def test_numbers_and_plain_heads_have_none(train, data, tmp_path):
    numbers = write_csv(tmp_path / "numbers.csv", [(text, len(text) / 37) for text, _ in toy_texts(24)])
    folder = train("numbers", "--train_file", numbers, *CNN, *USELESS)
    assert AutoConfig.from_pretrained(folder).ngram_weight == 0
    folder = train("head", *data, "--model", "sequence_classification", "--encoder", "ENCODER", *USELESS)
    assert "ngram_weight" not in read(folder, "config.json")
