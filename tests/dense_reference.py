"""The hierarchical model computed the straightforward way, on a padded grid of documents x sentences x words.

It shares the weights of a `HierarchicalAttnForSequenceClassification` and gives the same logits: the reference that the
ragged computation is tested against.

Shape suffixes
    B = documents, S = sentences of the grid, W = words of a sentence, D = hidden width, C = classes
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from salience.modeling import HierarchicalAttnForSequenceClassification
from salience.modeling.segmentation import SEGMENTATIONS
from salience.modeling.windows import pack_inputs


class Grid(NamedTuple):
    """Word ids on the grid, and which of its cells are words."""

    ids_BSW: Tensor
    mask_BSW: Tensor


def make_grid(
    model: HierarchicalAttnForSequenceClassification,
    input_ids: Tensor,
    attention_mask: Tensor,
    num_sentences: int | None = None,
    num_words: int | None = None,
) -> Grid:
    """Lay a batch out on the grid, as a data loader of the straightforward version would.

    Args:
        model: Says how sentences are found.
        input_ids: (B, T).
        attention_mask: (B, T).
        num_sentences: S; None for the most that a document of the batch has.
        num_words: W; None for the longest sentence of the batch.
    """
    config = model.config
    packed = pack_inputs(attention_mask, input_ids=input_ids)
    found = SEGMENTATIONS[config.segmentation](packed.tokens["input_ids"], packed.mask_BT, config)
    num_sentences = num_sentences or max(int(found.documents.lengths_S.max()), 1)
    num_words = num_words or (int(found.words.lengths_S.max()) if found.words.num_segments else 1)
    word_N = torch.arange(len(found.token_N)) - found.words.offsets_S[found.words.segment_N]
    ids_BSW = input_ids.new_full((len(input_ids), num_sentences, num_words), config.pad_token_id)
    mask_BSW = torch.zeros_like(ids_BSW, dtype=torch.bool)
    cells = found.document_N, found.number_N, word_N
    ids_BSW[cells] = packed.tokens["input_ids"].flatten()[found.token_N]
    mask_BSW[cells] = True
    return Grid(ids_BSW, mask_BSW)


def dense_logits(model: HierarchicalAttnForSequenceClassification, grid: Grid) -> Tensor:
    """Logits (B, C) of the model, every cell of the grid computed."""
    base, config = model.model, model.config
    num_documents, num_sentences, num_words = grid.ids_BSW.shape
    mask_XW = grid.mask_BSW.flatten(0, 1)  # X = B * S
    embeds_XWE = base.dropout(base.embeddings(grid.ids_BSW.flatten(0, 1)))
    words_XWD = base.dropout(base.encoder_norm(base.bilstm(embeds_XWE, mask_XW)))

    word_filter = base.word_filter
    scores_XWW = word_filter.query(words_XWD) @ word_filter.key(words_XWD).transpose(1, 2) / config.hidden_size**0.5
    scores_XWW = scores_XWW.masked_fill(~mask_XW[:, None], torch.finfo(scores_XWW.dtype).min)
    features_XWD = word_filter.norm(words_XWD + word_filter.dropout(scores_XWW.softmax(-1) @ words_XWD))
    importance_XW = word_filter.score(features_XWD)[:, :, 0].sigmoid() * mask_XW
    k_X1 = (mask_XW.sum(1, keepdim=True).double() * config.filter_ratio - 1e-9).ceil()
    rank_XW = importance_XW.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    kept_XW = (rank_XW < k_X1) & mask_XW

    vectors_BSE = pooled_sentences(model, words_XWD, mask_XW).unflatten(0, (num_documents, num_sentences))
    filtered_BKD = (features_XWD * importance_XW[:, :, None]).view(num_documents, num_sentences * num_words, -1)
    fused_BKD = cross_attended(model, filtered_BKD, vectors_BSE, grid.mask_BSW.any(2))
    kept_BK1 = kept_XW.view(num_documents, -1, 1)
    document_BD = (fused_BKD * kept_BK1).sum(1) / kept_BK1.sum(1).clamp(min=1)
    return model.classifier(model.dropout(document_BD))


def pooled_sentences(model: HierarchicalAttnForSequenceClassification, words_XWD: Tensor, mask_XW: Tensor) -> Tensor:
    """Maximum, mean and attention-weighted sum of each sentence's words, (X, 3 D)."""
    pooling, lowest = model.model.sentence_pooling, torch.finfo(words_XWD.dtype).min
    mask_XW1 = mask_XW[:, :, None]
    max_XD = words_XWD.masked_fill(~mask_XW1, lowest).amax(1) * mask_XW1.any(1)
    mean_XD = (words_XWD * mask_XW1).sum(1) / mask_XW1.sum(1).clamp(min=1)
    weights_XW1 = pooling.score(words_XWD).masked_fill(~mask_XW1, lowest).softmax(1) * mask_XW1
    return pooling.dropout(pooling.norm(torch.cat([max_XD, mean_XD, (weights_XW1 * words_XWD).sum(1)], 1)))


def cross_attended(
    model: HierarchicalAttnForSequenceClassification, words_BKD: Tensor, vectors_BSE: Tensor, mask_BS: Tensor
) -> Tensor:
    """Words after attention over their document's sentences and the feed-forward network, (B, K, D)."""
    cross = model.model.cross_attention
    # A document without sentences attends to all of them, so that nothing is NaN; none of its words counts.
    mask_B11S = (mask_BS | ~mask_BS.any(1, keepdim=True))[:, None, None]
    attended = F.scaled_dot_product_attention(
        cross.heads(cross.query(words_BKD)),
        cross.heads(cross.key(vectors_BSE)),
        cross.heads(cross.value(vectors_BSE)),
        attn_mask=mask_B11S,
    )
    words_BKD = cross.attention_norm(words_BKD + cross.dropout(cross.output(attended.transpose(1, 2).flatten(2))))
    return cross.feed_forward_norm(words_BKD + cross.dropout(cross.feed_forward(words_BKD)))
