"""The hierarchical model computed the straightforward way, on a padded grid of documents x sentences x words.

It shares the weights of a `HierarchicalAttnForSequenceClassification` from scratch and gives the same logits, for every
option: the reference that the ragged computation is tested against, and timed against in the benchmark.

Shape suffixes
    B = documents, S = sentences of the grid, W = words of a sentence, X = B * S, P = S * W, D = hidden width,
    E = width of a sentence vector, C = classes, H = heads, Q = queries, K = keys
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import HierarchicalAttnForSequenceClassification
from .attention import LinearAttention
from .cross_attention import GatedFusion
from .windows import pack_inputs
from .word_filter import BOUNDARY_WORDS


class Grid(NamedTuple):
    """Words on the grid: ids, which cells are words, places in their documents, and shares of membership."""

    ids_BSW: Tensor
    mask_BSW: Tensor
    position_BSW: Tensor
    membership_BSW: Tensor


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
    packed = pack_inputs(attention_mask, input_ids=input_ids)
    found = model.model.segment(packed, model.model.embed(packed))
    num_sentences = num_sentences or max(int(found.documents.lengths_S.max()), 1)
    num_words = num_words or (int(found.words.lengths_S.max()) if found.words.num_segments else 1)
    word_N = torch.arange(len(found.token_N), device=input_ids.device) - found.words.offsets_S[found.words.segment_N]
    cells = found.document_N, found.number_N, word_N
    shape = len(input_ids), num_sentences, num_words

    def on_grid(values_N: Tensor, filler: float) -> Tensor:
        return values_N.new_full(shape, filler).index_put(cells, values_N)

    ids_N = packed.tokens["input_ids"].flatten()[found.token_N]
    ones_N = torch.ones_like(ids_N)
    return Grid(
        on_grid(ids_N, model.config.pad_token_id),
        on_grid(ones_N, 0).bool(),
        on_grid(found.token_N % packed.mask_BT.shape[1], 0),
        on_grid(ones_N.float() if found.membership_N is None else found.membership_N, 0),
    )


def dense_logits(model: HierarchicalAttnForSequenceClassification, grid: Grid) -> Tensor:
    """Logits (B, C) of the model, every cell of the grid computed."""
    base: Any = model.model
    num_documents, num_sentences, _ = grid.ids_BSW.shape
    mask_XW = grid.mask_BSW.flatten(0, 1)
    embeds_XWE = base.dropout(base.embeddings(grid.ids_BSW.flatten(0, 1)))
    encoded_XWD = base.bilstm(embeds_XWE, mask_XW)
    if base.skip is not None:
        encoded_XWD = encoded_XWD + base.skip(embeds_XWE)
    words_XWD = base.dropout(base.encoder_norm(encoded_XWD))
    vectors_XE = pooled_sentences(model, words_XWD, mask_XW, grid.membership_BSW.flatten(0, 1))
    vectors_BSE = vectors_XE.unflatten(0, (num_documents, num_sentences))

    features_BPD = self_attended(model, words_XWD, grid)
    importance_BP = importance(model, features_BPD, grid)
    share_BP = kept_share(model, importance_BP, words_XWD, grid) * grid.membership_BSW.flatten(1)
    weight_BP = importance_BP * share_BP
    if model.config.document_pooling == "mean":
        features_BPD, weight_BP = features_BPD * weight_BP[:, :, None], share_BP
    fused_BPD = cross_attended(model, features_BPD, vectors_BSE, grid.mask_BSW.any(2))
    total_B1 = weight_BP.sum(1, keepdim=True).clamp(min=1e-30)
    return model.classifier(model.dropout((fused_BPD * weight_BP[:, :, None]).sum(1) / total_B1))


def attended(kernel: nn.Module, query_BHQD: Tensor, key_BHKD: Tensor, value_BHKD: Tensor, mask_BK: Tensor) -> Tensor:
    """Attention with all of its weights (B, H, Q, K) written out."""
    # A row without keys attends to all of them, so that nothing is NaN; none of its queries counts.
    mask_B11K = (mask_BK | ~mask_BK.any(1, keepdim=True))[:, None, None]
    if isinstance(kernel, LinearAttention):
        query_BHQM, key_BHKM = kernel.log_features(query_BHQD), kernel.log_features(key_BHKD)
        weights_BHQK = (query_BHQM.double().exp() @ key_BHKM.double().exp().transpose(2, 3)) * mask_B11K
        return (weights_BHQK / weights_BHQK.sum(3, keepdim=True)).to(value_BHKD.dtype) @ value_BHKD
    scores_BHQK = query_BHQD @ key_BHKD.transpose(2, 3) / query_BHQD.shape[-1] ** 0.5
    return scores_BHQK.masked_fill(~mask_B11K, torch.finfo(scores_BHQK.dtype).min).softmax(3) @ value_BHKD


def self_attended(model: HierarchicalAttnForSequenceClassification, words_XWD: Tensor, grid: Grid) -> Tensor:
    """Words after the filter's self-attention, (B, P, D)."""
    word_filter, mask_XW = model.model.word_filter, grid.mask_BSW.flatten(0, 1)
    if model.config.attention_scope == "document":
        words_XWD, mask_XW = words_XWD.reshape(len(grid.ids_BSW), -1, words_XWD.shape[-1]), grid.mask_BSW.flatten(1)
    query, key = word_filter.query(words_XWD)[:, None], word_filter.key(words_XWD)[:, None]
    seen_XWD = attended(word_filter.attention, query, key, words_XWD[:, None], mask_XW)[:, 0]
    features_XWD = word_filter.norm(words_XWD + word_filter.dropout(seen_XWD))
    return features_XWD.reshape(len(grid.ids_BSW), -1, words_XWD.shape[-1])


def importance(model: HierarchicalAttnForSequenceClassification, features_BPD: Tensor, grid: Grid) -> Tensor:
    """Importance of the words with all that weighs it, (B, P); zero where there is none."""
    config, mask_BP = model.config, grid.mask_BSW.flatten(1)
    base: Any = model.model
    word_filter = base.word_filter
    logit_BP = word_filter.score(features_BPD)[:, :, 0]
    if config.learn_temperature:
        logit_BP = logit_BP / word_filter.log_temperature.exp()
    importance_BP = logit_BP.sigmoid() * mask_BP
    if config.idf_prior:
        ids_BP = grid.ids_BSW.flatten(1).masked_fill(~mask_BP, -1)
        position_BP = grid.position_BSW.flatten(1).masked_fill(~mask_BP, -1)
        part_BP = 1 / (position_BP[:, :, None] == position_BP[:, None]).sum(2)  # of a token in several sentences
        count_BP = ((ids_BP[:, :, None] == ids_BP[:, None]) * part_BP[:, None]).sum(2)
        weight_BP = (1 + count_BP.log()) * base.idf.idf_V[ids_BP] * mask_BP
        importance_BP = importance_BP * weight_BP / weight_BP.amax(1, keepdim=True).clamp(min=1e-9)
    if config.boundary_penalty:
        position_BP = grid.position_BSW.flatten(1)
        last_B1 = position_BP.amax(1, keepdim=True)
        nearness_BP = (1 - position_BP.minimum(last_B1 - position_BP) / BOUNDARY_WORDS).clamp(min=0)
        importance_BP = importance_BP * (1 - config.boundary_penalty * nearness_BP)
    return importance_BP


def kept_share(
    model: HierarchicalAttnForSequenceClassification, importance_BP: Tensor, words_XWD: Tensor, grid: Grid
) -> Tensor:
    """Share of each word that the filter keeps, (B, P)."""
    config, mask_BSW = model.config, grid.mask_BSW
    base: Any = model.model
    if config.filter == "none":
        return mask_BSW.flatten(1).float()
    scores_BSW = importance_BP.view_as(grid.position_BSW)
    if config.filter == "random":
        scores_BSW = base.word_filter.choose.scores(grid.position_BSW, grid.ids_BSW)
    elif config.filter == "idf":
        scores_BSW = base.idf.idf_V[grid.ids_BSW]
    rank_BSW = scores_BSW.masked_fill(~mask_BSW, -1).argsort(dim=2, descending=True, stable=True).argsort(dim=2)
    lengths_BS1 = mask_BSW.sum(2, keepdim=True)
    if config.filter != "adaptive":
        k_BS1 = (lengths_BS1.double() * config.filter_ratio - 1e-9).ceil()
        return ((rank_BSW < k_BS1) & mask_BSW).flatten(1).float()
    words_BSWD = words_XWD.view(*mask_BSW.shape, -1)
    mean_BD = (words_BSWD * mask_BSW[..., None]).sum((1, 2)) / mask_BSW.sum((1, 2)).clamp(min=1)[:, None]
    k_BS1 = (base.word_filter.choose.ratio(mean_BD)[:, None] * lengths_BS1).clamp(min=1)
    return ((k_BS1 - rank_BSW).clamp(0, 1) * mask_BSW).flatten(1)


def pooled_sentences(
    model: HierarchicalAttnForSequenceClassification, words_XWD: Tensor, mask_XW: Tensor, share_XW: Tensor
) -> Tensor:
    """Maximum, mean and attention-weighted sum of each sentence's words, (X, E)."""
    pooling, lowest = model.model.sentence_pooling, torch.finfo(words_XWD.dtype).min
    mask_XW1, share_XW1 = mask_XW[:, :, None], share_XW[:, :, None]
    log_share_XW1 = share_XW1.masked_fill(~mask_XW1, 1).log()
    max_XD = (words_XWD + log_share_XW1).masked_fill(~mask_XW1, lowest).amax(1) * mask_XW1.any(1)
    mean_XD = (words_XWD * share_XW1).sum(1) / share_XW1.sum(1).clamp(min=1e-30)
    scores_XW1 = pooling.score(words_XWD) + log_share_XW1
    weights_XW1 = scores_XW1.masked_fill(~mask_XW1, lowest).softmax(1) * mask_XW1
    return pooling.dropout(pooling.norm(torch.cat([max_XD, mean_XD, (weights_XW1 * words_XWD).sum(1)], 1)))


def cross_attended(
    model: HierarchicalAttnForSequenceClassification, words_BPD: Tensor, vectors_BSE: Tensor, mask_BS: Tensor
) -> Tensor:
    """Words after attention over their document's sentences, fusion and the feed-forward network, (B, P, D)."""
    cross = model.model.cross_attention

    def heads(x_BPD: Tensor) -> Tensor:
        return x_BPD.unflatten(-1, (cross.num_heads, -1)).transpose(1, 2)

    query, key, value = heads(cross.query(words_BPD)), heads(cross.key(vectors_BSE)), heads(cross.value(vectors_BSE))
    seen_BPD = cross.output(attended(cross.attention, query, key, value, mask_BS).transpose(1, 2).flatten(2))
    seen_BPD = cross.dropout(seen_BPD)
    if isinstance(cross.fusion, GatedFusion):
        gate_BPD = cross.fusion.gate(torch.cat([words_BPD, seen_BPD], dim=2)).sigmoid()
        joined_BPD = gate_BPD * words_BPD + (1 - gate_BPD) * seen_BPD
    else:
        joined_BPD = words_BPD + seen_BPD
    words_BPD = cross.attention_norm(joined_BPD)
    return cross.feed_forward_norm(words_BPD + cross.dropout(cross.feed_forward(words_BPD)))
