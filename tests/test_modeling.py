import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import (
    AutoModel,
    LlamaConfig,
    LlamaModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
)

from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification, AttnPoolModel, HierarchicalAttnConfig
from salience.modeling.encoders import position_limit
from salience.modeling.pooling import AttentionPooling, SelfQuery
from salience.modeling.ragged import Ragged
from salience.modeling.salience_base import classification_loss
from salience.modeling.segmentation import Punctuation, SlidingWindow
from salience.modeling.windows import encode_windows, pack_inputs, plan_windows
from tests.tiny import TINY_MODELS, VOCAB_SIZE, random_batch, tiny_encoder_config, tiny_model

LENGTHS = [0, 1, 2, 9, 16, 17, 40, 61]
families = pytest.mark.parametrize("name", TINY_MODELS)


@families
def test_a_text_alone_and_in_any_batch_gives_the_same_logits(name):
    model = tiny_model(name)
    right, left = random_batch(LENGTHS), random_batch(LENGTHS, "left")
    with torch.no_grad():
        together, from_left = model(**right), model(**left)
        assert torch.isfinite(together.logits).all()
        assert_close(together.logits, from_left.logits, atol=1e-5, rtol=0)
        for row, length in enumerate(LENGTHS):
            alone = model(input_ids=right["input_ids"][row : row + 1, :length])
            assert_close(alone.logits[0], together.logits[row], atol=1e-5, rtol=0)
            if alone.pooling_weights is not None:
                columns = slice(len(from_left.pooling_weights[0]) - length, None)
                weights = alone.pooling_weights[0, :length]
                assert_close(weights, together.pooling_weights[row, :length], atol=1e-5, rtol=0)
                assert_close(weights, from_left.pooling_weights[row, columns], atol=1e-5, rtol=0)


@families
def test_what_stands_on_padding_does_not_matter(name):
    model, batch = tiny_model(name), random_batch(LENGTHS)
    other = batch | {"input_ids": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 7)}
    with torch.no_grad():
        assert_close(model(**batch).logits, model(**other).logits, atol=0, rtol=0)


@families
def test_pooling_weights_sum_to_one_over_tokens(name):
    model, batch = tiny_model(name), random_batch(LENGTHS)
    weights = model(**batch).pooling_weights
    if weights is None:
        assert name in ("lstm", "cnn", "gat")
        return
    assert weights.shape == batch["input_ids"].shape and (weights >= 0).all()
    assert (weights[batch["attention_mask"] == 0] == 0).all()
    assert_close(weights.sum(1), torch.tensor([float(length > 0) for length in LENGTHS]), atol=1e-5, rtol=0)


@families
def test_every_parameter_gets_gradient_and_one_batch_can_be_learned(name):
    model, batch = tiny_model(name).train(), random_batch([12, 20, 33, 5, 18, 27])
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    model(**batch, labels=labels).loss.backward()
    silent = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    # Keys' biases move no softmax; an encoder may have embeddings for what a single text never uses.
    assert not [key for key in silent if not key.endswith("key.bias") and "token_type" not in key], silent
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.eval()
    for _ in range(150):
        optimizer.zero_grad()
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.1


@families
def test_embeddings_can_replace_ids(name):
    model, batch = tiny_model(name), random_batch([3, 0, 30])
    embeds = model.get_input_embeddings()(batch["input_ids"])
    with torch.no_grad():
        expected = model(**batch).logits
        assert_close(model(**batch | {"inputs_embeds": embeds}).logits, expected, atol=1e-6, rtol=0)


@families
def test_bfloat16_gives_finite_logits_near_float32(name):
    model, batch = tiny_model(name), random_batch(LENGTHS)
    with torch.no_grad():
        expected = model(**batch).logits
        with torch.autocast("cpu", torch.bfloat16):
            assert_close(model(**batch).logits.float(), expected, atol=0.3, rtol=0.1)


def test_a_batch_of_empty_texts_and_a_batch_without_columns():
    for name in TINY_MODELS:
        model = tiny_model(name)
        for width in (0, 3):
            ids = torch.zeros(2, width)
            outputs = model(input_ids=ids, attention_mask=ids)
            assert outputs.logits.shape == (2, 3) and torch.isfinite(outputs.logits).all()
            assert outputs.pooling_weights is None or outputs.pooling_weights.shape == (2, width)


def test_tuple_output_and_refused_options():
    model, batch = tiny_model("attn_pool"), random_batch([4])
    assert isinstance(model(**batch, return_dict=False), tuple)
    with pytest.raises(ValueError, match="output_hidden_states"):
        model(**batch, output_hidden_states=True)
    with pytest.raises(ValueError, match="input_ids"):
        model(attention_mask=batch["attention_mask"])


# --- pooling


def test_self_attention_pooling_is_equations_3_and_4():
    pooling = AttentionPooling(8, key_dim=4, alpha=0.3)
    hidden = torch.randn(2, 6, 8)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]).bool()
    pooled, weights = pooling(hidden, mask)
    for row, length in enumerate((6, 3)):
        h = hidden[row, :length]
        attention = (pooling.attention.query(h) @ pooling.attention.key(h).T / 4**0.5).softmax(-1)
        beta = attention.mean(0)
        assert_close(weights[row, :length], 0.3 / length + 0.7 * beta)
        assert_close(pooled[row], 0.3 * h.mean(0) + 0.7 * beta @ h)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_alpha_sets_the_share_of_the_mean(alpha):
    pooling = AttentionPooling(8, query="learned", key_dim=4, alpha=alpha)
    if pooling.attention is not None:
        torch.nn.init.normal_(pooling.attention.question)
    hidden, mask = torch.randn(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)
    pooled, _ = pooling(hidden, mask)
    attended = 0 if alpha == 1 else torch.einsum("bt,btd->bd", pooling.attention(hidden, mask)[:, 0], hidden)
    assert_close(pooled, alpha * hidden.mean(1) + (1 - alpha) * attended)


def test_heads_weigh_their_own_slices():
    pooling = AttentionPooling(8, query="learned", key_dim=4, num_heads=2, alpha=0.0)
    torch.nn.init.normal_(pooling.attention.question)
    hidden, mask = torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)
    pooled, weights = pooling(hidden, mask)
    beta = pooling.attention(hidden, mask)[0]
    assert_close(pooled[0], torch.cat([beta[0] @ hidden[0, :, :4], beta[1] @ hidden[0, :, 4:]]))
    assert_close(weights[0], beta.mean(0))


def test_long_texts_are_attended_block_by_block(monkeypatch):
    attention = SelfQuery(8, 4, 1, block_size=4)
    hidden, mask = torch.randn(1, 10, 8), torch.ones(1, 10, dtype=torch.bool)
    whole = SelfQuery(8, 4, 1, block_size=None)
    whole.load_state_dict(attention.state_dict())
    blocks = [whole(hidden[:, a:b], mask[:, a:b]) * (b - a) / 10 for a, b in ((0, 4), (4, 8), (8, 10))]
    assert_close(attention(hidden, mask), torch.cat(blocks, dim=2))
    expected = whole(hidden, mask)
    monkeypatch.setattr("salience.modeling.pooling.QUERY_CHUNK", 3)
    assert_close(whole(hidden, mask), expected)


def test_learned_alpha_starts_where_it_should_and_learns():
    model = tiny_model("attn_pool")
    config = AttnPoolConfig(**model.config.to_diff_dict() | {"learn_alpha": True, "alpha": 0.25})
    model = AttnPoolForSequenceClassification(config)
    assert_close(model.model.pooler.alpha.item(), 0.25)
    model(**random_batch([9, 12]), labels=torch.tensor([0, 1])).loss.backward()
    assert model.model.pooler.alpha_logit.grad != 0


# --- windows


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    size=st.integers(4, 20),
    num_prefix=st.integers(0, 2),
    num_suffix=st.integers(0, 1),
    data=st.data(),
)
def test_windows_cover_every_token_and_lead_back_to_it(lengths, size, num_prefix, num_suffix, data):
    stride = data.draw(st.integers(1, size - num_prefix - num_suffix))
    width = max([*lengths, 1])
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    plan = plan_windows(mask, size, stride, num_prefix, num_suffix)
    assert plan.token_WL.shape[1] <= size
    home = plan.token_WL.flatten()[plan.home_BT]
    expected = torch.arange(len(lengths) * width).view(len(lengths), width)
    assert (home[mask] == expected[mask]).all()
    assert plan.mask_WL.flatten()[plan.home_BT][mask].all()
    for row, length in enumerate(lengths):
        windows = plan.token_WL.div(width, rounding_mode="floor")[:, 0] == row
        assert windows.sum() == 1 or length > size
        for tokens, valid in zip(plan.token_WL[windows], plan.mask_WL[windows], strict=True):
            local = tokens[valid] - row * width
            if length >= num_prefix + num_suffix:
                assert local[:num_prefix].tolist() == list(range(num_prefix))
                assert local[len(local) - num_suffix :].tolist() == list(range(length - num_suffix, length))


def test_a_text_that_fits_is_encoded_as_the_encoder_would():
    model, batch = tiny_model("attn_pool"), random_batch([16, 5])
    hidden = encode_windows(
        model.encoder, pack_inputs(batch["attention_mask"], input_ids=batch["input_ids"]), model.config
    )
    expected = model.encoder(**batch).last_hidden_state * batch["attention_mask"][:, :, None]
    assert_close(hidden, expected, atol=1e-6, rtol=0)


def test_words_far_beyond_the_encoders_limit_count():
    model, batch = tiny_model("attn_pool"), random_batch([500])
    with torch.no_grad():
        before = model(**batch).logits
        batch["input_ids"][0, 480:490] = 9
        assert (model(**batch).logits - before).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("config", "model_class", "limit"),
    [
        (RobertaConfig(vocab_size=VOCAB_SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                       intermediate_size=16, max_position_embeddings=26, pad_token_id=1), RobertaModel, 24),
        (ModernBertConfig(vocab_size=VOCAB_SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                          intermediate_size=16, max_position_embeddings=64, pad_token_id=0, cls_token_id=1,
                          sep_token_id=2, bos_token_id=1, eos_token_id=2), ModernBertModel, 64),
        (LlamaConfig(vocab_size=VOCAB_SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                     num_key_value_heads=2, intermediate_size=16, max_position_embeddings=64), LlamaModel, 64),
    ],
    ids=["roberta", "modernbert", "llama"],
)  # fmt: skip
def test_other_encoders_read_long_texts_alike_in_any_batch(config, model_class, limit):
    assert position_limit(model_class(config)) == limit
    model = AttnPoolForSequenceClassification(
        AttnPoolConfig(encoder_config=config, window_size=20, num_labels=3)
    ).eval()
    lengths = [0, 3, 20, 55]
    with torch.no_grad():
        together, left = model(**random_batch(lengths)).logits, model(**random_batch(lengths, "left")).logits
        assert_close(together, left, atol=1e-5, rtol=0)
        alone = model(input_ids=random_batch(lengths)["input_ids"][3:, :55]).logits
        assert_close(alone[0], together[3], atol=1e-5, rtol=0)


def test_from_encoder_reads_limit_and_special_tokens(encoder_folder):
    model = AttnPoolForSequenceClassification.from_encoder(encoder_folder, num_labels=2)
    assert (model.config.window_size, model.config.num_prefix_tokens, model.config.num_suffix_tokens) == (24, 1, 1)
    expected = AutoModel.from_pretrained(encoder_folder).state_dict()
    weights = model.encoder.state_dict()
    assert all(torch.equal(weights[key], expected[key]) for key in weights)
    assert str(encoder_folder) not in model.config.to_json_string()


def test_a_frozen_encoder_has_no_dropout_and_no_gradient():
    model = tiny_model("attn_pool")
    model.encoder.requires_grad_(False)
    model.train()
    assert model.model.pooler.training
    assert not any(module.training for module in model.encoder.modules())
    model(**random_batch([5]), labels=torch.tensor([1])).loss.backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())


def test_gradient_checkpointing_gives_the_same_gradients():
    batch, labels, gradients = random_batch([12, 30]), torch.tensor([0, 1]), []
    for checkpointing in (False, True):
        model = tiny_model("attn_pool").train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.encoder.config.attention_probs_dropout_prob = 0.0
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**batch, labels=labels).loss.backward()
        gradients.append(model.model.pooler.attention.key.weight.grad)
    assert_close(gradients[0], gradients[1])


# --- ragged operations and sentences


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12), ratio=st.floats(0.05, 1))
def test_ragged_operations_equal_a_loop(lengths, ratio):
    items = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(sum(lengths)))
    ragged = Ragged(torch.tensor(lengths))
    k = (ragged.lengths_S * ratio).ceil().long()
    pieces = items.split(lengths)
    kept = (ragged.rank(items[:, 0]) < k[ragged.segment_N]).split(lengths)
    softmax = ragged.softmax(items[:, 1]).split(lengths)
    zero = torch.zeros(3)
    for row, piece in enumerate(pieces):
        assert_close(ragged.sum(items)[row], piece.sum(0), atol=1e-5, rtol=0)
        assert_close(ragged.mean(items)[row], piece.mean(0) if len(piece) else zero, atol=1e-5, rtol=0)
        assert_close(ragged.max(items)[row], piece.amax(0) if len(piece) else zero)
        assert_close(softmax[row], piece[:, 1].softmax(0))
        best = piece[:, 0].topk(int(k[row])).indices
        assert set(kept[row].nonzero()[:, 0].tolist()) == set(best.tolist())
    doubled = ragged.map_groups(lambda x, mask: x * 2 * mask[:, :, None], items)
    assert_close(doubled, items * 2)


def find(segmentation, ids, mask, config):
    packed = pack_inputs(mask, input_ids=ids)
    return segmentation(1, config)(packed, torch.zeros(*packed.mask_BT.shape, 1))


def sentences_of(found):
    return [tokens.tolist() for tokens in found.token_N.split(found.words.lengths_S.tolist())]


def test_sentences_end_with_runs_of_marks():
    config = HierarchicalAttnConfig(sentence_end_ids=[5, 6])
    ids = torch.tensor([[9, 9, 5, 6, 9, 9, 0], [6, 9, 9, 9, 9, 9, 5]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1]]).bool()
    found = find(Punctuation, ids, mask, config)
    assert sentences_of(found) == [[0, 1, 2, 3], [4, 5], [7], [8, 9, 10, 11, 12, 13]]
    assert found.documents.lengths_S.tolist() == [2, 2]
    assert found.number_N.tolist() == [0, 0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1]


def test_limits_on_sentences_and_words():
    config = HierarchicalAttnConfig(sentence_end_ids=[5], max_sentences=2, max_words=3)
    found = find(Punctuation, torch.tensor([[9, 9, 9, 9, 5, 9, 5, 9, 9]]), torch.ones(1, 9).bool(), config)
    assert sentences_of(found) == [[0, 1, 2], [5, 6]]


@pytest.mark.parametrize(
    ("length", "expected"), [(0, []), (1, [1]), (4, [4]), (5, [4, 3]), (6, [4, 4]), (7, [4, 4, 3]), (8, [4, 4, 4])]
)
def test_sliding_windows_cover_the_document(length, expected):
    config = HierarchicalAttnConfig(segmentation="sliding_window", segment_size=4, segment_stride=2)
    found = find(SlidingWindow, torch.ones(1, 8).long(), torch.arange(8)[None] < length, config)
    assert found.words.lengths_S.tolist() == expected
    assert set(found.token_N.tolist()) == set(range(length))


def test_an_end_mark_decides_where_sentences_are():
    model = tiny_model("hierarchical")
    ids = torch.full((1, 12), 9)
    assert model(input_ids=ids).sentence_ids.tolist() == [[0] * 12]
    ids[0, 5] = 5
    assert model(input_ids=ids).sentence_ids.tolist() == [[0] * 6 + [1] * 6]


def test_the_filter_keeps_its_share_and_learns():
    model, batch = tiny_model("hierarchical"), random_batch([16])
    batch["input_ids"][batch["input_ids"] < 7] = 7  # one sentence
    outputs = model(**batch, labels=torch.tensor([0]))
    assert (outputs.pooling_weights > 0).sum() == 8
    outputs.loss.backward()
    assert model.model.word_filter.score.weight.grad.any()


def test_cross_attention_weights_are_those_that_are_used():
    model, batch = tiny_model("hierarchical"), random_batch([30, 0, 12])
    outputs = model(**batch, output_attentions=True)
    kept = outputs.pooling_weights > 0
    sums = outputs.cross_attentions.sum(-1).transpose(1, 2)[kept]
    assert_close(sums, torch.ones_like(sums))
    cross = model.model.cross_attention
    words, sentences = torch.randn(5, 16), torch.randn(3, 48)
    layouts = Ragged(torch.tensor([2, 3])), Ragged(torch.tensor([1, 2]))
    weights = cross.weights(words, layouts[0], sentences, layouts[1])
    values = cross.value(sentences).unflatten(-1, (2, -1))
    expected = []
    for item, rows in zip(range(5), [[0], [0], [1, 2], [1, 2], [1, 2]], strict=True):
        expected.append(torch.cat([weights[item, head, : len(rows)] @ values[rows][:, head] for head in range(2)]))
    attended = cross.attention_norm(words + cross.output(torch.stack(expected)))
    expected = cross.feed_forward_norm(attended + cross.feed_forward(attended))
    assert_close(cross(words, layouts[0], sentences, layouts[1]), expected, atol=1e-5, rtol=1e-5)


# --- losses by problem type, configuration


def test_problem_types_have_their_losses_and_stay_as_they_are():
    logits = torch.randn(4, 3)
    ids, hot, reals = torch.tensor([0, 2, 1, 1]), torch.eye(3)[[0, 2, 1, 1]], torch.randn(4)
    functional = torch.nn.functional
    assert_close(classification_loss(logits, ids, None), functional.cross_entropy(logits, ids))
    expected = functional.binary_cross_entropy_with_logits(logits, hot)
    assert_close(classification_loss(logits, hot, None), expected)
    assert_close(classification_loss(logits[:, :1], reals, None), functional.mse_loss(logits[:, 0], reals))
    assert_close(
        classification_loss(logits, ids, "single_label_classification", num_items_in_batch=8),
        functional.cross_entropy(logits, ids) / 2,
    )
    with pytest.raises(ValueError, match="ranking"):
        classification_loss(logits, ids, "ranking")
    model = tiny_model("attn_pool")
    model.config.problem_type = None
    model(**random_batch([3]), labels=torch.tensor([1]))
    assert model.config.problem_type is None


def test_prior_correction_shifts_logits_outside_of_training_only():
    model, batch = tiny_model("attn_pool_mean"), random_batch([7])
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    plain = model(**batch).logits
    model.config.prior_correction = [-1.0, 0.5, 2.0]
    assert_close(model(**batch).logits, plain - torch.tensor([[-1.0, 0.5, 2.0]]))


@pytest.mark.parametrize(
    ("config_class", "options", "message"),
    [
        (AttnPoolConfig, {"alpha": 1.5}, "alpha = 1.5"),
        (AttnPoolConfig, {"alpha": 1.0, "learn_alpha": True}, "alpha = 1.0"),
        (AttnPoolConfig, {"num_heads": 5}, "num_heads = 5"),
        (AttnPoolConfig, {"window_size": 10, "window_stride": 11}, "window_stride = 11"),
        (AttnPoolConfig, {"prior_correction": [1.0]}, "prior_correction"),
        (HierarchicalAttnConfig, {"filter_ratio": 0.0}, "filter_ratio = 0.0"),
        (HierarchicalAttnConfig, {"segment_stride": 60}, "segment_stride = 60"),
        (HierarchicalAttnConfig, {"hidden_dim": 7}, "hidden_dim = 7"),
    ],
)
def test_values_out_of_range_are_named(config_class, options, message):
    with pytest.raises(ValueError, match=message):
        config_class(**options)


def test_unknown_choices_list_what_there_is():
    config = AttnPoolConfig(encoder_config=tiny_encoder_config(), query="nearest")
    with pytest.raises(ValueError, match=r'query = "nearest" is unknown; choose from cls, learned, self'):
        AttnPoolModel(config)
