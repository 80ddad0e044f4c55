import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import ComplementNB
from torch.testing import assert_close

from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification
from salience.modeling.ngram_evidence import NgramEvidence
from salience.modeling.windows import pack_inputs
from tests.helpers.tiny import LABELS, TINY_MODELS, random_batch, tiny_encoder_config, tiny_model

LENGTHS = [30, 0, 7, 90, 1, 2]
CLASSES = torch.tensor([0, 1, 2, 1, 0, 2])


def counted(size=2, limit=10**6, lengths=LENGTHS):
    evidence = NgramEvidence(3, 0, size)
    packed = pack(random_batch(lengths))
    evidence.count(lambda: [(packed, CLASSES)], limit)
    return evidence, packed


def pack(batch):
    return pack_inputs(batch["attention_mask"], input_ids=batch["input_ids"])


def test_it_is_complement_naive_bayes_on_tf_idf():
    evidence, packed = counted()
    text, row, weight = evidence.tf_idf(packed)
    matrix = csr_matrix((weight.numpy(), (text.numpy(), row.numpy())), shape=(len(LENGTHS), len(evidence.key_G)))
    expected = ComplementNB(alpha=0.1).fit(matrix, CLASSES.numpy()).predict_joint_log_proba(matrix)
    expected -= expected.mean(1, keepdims=True)
    assert_close(evidence(packed), torch.tensor(expected).float(), atol=5e-3, rtol=0)  # half precision


def test_tf_idf_of_words_and_pairs_by_hand():
    evidence = NgramEvidence(2, 0, 2)
    ids = torch.tensor([[7, 8, 7], [7, 9, 0]])
    packed = pack({"input_ids": ids, "attention_mask": (ids > 0).long()})
    labels = torch.tensor([0, 1])
    evidence.count(lambda: [(packed, labels)], 100)
    text, _, weight = evidence.tf_idf(packed)
    rare = np.log(3 / 2) + 1
    first = np.array([rare, rare, rare, 1 + np.log(2)])  # 8, pair 7 8, pair 8 7; 7 stands twice and in both texts
    second = np.array([rare, rare, 1])  # 9, pair 7 9; 7
    for row, values in enumerate([first, second]):
        expected = np.sort(values / np.linalg.norm(values))
        assert_close(weight[text == row].sort().values, torch.tensor(expected).float())


def test_pairs_tell_orders_apart_and_words_alone_do_not():
    there, back = torch.tensor([[7, 8, 9]]), torch.tensor([[9, 8, 7]])
    for size, same in ((1, True), (2, False)):
        keys = [
            NgramEvidence(2, 0, size).ngrams(pack({"input_ids": ids, "attention_mask": torch.ones_like(ids)}))[1]
            for ids in (there, back)
        ]
        assert (set(keys[0].tolist()) == set(keys[1].tolist())) is same


def test_it_is_tf_idf_and_naive_bayes_of_scikit_learn_from_texts_on():
    batches = [pack(random_batch([40, 3, 25], seed=seed)) for seed in range(4)]
    labels = torch.tensor([0, 1, 2])
    evidence = NgramEvidence(3, 0, 2)
    evidence.count(lambda: [(packed, labels) for packed in batches], 10**6)
    texts = [
        " ".join(map(str, ids[mask].tolist()))
        for packed in batches
        for ids, mask in zip(packed.tokens["input_ids"], packed.mask_BT, strict=True)
    ]
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\d+")
    bayes = ComplementNB(alpha=0.1).fit(vectorizer.fit_transform(texts), [0, 1, 2] * 4)
    assert len(evidence.key_G) == len(vectorizer.vocabulary_)
    unseen = random_batch([50, 8], seed=9)
    expected = bayes.predict_joint_log_proba(
        vectorizer.transform(
            [" ".join(map(str, row[mask > 0].tolist())) for row, mask in zip(*unseen.values(), strict=True)]
        )
    )
    expected = torch.tensor(expected - expected.mean(1, keepdims=True)).float()
    assert_close(evidence(pack(unseen)), expected, atol=5e-3, rtol=0)  # half precision


def test_a_limit_keeps_the_ngrams_of_most_texts():
    ids = torch.tensor([[7, 8, 9, 9], [7, 8, 5, 4], [7, 3, 3, 3]])
    evidence = NgramEvidence(2, 0, 1)
    packed = pack({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    evidence.count(lambda: [(packed, torch.tensor([0, 1, 1]))], 2)
    assert evidence.key_G.tolist() == [8, 9]  # ids 7 and 8, counted from 1


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_company_change_nothing(side):
    evidence, packed = counted()
    together = evidence(packed)
    assert_close(evidence(pack(random_batch(LENGTHS, side=side))), together)
    batch = random_batch(LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone = {name: value[row : row + 1, :length] for name, value in batch.items()}
        assert_close(evidence(pack(alone))[0], together[row])
    assert not together[1].any()  # an empty text


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "lstm"])
def test_it_joins_the_logits_outside_of_training_only(name, tmp_path):
    torch.manual_seed(0)
    config = tiny_model(name).config
    config.ngram_weight = 2.0
    model_class = type(tiny_model(name))
    model, batch = model_class(config), random_batch([5, 9, 0])
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    packed = pack(batch)
    model.ngrams.count(lambda: [(packed, torch.tensor([0, 1, 2]))], 1000)
    model.config.num_ngrams = len(model.ngrams.key_G)
    evidence = model.ngrams(pack(batch))
    assert evidence[0].abs().max() > 0.01
    assert_close(model.eval()(**batch).logits, model.train()(**batch).logits + 2 * evidence, atol=1e-5, rtol=0)
    model.eval().save_pretrained(tmp_path)
    again = model_class.from_pretrained(tmp_path)
    for name, value in model.ngrams.named_buffers():
        assert torch.equal(getattr(again.ngrams, name), value)
    assert torch.equal(again(**batch).logits, model(**batch).logits)


def test_it_needs_one_class_for_each_text_and_ids():
    options = LABELS | {"problem_type": "multi_label_classification", "ngram_weight": 1.0}
    with pytest.raises(ValueError, match="exactly one class"):
        AttnPoolForSequenceClassification(AttnPoolConfig(encoder_config=tiny_encoder_config(), key_dim=8, **options))
    model = TINY_MODELS["hierarchical"](ngram_weight=1.0, segmentation="sliding_window").eval()
    with pytest.raises(ValueError, match="needs input_ids"):
        model(inputs_embeds=torch.zeros(1, 3, 12))
