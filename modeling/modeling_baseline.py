"""The reports' baselines trained from scratch: Bi-LSTM, CNN and graph attention over words; and the mean of words.

Shape suffixes
    B = documents, T = words of the longest, E = width of a word embedding, D = width of a word vector,
    N = nodes of all graphs, M = edges of all graphs, H = heads, V = width of the document vector
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils.generic import can_return_tuple

from .attributions import METHODS  # noqa: F401
from .classifier import ClassifierMixin, ngram_evidence
from .configuration_baseline import BaselineConfig
from .documents import Document  # noqa: F401
from .explaining import explain  # noqa: F401
from .explaining_pipeline import ExplainingPipeline  # noqa: F401
from .ngram_evidence import NgramEvidence  # noqa: F401
from .ragged import Ragged, counts, largest, positions
from .salience_base import DocumentOutput, SaliencePreTrainedModel, registered
from .subject import Subject  # noqa: F401
from .unpadded import in_one_row  # noqa: F401
from .windows import PackedInputs
from .word_encoders import BiLSTM

# Document vectors (B, V), and what makes the vectors of their words (B, T, D) if somebody asks for them.
Read = tuple[Tensor, Callable[[], Tensor]]


class LSTMBaseline(nn.Module):
    """Bi-LSTM over the document, maximum over its words (Newsgroups paper, section 2.1)."""

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.bilstm = BiLSTM(config.embedding_dim, config.hidden_dim, config.num_layers, config.dropout)
        self.output_size = config.hidden_dim

    def forward(self, embeds_BTE: Tensor, packed: PackedInputs) -> Read:
        """Maximum over the words of a document."""
        words_BTD = self.bilstm(embeds_BTE, packed.mask_BT)
        return max_over_words(words_BTD, packed.mask_BT), lambda: words_BTD


class CNNBaseline(nn.Module):
    """Kernels over 3, 4 and 5 words, maximum over positions (Newsgroups paper, section 2.2)."""

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.kernel_sizes = config.kernel_sizes
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding_dim, config.num_filters, size) for size in config.kernel_sizes
        )
        self.output_size = config.num_filters * len(config.kernel_sizes)

    def forward(self, embeds_BTE: Tensor, packed: PackedInputs) -> Read:
        """Maximum over positions; one counts if its first word is a word, what follows the text is zero."""
        x_BET = (embeds_BTE * packed.mask_BT[:, :, None]).transpose(1, 2)
        features = [
            convolution(F.pad(x_BET, (0, size - 1))).relu().transpose(1, 2)
            for size, convolution in zip(self.kernel_sizes, self.convolutions, strict=True)
        ]
        document_BV = torch.cat([max_over_words(each_BTD, packed.mask_BT) for each_BTD in features], dim=1)
        return document_BV, lambda: torch.cat(features, dim=2)


class MeanBaseline(nn.Module):
    """Mean of a document's word embeddings (Joulin et al. 2017, fastText; its pairs of words are counted beside it)."""

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.output_size = config.embedding_dim

    def forward(self, embeds_BTE: Tensor, packed: PackedInputs) -> Read:
        """Mean over the words of a document; zero for one without any."""
        return packed.texts.mean(embeds_BTE.flatten(0, 1)[packed.cell_P]), lambda: embeds_BTE


class GraphAttention(nn.Module):
    """One layer of graph attention (Velickovic et al. 2018) over a flat list of edges."""

    def __init__(self, input_size: int, output_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.project = nn.Linear(input_size, output_size)
        self.source_score = nn.Linear(output_size // num_heads, 1)
        self.target_score = nn.Linear(output_size // num_heads, 1, bias=False)
        self.norm = nn.LayerNorm(output_size)

    def forward(self, nodes_ND: Tensor, source_M: Tensor, target_M: Tensor) -> Tensor:
        """(N, D) -> (N, D'); edges sorted by target."""
        values_NHE = self.project(nodes_ND).unflatten(-1, (self.num_heads, -1))
        scores_MH = self.source_score(values_NHE)[:, :, 0][source_M] + self.target_score(values_NHE)[:, :, 0][target_M]
        edges = Ragged(counts(target_M, nodes_ND.shape[0]), target_M.shape[0])
        weights_MH = edges.softmax(F.leaky_relu(scores_MH, 0.2))
        gathered_ND = edges.sum((weights_MH.to(values_NHE.dtype)[:, :, None] * values_NHE[source_M]).flatten(1))
        return self.norm(F.elu(gathered_ND))


class GraphBaseline(nn.Module):
    """Graph attention over each document's distinct words, joined where they occur near each other."""

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        sizes = [config.embedding_dim] + [config.hidden_dim] * config.num_layers
        self.layers = nn.ModuleList(
            GraphAttention(size, config.hidden_dim, config.num_heads) for size in sizes[: config.num_layers]
        )
        self.window = config.graph_window
        self.output_size = 2 * config.hidden_dim

    def forward(self, embeds_BTE: Tensor, packed: PackedInputs) -> Read:
        """Maximum and mean over the document's distinct words."""
        node_BT, first_N, documents = self.nodes(packed)
        source_M, target_M = self.edges(node_BT, packed.mask_BT, first_N.shape[0])
        nodes_ND = embeds_BTE.flatten(0, 1)[first_N]
        for layer in self.layers:
            nodes_ND = layer(nodes_ND, source_M, target_M)
        document_BV = torch.cat([documents.max(nodes_ND), documents.mean(nodes_ND)], dim=1)
        return document_BV, lambda: packed.grid(nodes_ND[node_BT[packed.mask_BT]])

    def nodes(self, packed: PackedInputs) -> tuple[Tensor, Tensor, Ragged]:
        """Node of each token (B, T), a token of each node (N,), and the nodes' layout by document."""
        if "input_ids" not in packed.tokens:
            raise ValueError("graph attention's nodes are distinct words: pass input_ids, too, beside inputs_embeds")
        ids_BT = packed.tokens["input_ids"]
        size = largest(ids_BT) + 1
        rows_B1 = torch.arange(ids_BT.shape[0], device=ids_BT.device)[:, None]
        valid = packed.cell_P
        words, inverse = (rows_B1 * size + ids_BT).flatten()[valid].unique(return_inverse=True)
        node_BT = torch.zeros_like(ids_BT).flatten().index_copy(0, valid, inverse).view_as(ids_BT)
        first_N = torch.zeros_like(words).scatter_reduce(0, inverse, valid, "amin", include_self=False)
        return node_BT, first_N, Ragged(counts(words // size, ids_BT.shape[0]), first_N.shape[0])

    def edges(self, node_BT: Tensor, mask_BT: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
        """Distinct directed edges, self-loops included, sorted by target: (source, target)."""
        loops = torch.arange(num_nodes, device=node_BT.device)
        pairs = [loops * num_nodes + loops]
        node_BT, mask_BT = F.pad(node_BT, (0, self.window)), F.pad(mask_BT, (0, self.window))
        for distance in range(1, self.window + 1):
            both = positions(mask_BT[:, distance:].flatten())
            left, right = node_BT[:, :-distance].flatten()[both], node_BT[:, distance:].flatten()[both]
            pairs += [left * num_nodes + right, right * num_nodes + left]
        codes = torch.cat(pairs).unique()
        return codes % torch.sym_max(num_nodes, 1), codes // torch.sym_max(num_nodes, 1)


def max_over_words(x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Maximum over each document's words, (B, D); zero for a document without any."""
    lowest = torch.finfo(x_BTD.dtype).min
    return x_BTD.masked_fill(~mask_BT[:, :, None], lowest).amax(1) * mask_BT.any(1, keepdim=True)


ARCHITECTURES: dict[str, Callable[[BaselineConfig], nn.Module]] = {
    "lstm": LSTMBaseline,
    "cnn": CNNBaseline,
    "gat": GraphBaseline,
    "bag_of_words": MeanBaseline,
}


class BaselinePreTrainedModel(SaliencePreTrainedModel):
    """Base of the baselines."""

    config_class = BaselineConfig


class BaselineModel(BaselinePreTrainedModel):
    """Word embeddings, and one of `ARCHITECTURES` that makes a document vector of them."""

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id)
        self.dropout = nn.Dropout(config.dropout)
        self.network = registered(ARCHITECTURES, config.architecture, "architecture")(config)
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
        """Document vectors (B, V) as `pooler_output`, word vectors (B, T, D).

        The arguments are those of `BaselineForSequenceClassification.forward`; without `output_tokens` there are no
        word vectors.
        """
        self.wants_attentions(output_attentions, output_hidden_states)
        packed = self.pack(input_ids, attention_mask, token_type_ids, inputs_embeds)
        embeds_BTE = packed.tokens.get("inputs_embeds")
        if embeds_BTE is None:
            embeds_BTE = self.embeddings(packed.tokens["input_ids"])
        document_BV, words = self.network(self.dropout(embeds_BTE), packed)
        return DocumentOutput(
            last_hidden_state=packed.unpack(words() * packed.mask_BT[:, :, None]) if output_tokens else None,
            pooler_output=document_BV,
        )


class BaselineForSequenceClassification(ClassifierMixin, BaselinePreTrainedModel):
    """Linear classifier on the document vector of `BaselineModel`."""

    model: BaselineModel

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        self.model = BaselineModel(config)
        self.dropout = nn.Dropout(config.dropout)
        width = self.model.network.output_size
        self.classifier = nn.Linear(width, config.num_labels)  # type: ignore[arg-type]  # never None here
        self.ngrams = ngram_evidence(config)
        self.post_init()


__all__ = ["BaselineForSequenceClassification", "BaselineModel", "BaselinePreTrainedModel"]
