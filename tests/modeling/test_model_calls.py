"""Calls that other tools make: the plain head's answer, or one sentence."""

import copy

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    pipeline,
)

from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification
from tests.helpers.tiny import (
    ENCODER,
    LABELS,
    SENTENCE_ENDS,
    TINY_MODELS,
    VOCAB_SIZE,
    random_batch,
    tiny_encoder_config,
    tiny_model,
)

LENGTHS = [0, 1, 17, 40]
families = pytest.mark.parametrize("name", TINY_MODELS)
with_encoder = pytest.mark.parametrize("name", ["attn_pool", "hierarchical_encoder"])


def saved(name, folder):
    tiny_model(name).save_pretrained(folder)
    return folder


# --- shapes and values of the inputs


@families
@pytest.mark.parametrize("shape", [(3, 6), (3, 1), (3, 8), (1, 7), (2, 7), (7,), (3, 7, 7), (3, 1, 1, 7), (3, 1, 7, 7)])
def test_a_mask_of_another_shape_than_the_ids_is_refused(name, shape):
    model, ids = tiny_model(name), random_batch([7, 7, 7])["input_ids"]
    for called in (model, model.base_model):
        with pytest.raises(ValueError, match="attention_mask"):
            called(input_ids=ids, attention_mask=torch.ones(shape))


@families
def test_ids_types_and_embeddings_must_be_of_the_same_tokens(name):
    model, ids = tiny_model(name), random_batch([7, 7, 7])["input_ids"]
    embeds = model.get_input_embeddings()(ids)
    wrong = {
        "token_type_ids": {"input_ids": ids, "token_type_ids": torch.zeros(3, 6)},
        "inputs_embeds": {"input_ids": ids, "inputs_embeds": embeds[:, :-1]},
        "input_ids": {"input_ids": ids[0]},
        "Pass input_ids or inputs_embeds": {"token_type_ids": torch.zeros(3, 7)},
    }
    for message, inputs in wrong.items():
        with pytest.raises(ValueError, match=message):
            model(**inputs)
    with pytest.raises(ValueError, match="inputs_embeds has 2 dimensions"):
        model(inputs_embeds=embeds[0])


@families
@pytest.mark.parametrize("wrong", [VOCAB_SIZE, 10**9, -1])
def test_ids_beyond_the_vocabulary_are_named(name, wrong):
    model = tiny_model(name)
    for inputs in ({"input_ids": torch.tensor([[5, wrong, 6]])}, {"input_ids": torch.tensor([[5, 6], [7, wrong]])}):
        with pytest.raises(ValueError, match=f"input_ids has {wrong}, and this model knows 0 to {VOCAB_SIZE - 1}"):
            model(**inputs)


@with_encoder
def test_token_types_that_the_encoder_lacks_are_named(name):
    with pytest.raises(ValueError, match="token_type_ids has 2, and this model knows 0 to 1"):
        tiny_model(name)(input_ids=torch.tensor([[5, 6]]), token_type_ids=torch.tensor([[0, 2]]))


@families
@pytest.mark.parametrize("width", [0, 5])
def test_a_batch_of_no_texts_has_no_logits(name, width):
    model, none = tiny_model(name), torch.zeros(0, width, dtype=torch.long)
    outputs = model(input_ids=none, attention_mask=none)
    assert outputs.logits.shape == (0, 3)
    assert outputs.pooling_weights is None or outputs.pooling_weights.shape == (0, width)
    assert model.base_model(input_ids=none).last_hidden_state.shape == (0, width, model.config.hidden_size)
    assert model.train()(input_ids=none, labels=none[:, 0] if width else none.new_zeros(0)).logits.shape == (0, 3)


# --- outputs


@families
def test_tuples_where_no_dictionary_is_wanted(name, tmp_path):
    model, batch = tiny_model(name), random_batch([3, 30])
    labels = torch.tensor([0, 2])
    expected = model(**batch, labels=labels)
    configured = AutoModelForSequenceClassification.from_pretrained(saved(name, tmp_path), return_dict=False).eval()
    if configured.encoder is not None:
        configured.encoder.config.return_dict = False
    for answer in (model(**batch, labels=labels, return_dict=False), configured(**batch, labels=labels)):
        assert isinstance(answer, tuple)
        assert_close(answer[0], expected.loss)
        assert_close(answer[1], expected.logits)
    tokens, pooled = configured.base_model(**batch)[:2]
    assert_close(pooled, expected.pooler_output)
    assert tokens.shape == (2, 30, model.config.hidden_size)
    assert configured(**batch, return_dict=True).logits.shape == (2, 3)


@families
def test_hidden_states_are_refused_wherever_they_are_asked_for(name, tmp_path):
    model, batch, folder = tiny_model(name), random_batch([4]), saved(name, tmp_path)
    calls = [
        lambda: model(**batch, output_hidden_states=True),
        lambda: model.base_model(**batch, output_hidden_states=True),
        lambda: AutoModelForSequenceClassification.from_pretrained(folder, output_hidden_states=True),
        lambda: AutoModel.from_pretrained(folder, output_hidden_states=True),
        lambda: type(model)(type(model.config)(**model.config.to_dict() | {"output_hidden_states": True})),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="output_hidden_states is not offered"):
            call()
    model.config.output_hidden_states = True
    with pytest.raises(ValueError, match="output_hidden_states is not offered"):
        model(**batch)
    assert model(**batch, output_hidden_states=False).logits.shape == (1, 3)


@families
def test_attentions_are_returned_or_refused_wherever_they_are_asked_for(name, tmp_path):
    model, batch, folder = tiny_model(name), random_batch([4, 30]), saved(name, tmp_path)
    calls = [
        lambda: model(**batch, output_attentions=True),
        lambda: model.base_model(**batch, output_attentions=True),
        lambda: AutoModelForSequenceClassification.from_pretrained(folder, output_attentions=True).eval()(**batch),
        lambda: AutoModel.from_pretrained(folder, output_attentions=True).eval()(**batch),
    ]
    for call in calls:
        if name.startswith("hierarchical"):
            assert_close(call().cross_attentions, calls[0]().cross_attentions)
        else:
            with pytest.raises(ValueError, match="output_attentions is offered by hierarchical models"):
                call()


@families
def test_tracing_is_refused_and_leaves_no_module(name):
    model, ids = tiny_model(name), random_batch([7])["input_ids"]
    for called in (model, model.base_model):
        with pytest.raises(ValueError, match="torch.jit.trace"):
            torch.jit.trace(called, (ids,), strict=False)


# --- half precision

OPTIONS = [
    {"segmentation": "learned", "sentence_end_ids": list(range(5, 25))},
    {"segmentation": "sliding_window", "segment_size": 6, "segment_stride": 4},
    *({"filter": name} for name in ("adaptive", "none", "random", "idf")),
    {"attention_scope": "document", "attention_kernel": "linear", "linear_features": 16},
    {"idf_prior": True, "boundary_penalty": 0.5, "learn_temperature": True},
    {"entropy_weight": 0.1, "diversity_weight": 0.1, "reconstruction_weight": 0.1},
    {"fusion": "gated", "document_pooling": "mean", "embedding_skip": True},
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "make", [*TINY_MODELS, *range(len(OPTIONS))], ids=[*TINY_MODELS, *(",".join(each) for each in OPTIONS)]
)
def test_weights_in_half_precision_read_and_learn(make, dtype):
    model = tiny_model(make) if isinstance(make, str) else TINY_MODELS["hierarchical"](**OPTIONS[make]).eval()
    batch = random_batch(LENGTHS)
    half = copy.deepcopy(model).to(dtype)
    with torch.no_grad():
        found, expected = half(**batch), model(**batch)
    assert found.logits.dtype == dtype and half.base_model(**batch).last_hidden_state.dtype == dtype
    assert_close(found.logits.float(), expected.logits, atol=0.05, rtol=0)
    loss = half.train()(**batch, labels=torch.tensor([0, 1, 2, 0])).loss
    loss.backward()
    assert loss.isfinite() and all(weight.grad is None or weight.grad.isfinite().all() for weight in half.parameters())


# --- what is loaded


@families
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(name, number, tmp_path):
    model = tiny_model(name)
    for weight in (next(model.parameters()), model.base_model.get_input_embeddings().weight):
        kept = weight.data.clone()
        weight.data.view(-1)[3] = number
        model.save_pretrained(tmp_path)
        weight.data = kept
        for loader in (AutoModelForSequenceClassification, AutoModel):
            with pytest.raises(ValueError, match="weights that are no finite numbers"):
                loader.from_pretrained(tmp_path)


@with_encoder
def test_windows_beyond_the_encoder_are_refused(name, tmp_path):
    folder = saved(name, tmp_path)
    for size in (10**9, ENCODER["max_position_embeddings"] + 1):
        with pytest.raises(ValueError, match=f"window_size = {size} is more than the encoder's 24 positions"):
            AutoModelForSequenceClassification.from_pretrained(folder, window_size=size)
    model = AttnPoolForSequenceClassification(AttnPoolConfig(encoder_config=tiny_encoder_config(), **LABELS)).eval()
    assert model(**random_batch([24])).logits.shape == (1, 3)
    with pytest.raises(ValueError, match="a text of 25 tokens is more than the encoder's 24 positions"):
        model(**random_batch([25]))


def test_fields_that_are_set_while_loading_are_looked_at(tmp_path):
    folder = saved("attn_pool", tmp_path)
    wrong = {"alpha": 7.0, "prior_correction": [1.0], "logit_temperature": 0.0, "window_stride": 99, "num_heads": 5}
    for field, value in wrong.items():
        with pytest.raises(ValueError, match=field):
            AutoModelForSequenceClassification.from_pretrained(folder, **{field: value})


@families
def test_a_larger_vocabulary_is_saved_and_loaded(name, tmp_path):
    model, batch = tiny_model(name), random_batch(LENGTHS)
    expected = model(**batch).logits
    for size in (VOCAB_SIZE + 8, VOCAB_SIZE):
        model.resize_token_embeddings(size)
        model.save_pretrained(tmp_path)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        assert again.get_input_embeddings().weight.shape[0] == again.config.vocab_size == size
        assert_close(again(**batch).logits, expected)
        assert again(input_ids=torch.tensor([[size - 1, 5, SENTENCE_ENDS[0]]])).logits.isfinite().all()
    if model.encoder is not None:
        assert again.config.encoder_config.vocab_size == again.encoder.config.vocab_size == VOCAB_SIZE


NAMES = [
    ["LABEL_0", "LABEL_1"], ["LABEL_1", "LABEL_0"], ["LABEL_0", "LABEL_1", "LABEL_2"], ["LABEL_2", "x"], ["LABEL_0"],
]  # fmt: skip


@pytest.mark.parametrize("family", ["attn_pool", "hierarchical", "hierarchical_encoder", "lstm", "cnn", "gat"])
@pytest.mark.parametrize("names", NAMES, ids="-".join)
def test_labels_named_like_transformers_own_keep_their_names(names, family, tmp_path):
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    kind = type(tiny_model(family))
    kept = {**tiny_model(family).config.to_dict(), "problem_type": None, **labels}
    kind(kind.config_class(**kept)).save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).config
    assert {"id2label": again.id2label, "label2id": again.label2id} == labels
    assert '"id2label"' in (tmp_path / "config.json").read_text()


# --- pipelines


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "hierarchical_encoder", "lstm", "cnn", "gat"])
def test_pipelines_answer_as_for_the_plain_head(name, tokenizer):
    model, plain = (
        tiny_model(name),
        BertForSequenceClassification(BertConfig(**ENCODER | {"max_position_embeddings": 64})),
    )
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    classify_plainly = pipeline("text-classification", model=plain, tokenizer=tokenizer, device="cpu")
    texts = ["the bank raised its rates", "a goal in the last minute", ""]
    logits = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts]).detach()
    functions = {"softmax": logits.softmax(-1), "sigmoid": logits.sigmoid(), "none": logits}
    for function, expected in functions.items():
        for given in (function, function.upper()):
            rows = classify(texts, function_to_apply=given, top_k=None, batch_size=2, padding=True)
            by_label = [{each["label"]: each["score"] for each in row} for row in rows]
            scores = [[row[label] for label in model.config.label2id] for row in by_label]
            assert_close(torch.tensor(scores), expected, atol=1e-5, rtol=0)
    odd = {
        "no texts": lambda pipe: pipe([]),
        "an empty generator": lambda pipe: list(pipe(text for text in [])),
        "the enumeration's member": lambda pipe: pipe(texts, function_to_apply=type(pipe.function_to_apply).SIGMOID),
        "an unknown function": lambda pipe: pipe(texts, function_to_apply="tanh"),
        "a pair": lambda pipe: pipe({"text": texts[0], "text_pair": texts[1]}),
        "a long text": lambda pipe: pipe(texts[0], padding="max_length", max_length=20),
    }
    for what, ask in odd.items():
        assert outcome(ask, classify) == outcome(ask, classify_plainly), what


def outcome(ask, pipe):
    """The kind of answer, or of error."""
    try:
        return type(ask(pipe))
    except Exception as error:
        return type(error)
