"""eval.py report on models that aren't ours, and on texts with several labels."""

import pytest
from markupsafe import escape
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    RobertaConfig,
)

from salience.eval.cli import main
from salience.eval.runs import HOW_SEVERAL_COUNT
from tests.helpers.slow import others_slow
from tests.helpers.tiny import TINY_TOKENIZER, VOCAB_SIZE
from tests.helpers.toy import TOPICS, texts_with_several_labels, toy_texts, write_jsonl
from tests.helpers.training import read, train

SMALL = ["--num_documents", "12", "--num_explained", "4"]
SIZE = {"vocab_size": VOCAB_SIZE, "pad_token_id": 0}
FOREIGN = {
    "distilbert": DistilBertConfig(dim=16, hidden_dim=32, n_layers=1, n_heads=2, max_position_embeddings=40, **SIZE),
    "roberta": RobertaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=40,
        **SIZE,
    ),
    "electra": ElectraConfig(
        hidden_size=16, embedding_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=40, **SIZE,
    ),
    "gpt2": GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=40, **SIZE),
    "gpt2_as_it_comes": GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=40, vocab_size=VOCAB_SIZE),
}  # fmt: skip


def test_long_texts_are_cut_where_the_tokenizer_names_no_limit(tmp_path):
    AutoModelForSequenceClassification.from_config(FOREIGN["electra"]).save_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(tmp_path / "model")
    names = FOREIGN["electra"].id2label
    rows = [(text * 20, names[number % 2]) for number, (text, _) in enumerate(toy_texts(4))]
    file = write_jsonl(tmp_path / "test.jsonl", rows)
    assert main(["score", "--model", str(tmp_path / "model"), "--test_file", str(file)]) == 0


@pytest.mark.parametrize("name", others_slow(FOREIGN, "distilbert"))
def test_a_model_of_transformers_is_told_as_far_as_its_outputs_allow(name, tmp_path):
    config = FOREIGN[name]
    config.id2label = dict(enumerate(TOPICS))
    config.label2id = {label: number for number, label in config.id2label.items()}
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    tokenizer.model_max_length = 32
    if config.pad_token_id is None:
        tokenizer.eos_token, tokenizer.pad_token = tokenizer.sep_token, None
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [(text * (1 + 9 * (number == 3)), label) for number, (text, label) in enumerate(toy_texts(24))]
    file = write_jsonl(tmp_path / "test.jsonl", [*rows, ("", rows[0][1])])
    out = tmp_path / "out"
    assert (
        main(["report", "--model", str(tmp_path / "model"), "--test_file", str(file), "--output_dir", str(out), *SMALL])
        == 0
    )
    results = read(out / "report.json")
    assert results["data"]["texts"] == 25 and results["data"]["classes"] == list(TOPICS)
    assert results["model"]["temperature"] is None and results["model"]["class"] == type(config).__name__.replace(
        "Config", "ForSequenceClassification"
    )
    assert 0 <= results["scores"]["accuracy"] <= 1 and 0 <= results["calibration"]["ece_equal_width"] <= 1
    assert sum(map(sum, results["confusion"])) == 25
    assert "reason" in results["attention"]
    faithfulness = results["faithfulness"]
    assert {"leave_one_out", "integrated_gradients", "random"} <= set(faithfulness["attributions"])
    assert faithfulness["verdict"].startswith("No")
    assert (out / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", others_slow(["attn_pool", "cnn"], "attn_pool"))
def test_texts_with_several_labels(name, tmp_path, encoder_folder):
    file = write_jsonl(tmp_path / "train.jsonl", texts_with_several_labels(60))
    encoder = ["--encoder", encoder_folder] if name == "attn_pool" else []
    fitted = ["--calibrate", "false", "--target_accuracy", 0.975]
    flags = ["--train_file", file, "--test_size", 0.3, "--model", name, *encoder, "--num_train_epochs", 1, *fitted]
    folder = train(tmp_path / "run", *flags)
    assert main(["report", "--model", str(folder), "--train_file", str(file), *SMALL]) == 0
    results = read(folder / "report/report.json")
    assert results["confusion"] is None and results["confused_pairs"] is None
    assert set(results["scores"]["per_class"]) == set(TOPICS)
    assert results["calibration"]["num_predictions"] == 3 * results["data"]["texts"]
    assert sum(each["texts"] for each in results["length"]["bins"]) == results["data"]["texts"]
    assert ("reason" in results["attention"]) == (name == "cnn")
    page = (folder / "report/report.html").read_text(encoding="utf-8")
    assert "confusion_matrix" not in page and escape(HOW_SEVERAL_COUNT) in page
    assert results["model"]["temperature"] is None and "divided by a temperature" not in page
    assert '<td class="n">97.5 %</td>' in page
