"""Token vectors for tools that pool them, prompts of PEFT, and padding to a tokenizer's limit."""

import peft
import pytest
import torch
from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, TaskType, get_peft_model
from torch._dynamo.testing import CompileCounter
from torch.testing import assert_close
from transformers import AutoModel, AutoTokenizer, pipeline

from salience.eval.reading.load import load_classifier
from salience.modeling.tokenizer_loading import PADDED_LENGTH, length_limit
from tests.helpers.slow import others_slow
from tests.helpers.tiny import TINY_MODELS, random_batch, tiny_model

families = pytest.mark.parametrize("name", TINY_MODELS)
each_kind = pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "hierarchical_encoder", "lstm", "cnn", "gat"])
LENGTHS = [0, 3, 17, 40]


@pytest.fixture
def unlimited(tokenizer, tmp_path):
    """The tiny tokenizer as train.py saves it for models that read any length."""
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    loaded.model_max_length = PADDED_LENGTH
    return loaded


@pytest.fixture
def folder(name, unlimited, tmp_path):
    """A saved model with its tokenizer."""
    tiny_model(name).save_pretrained(tmp_path / "model")
    unlimited.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


# --- token vectors


@families
def test_token_vectors_stand_in_the_callers_columns_and_are_zero_on_padding(name):
    model = tiny_model(name).base_model
    right, left = random_batch(LENGTHS), random_batch(LENGTHS, "left")
    from_right, from_left = model(**right).last_hidden_state, model(**left).last_hidden_state
    assert from_right.shape == from_left.shape == (4, 40, model.config.hidden_size)
    assert (from_right[right["attention_mask"] == 0] == 0).all()
    assert (from_left[left["attention_mask"] == 0] == 0).all()
    assert_close(from_right[right["attention_mask"] == 1], from_left[left["attention_mask"] == 1], atol=1e-5, rtol=0)
    for row, length in enumerate(LENGTHS):
        alone = model(input_ids=right["input_ids"][row : row + 1, :length]).last_hidden_state
        assert_close(alone[0], from_right[row, :length], atol=1e-5, rtol=0)
        # The hierarchical models' defaults read 30 sentences of 100 words: all of these.
        assert (alone.abs().amax(2) > 0).all()


@families
def test_nobody_makes_them_for_a_classifier(name):
    model, batch = tiny_model(name), random_batch(LENGTHS)
    seen = []
    model.base_model.register_forward_hook(lambda module, inputs, output: seen.append(output.last_hidden_state))
    model(**batch)
    assert seen == [None]


@each_kind
def test_sentence_transformers_pools_them(name, folder, unlimited):
    SentenceTransformer = pytest.importorskip("sentence_transformers").SentenceTransformer
    encoder = SentenceTransformer(folder, device="cpu")  # adds a mean over tokens
    width = AutoModel.from_pretrained(folder).config.hidden_size
    texts = ["the bank raised its rates", "a goal in the last minute . the crowd was loud ! " * 9]
    found = torch.tensor(encoder.encode(texts))
    assert found.shape == (2, width)
    model = tiny_model(name).base_model
    for row, text in enumerate(texts):
        inputs = unlimited(text, return_tensors="pt")
        assert_close(found[row], model(**inputs).last_hidden_state[0].mean(0), atol=1e-5, rtol=0)


@each_kind
def test_feature_extraction_returns_them(name, folder, unlimited):
    extract = pipeline("feature-extraction", model=folder, device="cpu")
    text = "a goal in the last minute ."
    expected = tiny_model(name).base_model(**unlimited(text, return_tensors="pt")).last_hidden_state
    assert_close(torch.tensor(extract(text)), expected, atol=1e-5, rtol=0)


# --- padding to a limit that the model doesn't have


@each_kind
@pytest.mark.parametrize("options", others_slow([{}, {"truncation": True}], {}))
def test_padding_to_the_maximum_changes_no_answer(name, folder, options):
    model, tokenizer = tiny_model(name), AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == PADDED_LENGTH and length_limit(tokenizer) is None
    texts = ["the bank raised its rates", "", "a goal in the last minute . " * 40]
    padded = tokenizer(texts, padding="max_length", return_tensors="pt", **options)
    assert padded["input_ids"].shape == (3, PADDED_LENGTH)
    with torch.no_grad():
        expected = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        assert_close(model(**padded).logits, expected, atol=1e-6, rtol=0)
    classify = pipeline("text-classification", model=folder, tokenizer=tokenizer, device="cpu")
    scores = classify(texts, padding="max_length", batch_size=3, **options)
    assert_close(torch.tensor([each["score"] for each in scores]), expected.softmax(-1).amax(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("saved", [10**30, PADDED_LENGTH, 64])
def test_folders_of_earlier_versions_get_a_limit_to_pad_to(saved, tmp_path, unlimited):
    tiny_model("attn_pool").save_pretrained(tmp_path)
    unlimited.model_max_length = saved
    unlimited.save_pretrained(tmp_path)
    texts = ["the bank", "a goal in the last minute"]
    model, tokenizer = load_classifier(tmp_path)
    foreign = AutoTokenizer.from_pretrained(tmp_path, model_max_length=65_535)  # what the README says
    assert foreign.model_max_length == PADDED_LENGTH
    assert tokenizer.model_max_length == min(saved, PADDED_LENGTH)
    assert tokenizer(texts, padding="max_length")["input_ids"][0][tokenizer.model_max_length - 1] == 0


@pytest.mark.parametrize(
    ("saved", "limit"), [(64, 64), (512, 512), (131_072, 131_072), (PADDED_LENGTH, None), (10**30, None)]
)
def test_limits_of_tokenizers(tokenizer, unlimited, saved, limit):
    unlimited.model_max_length = saved
    assert length_limit(unlimited) == limit


# --- prompts of PEFT

PROMPTS = {
    "prompt": PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=4),
    "p-tuning": PromptEncoderConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=4, encoder_hidden_size=8),
}


def prompts(kind, **options):
    return type(PROMPTS[kind])(**{**PROMPTS[kind].to_dict(), **options})


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("name", others_slow(["attn_pool", "attn_pool_learned_alpha", "attn_pool_cls"], "attn_pool"))
def test_prompts_are_learned_on_encoders(name, kind, tmp_path):
    torch.manual_seed(0)
    model = get_peft_model(tiny_model(name), prompts(kind))
    batch, labels = random_batch([5, 12, 30, 17]), torch.tensor([0, 1, 2, 1])
    before = model.base_model.state_dict()["model.pretrained.embeddings.word_embeddings.weight"].clone()
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(model(**batch, labels=labels).loss)
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2
    assert torch.equal(model.base_model.state_dict()["model.pretrained.embeddings.word_embeddings.weight"], before)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(tiny_model(name), tmp_path)
    assert_close(again.eval()(**batch).logits, model.eval()(**batch).logits)


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("name", ["lstm", "cnn", "hierarchical_windows"])
def test_models_from_scratch_take_prompts_of_a_given_width(name, kind):
    with pytest.raises(ValueError, match="token_dim"):
        get_peft_model(tiny_model(name), prompts(kind))
    model = get_peft_model(tiny_model(name), prompts(kind, token_dim=12, num_layers=1, num_attention_heads=1))
    assert model(**random_batch([5, 12]), labels=torch.tensor([0, 1])).loss.isfinite()


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize(("name", "message"), [("hierarchical_encoder", "sentence ends"), ("gat", "distinct words")])
def test_models_that_read_ids_refuse_prompts(name, message, kind):
    sizes = {} if name == "hierarchical_encoder" else {"token_dim": 12, "num_layers": 1, "num_attention_heads": 1}
    model = get_peft_model(tiny_model(name), prompts(kind, **sizes))
    with pytest.raises(ValueError, match=f"{message}.*pass input_ids, too, beside inputs_embeds"):
        model(**random_batch([5, 12]))


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical_encoder"])
def test_prefixes_are_refused_by_peft(name):
    model = get_peft_model(tiny_model(name), PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=4))
    with pytest.raises(ValueError, match="does not support past key values"):
        model(**random_batch([5, 12]))


@torch.no_grad()
@pytest.mark.parametrize("name", others_slow(["attn_pool", "hierarchical_encoder", "cnn"], "attn_pool"))
def test_torch_export_serves_any_batch(name):
    model, batch = tiny_model(name), random_batch([40, 7, 21])
    sizes = {each: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for each in batch}
    exported = torch.export.export(model, (), batch, dynamic_shapes=sizes, strict=False).module()
    for lengths in ([5], [150, 1], [1, 2, 3, 0, 7], [9] * 13):
        given = random_batch(lengths, "left")
        ours, theirs = model(**given), exported(**given)
        for field in ("logits", "pooling_weights"):
            if ours.get(field) is not None:
                assert_close(theirs[field], ours[field], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["lstm", "hierarchical"])
def test_torch_export_of_a_bilstm_is_refused(name):
    with pytest.raises(ValueError, match="a model with a Bi-LSTM can't be exported by it alone: `salience export`"):
        torch.export.export(tiny_model(name), (), random_batch([40, 7]), strict=False)


@torch.no_grad()
@pytest.mark.slow
def test_torch_compile_makes_nothing_anew_for_other_shapes():
    model, made = tiny_model("attn_pool"), CompileCounter()
    compiled = torch.compile(model, backend=made, dynamic=True)
    kinds = [[40, 7, 21], [5], [1, 2, 3, 0, 7], [2_000]]  # several texts, one, an empty one, one of many windows
    for lengths in kinds:
        compiled(**random_batch(lengths))
    graphs = made.frame_count
    for lengths in ([9] * 13, [150, 1], [60, 3, 16, 17, 33], [700], [3_000, 8], [8, 0, 1_000, 90], [31] * 4):
        batch = random_batch(lengths, "left")
        assert_close(compiled(**batch).logits, model(**batch).logits, atol=1e-5, rtol=0)
        assert made.frame_count == graphs, lengths
    assert_close(compiled(**random_batch([0, 0])).logits, model(**random_batch([0, 0])).logits)
