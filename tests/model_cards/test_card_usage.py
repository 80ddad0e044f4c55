"""The code in a card: it runs, for a model and for its adapter."""

import re

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedTokenizerFast

from tests.helpers.blocks import usage_blocks
from tests.helpers.card_runs import LABELS, card_of, make_run, read, write


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
    card = card_of(run / "adapter")
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


def test_the_base_of_an_adapter_is_pinned_where_its_commit_is_known(tmp_path):
    folder = make_run(tmp_path, config={"model_type": "bert"})
    adapter = {"base_model_name_or_path": "ann/base", "revision": "0123abc"}
    write(folder / "adapter" / "adapter_config.json", adapter)
    write(folder / "adapter" / "config.json", read(folder, "config.json"))
    for card in (card_of(folder), card_of(folder / "adapter")):
        assert 'BASE = "ann/base"\nBASE_REVISION = "0123abc"\n' in card.content
        assert "from_pretrained(BASE, revision=BASE_REVISION, config=config)" in card.content


@pytest.mark.parametrize("named", ["ann/base", "encoder", None])
@pytest.mark.parametrize("own_code", [True, False])
def test_where_an_encoder_lies_on_this_machine_is_nobodys_business(tmp_path, named, own_code):
    folder = make_run(tmp_path / "run", **({} if own_code else {"config": {"model_type": "bert"}}))
    run = read(folder, "run.json")
    write(folder / "run.json", run | {"model": run["model"] | {"encoder": named}})
    base = tmp_path / "home" / "ann" / "encoder"
    adapter = {"base_model_name_or_path": str(base), "revision": None}
    write(folder / "adapter" / "adapter_config.json", adapter)
    write(folder / "adapter" / "config.json", read(folder, "config.json"))
    for card in (card_of(folder), card_of(folder / "adapter")):
        assert str(base.parent) not in card.content and (named or "encoder") in card.content
