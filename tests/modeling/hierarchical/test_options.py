"""Every option of the hierarchical model: it changes something, it is trained, and it comes back from a folder."""

import copy

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from salience.configuration.flags.model_arguments import model_options
from salience.modeling import HierarchicalAttnConfig, HierarchicalAttnForSequenceClassification
from salience.train import cli
from tests.helpers.slow import others_slow
from tests.helpers.tiny import SENTENCE_ENDS, TINY_MODELS, VOCAB_SIZE, WINDOWS, random_batch, tiny_encoder_config
from tests.helpers.toy import toy_csv

LINEAR = {"attention_kernel": "linear", "linear_features": 16}
WINDOWED = {"segmentation": "sliding_window", "segment_size": 6, "segment_stride": 4}
# Name -> options, what they are compared with, and the beginnings of the parameters' names that they add.
OPTIONS = {
    "embedding_skip": ({"embedding_skip": True}, {}, ["skip."]),
    "sliding_window": (WINDOWED, {}, []),
    "segment_size": (WINDOWED | {"segment_size": 9}, WINDOWED, []),
    "segment_stride": (WINDOWED | {"segment_stride": 2}, WINDOWED, []),
    "learned_boundaries": (
        {"segmentation": "learned"}, {}, ["segment.weight_E", "segment.bias", "segment.end_mark_weight"],
    ),
    "max_sentences": ({"max_sentences": 2}, {}, []),
    "max_words": ({"max_words": 4}, {}, []),
    "adaptive": ({"filter": "adaptive"}, {}, ["word_filter.choose.ratio."]),
    "no_filter": ({"filter": "none"}, {}, []),
    "random": ({"filter": "random"}, {}, []),
    "idf": ({"filter": "idf"}, {}, []),
    "filter_ratio": ({"filter_ratio": 0.2}, {}, []),
    "document_scope": ({"attention_scope": "document"}, {}, []),
    "linear": (LINEAR, {}, []),
    "linear_features": (LINEAR | {"linear_features": 32}, LINEAR, []),
    "temperature": (
        {"document_pooling": "mean", "learn_temperature": True}, {"document_pooling": "mean"},
        ["word_filter.log_temperature"],
    ),
    "idf_prior": ({"idf_prior": True}, {}, []),
    "boundary_penalty": ({"boundary_penalty": 0.8}, {}, []),
    "entropy_weight": ({"entropy_weight": 0.5}, {}, []),
    "diversity_weight": ({"diversity_weight": 0.5}, {}, []),
    "reconstruction_weight": ({"reconstruction_weight": 0.5}, {}, ["decoder."]),
    "gated": ({"fusion": "gated"}, {}, ["cross_attention.fusion.gate."]),
    "mean_pooling": ({"document_pooling": "mean"}, {}, []),
}  # fmt: skip
PENALTIES = ("entropy_weight", "diversity_weight", "reconstruction_weight")
# Sizes, which the shapes of the weights show.
SIZES = {
    "vocab_size", "embedding_dim", "hidden_dim", "num_layers", "num_heads", "feed_forward_dim", "classifier_hidden_dim",
    "dropout", "window_size", "window_stride",
}  # fmt: skip
ANY_FAMILY = {"ngram_size", "max_ngrams"}  # tested by test_ngram_evidence.py
# Added to all scores alike, which moves no softmax.
SHIFTS = ("key.bias", "sentence_pooling.score.bias")
ENCODERS = {"bilstm": {}, "encoder": {"encoder_config": tiny_encoder_config(), **WINDOWS}}
CASES = [
    (name, kind) for name in OPTIONS for kind in ENCODERS if (name, kind) != ("embedding_skip", "encoder")
]  # the skip is around the Bi-LSTM
cases = pytest.mark.parametrize(("name", "kind"), CASES, ids=["-".join(case) for case in CASES])
once_each = pytest.mark.parametrize(
    ("name", "kind"), others_slow(CASES, *dict(reversed(CASES)).items()), ids=["-".join(case) for case in CASES]
)
LABELS = torch.tensor([0, 1, 2, 2, 1])


def batch():
    """Texts of several sentences, one of them empty; all of them shorter than the limits."""
    batch = random_batch([40, 0, 23, 1, 31])
    for row, column in ((0, 9), (0, 22), (2, 11), (4, 5), (4, 19)):
        batch["input_ids"][row, column] = SENTENCE_ENDS[0]
    return batch


def model_with(options, kind="bilstm"):
    """A model without dropout whose weights differ from any initial value, the same for the same options."""
    torch.manual_seed(0)
    model = TINY_MODELS["hierarchical"](**{"dropout": 0.0} | ENCODERS[kind] | options)
    if model.encoder is not None:
        model.encoder.config.hidden_dropout_prob = model.encoder.config.attention_probs_dropout_prob = 0.0
        for module in model.encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if model.model.idf is not None:
            model.model.idf.set_counts(torch.randint(0, 50, (VOCAB_SIZE,)), 50)
    return model


def with_weights_of(model, other):
    """The model with all weights that the other one has too."""
    own, given = model.state_dict(), other.state_dict()
    shared = {name: given[name] for name in own.keys() & given.keys() if own[name].shape == given[name].shape}
    model.load_state_dict(shared, strict=False)
    return model


def test_each_option_is_tested():
    tested = set().union(*(options for options, _, _ in OPTIONS.values()))
    assert tested == set(model_options(HierarchicalAttnConfig)) - SIZES - ANY_FAMILY


@cases
def test_an_option_changes_what_the_same_weights_give(name, kind):
    options, base, added = OPTIONS[name]
    plain = model_with(base, kind)
    model = with_weights_of(model_with(options, kind), plain)
    parameters = {key.removeprefix("model.") for key, _ in model.named_parameters()}
    more = parameters - {key.removeprefix("model.") for key, _ in plain.named_parameters()}
    assert {key for key in more if key.startswith(tuple(added))} == more and len(more) >= len(added)
    with torch.no_grad():
        before, after = plain.eval()(**batch(), labels=LABELS), model.eval()(**batch(), labels=LABELS)
        if name not in PENALTIES:
            assert (after.logits - before.logits).abs().max() > 1e-3
            return
        assert torch.equal(after.logits, before.logits) and after.loss == before.loss, "penalties are for training"
        assert after.auxiliary_loss is None
        before, after = plain.train()(**batch(), labels=LABELS), model.train()(**batch(), labels=LABELS)
        assert before.auxiliary_loss is None and after.auxiliary_loss.shape == (5,)
        assert torch.isclose(after.loss, before.loss + after.auxiliary_loss.mean()) and after.loss > before.loss + 1e-3


@once_each
def test_an_option_is_trained(name, kind):
    options, _, added = OPTIONS[name]
    model = model_with(options, kind).train()
    before = model(**batch(), labels=LABELS).loss
    before.backward()
    parameters = {key: value for key, value in model.named_parameters() if not key.endswith(SHIFTS)}
    assert all(value.grad.isfinite().all() for value in parameters.values())
    assert not [key for key, value in parameters.items() if value.grad.abs().max() < 1e-7]
    assert all(any(key.startswith(f"model.{start}") for key in parameters) for start in added)
    old = {key: value.detach().clone() for key, value in parameters.items()}
    torch.optim.Adam(model.parameters(), lr=1e-4).step()
    assert not [key for key, value in parameters.items() if torch.equal(value, old[key])]
    assert model(**batch(), labels=LABELS).loss < before


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_alone_reaches_what_it_should(name):
    model = model_with(OPTIONS[name][0]).train()
    model(**batch()).auxiliary_loss.sum().backward()
    reached = {key for key, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    assert "model.bilstm.forward_layers.0.weight_ih_l0" in reached and "model.embeddings.weight" in reached
    score = "model.word_filter.score.weight" in reached
    assert score == (name != "reconstruction_weight") and ("model.decoder.weight" in reached) != score
    assert not any(key.startswith(("classifier", "model.cross_attention")) for key in reached)


@pytest.mark.parametrize(("name", "falls"), [("entropy_weight", True), ("diversity_weight", False)])
def test_penalties_sharpen_and_spread_importance(name, falls):
    model, one = model_with({name: 1.0}).train(), random_batch([30])
    optimizer, heaviest = torch.optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(30):
        outputs = model(**one)
        heaviest.append(outputs.pooling_weights.max().item())
        optimizer.zero_grad()
        outputs.auxiliary_loss.sum().backward()
        optimizer.step()
    assert (heaviest[-1] > 1.5 * heaviest[0]) if falls else (heaviest[-1] < heaviest[0] / 1.1)


@once_each
def test_an_option_comes_back_from_a_folder_bit_by_bit(name, kind, tmp_path):
    model = model_with(OPTIONS[name][0], kind).eval()
    model.save_pretrained(tmp_path)
    expected = model.state_dict()
    for loader in (AutoModel, AutoModelForSequenceClassification):
        torch.manual_seed(1)  # what would be drawn anew would be something else
        again = loader.from_pretrained(tmp_path).eval()
        prefix = "model." if loader is AutoModel else ""
        loaded = {prefix + key: value for key, value in again.state_dict().items()}
        assert loaded.keys() == {key for key in expected if key.startswith(prefix)}
        assert not [key for key, value in loaded.items() if not torch.equal(value, expected[key])]
    for field, value in OPTIONS[name][0].items():
        assert getattr(again.config, field) == value
    with torch.no_grad():
        # Copies, because the sums of matrix products depend on where in memory the weights lie, in the last bit.
        outputs = copy.deepcopy(model)(**batch()), copy.deepcopy(again)(**batch())
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    assert torch.equal(outputs[0].pooling_weights, outputs[1].pooling_weights)


def test_fresh_weights_are_set_where_an_option_starts():
    model = TINY_MODELS["hierarchical"](
        learn_temperature=True, idf_prior=True, segmentation="learned", attention_kernel="linear", linear_features=40
    ).model
    assert model.word_filter.log_temperature == 0 and (model.idf.idf_V == 1).all()
    assert (model.segment.weight_E == 0).all() and model.segment.bias < 0 < model.segment.end_mark_weight
    for attention in (model.word_filter.attention, model.cross_attention.attention):
        directions = torch.nn.functional.normalize(attention.projection_EM, dim=0)
        block = directions[:, : len(directions)]
        assert torch.allclose(block.T @ block, torch.eye(len(directions)), atol=1e-5)
    one, other = (TINY_MODELS["hierarchical"](**LINEAR).model.word_filter.attention for _ in range(2))
    assert not torch.equal(one.projection_EM, other.projection_EM)


REFUSED = {
    "filter": ("best", 'filter = "best" is unknown; choose from adaptive, idf, none, random, top_k'),
    "segmentation": ("nltk", 'segmentation = "nltk" is unknown; choose from learned, punctuation, sliding_window'),
    "attention_kernel": ("relu", 'attention_kernel = "relu" is unknown; choose from linear, softmax'),
    "attention_scope": ("page", 'attention_scope = "page" is unknown; choose from document, sentence'),
    "fusion": ("sum", 'fusion = "sum" is unknown; choose from gated, residual'),
    "document_pooling": ("max", 'document_pooling = "max" is unknown; choose from importance, mean'),
    "filter_ratio": (1.5, "filter_ratio = 1.5 must be above 0 and at most 1"),
    "boundary_penalty": (-0.5, "boundary_penalty = -0.5 must lie in [0, 1]"),
    "reconstruction_weight": (-1.0, "reconstruction_weight = -1.0 must be 0 or more"),
    "linear_features": (0, "linear_features = 0 must be at least 1"),
    "segment_size": (0, "segment_size = 0 must be at least 1"),
    "segment_stride": (80, "segment_stride = 80 must be between 1 and segment_size = 50"),
    "max_sentences": (-1, "max_sentences = -1 must be 0 (no limit) or more"),
    "max_words": (-1, "max_words = -1 must be 0 (no limit) or more"),
    "num_heads": (3, "num_heads = 3 must divide the width 256"),
}
# Flags beside which an option counts at all.
BESIDE = {
    "linear_features": {"attention_kernel": "linear"},
    "segment_size": {"segmentation": "sliding_window"},
    "segment_stride": {"segmentation": "sliding_window"},
}


@pytest.mark.parametrize("option", REFUSED)
def test_values_that_there_are_not_are_answered_by_one_sentence(option, tmp_path, capsys):
    value, sentence = REFUSED[option]
    options = {option: value} | BESIDE.get(option, {})
    with pytest.raises(ValueError) as error:
        HierarchicalAttnForSequenceClassification(HierarchicalAttnConfig(**options))
    assert str(error.value) == sentence
    flags = [*toy_csv(tmp_path), "--output_dir", str(tmp_path / "run"), "--bf16", "false"]
    flags += [str(each) for name, value in options.items() for each in (f"--{name}", value)]
    assert cli.main(["--model", "hierarchical_attn", *flags]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == f"error: --model hierarchical_attn: {sentence}"
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--linear_features", "64"],
        ["--segment_size", "40"],
        ["--segment_stride", "20", "--segmentation", "learned"],
        ["--filter_ratio", "0.3", "--filter", "adaptive"],
        ["--filter_ratio", "0.3", "--filter", "none"],
        ["--max_words", "0", "--segmentation", "sliding_window"],
    ],
    ids=" ".join,
)
def test_flags_without_an_effect_are_refused(flags, tmp_path, capsys):
    run = [*toy_csv(tmp_path), "--output_dir", str(tmp_path / "run"), "--bf16", "false"]
    assert cli.main(["--model", "hierarchical_attn", *run, *flags]) == 2
    assert f"error: {flags[0]} has no effect here: it belongs to --" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["entropy_weight", "diversity_weight", "reconstruction_weight", "boundary_penalty"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} = {value}"):
        HierarchicalAttnConfig(**{option: value})


@pytest.mark.parametrize("options", [{"idf_prior": True}, {"filter": "idf"}, {"segmentation": "learned"}, {}])
def test_ids_are_asked_for_where_they_are_needed(options):
    model = model_with(options)
    embeds = model.get_input_embeddings()(batch()["input_ids"])
    with pytest.raises(ValueError, match="input_ids, too, beside inputs_embeds"):
        model(inputs_embeds=embeds, attention_mask=batch()["attention_mask"])
    model(**batch(), inputs_embeds=embeds)


@pytest.mark.parametrize("flags", [["--embedding_skip", "true"], ["--embedding_dim", "12"]])
def test_flags_of_the_bilstm_are_refused_beside_an_encoder(flags, tmp_path, encoder_folder, capsys):
    run = [*toy_csv(tmp_path), "--output_dir", str(tmp_path / "run"), "--bf16", "false", "--num_heads", "2"]
    assert cli.main(["--model", "hierarchical_attn", "--encoder", str(encoder_folder), *run, *flags]) == 2
    assert f"{flags[0]} is not an option of --model hierarchical_attn with --encoder" in capsys.readouterr().err
