import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.naive_bayes import ComplementNB
from torch.testing import assert_close

from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification
from salience.modeling.ngram_evidence import NgramEvidence
from salience.modeling.windows import pack_inputs
from tests.tiny import LABELS, TINY_MODELS, VOCAB_SIZE, random_batch, tiny_encoder_config, tiny_model

LENGTHS = [30, 0, 7, 90, 1, 2]
CLASSES = torch.tensor([0, 1, 2, 1, 0, 2])


def counted(buckets=5000, size=2, lengths=LENGTHS):
    evidence = NgramEvidence(3, buckets, size)
    evidence.init_own_parameters()
    packed = pack(random_batch(lengths))
    evidence.count([(packed, CLASSES)], [(packed, CLASSES)])
    return evidence, packed


def pack(batch):
    return pack_inputs(batch["attention_mask"], input_ids=batch["input_ids"])


def test_it_is_complement_naive_bayes_on_tf_idf():
    evidence, packed = counted()
    text, bucket, weight = evidence.tf_idf(packed)
    matrix = csr_matrix((weight.numpy(), (text.numpy(), bucket.numpy())), shape=(len(LENGTHS), 5000))
    expected = ComplementNB(alpha=0.1).fit(matrix, CLASSES.numpy()).predict_joint_log_proba(matrix)
    expected -= expected.mean(1, keepdims=True)
    assert_close(evidence(packed), torch.tensor(expected).float(), atol=5e-3, rtol=0)  # half precision


def test_tf_idf_of_words_and_pairs_by_hand():
    evidence = NgramEvidence(2, 10**6, 2)
    evidence.init_own_parameters()
    ids = torch.tensor([[7, 8, 7], [7, 9, 0]])
    packed = pack({"input_ids": ids, "attention_mask": (ids > 0).long()})
    labels = torch.tensor([0, 1])
    evidence.count([(packed, labels)], [(packed, labels)])
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
        evidence = NgramEvidence(2, 10**6, size)
        evidence.init_own_parameters()
        buckets = [
            evidence.tf_idf(pack({"input_ids": ids, "attention_mask": torch.ones_like(ids)}))[1].tolist()
            for ids in (there, back)
        ]
        assert (buckets[0] == buckets[1]) is same


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
    config.ngram_weight, config.ngram_buckets = 2.0, 100
    model_class = type(tiny_model(name))
    model, batch = model_class(config), random_batch([5, 9, 0])
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.ngrams.weight_GC.normal_()
    evidence = model.ngrams(pack(batch))
    assert evidence[0].abs().max() > 0.01
    assert_close(model.eval()(**batch).logits, model.train()(**batch).logits + 2 * evidence, atol=1e-5, rtol=0)
    model.eval().save_pretrained(tmp_path)
    again = model_class.from_pretrained(tmp_path)
    assert torch.equal(again.ngrams.weight_GC, model.ngrams.weight_GC)
    assert torch.equal(again.ngrams.idf_G, model.ngrams.idf_G)


def test_it_needs_one_class_for_each_text_and_ids():
    options = LABELS | {"problem_type": "multi_label_classification", "ngram_weight": 1.0}
    with pytest.raises(ValueError, match="exactly one class"):
        AttnPoolForSequenceClassification(AttnPoolConfig(encoder_config=tiny_encoder_config(), key_dim=8, **options))
    model = TINY_MODELS["hierarchical"](ngram_weight=1.0, segmentation="sliding_window", ngram_buckets=9).eval()
    with pytest.raises(ValueError, match="needs input_ids"):
        model(inputs_embeds=torch.zeros(1, 3, 12))


def test_no_bucket_is_left_out():
    evidence = NgramEvidence(2, 64, 1)
    evidence.init_own_parameters()
    ids = torch.arange(VOCAB_SIZE * 4)[None]
    buckets = evidence.tf_idf(pack({"input_ids": ids, "attention_mask": torch.ones_like(ids)}))[1]
    assert len(buckets.unique()) == 64
