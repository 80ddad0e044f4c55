"""Hierarchical attention: words, a filter, sentences, and cross-attention between them (Newsgroups paper, section 1).

All work is on real words: a batch is a flat tensor of words with the lengths of sentences and documents (`Ragged`).

Shape suffixes
    B = documents, T = tokens of the longest, P = tokens of all documents, padding left out,
    S = sentences of all documents, N = words of all sentences, G = sentences of a group, L = words of its longest,
    K = words that the filter keeps, D = hidden width, E = width of a word embedding, H = heads, M = the most sentences
    of a document
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import can_return_tuple

# A modeling file must itself import each file of ours that it needs: transformers 4 loads no others from a folder.
from .attention import ATTENTIONS  # noqa: F401
from .attributions import METHODS  # noqa: F401
from .classifier import ClassifierMixin, ngram_evidence
from .configuration_hierarchical_attn import HierarchicalAttnConfig
from .cross_attention import CrossAttention
from .documents import Document  # noqa: F401
from .encoder_checks import check_reading  # noqa: F401
from .encoders import EncoderPreTrainedModel, build_encoder
from .explaining import explain  # noqa: F401
from .explaining_pipeline import ExplainingPipeline  # noqa: F401
from .ngram_evidence import NgramEvidence  # noqa: F401
from .penalties import concentration, entropy
from .ragged import Ragged, counts, positions, recomputed
from .salience_base import DocumentOutput, registered
from .segmentation import SEGMENTATIONS, Sentences
from .subject import Subject  # noqa: F401
from .unpadded import in_one_row  # noqa: F401
from .weight_numbers import check_numbers  # noqa: F401
from .windows import PackedInputs, encode_windows
from .word_encoders import BiLSTM
from .word_filter import InverseDocumentFrequency, WordFilter, Words


class SentencePooling(nn.Module):
    """Sentence vectors: maximum, mean and attention-weighted sum of a sentence's words, side by side (component 3)."""

    def __init__(self, config: HierarchicalAttnConfig) -> None:
        super().__init__()
        self.score = nn.Linear(config.hidden_size, 1)
        self.norm = nn.LayerNorm(3 * config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, words_ND: Tensor, sentences: Sentences) -> Tensor:
        """(N, D) -> (S, 3D)."""
        words, score_N1, compared_ND = sentences.words, self.score(words_ND), words_ND
        if (share_N := sentences.membership_N) is None:
            mean_SD = words.mean(words_ND)
        else:  # a word that leaves its sentence leaves all three without a jump
            score_N1, compared_ND = score_N1 + share_N.log()[:, None], words_ND + share_N.log()[:, None]
            mean_SD = words.sum(words_ND * share_N[:, None]) / words.sum(share_N)[:, None]
        weights_N1 = words.softmax(score_N1).to(words_ND.dtype)
        attention_SD = words.sum(weights_N1 * words_ND)
        pooled_SE = torch.cat([words.max(compared_ND), mean_SD, attention_SD], 1)
        return self.dropout(self.norm(pooled_SE.to(words_ND.dtype)))  # shares are float32


class HierarchicalAttnPreTrainedModel(EncoderPreTrainedModel):
    """Base of the hierarchical models."""

    config_class = HierarchicalAttnConfig
    returns_attentions = True

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Change the number of tokens; see `PreTrainedModel.resize_token_embeddings`."""
        embedding = super().resize_token_embeddings(*args, **kwargs)
        idf: InverseDocumentFrequency | None = self.base_model.idf  # type: ignore[assignment]
        if idf is not None:
            idf.resize(embedding.num_embeddings)
        return embedding


class HierarchicalAttnModel(HierarchicalAttnPreTrainedModel):
    """Document vectors by components 1 to 4."""

    def __init__(self, config: HierarchicalAttnConfig) -> None:
        super().__init__(config)
        if config.encoder_config is None:
            self.embeddings = nn.Embedding(config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id)
            self.bilstm = BiLSTM(config.embedding_dim, config.hidden_dim, config.num_layers, config.dropout)
            self.skip = nn.Linear(config.embedding_dim, config.hidden_dim) if config.embedding_skip else None
        else:
            self.pretrained = build_encoder(config)
        vocab_size, embedding_dim = self.get_input_embeddings().weight.shape  # type: ignore[misc, union-attr]
        vector_size = config.hidden_size if config.encoder_config is not None else config.embedding_dim
        self.segment = registered(SEGMENTATIONS, config.segmentation, "segmentation")(vector_size, config)
        self.encoder_norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.idf = InverseDocumentFrequency(vocab_size) if config.needs_idf else None
        self.word_filter = WordFilter(config)
        self.sentence_pooling = SentencePooling(config)
        self.cross_attention = CrossAttention(config)
        self.decoder = nn.Linear(config.hidden_size, embedding_dim) if config.reconstruction_weight else None
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_tokens: bool = True,
    ) -> DocumentOutput:
        """Document vectors (B, D) as `pooler_output`, and which words and sentences they were made of.

        `pooling_weights` (B, T) is the importance of the kept words, scaled to sum to 1 over a document; a word that
        the filter dropped has 0. `last_hidden_state` (B, T, D) has the words in context, zero for one that isn't read
        (`max_sentences`, `max_words`); of a word in several sentences their mean. The arguments are those of
        `HierarchicalAttnForSequenceClassification.forward`; without `output_tokens` there are no words in context.
        """
        wants_attentions = self.wants_attentions(output_attentions, output_hidden_states)
        packed = self.pack(input_ids, attention_mask, token_type_ids, inputs_embeds)
        words = self.read_words(packed)
        sentences = words.sentences
        features_ND, importance_N, share_N = self.sparing(self.word_filter, words)(words)
        if sentences.membership_N is not None:
            share_N = share_N * sentences.membership_N
        vectors_SE = self.sparing(self.sentence_pooling, words)(words.vectors_ND, sentences)

        weight_N = importance_N * share_N
        kept_K = positions(share_N > 0)
        kept_words = Ragged(counts(words.by_document.segment_N[kept_K], packed.mask_BT.shape[0]), kept_K.shape[0])
        query_KD = features_ND.index_select(0, kept_K)
        counts_K = weight_N[kept_K]
        if self.config.document_pooling == "mean":
            query_KD, counts_K = query_KD * counts_K[:, None].to(features_ND.dtype), share_N[kept_K]
        read = self.sparing(self.cross_attention, words)
        fused_KD = read(query_KD, kept_words, vectors_SE, sentences.documents)
        document_BD = kept_words.weighted_sum(shares(counts_K, kept_words)[:, None].to(fused_KD.dtype), fused_KD)

        attentions = None
        if wants_attentions:
            attentions_KHM = self.cross_attention.weights(query_KD, kept_words, vectors_SE, sentences.documents)
            attentions = per_token(packed, attentions_KHM, sentences.token_N[kept_K], "mean").transpose(1, 2)
        return DocumentOutput(
            last_hidden_state=per_token(packed, words.vectors_ND, sentences.token_N, "mean") if output_tokens else None,
            pooler_output=document_BD,
            pooling_weights=per_token(packed, shares(weight_N, words.by_document), sentences.token_N, "sum"),
            sentence_ids=per_token(packed, sentences.number_N + 1, sentences.token_N, "amin") - 1,
            cross_attentions=attentions,
            auxiliary_loss=self.penalties(packed, words, importance_N) if self.training else None,
        )

    def sparing(self, module: nn.Module, words: Words) -> Any:
        """A component that keeps nothing for the gradient but what it is given, where there are many words."""
        return recomputed(module, words.sentences.words.num_items, self.keep_at_most)

    def read_words(self, packed: PackedInputs) -> Words:
        """Sentences and contextual words: each sentence by the Bi-LSTM, or each document by the pretrained encoder."""
        if self.config.encoder_config is None:
            embeds_PE = self.embed(packed)
            sentences = self.segment(packed, embeds_PE)
            embeds_NE = embeds_PE.index_select(0, packed.number_of(sentences.token_N))
            read = recomputed(self.read_sentences, embeds_NE.shape[0], self.keep_at_most)
            encoded_ND = sentences.words.map_groups(read, embeds_NE)
        else:
            hidden_PD = encode_windows(self.pretrained, packed, self.config, self.keep_at_most)
            sentences = self.segment(packed, hidden_PD)
            encoded_ND = hidden_PD.index_select(0, packed.number_of(sentences.token_N))
        ids_BT = packed.tokens.get("input_ids")
        id_N = None if ids_BT is None else ids_BT.flatten()[sentences.token_N]
        if self.idf is not None and id_N is None:
            raise ValueError("inverse document frequencies need input_ids, too, beside inputs_embeds")
        normalize = recomputed(self.normalized, encoded_ND.shape[0], self.keep_at_most)
        return Words(
            vectors_ND=normalize(encoded_ND),
            sentences=sentences,
            by_document=Ragged(sentences.documents.sum(sentences.words.lengths_S), sentences.words.num_items),
            id_N=id_N,
            num_cells=packed.mask_BT.numel(),
            position_N=sentences.token_N % packed.mask_BT.shape[1],
            idf_N=None if self.idf is None else self.idf(id_N),
        )

    def read_sentences(self, embeds_GLE: Tensor, mask_GL: Tensor) -> Tensor:
        """Words in the context of their sentences, by the Bi-LSTM and, with `embedding_skip`, themselves: (G, L, D)."""
        embeds_GLE = self.dropout(embeds_GLE)
        encoded_GLD = self.bilstm(embeds_GLE, mask_GL)
        return encoded_GLD if self.skip is None else encoded_GLD + self.skip(embeds_GLE)

    def normalized(self, encoded_ND: Tensor) -> Tensor:
        """What the encoder says of words, as all that follows reads it, (N, D)."""
        return self.dropout(self.encoder_norm(encoded_ND))

    def embed(self, packed: PackedInputs) -> Tensor:
        """Embeddings of the tokens themselves, out of context: (P, E)."""
        if (embeds_BTE := packed.tokens.get("inputs_embeds")) is not None:
            return embeds_BTE.flatten(0, 1)[packed.cell_P]
        return self.get_input_embeddings()(packed.tokens["input_ids"].flatten()[packed.cell_P])

    def penalties(self, packed: PackedInputs, words: Words, importance_N: Tensor) -> Tensor | None:
        """What training adds to each document's loss, (B,); None without any penalty."""
        config, documents = self.config, words.by_document
        share_N = shares(importance_N, documents)
        terms_B = []
        if config.entropy_weight:
            terms_B.append(config.entropy_weight * entropy(share_N, documents))
        if config.diversity_weight:
            terms_B.append(config.diversity_weight * concentration(share_N, documents))
        if self.decoder is not None:
            # What is to be reconstructed gets no gradient, or it would become easy by becoming nothing.
            wanted_NE = self.embed(packed).detach()[packed.number_of(words.sentences.token_N)].float()
            error_N = (self.decoder(words.vectors_ND).float() - wanted_NE).square().mean(1)
            terms_B.append(config.reconstruction_weight * documents.mean(error_N[:, None])[:, 0])
        return torch.stack(terms_B).sum(0) if terms_B else None


def shares(weight_N: Tensor, documents: Ragged) -> Tensor:
    """Weights scaled to sum to 1 over each document."""
    return weight_N / documents.sum(weight_N)[documents.segment_N].clamp(min=torch.finfo(weight_N.dtype).tiny)


def per_token(packed: PackedInputs, values_N: Tensor, token_N: Tensor, reduce: str) -> Tensor:
    """Values of words (N, ...) in the caller's columns, (B, T, ...); `reduce` joins those of one token."""
    flat = values_N.new_zeros(packed.mask_BT.numel(), *values_N.shape[1:])
    index_N = token_N.reshape(-1, *[1] * (values_N.dim() - 1)).expand_as(values_N)
    flat = flat.scatter_reduce(0, index_N, values_N, reduce, include_self=False)
    return packed.unpack(flat.unflatten(0, packed.mask_BT.shape))


class HierarchicalAttnForSequenceClassification(ClassifierMixin, HierarchicalAttnPreTrainedModel):
    """The Newsgroups paper's two-layer classifier on the document vector of `HierarchicalAttnModel` (component 5)."""

    model: HierarchicalAttnModel

    def __init__(self, config: HierarchicalAttnConfig) -> None:
        super().__init__(config)
        self.model = HierarchicalAttnModel(config)
        self.dropout = nn.Identity()  # the Newsgroups paper has dropout inside the classifier only
        self.classifier = nn.Sequential(
            nn.Linear(config.hidden_size, config.classifier_hidden_dim),
            # Not the paper's ReLU: what all document vectors have in common is larger than what tells them apart, and
            # the first steps of Adam along it can push every unit below zero for every document, for good.
            nn.LeakyReLU(0.1),
            nn.Dropout(config.dropout),
            nn.Linear(config.classifier_hidden_dim, config.num_labels),  # type: ignore[arg-type]  # never None here
        )
        self.ngrams = ngram_evidence(config)
        self.post_init()


__all__ = [
    "HierarchicalAttnForSequenceClassification",
    "HierarchicalAttnModel",
    "HierarchicalAttnPreTrainedModel",
]
