"""Penalties on their way through the Trainer, train.py and LoRA."""

import json

import datasets
import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.train import cli
from salience.train.building.lora import load_adapter
from salience.train.loop.losses import LabelStatistics, TrainingLoss
from salience.train.loop.trainer import SalienceTrainer
from tests.helpers.tiny import TINY_MODELS, random_batch
from tests.helpers.toy import toy_csv, toy_texts
from tests.helpers.training import QUIET

TEXT_LENGTHS = [30, 9, 14, 25]
SINGLE, MULTI = "single_label_classification", "multi_label_classification"
LABELS = {SINGLE: [0, 0, 1, 2], MULTI: [[1.0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1]]}
PENALTIES = {"entropy_weight": 0.5, "diversity_weight": 0.25, "reconstruction_weight": 2.0}
RUN = [*QUIET, "--learning_rate", "5e-3"]


@pytest.fixture(autouse=True)
def no_mixed_precision(monkeypatch):
    # transformers 4 leaves the precision of a run here, and the next run in the same process takes it.
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")


def tiny(problem_type, penalties):
    """The same weights with and without penalties."""
    torch.manual_seed(0)
    model = TINY_MODELS["hierarchical"](problem_type=problem_type, dropout=0.0, **PENALTIES)
    if not penalties:
        weights = model.state_dict()
        model = TINY_MODELS["hierarchical"](problem_type=problem_type, dropout=0.0)
        model.load_state_dict(weights, strict=False)
    return model


def texts():
    batch = random_batch(TEXT_LENGTHS)
    return [row[mask == 1].tolist() for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]


def trained(folder, tokenizer, problem_type, batch_size, accumulation, penalties=True):
    """Loss and weights after one step on four texts, without anything random."""
    labels = LABELS[problem_type]
    counts = torch.bincount(torch.tensor(labels)) if problem_type == SINGLE else torch.tensor(labels).sum(0)
    arguments = SalienceTrainingArguments(
        output_dir=str(folder), num_train_epochs=1, max_steps=1, per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation, optim="sgd", learning_rate=0.1, lr_scheduler_type="constant",
        max_grad_norm=1e9, eval_strategy="no", save_strategy="no", load_best_model_at_end=False, report_to="none",
        bf16=False, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = SalienceTrainer(
        model=tiny(problem_type, penalties),
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"input_ids": texts(), "labels": labels}),
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_loss_func=TrainingLoss(
            TuningArguments(), problem_type, LabelStatistics(counts, len(labels), problem_type)
        ),
    )
    return trainer.train().training_loss, trainer.model.state_dict()


@pytest.mark.parametrize("problem_type", LABELS)
def test_accumulated_steps_change_nothing(problem_type, tmp_path, tokenizer):
    first_loss, first = trained(tmp_path, tokenizer, problem_type, 4, 1)
    second_loss, second = trained(tmp_path, tokenizer, problem_type, 2, 2)
    plain_loss, plain = trained(tmp_path, tokenizer, problem_type, 4, 1, penalties=False)
    assert first_loss == pytest.approx(second_loss, abs=1e-5)
    for name, weight in first.items():
        assert_close(second[name], weight, rtol=0, atol=1e-5)
    assert first_loss > plain_loss + 0.1
    assert any((first[name] - plain[name]).abs().max() > 1e-3 for name in plain)


@pytest.mark.parametrize("problem_type", LABELS)
def test_the_trainers_loss_is_the_models_own(problem_type, tmp_path, tokenizer):
    loss, _ = trained(tmp_path, tokenizer, problem_type, 4, 1)
    model, batch = tiny(problem_type, penalties=True).train(), random_batch(TEXT_LENGTHS)
    labels = torch.tensor(LABELS[problem_type])
    outputs = model(**batch, labels=labels)
    assert outputs.loss.item() == pytest.approx(loss, abs=1e-5)
    without = tiny(problem_type, penalties=False).train()
    expected = without(**batch, labels=labels).loss + outputs.auxiliary_loss.mean()
    assert_close(outputs.loss, expected)
    outputs = model.eval()(**batch, labels=labels)
    assert outputs.auxiliary_loss is None
    assert_close(outputs.loss, without.eval()(**batch, labels=labels).loss)


def test_train_py_adds_penalties_to_what_it_trains_and_not_to_what_it_reports(tmp_path):
    data = toy_csv(tmp_path)
    flags = ["--model", "hierarchical_attn", "--embedding_dim", "12", "--hidden_dim", "16", "--num_heads", "2"]
    flags += [*data, "--num_train_epochs", "2", *RUN]
    losses = {}
    for name, penalties in {
        "plain": [],
        "penalties": ["--entropy_weight", "3", "--diversity_weight", "0.1", "--reconstruction_weight", "3"],
    }.items():
        assert cli.main([*flags, *penalties, "--output_dir", str(tmp_path / name)]) == 0
        losses[name] = [
            json.loads((tmp_path / name / f"{split}_results.json").read_text())[f"{split}_loss"]
            for split in ("train", "test")
        ]
    assert losses["penalties"][0] > losses["plain"][0] + 1
    assert losses["penalties"][1] < losses["plain"][1] + 0.5
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "penalties")
    assert (model.config.entropy_weight, model.config.reconstruction_weight) == (3.0, 3.0)
    assert model.model.decoder.weight.shape == (12, 16)


def test_an_adapter_folder_has_all_that_the_merged_model_has(tmp_path, encoder_folder):
    options = {
        "idf_prior": "true", "attention_kernel": "linear", "linear_features": "16", "learn_temperature": "true",
        "reconstruction_weight": "0.1", "segmentation": "learned", "filter": "adaptive", "fusion": "gated",
    }  # fmt: skip
    flags = [each for name, value in options.items() for each in (f"--{name}", value)]
    flags += ["--model", "hierarchical_attn", "--encoder", str(encoder_folder), "--num_heads", "2", "--lora", "true"]
    run = tmp_path / "run"
    assert cli.main([*toy_csv(tmp_path), *flags, *RUN, "--num_train_epochs", "1", "--output_dir", str(run)]) == 0
    merged = AutoModelForSequenceClassification.from_pretrained(run).eval()
    torch.manual_seed(1)  # what would be drawn anew would be something else
    adapted = load_adapter(run / "adapter")
    assert len(merged.model.idf.idf_V.unique()) > 10
    tokenizer = AutoTokenizer.from_pretrained(run)
    inputs = tokenizer([text for text, _ in toy_texts(9, seed=1)], padding=True, return_tensors="pt")
    with torch.no_grad():
        assert_close(adapted(**inputs).logits, merged(**inputs).logits, atol=1e-5, rtol=0)
    # The merged model's code and the adapter's must also agree once the adapters are merged by hand.
    weights, expected = adapted.merge_and_unload().state_dict(), merged.state_dict()
    assert weights.keys() == expected.keys()
    buffers = {name for name, _ in merged.named_buffers() if name in expected}
    assert {"model.idf.idf_V", "model.word_filter.attention.projection_EM"} <= buffers
    assert all(torch.equal(weights[name], expected[name]) for name in buffers)
