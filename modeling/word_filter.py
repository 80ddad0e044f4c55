"""The word-level filter (Newsgroups paper, component 2), the ways to choose words, and what else may weigh them.

Shape suffixes
    B = documents, S = sentences of all documents, N = words of all sentences, V = vocabulary, D = hidden width
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .attention import ATTENTIONS
from .ragged import Ragged, counts, is_empty
from .salience_base import registered
from .segmentation import Sentences

# The Newsgroups paper's failure mode 4 looks at the first and last three words of a document.
BOUNDARY_WORDS = 3


class Words(NamedTuple):
    """What is known of the words of all sentences."""

    vectors_ND: Tensor  # contextual
    sentences: Sentences
    by_document: Ragged  # the same N words, in documents
    id_N: Tensor | None  # token ids; None where the caller gave embeddings only
    num_cells: int  # of the batch that `sentences.token_N` points to
    position_N: Tensor  # place in the document, from 0
    idf_N: Tensor | None  # inverse document frequency, where the model keeps it


class InverseDocumentFrequency(nn.Module):
    """Log((1 + documents) / (1 + documents with the token)) + 1 of each token, counted once, kept in the weights."""

    idf_V: Tensor

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.register_buffer("idf_V", torch.empty(vocab_size))

    def init_own_parameters(self) -> None:
        """Called where the model's fresh weights are set: before anything is counted, all tokens are alike."""
        nn.init.ones_(self.idf_V)

    def set_counts(self, documents_V: Tensor, num_documents: int) -> None:
        """Set the frequencies.

        Args:
            documents_V: Training documents that hold each token.
            num_documents: Training documents in all.
        """
        self.idf_V.copy_(((1 + num_documents) / (1 + documents_V.double())).log() + 1)

    def resize(self, vocab_size: int) -> None:
        """Forget the last tokens, or have further ones, as rare as the rarest."""
        rarest = self.idf_V.max().expand(max(vocab_size - len(self.idf_V), 0))
        self.idf_V = torch.cat([self.idf_V[:vocab_size], rarest])

    def forward(self, id_N: Tensor) -> Tensor:
        """(N,) -> (N,)."""
        return self.idf_V[id_N]


def tf_idf(words: Words) -> Tensor:
    """(1 + log tf) idf of each word, divided by the highest of its document: (N,) in 0 to 1."""
    assert words.idf_N is not None  # the model has made sure
    assert words.id_N is not None
    document_N = words.by_document.segment_N
    _, same_N = ((document_N << 32) + words.id_N).unique(return_inverse=True)
    # A token that stands in several sentences is counted once.
    token_N = words.sentences.token_N
    part_N = 1 / counts(token_N, words.num_cells)[token_N].to(words.idf_N.dtype)
    count = torch.zeros_like(part_N).index_add(0, same_N, part_N)
    weight_N = (1 + count[same_N].log()) * words.idf_N
    return weight_N / words.by_document.max(weight_N[:, None])[document_N, 0]


def near_boundary(words: Words) -> Tensor:
    """1 for the first and last word of a document, falling to 0 for the fourth from either end, (N,)."""
    length_N = words.by_document.max(words.position_N[:, None])[words.by_document.segment_N, 0] + 1
    from_end_N = words.position_N.minimum(length_N - 1 - words.position_N)
    return (1 - from_end_N / BOUNDARY_WORDS).clamp(min=0)


class TopK(nn.Module):
    """Keep the words of highest importance: `filter_ratio` of each sentence, rounded up."""

    chooses_by_embeddings = True

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.ratio = config.filter_ratio

    def forward(self, importance_N: Tensor, words: Words) -> Tensor:
        """Share of each word that is kept, (N,) in 0 to 1."""
        return self.best(importance_N, words.sentences.words)

    def best(self, scores_N: Tensor, sentences: Ragged) -> Tensor:
        """1 for the words of highest score, else 0."""
        # Rounded in float64, where 0.07 * 100 is 7.000000000000001 and must not make 8.
        k_S = (sentences.lengths_S.double() * self.ratio - 1e-9).ceil()
        return (sentences.rank(scores_N.detach()) < k_S[sentences.segment_N]).float()


class AdaptiveTopK(nn.Module):
    """Keep the words of highest importance, at a ratio learned for each document (Newsgroups paper, section 7.1).

    At a ratio that makes 3.4 words of a sentence, the three best are kept whole and the fourth to 0.4: what is kept is
    continuous in the ratio, whose gradient says what a little more of the next word would change.
    """

    chooses_by_embeddings = True

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.ratio = nn.Sequential(nn.Linear(config.hidden_size, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid())

    def forward(self, importance_N: Tensor, words: Words) -> Tensor:
        """Share of each word that is kept, (N,) in 0 to 1."""
        ratio_B = self.ratio(words.by_document.mean(words.vectors_ND))[:, 0].float()
        sentences = words.sentences.words
        k_S = (ratio_B[words.sentences.documents.segment_N] * sentences.lengths_S).clamp(min=1)
        return (k_S[sentences.segment_N] - sentences.rank(importance_N.detach())).clamp(0, 1)


class KeepAll(nn.Module):
    """Keep every word."""

    def __init__(self, config: Any) -> None:
        super().__init__()

    def forward(self, importance_N: Tensor, words: Words) -> Tensor:
        """Share of each word that is kept, (N,): 1."""
        return torch.ones_like(importance_N, dtype=torch.float)


class RandomK(TopK):
    """Keep `filter_ratio` of each sentence's words at random, as a control; the same ones whenever a text is read."""

    chooses_by_embeddings = False

    def forward(self, importance_N: Tensor, words: Words) -> Tensor:
        """Share of each word that is kept, (N,) in 0 to 1."""
        if words.id_N is None:
            raise ValueError('filter = "random" draws by token ids: pass input_ids, too, beside inputs_embeds')
        return self.best(self.scores(words.position_N, words.id_N), words.sentences.words)

    def scores(self, position: Tensor, ids: Tensor) -> Tensor:
        """A hash of place and word, evenly spread over 0 to 2^24 - 1."""
        mixed = (position * 2654435761 + (ids + 1) * 2246822519) & 0xFFFFFFFF
        mixed = ((mixed ^ (mixed >> 15)) * 2246822519) & 0xFFFFFFFF
        return ((mixed ^ (mixed >> 13)) & 0xFFFFFF).float()


class IdfK(TopK):
    """Keep the words of highest inverse document frequency, `filter_ratio` of each sentence, as a control."""

    chooses_by_embeddings = False

    def forward(self, importance_N: Tensor, words: Words) -> Tensor:
        """Share of each word that is kept, (N,) in 0 to 1."""
        assert words.idf_N is not None  # the model has made sure
        return self.best(words.idf_N, words.sentences.words)


FILTERS: dict[str, type[nn.Module]] = {
    "top_k": TopK,
    "adaptive": AdaptiveTopK,
    "none": KeepAll,
    "random": RandomK,
    "idf": IdfK,
}


class WordFilter(nn.Module):
    """Self-attention scores the words, and the best of them go on (component 2)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.attention = registered(ATTENTIONS, config.attention_kernel, "attention_kernel")(config.hidden_size, config)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.score = nn.Linear(config.hidden_size, 1)
        self.choose = registered(FILTERS, config.filter, "filter")(config)
        self.log_temperature = nn.Parameter(torch.empty(())) if config.learn_temperature else None

    def init_own_parameters(self) -> None:
        """Called where the model's fresh weights are set."""
        if self.log_temperature is not None:
            nn.init.zeros_(self.log_temperature)

    def forward(self, words: Words) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the words (N, D), their importance (N,) in 0 to 1, and the share of each that is kept (N,)."""
        features_ND = self.norm(words.vectors_ND + self.dropout(self.attend(words)))
        logit_N = self.score(features_ND)[:, 0].float()
        if self.log_temperature is not None:
            logit_N = logit_N / self.log_temperature.exp()
        importance_N = logit_N.sigmoid()
        if self.config.idf_prior:
            importance_N = importance_N * tf_idf(words)
        if self.config.boundary_penalty:
            importance_N = importance_N * (1 - self.config.boundary_penalty * near_boundary(words))
        return features_ND, importance_N, self.choose(importance_N, words)

    def attend(self, words: Words) -> Tensor:
        """Scaled dot-product attention of each word over its sentence or document, (N, D)."""
        x_ND = words.vectors_ND
        if is_empty(x_ND):
            return x_ND
        segments = words.sentences.words if self.config.attention_scope == "sentence" else words.by_document
        query_N1D, key_N1D = self.query(x_ND)[:, None], self.key(x_ND)[:, None]
        return self.attention(query_N1D, key_N1D, x_ND[:, None], segments, segments)[:, 0]
