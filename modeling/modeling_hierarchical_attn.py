"""Hierarchical attention: words, a filter, sentences, and cross-attention between them (Newsgroups report, section 1).

All work is on real words: a batch is a flat tensor of words with the lengths of sentences and documents (`Ragged`).

Shape suffixes
    B = documents, T = tokens of the longest, S = sentences of all documents, N = words of all sentences,
    K = words that the filter keeps, D = hidden width, H = heads, G, L, M = a group, its longest document, and the most
    sentences in it
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils.generic import can_return_tuple

from .configuration_hierarchical_attn import HierarchicalAttnConfig
from .encoders import EncoderPreTrainedModel, build_encoder
from .ragged import Ragged
from .salience_base import ClassifierMixin, DocumentOutput, registered
from .segmentation import SEGMENTATIONS, Sentences
from .windows import PackedInputs, encode_windows, pack_inputs
from .word_encoders import BiLSTM


class WordFilter(nn.Module):
    """Self-attention within each sentence scores its words; the best `filter_ratio` of them go on (component 2).

    A kept word goes on multiplied by its importance, so that the filter learns what to keep.
    """

    def __init__(self, config: HierarchicalAttnConfig) -> None:
        super().__init__()
        self.ratio = config.filter_ratio
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.score = nn.Linear(config.hidden_size, 1)

    def forward(self, words_ND: Tensor, sentences: Ragged) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the words (N, D), their importance (N,) in 0 to 1, and which of them are kept (N,)."""
        attended_ND = sentences.map_groups(self.attend, words_ND)
        features_ND = self.norm(words_ND + self.dropout(attended_ND))
        importance_N = self.score(features_ND)[:, 0].sigmoid()
        # Rounded in float64, where 0.07 * 100 is 7.000000000000001 and must not make 8.
        k_S = (sentences.lengths_S.double() * self.ratio - 1e-9).ceil().long()
        return features_ND, importance_N, sentences.top_k(importance_N.detach(), k_S)

    def attend(self, x_GLD: Tensor, mask_GL: Tensor) -> Tensor:
        """Scaled dot-product attention of a group of sentences, each word over its own sentence."""
        return F.scaled_dot_product_attention(self.query(x_GLD), self.key(x_GLD), x_GLD, attn_mask=mask_GL[:, None])


class SentencePooling(nn.Module):
    """Sentence vectors: maximum, mean and attention-weighted sum of a sentence's words, side by side (component 3)."""

    def __init__(self, config: HierarchicalAttnConfig) -> None:
        super().__init__()
        self.score = nn.Linear(config.hidden_size, 1)
        self.norm = nn.LayerNorm(3 * config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, words_ND: Tensor, sentences: Ragged) -> Tensor:
        """(N, D) -> (S, 3D)."""
        weights_N = sentences.softmax(self.score(words_ND)[:, 0]).to(words_ND.dtype)
        attention_SD = sentences.sum(weights_N[:, None] * words_ND)
        return self.dropout(self.norm(torch.cat([sentences.max(words_ND), sentences.mean(words_ND), attention_SD], 1)))


class CrossAttention(nn.Module):
    """Kept words ask, their document's sentences answer; feed-forward, residuals and norms (component 4)."""

    def __init__(self, config: HierarchicalAttnConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(3 * width, width)
        self.value = nn.Linear(3 * width, width)
        self.output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width)
        inner_width = config.feed_forward_dim or 2 * width
        self.feed_forward = nn.Sequential(
            nn.Linear(width, inner_width), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(inner_width, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def heads(self, x_GLD: Tensor) -> Tensor:
        """(G, L, D) -> (G, H, L, D/H)."""
        return x_GLD.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, words_KD: Tensor, words: Ragged, vectors_SE: Tensor, sentences: Ragged) -> Tensor:
        """(K, D) -> (K, D); `words` and `sentences` are the layouts by document."""
        if not words_KD.shape[0]:
            return words_KD
        query_KD, key_SD, value_SD = self.query(words_KD), self.key(vectors_SE), self.value(vectors_SE)
        results, items = [], []
        for documents_G, items_GL, mask_GL in words.groups():
            sentences_GM, mask_GM = sentences.grid(documents_G)
            attended_GHLE = F.scaled_dot_product_attention(
                self.heads(query_KD[items_GL]),
                self.heads(key_SD[sentences_GM]),
                self.heads(value_SD[sentences_GM]),
                attn_mask=mask_GM[:, None, None],
            )
            results.append(attended_GHLE.transpose(1, 2).flatten(2)[mask_GL])
            items.append(items_GL[mask_GL])
        attended_KD = self.output(torch.cat(results)[torch.cat(items).argsort()])
        words_KD = self.attention_norm(words_KD + self.dropout(attended_KD))
        return self.feed_forward_norm(words_KD + self.dropout(self.feed_forward(words_KD)))

    def weights(self, words_KD: Tensor, words: Ragged, vectors_SE: Tensor, sentences: Ragged) -> Tensor:
        """The attention itself, (K, H, M) with M the most sentences of a document: quadratic, for looking at it."""
        query_KHE = self.query(words_KD).unflatten(-1, (self.num_heads, -1))
        sentences_BM, mask_BM = sentences.grid(torch.arange(sentences.num_segments, device=words_KD.device))
        key_BMHE = self.key(vectors_SE).unflatten(-1, (self.num_heads, -1))[sentences_BM]
        document_K = words.segment_N
        scores_KHM = torch.einsum("khe,kmhe->khm", query_KHE, key_BMHE[document_K]) / query_KHE.shape[-1] ** 0.5
        return scores_KHM.float().masked_fill(~mask_BM[document_K, None], float("-inf")).softmax(-1)


class HierarchicalAttnPreTrainedModel(EncoderPreTrainedModel):
    """Base of the hierarchical models."""

    config_class = HierarchicalAttnConfig


class HierarchicalAttnModel(HierarchicalAttnPreTrainedModel):
    """Document vectors by components 1 to 4."""

    def __init__(self, config: HierarchicalAttnConfig) -> None:
        super().__init__(config)
        self.segment = registered(SEGMENTATIONS, config.segmentation, "segmentation")
        if config.encoder_config is None:
            self.embeddings = nn.Embedding(config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id)
            self.bilstm = BiLSTM(config.embedding_dim, config.hidden_dim, config.num_layers, config.dropout)
        else:
            self.pretrained = build_encoder(config.encoder_config)
        self.encoder_norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.word_filter = WordFilter(config)
        self.sentence_pooling = SentencePooling(config)
        self.cross_attention = CrossAttention(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
    ) -> DocumentOutput:
        """Document vectors (B, D) as `pooler_output`, and which words and sentences they were made of.

        `pooling_weights` (B, T) is the importance of the kept words, scaled to sum to 1 over a document; a word that
        the filter dropped has 0. The arguments are those of `HierarchicalAttnForSequenceClassification.forward`.
        """
        packed = pack_inputs(
            attention_mask, input_ids=input_ids, token_type_ids=token_type_ids, inputs_embeds=inputs_embeds
        )
        sentences = self.segment(packed.tokens.get("input_ids"), packed.mask_BT, self.config)
        words_ND = self.dropout(self.encoder_norm(self.encode(packed, sentences)))
        features_ND, importance_N, kept_N = self.word_filter(words_ND, sentences.words)
        vectors_SE = self.sentence_pooling(words_ND, sentences.words)

        kept_words = Ragged(sentences.document_N[kept_N].bincount(minlength=packed.mask_BT.shape[0]))
        query_KD = features_ND[kept_N] * importance_N[kept_N, None]
        fused_KD = self.cross_attention(query_KD, kept_words, vectors_SE, sentences.documents)

        def per_token(values_N: Tensor, items_N: Tensor, reduce: str) -> Tensor:
            """(N, ...) -> (B, T, ...) in the caller's columns."""
            flat = values_N.new_zeros(packed.mask_BT.numel(), *values_N.shape[1:])
            index_N = items_N.reshape(-1, *[1] * (values_N.dim() - 1)).expand_as(values_N)
            flat = flat.scatter_reduce(0, index_N, values_N, reduce, include_self=False)
            return packed.unpack(flat.unflatten(0, packed.mask_BT.shape))

        weight_N = importance_N * kept_N
        total_B = weight_N.new_zeros(packed.mask_BT.shape[0]).index_add(0, sentences.document_N, weight_N)
        attentions = None
        if output_attentions:
            attentions_KHM = self.cross_attention.weights(query_KD, kept_words, vectors_SE, sentences.documents)
            attentions = per_token(attentions_KHM, sentences.token_N[kept_N], "mean").transpose(1, 2)
        return DocumentOutput(
            pooler_output=kept_words.mean(fused_KD),
            pooling_weights=per_token(weight_N / total_B[sentences.document_N], sentences.token_N, "sum"),
            sentence_ids=per_token(sentences.number_N + 1, sentences.token_N, "amin") - 1,
            cross_attentions=attentions,
        )

    def encode(self, packed: PackedInputs, sentences: Sentences) -> Tensor:
        """Contextual vectors of all words (N, D): each sentence by the Bi-LSTM, or each document by the encoder."""
        if self.config.encoder_config is not None:
            return encode_windows(self.pretrained, packed, self.config).flatten(0, 1)[sentences.token_N]
        embeds_BTE = packed.tokens.get("inputs_embeds")
        if embeds_BTE is None:
            embeds_NE = self.embeddings(packed.tokens["input_ids"].flatten()[sentences.token_N])
        else:
            embeds_NE = embeds_BTE.flatten(0, 1)[sentences.token_N]
        return sentences.words.map_groups(self.bilstm, self.dropout(embeds_NE))


class HierarchicalAttnForSequenceClassification(ClassifierMixin, HierarchicalAttnPreTrainedModel):
    """The report's two-layer classifier on the document vector of `HierarchicalAttnModel` (component 5)."""

    model: HierarchicalAttnModel

    def __init__(self, config: HierarchicalAttnConfig) -> None:
        super().__init__(config)
        self.model = HierarchicalAttnModel(config)
        self.dropout = nn.Identity()  # the report has dropout inside the classifier only
        self.classifier = nn.Sequential(
            nn.Linear(config.hidden_size, config.classifier_hidden_dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.classifier_hidden_dim, config.num_labels),  # type: ignore[arg-type]  # never None here
        )
        self.post_init()


__all__ = [
    "HierarchicalAttnForSequenceClassification",
    "HierarchicalAttnModel",
    "HierarchicalAttnPreTrainedModel",
]
