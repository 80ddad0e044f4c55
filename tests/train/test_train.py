"""Training runs, from flags to the folder that they leave: in this process, with tiny models and toy texts."""

import math

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from scipy.special import softmax
from torch.testing import assert_close
from transformers import AutoTokenizer, pipeline

from salience.configuration.flags.data_arguments import DataArguments
from salience.train import cli
from salience.train.data.load import load_splits
from tests.helpers.run_folders import QUIET, load, logits_of, read
from tests.helpers.slow import others_slow
from tests.helpers.toy import TOPICS, texts_with_several_labels, toy_csv, toy_texts, write_csv, write_jsonl
from tests.helpers.training import COUNTS

SIZES = ["--embedding_dim", "12", "--hidden_dim", "16"]
HEADS = ["--num_heads", "2"]
# Name of the test -> flags; "ENCODER" stands for the tiny encoder's folder.
MODELS = {
    "attn_pool": ["--model", "attn_pool", "--encoder", "ENCODER"],
    "hierarchical_attn": ["--model", "hierarchical_attn", *SIZES, *HEADS],
    "hierarchical_attn_encoder": ["--model", "hierarchical_attn", "--encoder", "ENCODER", *HEADS],
    "lstm": ["--model", "lstm", *SIZES],
    "cnn": ["--model", "cnn", "--embedding_dim", "12", "--num_filters", "8"],
    "gat": ["--model", "gat", *SIZES, *HEADS],
    "bag_of_words": ["--model", "bag_of_words", "--learning_rate", "0.03"],
    "transformer": ["--model", "transformer", "--learning_rate", "1e-4"],
    "sequence_classification": ["--model", "sequence_classification", "--encoder", "ENCODER"],
}
SCORES = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "f1_weighted", "roc_auc")


@pytest.fixture
def data(tmp_path):
    return toy_csv(tmp_path)


@pytest.fixture
def train(tmp_path, encoder_folder, monkeypatch):
    """Runs training into tmp_path/NAME; returns that folder and the model as it was in memory at the end."""
    # transformers 4 leaves the precision of a run here, and the next run in the same process takes it.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    trained = []
    first_example = cli.first_example
    monkeypatch.setattr(cli, "first_example", lambda *args: (trained.append(args[0]), first_example(*args))[1])

    def run(*flags, name="run"):
        flags = [str(encoder_folder) if flag == "ENCODER" else str(flag) for flag in flags]
        assert cli.main(["--output_dir", str(tmp_path / name), *QUIET, *flags]) == 0
        return tmp_path / name, trained[-1].eval()

    return run


@pytest.mark.parametrize("name", others_slow(MODELS, "attn_pool", "hierarchical_attn"))
def test_a_run_leaves_a_repo_that_loads_with_the_same_logits(train, data, name, capsys):
    folder, trained = train(*data, *MODELS[name], *COUNTS, "--num_train_epochs", 2)
    printed = capsys.readouterr().out
    model, tokenizer = load(folder)
    inputs = tokenizer(["the bank raised its profit .", "goal !"], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert_close(model(**inputs).logits, trained(**inputs).logits, atol=1e-6, rtol=0)
    assert model.config.id2label == dict(enumerate(TOPICS))

    results = read(folder, "test_results.json")
    assert all(0 <= results[f"test_{score}"] <= 1 for score in SCORES)
    assert sum(each["support"] for each in results["test_per_class"].values()) == results["test_samples"] == 12
    texts, labels = zip(*toy_texts(12, seed=1), strict=True)
    logits = logits_of(folder, texts)
    right = logits.argmax(1) == [list(TOPICS).index(label) for label in labels]
    assert results["test_accuracy"] == pytest.approx(right.mean())
    chance = softmax(logits, axis=1)[range(12), [list(TOPICS).index(label) for label in labels]]
    assert results["test_loss"] == pytest.approx(-np.log(chance).mean(), abs=1e-5)
    assert {f"eval_{score}" for score in (*SCORES, "loss", "samples")} <= set(read(folder, "eval_results.json"))
    assert {"train_loss", "train_runtime", "train_samples", "epoch"} <= set(read(folder, "train_results.json"))

    run = read(folder, "run.json")
    assert run["model"]["class"] == type(model).__name__
    ngrams = getattr(model, "ngrams", None)
    num_counts = 0 if ngrams is None else ngrams.weight_GC.numel()
    assert run["model"]["parameters"] == run["model"]["trainable_parameters"] + num_counts
    assert run["model"]["trainable_parameters"] == model.num_parameters()
    assert run["data"]["splits"]["test"]["rows"] == 12
    card = ModelCard.load(folder / "README.md")
    of_type = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert of_type["Accuracy"] == results["test_accuracy"]
    assert of_type["F1 (macro)"] == results["test_f1_macro"]
    assert of_type["ROC-AUC (one-vs-rest, macro)"] == results["test_roc_auc"]
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")]

    assert str(folder) in printed and f"accuracy {results['test_accuracy']:.4f}" in printed
    words = [line for line in printed.splitlines() if line.startswith("words")]
    if name.startswith(("attn", "hier", "trans")):
        assert words[0].count(" · ") == 4
    else:
        assert not words


def test_the_plain_head_reads_no_more_than_its_encoder_numbers(train, data):
    folder, _ = train(*data, *MODELS["sequence_classification"], "--max_steps", 1)
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 24


@pytest.mark.parametrize("name", ["attn_pool", "cnn"])
def test_several_labels_for_a_text(train, tmp_path, name):
    file = write_jsonl(tmp_path / "train.jsonl", texts_with_several_labels(40))
    folder, _ = train("--train_file", file, "--test_size", 0.2, *MODELS[name], "--num_train_epochs", 2)
    results = read(folder, "test_results.json")
    assert set(results["test_per_class"]) == set(TOPICS)
    assert {"test_f1_macro", "test_accuracy", "test_roc_auc"} <= set(results)
    model, tokenizer = load(folder)
    assert model.config.problem_type == "multi_label_classification"
    scores = pipeline("text-classification", model=model, tokenizer=tokenizer)("bank team", top_k=None)
    expected = logits_of(folder, ["bank team"])[0]
    by_label = {score["label"]: score["score"] for score in scores}
    assert [by_label[label] for label in TOPICS] == pytest.approx(1 / (1 + np.exp(-expected)), abs=1e-5)


@pytest.mark.parametrize("name", ["attn_pool", "lstm", "sequence_classification"])
def test_regression(train, tmp_path, name, capsys):
    rows = [(text, len(text) / 37) for text, _ in toy_texts(40)]
    file = write_csv(tmp_path / "train.csv", rows)
    folder, _ = train("--train_file", file, "--test_size", 0.2, *MODELS[name], "--num_train_epochs", 1)
    results = read(folder, "test_results.json")
    assert "test_accuracy" not in results
    model, _ = load(folder)
    data = load_splits(DataArguments(train_file=[str(file)], test_size=0.2))
    numbers = np.array(data.splits["train"]["labels"], np.float64)
    assert results["test_mse"] == pytest.approx(results["test_loss"] * numbers.var(), rel=1e-4)
    if name != "sequence_classification":
        assert model.config.label_scale == pytest.approx([numbers.mean(), numbers.std()])
    assert model.config.num_labels == 1 and model.config.problem_type == "regression"
    assert "mse" in capsys.readouterr().out
    ModelCard.load(folder / "README.md")


@pytest.mark.parametrize("name", others_slow(["bag_of_words", "sequence_classification"], "bag_of_words"))
def test_numbers_far_from_0_are_learned(train, tmp_path, name, caplog):
    rows = [(text, 5000 + 300 * list(TOPICS).index(topic) + 0.5) for text, topic in toy_texts(90)]
    file = write_csv(tmp_path / "train.csv", rows)
    folder, _ = train("--train_file", file, "--test_size", 0.2, *MODELS[name], "--num_train_epochs", 20)
    assert read(folder, "test_results.json")["test_r2"] > 0.5
    assert "further off than the mean" not in caplog.text


def test_a_plain_head_that_has_learned_numbers_is_left_as_it_is(train, tmp_path):
    rows = [(text, 5000 + 300 * list(TOPICS).index(topic) + 0.5) for text, topic in toy_texts(60)]
    words = ["--train_file", write_csv(tmp_path / "train.csv", rows), "--model", "sequence_classification"]
    flags = [*words, "--num_train_epochs", 1, "--learning_rate", 1e-12]
    folder, _ = train(*flags, *MODELS["sequence_classification"][2:])
    folder = folder.rename(tmp_path / "first")
    again, _ = train(*flags, "--encoder", folder)
    assert_close(logits_of(again, ["bank team"]), logits_of(folder, ["bank team"]), atol=0.01, rtol=0)


def test_a_number_by_which_transformers_marks_no_label_is_one(train, tmp_path):
    rows = [(text, -100 if number % 4 else 99.5) for number, (text, _) in enumerate(toy_texts(40))]
    file = write_csv(tmp_path / "train.csv", rows)
    still = ["--num_train_epochs", 1, "--logging_steps", 1, "--learning_rate", 1e-9]
    folder, _ = train("--train_file", file, *MODELS["cnn"], *still)
    losses = [each["loss"] for each in read(folder, "trainer_state.json")["log_history"] if "loss" in each]
    assert np.mean(losses) == pytest.approx(1, rel=0.3)  # of answers near the mean, all labels counted


@pytest.mark.parametrize("name", ["attn_pool", "sequence_classification"])
def test_a_frozen_encoder_stays_as_it_was(train, data, encoder_folder, name):
    folder, _ = train(*data, *MODELS[name], "--freeze_encoder", "true", "--num_train_epochs", 1)
    before, after = load_file(encoder_folder / "model.safetensors"), load_file(folder / "model.safetensors")
    pairs = [(key, other) for key in before for other in after if other.endswith(key) and "pooler" not in key]
    assert len(pairs) == len([key for key in before if "pooler" not in key])
    assert all(torch.equal(before[key], after[other]) for key, other in pairs)
    model = read(folder, "run.json")["model"]
    assert 0 < model["trainable_parameters"] < model["parameters"]


def test_early_stopping_stops(train, data):
    flags = ["--learning_rate", 0, "--early_stopping_patience", 2, "--num_train_epochs", 9]
    folder, _ = train(*data, *MODELS["lstm"], *flags)
    assert read(folder, "train_results.json")["epoch"] == 3


def test_the_best_checkpoint_is_what_is_saved(train, data):
    # The learning rate is such that training diverges after its first steps.
    flags = ["--num_train_epochs", 4, "--learning_rate", 0.05, "--metric_for_best_model", "loss", "--calibrate", "no"]
    folder, _ = train(*data, *MODELS["cnn"], *flags)
    history = read(folder, "trainer_state.json")["log_history"]
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert read(folder, "eval_results.json")["eval_loss"] == pytest.approx(min(losses[:4]), rel=1e-5)


def test_prior_correction_is_stored_and_applied(train, tmp_path):
    rows = [row for number, row in enumerate(toy_texts(120)) if number % 3 == 0 or number % 9 == 1 or number % 18 == 2]
    file = write_csv(tmp_path / "train.csv", rows)
    folder, _ = train(
        "--train_file", file, "--test_size", 0.2, *MODELS["cnn"], "--prior_correction", 1.5, "--num_train_epochs", 1
    )
    counts = read(folder, "run.json")["data"]["splits"]["train"]["labels"]
    stored = read(folder, "config.json")["prior_correction"]
    assert stored == pytest.approx([1.5 * math.log(counts[label] / sum(counts.values())) for label in TOPICS], rel=1e-5)
    model, tokenizer = load(folder)
    inputs = tokenizer("bank team film", return_tensors="pt")
    with torch.no_grad():
        corrected = model(**inputs).logits
        model.config.prior_correction = None
        assert_close(model(**inputs).logits - corrected, torch.tensor([stored]))


def test_hostile_label_names_survive_and_stay_text(train, tmp_path, capsys):
    labels = ["<script>alert(1)</script>", "a|b\n# heading", "\x1b[31m../../etc"]
    write_csv(tmp_path / "train.csv", toy_texts(48, labels=labels))
    flags = ["--train_file", tmp_path / "train.csv", "--test_size", 0.2, "--num_train_epochs", 1]
    folder, _ = train(*flags, *MODELS["cnn"])
    model, _ = load(folder)
    assert sorted(model.config.id2label.values()) == sorted(labels)
    assert set(read(folder, "test_results.json")["test_per_class"]) == set(labels)
    assert set(read(folder, "run.json")["data"]["splits"]["train"]["labels"]) == set(labels)
    card = ModelCard.load(folder / "README.md")
    assert "<script>" not in card.text and "\n# heading" not in card.text and "\x1b" not in card.text
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\n# heading" not in printed


@pytest.mark.parametrize(
    "name", others_slow(["attn_pool", "hierarchical_attn", "hierarchical_attn_encoder", "gat"], "attn_pool")
)
def test_a_text_far_beyond_the_encoders_limit(train, tmp_path, name):
    rows = toy_texts(12)
    rows += [(" ".join(["market shares . bank"] * 750), "business")]  # 3,000 tokens
    file = write_csv(tmp_path / "train.csv", rows)
    flags = ["--num_train_epochs", 1, "--per_device_train_batch_size", 2, "--validation_file", file]
    folder, _ = train("--train_file", file, *flags, *MODELS[name])
    assert np.isfinite(read(folder, "train_results.json")["train_loss"])
    model, tokenizer = load(folder)
    inputs = tokenizer(rows[-1][0], return_tensors="pt")
    assert inputs["input_ids"].shape[1] >= 3000
    assert model(**inputs).logits.isfinite().all()


@pytest.mark.parametrize(
    "name",
    others_slow(["attn_pool", "hierarchical_attn", "hierarchical_attn_encoder", "gat", "transformer"], "attn_pool"),
)
def test_empty_texts_alone_in_a_batch(train, tmp_path, name):
    rows = [*toy_texts(12), ("", "business"), ("", "sport"), (" \n", "culture")]
    file = write_jsonl(tmp_path / "train.jsonl", rows)
    empty = write_jsonl(tmp_path / "empty.jsonl", [("", label) for label in TOPICS])
    flags = ["--validation_file", file, "--test_file", empty, "--max_steps", 15]
    flags += ["--per_device_train_batch_size", 1, "--per_device_eval_batch_size", 2]
    folder, _ = train("--train_file", file, *flags, *MODELS[name])
    state = read(folder, "trainer_state.json")["log_history"]
    assert all(np.isfinite(entry.get("grad_norm", 0.0)) for entry in state)
    model, tokenizer = load(folder)
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    scores = pipeline("text-classification", model=model, tokenizer=tokenizer)(["", "bank", ""], batch_size=2)
    assert scores[0]["label"] == scores[2]["label"]
    assert scores[0]["score"] == pytest.approx(scores[2]["score"], abs=1e-6)


def test_empty_texts_in_two_rows_of_a_batch_of_a_csv(train, tmp_path):
    write_csv(tmp_path / "train.csv", [*toy_texts(12), ("", "sport"), ("", "sport")])
    flags = ["--train_file", tmp_path / "train.csv", "--keep_empty_texts", "true", "--num_train_epochs", 1]
    folder, _ = train(*flags, "--per_device_train_batch_size", 2, *MODELS["lstm"])
    assert np.isfinite(read(folder, "train_results.json")["train_loss"])


@pytest.mark.parametrize(
    ("name", "precision"),
    [("attn_pool", "fp32"), ("attn_pool", "bf16"), ("hierarchical_attn", "bf16"), ("gat", "bf16")],
)
def test_precision(train, data, name, precision):
    folder, _ = train(*data, *MODELS[name], "--num_train_epochs", 1, "--bf16", str(precision == "bf16").lower())
    assert read(folder, "run.json")["precision"] == precision
    weights = load_file(folder / "model.safetensors")
    assert {weight.dtype for name, weight in weights.items() if "ngrams" not in name} == {torch.float32}
    assert all(weight.isfinite().all() for weight in weights.values())


@pytest.mark.parametrize("name", others_slow(["attn_pool", "hierarchical_attn"], "attn_pool"))
def test_a_seed_decides_every_weight(train, data, name):
    first, second, other = (
        load_file(train(*data, *MODELS[name], "--max_steps", 4, "--seed", seed, name=str(run))[0] / "model.safetensors")
        for run, seed in enumerate([3, 3, 4])
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first if "ngrams" not in key)


@pytest.mark.parametrize("name", ["attn_pool", "lstm"])
@pytest.mark.slow
def test_max_length_cuts_training_texts_and_scores_are_those_of_whole_ones(train, data, name):
    folder, _ = train(*data, *MODELS[name], "--max_length", 5, "--num_train_epochs", 1)
    whole, _ = train(*data, *MODELS[name], "--num_train_epochs", 1, name="whole")
    texts, labels = zip(*toy_texts(12, seed=1), strict=True)
    truth = [list(TOPICS).index(label) for label in labels]
    loss = -np.log(softmax(logits_of(folder, texts), axis=1)[range(12), truth]).mean()
    assert read(folder, "test_results.json")["test_loss"] == pytest.approx(loss, abs=1e-5)
    assert read(folder, "train_results.json")["train_loss"] != read(whole, "train_results.json")["train_loss"]


@pytest.mark.parametrize("loss", others_slow(["weighted", "focal", "class_balanced", "logit_adjusted", "ldam"], "ldam"))
def test_each_loss_trains(train, data, loss):
    flags = ["--loss", loss, "--balanced_sampling", "true", "--num_train_epochs", 8, "--learning_rate", 0.03]
    flags += ["--metric_for_best_model", "loss"]
    folder, _ = train(*data, *MODELS["cnn"], *flags)
    assert read(folder, "test_results.json")["test_accuracy"] > 0.9


def test_gradient_accumulation_changes_nothing(train, data):
    flags = [*data, *MODELS["cnn"], "--dropout", 0, "--num_train_epochs", 2]
    whole, _ = train(*flags, "--per_device_train_batch_size", 16, name="whole")
    parts = ["--per_device_train_batch_size", 4, "--gradient_accumulation_steps", 4]
    parted, _ = train(*flags, *parts, name="parted")
    first, second = load_file(whole / "model.safetensors"), load_file(parted / "model.safetensors")
    assert all(torch.allclose(first[key], second[key], atol=2e-5) for key in first)
    losses = [read(folder, "train_results.json")["train_loss"] for folder in (whole, parted)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
