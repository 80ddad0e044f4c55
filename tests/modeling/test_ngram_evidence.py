import pytest
import torch
from torch.testing import assert_close

from salience.modeling.ngram_evidence import NgramEvidence, damped
from salience.train.building.evidence import LEARNERS
from tests.helpers.counting import give_evidence, learned, pack
from tests.helpers.tiny import TINY_MODELS, random_batch, tiny_model

LENGTHS = [30, 0, 7, 90, 1, 2]


def test_pairs_tell_orders_apart_and_words_alone_do_not():
    there, back = torch.tensor([[7, 8, 9]]), torch.tensor([[9, 8, 7]])
    for size, same in ((1, True), (2, False)):
        keys = [
            NgramEvidence(2, 0, size).ngrams(pack({"input_ids": ids, "attention_mask": torch.ones_like(ids)}))[1]
            for ids in (there, back)
        ]
        assert (set(keys[0].tolist()) == set(keys[1].tolist())) is same


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_company_change_nothing(side, kind):
    evidence = learned(random_batch(LENGTHS), [0, 1, 2, 1, 0, 2], kind)
    together = evidence(pack(random_batch(LENGTHS)))
    assert_close(evidence(pack(random_batch(LENGTHS, side=side))), together)
    batch = random_batch(LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone = {name: value[row : row + 1, :length] for name, value in batch.items()}
        assert_close(evidence(pack(alone))[0], together[row])
    assert not together[1].any()  # an empty text


@pytest.mark.parametrize("name", ["attn_pool", "hierarchical", "lstm"])
def test_it_joins_the_logits_outside_of_training_only(name, tmp_path):
    model, batch = tiny_model(name), random_batch([5, 9, 0])
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    plain = model.eval()(**batch).logits
    give_evidence(model, 2.0)
    model.config.logit_temperature = 4.0
    evidence = model.ngrams(pack(random_batch([9, 12, 20])))
    assert evidence[0].abs().max() > 0.01
    expected = (plain + 2 * damped(model.ngrams(pack(batch)), 0.5)) / 4
    assert_close(model.eval()(**batch).logits, expected, atol=1e-5, rtol=0)
    with torch.no_grad():
        assert_close(model.train()(**batch).logits, plain, atol=1e-5, rtol=0)
    model.eval().save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    for name, value in model.ngrams.named_buffers():
        assert torch.equal(getattr(again.ngrams, name), value)
    assert torch.equal(again(**batch).logits, model(**batch).logits)


def test_it_needs_ids():
    model = TINY_MODELS["hierarchical"](ngram_weight=1.0, segmentation="sliding_window").eval()
    with pytest.raises(ValueError, match="needs input_ids"):
        model(inputs_embeds=torch.zeros(1, 3, 12))
