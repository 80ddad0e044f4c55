"""A decisive sentence behind 20,000 words: our models read it, a classifier limited to 512 tokens can't.

They learn from short texts, with every option's default but for the limits on sentences and words, which are off.
"""

import random

import datasets
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    DataCollatorWithPadding,
)

from salience.train import cli
from salience.train.data.tokens import tokenize
from tests.helpers.tiny import TINY_TOKENIZER
from tests.helpers.toy import FILLERS, TOPICS, write_csv

pytestmark = pytest.mark.slow

VERDICTS = ("guilty", "innocent")
WORDS = FILLERS + [word for topic in TOPICS.values() for word in topic]
NO_LIMITS = ["--max_sentences", "0", "--max_words", "0", "--num_heads", "2"]
SIZES = ["--embedding_dim", "16", "--hidden_dim", "32", "--num_layers", "1", "--classifier_hidden_dim", "16"]
MODELS = {
    "bilstm": ["--model", "hierarchical_attn", *SIZES, *NO_LIMITS],
    "encoder": ["--model", "hierarchical_attn", "--encoder", "ENCODER", *NO_LIMITS],
    "plain": ["--model", "sequence_classification", "--encoder", "ENCODER"],
}
TRAINING = [
    "--num_train_epochs", "8", "--learning_rate", "5e-3", "--per_device_train_batch_size", "16", "--bf16", "false",
    "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false", "--report_to", "none",
    "--disable_tqdm", "true",
]  # fmt: skip


def decisive(verdict):
    return f"the jury found him {verdict}."


def filler(number, num_words):
    """Sentences that say nothing, of as many words as asked for."""
    random_words, words = random.Random(number), []
    while len(words) < num_words:
        words += random_words.choices(WORDS, k=random_words.randint(3, 9))
        words[-1] += "."
    return [*words[: num_words - 1], "so."]


def text_with(verdict, num_before, num_behind, number=0):
    """A text whose decisive sentence stands behind `num_before` words; without one if there is no verdict."""
    middle = [] if verdict is None else [decisive(verdict)]
    return " ".join([*filler(number, num_before), *middle, *filler(number + 1, num_behind)])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny BERT that reads 512 tokens at once, without any pretraining, and its tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=MODELS)
def trained(request, tmp_path_factory, encoder):
    """Name, model and tokenizer of each kind, trained by train.py on texts of 10 to 200 words."""
    folder, lengths = tmp_path_factory.mktemp(request.param), random.Random(0)
    rows = [
        (
            text_with(VERDICTS[number % 2], lengths.randint(5, 100), lengths.randint(5, 100), number),
            VERDICTS[number % 2],
        )
        for number in range(320)
    ]
    data = ["--train_file", str(write_csv(folder / "train.csv", rows))]
    flags = [str(encoder) if flag == "ENCODER" else flag for flag in MODELS[request.param]]
    assert cli.main([*data, *flags, *TRAINING, "--output_dir", str(folder / "run")]) == 0
    model = AutoModelForSequenceClassification.from_pretrained(folder / "run").eval()
    return request.param, model, AutoTokenizer.from_pretrained(folder / "run")


@torch.no_grad()
def logits_of(model, tokenizer, *texts):
    """Logits (texts, 2), each text alone and tokenized as train.py does."""
    rows = tokenize(datasets.Dataset.from_dict({"text": texts}), tokenizer)
    collate = DataCollatorWithPadding(tokenizer)
    return torch.cat([model(**collate([row])).logits for row in rows])


def test_a_decisive_sentence_at_word_20000_decides(trained):
    name, model, tokenizer = trained
    texts = [text_with(verdict, 20_000, 500) for verdict in (*VERDICTS, None)]
    assert texts[0].split()[20_000:20_005] == decisive("guilty").split()
    guilty, innocent, neither = logits_of(model, tokenizer, *texts)
    if name == "plain":
        assert torch.equal(guilty, innocent) and torch.equal(guilty, neither)
    else:
        label = model.config.label2id
        assert guilty.argmax() == label["guilty"] and innocent.argmax() == label["innocent"]
        assert (guilty - innocent).abs().min() > 2, "and not by a hair"


def test_all_of_them_see_it_where_the_plain_head_can(trained):
    _, model, tokenizer = trained
    guilty, innocent = logits_of(model, tokenizer, *(text_with(verdict, 20, 50) for verdict in VERDICTS))
    assert not torch.equal(guilty, innocent)
