"""Tiny models of every family, made in milliseconds."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertModel, PretrainedConfig

from salience.modeling import (
    AttnPoolConfig,
    AttnPoolForSequenceClassification,
    BaselineConfig,
    BaselineForSequenceClassification,
    HierarchicalAttnConfig,
    HierarchicalAttnForSequenceClassification,
)
from tests.helpers.paths import TINY_TOKENIZER

VOCAB_SIZE = 256
LABELS = {"id2label": {0: "economy", 1: "science", 2: "sports"}, "problem_type": "single_label_classification"}
LABELS["label2id"] = {name: index for index, name in LABELS["id2label"].items()}
ENCODER = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 24,
}  # fmt: skip
WINDOWS = {"window_size": 16, "window_stride": 9, "num_prefix_tokens": 1, "num_suffix_tokens": 1}
WORDS = {"vocab_size": VOCAB_SIZE, "embedding_dim": 12, "hidden_dim": 16, "num_heads": 2}
SENTENCE_ENDS = [5, 6]


def tiny_encoder_config() -> PretrainedConfig:
    return BertConfig(**ENCODER)


def _attn_pool(**options):
    return AttnPoolForSequenceClassification(
        AttnPoolConfig(encoder_config=tiny_encoder_config(), key_dim=8, **WINDOWS, **LABELS, **options)
    )


def _hierarchical(**options):
    options = WORDS | {"sentence_end_ids": SENTENCE_ENDS, "classifier_hidden_dim": 8} | LABELS | options
    return HierarchicalAttnForSequenceClassification(HierarchicalAttnConfig(**options))


def _hierarchical_with_all_options(**options):
    model = _hierarchical(
        segmentation="learned", filter="adaptive", attention_scope="document", attention_kernel="linear",
        linear_features=16, learn_temperature=True, idf_prior=True, boundary_penalty=0.5, entropy_weight=0.1,
        diversity_weight=0.1, reconstruction_weight=0.1, fusion="gated", document_pooling="mean",
        sentence_end_ids=list(range(5, 25)), **options,
    )  # fmt: skip
    model.model.idf.set_counts(torch.arange(VOCAB_SIZE), VOCAB_SIZE)
    with torch.no_grad():  # where words lie between sentences
        model.model.segment.bias.fill_(-1.0)
        model.model.segment.end_mark_weight.fill_(2.0)
    return model


def _baseline(architecture):
    return BaselineForSequenceClassification(
        BaselineConfig(architecture=architecture, num_filters=8, **WORDS, **LABELS)
    )


TINY_MODELS = {
    "attn_pool": _attn_pool,
    "attn_pool_learned_alpha": lambda: _attn_pool(learn_alpha=True, alpha=0.3, num_heads=2, projection_dim=8),
    "attn_pool_learned_query": lambda: _attn_pool(query="learned", alpha=0.0),
    "attn_pool_cls": lambda: _attn_pool(query="cls"),
    "attn_pool_mean": lambda: _attn_pool(alpha=1.0),
    "hierarchical": _hierarchical,
    "hierarchical_windows": lambda: _hierarchical(segmentation="sliding_window", segment_size=6, segment_stride=4),
    "hierarchical_encoder": lambda: _hierarchical(
        encoder_config=tiny_encoder_config(), max_sentences=0, max_words=0, **WINDOWS
    ),
    "hierarchical_all_options": lambda: _hierarchical_with_all_options(embedding_skip=True),
    "hierarchical_encoder_all_options": lambda: _hierarchical_with_all_options(
        encoder_config=tiny_encoder_config(), **WINDOWS
    ),
    "lstm": lambda: _baseline("lstm"),
    "cnn": lambda: _baseline("cnn"),
    "gat": lambda: _baseline("gat"),
    "bag_of_words": lambda: _baseline("bag_of_words"),
}


def tiny_model(name: str):
    """A tiny model with random weights that differ from any initial value."""
    torch.manual_seed(0)
    model = TINY_MODELS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def random_batch(lengths: list[int], side: str = "right", seed: int = 1) -> dict[str, torch.Tensor]:
    """Token ids and mask of texts with these lengths, padded on one side with ids that must not matter."""
    generator = torch.Generator().manual_seed(seed)
    width = max([*lengths, 1])
    input_ids = torch.zeros(len(lengths), width, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, length in enumerate(lengths):
        columns = slice(0, length) if side == "right" else slice(width - length, width)
        input_ids[row, columns] = torch.randint(4, VOCAB_SIZE, (length,), generator=generator)
        attention_mask[row, columns] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def save_tiny_encoder(folder: Path) -> Path:
    """A tiny random BERT and the tiny tokenizer, as a user's encoder folder."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TINY_TOKENIZER)
    config = BertConfig(**ENCODER | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id})
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
