"""Windows in one row, without padding, are read as windows side by side are."""

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from salience.modeling import AttnPoolConfig, AttnPoolForSequenceClassification, HierarchicalAttnConfig
from salience.modeling import HierarchicalAttnForSequenceClassification as Hierarchical
from salience.modeling.encoders import can_read_unpadded, reading_unpadded
from tests.helpers.tiny import LABELS, SENTENCE_ENDS, VOCAB_SIZE, WINDOWS

SIZES = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 40, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
CAN = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES),
    "xlm_roberta": XLMRobertaConfig(**SIZES),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "distilbert": DistilBertConfig(
        vocab_size=VOCAB_SIZE, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40,
        attention_dropout=0.0,
    ),
}  # fmt: skip
CANNOT = {
    "looks back only": GPT2Config(
        vocab_size=VOCAB_SIZE, n_embd=16, n_layer=1, n_head=2, n_positions=40, attn_pdrop=0.0
    ),
    "positions are computed": LlamaConfig(**SIZES),
    "attends by itself": DebertaV2Config(**SIZES),
    "drops attention": BertConfig(**SIZES | {"attention_probs_dropout_prob": 0.1}),
}


def batch():
    torch.manual_seed(0)
    ids_BT = torch.randint(7, VOCAB_SIZE, (5, 60))
    mask_BT = torch.arange(60) < torch.tensor([60, 3, 25, 1, 17])[:, None]
    ids_BT[:, ::9] = SENTENCE_ENDS[0]
    return {"input_ids": ids_BT, "attention_mask": mask_BT.long(), "labels": torch.tensor([0, 1, 2, 0, 1])}


def step(model):
    """Logits and all gradients of a batch."""
    torch.manual_seed(0)
    model.zero_grad()
    outputs = model(**batch())
    outputs.loss.backward()
    return outputs.logits.detach(), {
        name: each.grad for name, each in model.named_parameters() if each.grad is not None
    }


@pytest.mark.parametrize("name", CAN)
@pytest.mark.parametrize("family", ["attn_pool", "hierarchical"])
def test_answers_and_gradients_are_those_of_windows_side_by_side(family, name):
    torch.manual_seed(0)
    if family == "attn_pool":
        config = AttnPoolConfig(encoder_config=CAN[name], key_dim=8, **WINDOWS, **LABELS)
        model = AttnPoolForSequenceClassification(config)
    else:
        options = {"sentence_end_ids": SENTENCE_ENDS, "classifier_hidden_dim": 8, "hidden_dim": 16, "num_heads": 2}
        model = Hierarchical(HierarchicalAttnConfig(encoder_config=CAN[name], **options, **WINDOWS, **LABELS))
    model.eval()
    before = step(model)
    with reading_unpadded(model.encoder):
        assert model.encoder.config._attn_implementation == "unpadded"
        in_one_row = step(model)
    after = step(model)
    torch.testing.assert_close(in_one_row, before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("why", CANNOT)
def test_encoders_that_cannot_stay_as_they_are(why):
    encoder = AutoModel.from_config(CANNOT[why])
    assert not can_read_unpadded(encoder)
    with reading_unpadded(encoder):
        assert encoder.config._attn_implementation != "unpadded"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's kernel for windows in one row needs a GPU")
@pytest.mark.parametrize("name", CAN)
def test_on_gpus_the_kernel_gives_the_same_up_to_bfloat16(name):
    torch.manual_seed(0)
    model = AttnPoolForSequenceClassification(AttnPoolConfig(encoder_config=CAN[name], key_dim=8, **WINDOWS, **LABELS))
    model.eval().cuda()
    inputs = {name: each.cuda() for name, each in batch().items()}
    found = []
    for encoder in (None, model.encoder):
        model.zero_grad()
        with reading_unpadded(encoder), torch.autocast("cuda", torch.bfloat16):
            outputs = model(**inputs)
        outputs.loss.backward()
        gradient = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])
        found.append((outputs.logits.float(), gradient))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=0, atol=0.02)
    assert torch.cosine_similarity(found[1][1], found[0][1], dim=0) > 0.99
