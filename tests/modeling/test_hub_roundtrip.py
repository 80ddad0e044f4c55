import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding

from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.modeling.explaining_pipeline import ExplainingPipeline
from salience.modeling.tokenizer_loading import PADDED_LENGTH
from salience.train.folder.output import start
from salience.train.loop.trainer import SalienceTrainer
from tests.helpers.counting import give_evidence
from tests.helpers.paths import RECORDED, ROOT
from tests.helpers.tiny import LABELS, TINY_MODELS, tiny_model

FAMILIES = ["attn_pool_learned_query", "hierarchical_all_options", "hierarchical_encoder_all_options", "lstm"]
"""One of each modeling file and of each way to read words; other options differ in weights, not in what is loaded."""
WITH_EVIDENCE = ["attn_pool_learned_query", "hierarchical_all_options", "lstm"]


def train_two_steps(model, tokenizer, folder):
    """A Trainer checkpoint, and the final folder beside it."""
    rows = {"text": ["the bank raised its rates", "a goal in the last minute"] * 4, "labels": [0, 2] * 4}
    data = datasets.Dataset.from_dict(rows).map(
        lambda row: {"input_ids": tokenizer(row["text"])["input_ids"]}, remove_columns=["text"]
    )
    arguments = SalienceTrainingArguments(
        output_dir=str(folder), max_steps=2, num_train_epochs=1, learning_rate=1e-3, save_steps=2,
        save_strategy="steps", per_device_train_batch_size=4, use_cpu=True, report_to="none", disable_tqdm=True,
        eval_strategy="no", load_best_model_at_end=False,
    )  # fmt: skip
    folder.mkdir()
    start(folder, {"kind": "model"})
    trainer = SalienceTrainer(
        model=model, args=arguments, train_dataset=data, processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    return [folder, folder / "checkpoint-2"]


def run_clean(output: Path, folders: list[Path]) -> subprocess.CompletedProcess:
    """Run tests/clean_process.py outside of the repository, with an empty cache and no terminal to ask."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_", "PYTHONPATH"))
    }
    environment |= {"HF_HOME": str(output / "cache"), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, ROOT / "tests" / "helpers" / "clean_process.py", output, *folders],
        cwd=output, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, tokenizer):
    """For each family: the trained model, and what a clean process made of its folder and of its checkpoint.

    The process is one for all, and reads the folders of earlier versions, too.
    """
    output = tmp_path_factory.mktemp("roundtrip")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = PADDED_LENGTH  # as train.py saves it: our models have no limit
    models, folders = {}, []
    for name in FAMILIES:
        models[name] = tiny_model(name)
        if name in WITH_EVIDENCE:
            give_evidence(models[name], 2.0)
        folders += train_two_steps(models[name], tokenizer, output / name)
        models[name].eval()
    recorded = [answers.with_suffix("") for answers in RECORDED]
    process = run_clean(output, [*folders, *recorded])
    assert process.returncode == 0, process.stderr[-3000:]
    results = [dict(np.load(output / f"{number}.npz")) for number in range(len(folders) + len(recorded))]
    pairs = zip(results[: len(folders) : 2], results[1 : len(folders) : 2], strict=True)
    found = {name: (models[name], output / name, pair) for name, pair in zip(FAMILIES, pairs, strict=True)}
    return found, process, dict(zip(RECORDED, results[len(folders) :], strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_clean_process_gives_bit_equal_results(loaded, name, tokenizer):
    trained, folder, results = loaded[0][name]
    # Loaded here too: weights mapped from a file lie at other addresses than trained ones, and the sums of matrix
    # products depend on alignment in the last bit.
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for result in results:  # the final folder, the checkpoint
        inputs = {key: torch.tensor(result[key]) for key in ("input_ids", "attention_mask")}
        with torch.no_grad():
            expected = model(**inputs)
            assert_close(expected.logits, trained(**inputs).logits, atol=1e-6, rtol=0)
        assert np.array_equal(result["classifier"], expected.logits.numpy())
        assert np.array_equal(result["saved_again"], expected.logits.numpy())
        assert np.array_equal(result["auto_model"], expected.pooler_output.numpy())
        assert np.allclose(result["pipeline"], expected.logits.softmax(-1).numpy(), atol=1e-5)
        (answer,) = ExplainingPipeline(model=model, tokenizer=tokenizer, device="cpu")(
            "the bank raised its rates", explain=True
        )
        assert np.allclose(result["explained"], [word["weight"] for word in answer["words"]], atol=1e-5)


@pytest.mark.parametrize("answers", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_folders_own_code_answers_as_recorded(loaded, answers):
    found, recorded = loaded[2][answers], json.loads(answers.read_text())["logits"]
    for way in ("classifier", "saved_again"):
        assert np.allclose(found[way], recorded, atol=1e-6, rtol=0), way


@pytest.mark.parametrize("name", WITH_EVIDENCE)
def test_evidence_of_ngrams_is_saved_again_as_it_was(loaded, name):
    folder = loaded[0][name][1]
    again = folder.parent / f"again-{2 * FAMILIES.index(name)}"
    first, second = (load_file(each / "model.safetensors") for each in (folder, again))
    assert {"ngrams.key_G", "ngrams.idf_G", "ngrams.weight_GC"} < first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_loading_says_nothing_that_worries(loaded):
    process = loaded[1]
    text = (process.stdout + process.stderr).lower()
    for word in (
        "warning",
        "error",
        "not supported",
        "newly initialized",
        "unexpected",
        "missing",
        "do you wish",
        "y/n",
    ):
        assert word not in text, (word, text[-6000:])


@pytest.mark.parametrize("name", FAMILIES)
def test_folders_hold_weights_code_and_tokenizer_and_no_pickle(loaded, name):
    _, folder, _ = loaded[0][name]
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "salience_base.py"} <= names
    assert not [each for each in names if each.endswith((".bin", ".pt", ".pth", ".pkl"))]
    for file in folder.glob("*.py"):
        assert "from salience" not in file.read_text(), f"{file.name} is an alias, not the code"


@pytest.mark.parametrize("name", TINY_MODELS)
def test_weights_survive_bitwise_and_labels_too(name, tmp_path):
    model = tiny_model(name)
    model.config.prior_correction = [0.5, -0.25, 0.125]
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(again) is type(model)
    weights, loaded = model.state_dict(), again.state_dict()
    assert weights.keys() == loaded.keys()
    assert all(torch.equal(weights[key], loaded[key]) for key in weights)
    for key, value in model.config.to_diff_dict().items():
        if key not in (
            "_name_or_path",
            "encoder_config",
            "architectures",
            "custom_pipelines",
            "dtype",
            "transformers_version",
        ):
            assert getattr(again.config, key) == value, key
    assert again.config.id2label == LABELS["id2label"]
