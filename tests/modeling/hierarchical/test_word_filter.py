"""The word filter by its numbers: which words are kept, and what weighs their importance."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import entropy as scipy_entropy
from sklearn.feature_extraction.text import TfidfVectorizer
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from salience.modeling.modeling_hierarchical_attn import shares
from salience.modeling.penalties import concentration, entropy
from salience.modeling.ragged import Ragged
from salience.modeling.windows import pack_inputs
from salience.modeling.word_filter import near_boundary, tf_idf
from salience.train import cli
from tests.helpers.slow import others_slow
from tests.helpers.tiny import SENTENCE_ENDS, TINY_MODELS, VOCAB_SIZE, random_batch
from tests.helpers.toy import toy_csv, toy_texts

LENGTHS = [30, 0, 1, 2, 57]


def model_with(**options):
    torch.manual_seed(0)
    model = TINY_MODELS["hierarchical"](**{"dropout": 0.0} | options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def words_of(model, batch):
    return model.model.read_words(pack_inputs(batch["attention_mask"], input_ids=batch["input_ids"]))


@torch.no_grad()
def filtered(model, batch):
    """Importance and kept share of each word."""
    words = words_of(model, batch)
    return model.model.word_filter(words)[1:], words


# --- which words are kept


def test_top_k_keeps_the_most_important_words_of_each_sentence():
    (importance, kept), words = filtered(model_with(filter_ratio=0.3), random_batch(LENGTHS))
    lengths = words.sentences.words.lengths_S.tolist()
    for scores, share in zip(importance.split(lengths), kept.split(lengths), strict=True):
        k = math.ceil(0.3 * len(scores))
        assert share.sum() == k and set(share.nonzero()[:, 0].tolist()) == set(scores.topk(k).indices.tolist())


def test_no_filter_keeps_every_word():
    (_, kept), _ = filtered(model_with(filter="none"), random_batch(LENGTHS))
    assert len(kept) == sum(LENGTHS) and (kept == 1).all()


def test_random_keeps_the_same_words_of_a_text_whatever_stands_beside_it():
    model, batch = model_with(filter="random", filter_ratio=0.5), random_batch([40, 57, 13])
    together = model(**batch).pooling_weights
    for row, length in enumerate((40, 57, 13)):
        alone = model(input_ids=batch["input_ids"][row : row + 1, :length]).pooling_weights
        assert torch.equal(alone[0] > 0, together[row, :length] > 0)
    assert torch.equal(model(**batch).pooling_weights, together)


def test_random_keeps_its_share_evenly_and_regardless_of_importance():
    batch = random_batch([400] * 5)
    batch["input_ids"].clamp_(min=SENTENCE_ENDS[-1] + 1)
    options = {"max_words": 0, "filter_ratio": 0.4}
    (importance, random), _ = filtered(model_with(filter="random", **options), batch)
    (_, best), _ = filtered(model_with(**options), batch)
    random, best, importance = random.view(5, 400).bool(), best.view(5, 400).bool(), importance.view(5, 400)
    assert (random.sum(1) == 160).all() and (best.sum(1) == 160).all()
    both = (random & best).float().mean().item()
    assert both == pytest.approx(0.16, abs=0.03), "independent of what top-k keeps"
    assert importance[random].mean() == pytest.approx(importance.mean().item(), rel=0.03)
    for half in (random[:, :200], random[:, 200:]):
        assert half.float().mean() == pytest.approx(0.4, abs=0.06)
    assert not torch.equal(random[0], random[1])


def test_idf_keeps_the_rarest_words():
    model, batch = model_with(filter="idf", filter_ratio=0.25), random_batch(LENGTHS)
    counts = torch.randperm(VOCAB_SIZE)
    model.model.idf.set_counts(counts, VOCAB_SIZE)
    (_, kept), words = filtered(model, batch)
    lengths = words.sentences.words.lengths_S.tolist()
    for ids, share in zip(words.id_N.split(lengths), kept.split(lengths), strict=True):
        rarest = counts[ids].sort().values[: math.ceil(0.25 * len(ids))]
        assert sorted(counts[ids[share > 0]].tolist()) == rarest.tolist()


@pytest.mark.parametrize("ratio", [0.1, 0.35, 0.8])
def test_the_adaptive_filter_keeps_as_much_as_the_ratio_says(ratio):
    model, batch = model_with(filter="adaptive"), random_batch([40, 90])
    batch["input_ids"].clamp_(min=SENTENCE_ENDS[-1] + 1)
    last = model.model.word_filter.choose.ratio[2]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(math.log(ratio / (1 - ratio)))
    (importance, kept), words = filtered(model, batch)
    assert_close(words.by_document.sum(kept), torch.tensor([40 * ratio, 90 * ratio]))
    ranked = kept.split([40, 90])[1][importance.split([40, 90])[1].argsort(descending=True)]
    whole = int(90 * ratio + 1e-4)
    assert (ranked[:whole] > 1 - 1e-4).all() and (ranked[whole + 1 :] == 0).all()


def test_the_adaptive_filter_has_a_ratio_of_its_own_for_each_document():
    model = model_with(filter="adaptive")
    batch = random_batch([50, 50])
    batch["input_ids"].clamp_(min=SENTENCE_ENDS[-1] + 1)
    (_, kept), words = filtered(model, batch)
    means = words.by_document.mean(words.vectors_ND)
    assert_close(words.by_document.sum(kept), 50 * model.model.word_filter.choose.ratio(means)[:, 0])
    assert (words.by_document.sum(kept).diff().abs() > 0.1).all()


def test_the_gradient_of_the_adaptive_ratio_is_that_of_the_output(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # differences need more digits than float32 has
    model, batch = model_with(filter="adaptive").double(), random_batch([40, 25, 1])
    bias = model.model.word_filter.choose.ratio[2].bias

    def output():
        return model(**batch).logits.sin().sum()

    (gradient,) = torch.autograd.grad(output(), bias)
    with torch.no_grad():
        sides = []
        for step in (1e-6, -2e-6):
            bias += step
            sides.append(output())
    assert abs(gradient.item()) > 1e-3
    assert gradient.item() == pytest.approx((sides[0] - sides[1]).item() / 2e-6, rel=1e-5)


# --- what weighs importance


def test_importance_is_the_sigmoid_of_the_score_over_the_temperature():
    model, plain, batch = model_with(learn_temperature=True), model_with(), random_batch(LENGTHS)
    model.load_state_dict(plain.state_dict(), strict=False)
    logits = torch.logit(filtered(plain, batch)[0][0].double())
    for temperature in (0.25, 1.0, 3.0):
        with torch.no_grad():
            model.model.word_filter.log_temperature.fill_(math.log(temperature))
        importance = filtered(model, batch)[0][0]
        assert_close(importance.double(), (logits / temperature).sigmoid(), atol=1e-5, rtol=0)


def test_boundary_penalty_takes_its_share_from_the_first_and_last_words():
    plain, batch = model_with(), random_batch([9, 0, 1, 2, 4])
    (before, _), words = filtered(plain, batch)
    nearness = [[1, 2 / 3, 1 / 3, 0, 0, 0, 1 / 3, 2 / 3, 1], [], [1], [1, 1], [1, 2 / 3, 2 / 3, 1]]
    nearness = torch.tensor(sum(nearness, []))
    assert_close(near_boundary(words), nearness)
    model = model_with(boundary_penalty=0.6)
    (after, _), _ = filtered(model, batch)
    assert_close(after, before * (1 - 0.6 * nearness))
    assert (filtered(model_with(boundary_penalty=1.0), batch)[0][0][0]) == 0


@pytest.mark.parametrize(
    "options",
    [{}, {"segmentation": "sliding_window", "segment_size": 4, "segment_stride": 2}, {"segmentation": "learned"}],
    ids=["punctuation", "sliding_window", "learned"],
)
def test_the_tf_idf_prior_is_that_of_scikit_learn(options):
    texts = [text.split() for text, _ in toy_texts(20)]
    vectorizer = TfidfVectorizer(analyzer=lambda words: words, smooth_idf=True, sublinear_tf=True, norm=None)
    expected_NV = vectorizer.fit_transform(texts).toarray()
    vocabulary = vectorizer.vocabulary_
    model = model_with(idf_prior=True, sentence_end_ids=[vocabulary["."]], **options)
    found = np.array([sum(word in text for text in texts) for word in vocabulary])
    counts = torch.zeros(VOCAB_SIZE, dtype=torch.long)
    counts[torch.tensor(list(vocabulary.values()))] = torch.tensor(found)
    model.model.idf.set_counts(counts, len(texts))
    assert_close(model.model.idf.idf_V[: len(vocabulary)], torch.tensor(vectorizer.idf_).float())
    plain = model_with(sentence_end_ids=[vocabulary["."]], **options)
    for text, expected_V in zip(texts, expected_NV, strict=True):
        ids = torch.tensor([[vocabulary[word] for word in text]])
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        words = words_of(model, batch)
        expected = torch.tensor(expected_V / expected_V.max()).float()[words.id_N]
        assert_close(tf_idf(words), expected)
        assert_close(filtered(model, batch)[0][0], filtered(plain, batch)[0][0] * expected)


@pytest.mark.parametrize("kind", others_slow(["bilstm", "encoder"], "encoder"))
def test_training_counts_the_documents_of_each_token(kind, tmp_path, encoder_folder):
    flags = ["--encoder", str(encoder_folder)] if kind == "encoder" else ["--embedding_dim", "8", "--hidden_dim", "16"]
    flags += ["--model", "hierarchical_attn", "--idf_prior", "true", "--num_heads", "2", "--max_steps", "1"]
    flags += ["--output_dir", str(tmp_path / "run"), "--bf16", "false", "--report_to", "none", "--disable_tqdm", "true"]
    assert cli.main([*toy_csv(tmp_path), "--validation_file", str(tmp_path / "test.csv"), *flags]) == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    tokens = [str(index) for index in range(len(tokenizer))]
    reference = TfidfVectorizer(
        analyzer=lambda text: [tokens[index] for index in tokenizer(text)["input_ids"]], vocabulary=tokens
    ).fit([text for text, _ in toy_texts(48)])
    assert_close(model.model.idf.idf_V[: len(tokenizer)], torch.tensor(reference.idf_).float())
    assert len(model.model.idf.idf_V.unique()) > 10


# --- penalties


def test_penalties_of_even_shares_and_of_a_single_word():
    documents = Ragged(torch.tensor([4, 3, 1, 0]))
    even = torch.tensor([1 / 4] * 4 + [1 / 3] * 3 + [1.0])
    single = torch.tensor([0.0, 1, 0, 0] + [0.0, 0, 1] + [1.0])
    assert_close(entropy(even, documents), torch.tensor([1.0, 1, 0, 0]))
    assert_close(concentration(even, documents), torch.tensor([0.0, 0, 0, 0]), atol=1e-6, rtol=0)
    assert_close(entropy(single, documents), torch.zeros(4), atol=1e-6, rtol=0)
    assert_close(concentration(single, documents), torch.tensor([1.0, 1, 0, 0]))


def test_penalties_are_those_of_scipy():
    lengths = [7, 2, 100]
    documents = Ragged(torch.tensor(lengths))
    share = shares(torch.rand(sum(lengths)), documents)
    pieces = [piece.double().numpy() for piece in share.split(lengths)]
    expected = torch.tensor([scipy_entropy(piece, base=len(piece)) for piece in pieces]).float()
    assert_close(entropy(share, documents), expected)
    # n times the sum of squares is the exponential of the distance to even shares of Renyi's entropy of order 2.
    renyi = torch.tensor([-np.log((piece**2).sum()) / np.log(len(piece)) for piece in pieces]).float()
    assert_close(concentration(share, documents), 1 - renyi)


@pytest.mark.parametrize("penalty", ["entropy_weight", "diversity_weight", "reconstruction_weight"])
@pytest.mark.parametrize("scale", [1.0, 1000.0], ids=["usual", "saturated"])
def test_penalties_are_bounded_and_have_a_gradient_even_at_zero_importance(penalty, scale):
    model = model_with(**{penalty: 1.0}, boundary_penalty=1.0).train()
    with torch.no_grad():
        model.model.word_filter.score.weight.mul_(scale)
    outputs = model(**random_batch(LENGTHS), labels=torch.tensor([0, 1, 2, 1, 0]))
    assert (outputs.auxiliary_loss >= -1e-6).all()
    assert penalty == "reconstruction_weight" or (outputs.auxiliary_loss <= 1 + 1e-6).all()
    outputs.loss.backward()
    assert all(value.grad.isfinite().all() for value in model.parameters() if value.grad is not None)


def test_reconstruction_is_the_squared_error_of_the_embeddings():
    model, batch = model_with(reconstruction_weight=0.7).train(), random_batch(LENGTHS)
    auxiliary = model(**batch).auxiliary_loss
    vectors = words_of(model, batch).vectors_ND.split(LENGTHS)
    for row, (length, vectors_LD) in enumerate(zip(LENGTHS, vectors, strict=True)):
        wanted = model.model.embeddings(batch["input_ids"][row, :length])
        error = (vectors_LD @ model.model.decoder.weight.T + model.model.decoder.bias - wanted).square()
        assert_close(auxiliary[row], 0.7 * error.mean() if length else torch.tensor(0.0))
    auxiliary.sum().backward()
    assert model.model.embeddings.weight.grad.any(), "through the contextual vectors"
    only_wanted = TINY_MODELS["hierarchical"](reconstruction_weight=1.0, dropout=0.0).train()
    with torch.no_grad():
        only_wanted.model.decoder.weight.zero_()
    only_wanted(**batch).auxiliary_loss.sum().backward()
    assert not only_wanted.model.embeddings.weight.grad.any(), "what is wanted doesn't move towards the answer"


def test_kept_words_go_on_in_proportion_to_their_importance():
    model, batch = model_with(filter_ratio=1.0), random_batch([12])
    (importance, kept), words = filtered(model, batch)
    score = model.model.word_filter.score
    features = model.model.word_filter(words)[0]
    by_hand = expit((features @ score.weight[0] + score.bias).detach().numpy())
    assert np.allclose(importance.numpy(), by_hand, atol=1e-6) and (kept == 1).all()
    assert_close(model(**batch).pooling_weights[0], importance / importance.sum())
