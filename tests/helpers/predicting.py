"""Texts without labels, models that label them, and what they answer one by one."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from salience.configuration import AttnPoolConfig
from salience.eval import UserError, predict_files
from salience.eval.predict.job import Job
from salience.eval.reading.load import load_classifier
from salience.modeling import AttnPoolForSequenceClassification
from tests.helpers.tiny import LABELS, TINY_TOKENIZER, WINDOWS, tiny_encoder_config

MANY = {"problem_type": "multi_label_classification"}
NUMBERS = {"problem_type": "regression", "id2label": {0: "value"}, "label2id": {"value": 0}}
TEXTS = [
    "a goal in the last minute",
    'he said "no", and\nleft , the end',
    None,
    "the bank raised its rates . shares fell",
    "",
    "naïve café 中文 \U0001f600",
    "the market " * 40,
]


def save_model(folder, **options):
    """A tiny random model that was calibrated, and its tokenizer."""
    torch.manual_seed(0)
    config = AttnPoolConfig(encoder_config=tiny_encoder_config(), key_dim=8, **WINDOWS, **{**LABELS, **options})
    model = AttnPoolForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.config.logit_temperature = 0.5
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY_TOKENIZER).save_pretrained(folder)
    return folder


@cache
def loaded(folder):
    """A classifier that nothing changes any more, and its tokenizer."""
    model, tokenizer = load_classifier(folder)
    return model.eval(), tokenizer


@torch.no_grad()
def probabilities_of(folder, text):
    """What the model answers to one text, with transformers alone."""
    model, tokenizer = loaded(folder)
    logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
    return (logits.sigmoid() if model.config.problem_type.startswith("multi") else logits.softmax(-1)).numpy()


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def many_texts(count):
    words = "the bank goal market film song team share price of a in".split()
    chosen = np.random.default_rng(0).integers(0, len(words), (count, 6))
    return [" ".join(words[each] for each in row) for row in chosen]


def predict(run, *args, **flags):
    """`predict_files` in float32."""
    return predict_files(run, *args, bf16=False, **flags)


def failure(run, *args, **flags):
    """The sentence with which `predict` refuses."""
    with pytest.raises(UserError) as error:
        predict(run, *args, **flags)
    return str(error.value)


def write_texts(path, count):
    lines = [json.dumps({"id": number, "text": text}) for number, text in enumerate(many_texts(count))]
    lines[1::20] = ["{"] * len(lines[1::20])
    lines[2::20] = ['{"text": ""}'] * len(lines[2::20])
    path.write_text("\n".join(lines) + "\n")
    return path


def files_of(output):
    if output.is_file():
        beside = output.with_name(output.name + ".rejected.jsonl")
        return {path.name.replace(output.name, "out"): path.read_bytes() for path in (output, beside) if path.exists()}
    return {path.name: path.read_bytes() for path in output.iterdir()}


class Stopped(Exception):
    pass


def before(monkeypatch, number, act):
    """Something happens in the next prediction before one of its parts."""
    run_of = Job.run

    def run(self, each, advance=None):
        if each == number:
            act()
        return run_of(self, each, advance)

    monkeypatch.setattr(Job, "run", run)


def stop_before(monkeypatch, number):
    """The next prediction ends before one of its parts."""

    def stop():
        raise Stopped

    before(monkeypatch, number, stop)
