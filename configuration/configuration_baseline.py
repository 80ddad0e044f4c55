"""Configuration of the reports' baselines that are trained from scratch."""

from typing import Any, ClassVar

from .configuration_fields import require
from .configuration_salience import SalienceConfig


class BaselineConfig(SalienceConfig):
    """A baseline over word embeddings: Bi-LSTM, CNN or graph attention, or their mean.

    Newsgroups paper, section 2; arXiv 2512.09444; the mean is fastText's (Joulin et al. 2017).

    Args:
        architecture: "lstm" (Bi-LSTM, max over words), "cnn" (kernels over 3, 4, 5 words, max over positions), "gat"
            (graph attention over the document's graph of co-occurring words, max and mean over its words) or
            "bag_of_words" (the mean of its words).
        vocab_size: Rows of the word embedding. Of train.py: words of the training texts at most, and two more rows are
            made, for padding and for unknown words.
        pad_token_id: The embedding's padding row.
        embedding_dim: Width of a word embedding.
        hidden_dim: Width of a contextual word vector (lstm: both directions together; gat: all heads together).
        num_layers: Layers of the Bi-LSTM or of graph attention.
        kernel_sizes: Widths of the CNN's kernels in words.
        num_filters: Filters of each kernel size.
        num_heads: Heads of graph attention.
        graph_window: Words at most this far apart are joined by an edge of the graph.
        dropout: Dropout on embeddings and document vector.
        kwargs: See `SalienceConfig`.
    """

    model_type = "salience_baseline"
    code_name: ClassVar[str] = "baseline"

    def __init__(
        self,
        architecture: str = "lstm",
        vocab_size: int = 20_000,
        pad_token_id: int = 0,
        embedding_dim: int = 200,
        hidden_dim: int = 256,
        num_layers: int = 2,
        kernel_sizes: list[int] | None = None,
        num_filters: int = 128,
        num_heads: int = 4,
        graph_window: int = 3,
        dropout: float = 0.3,
        **kwargs: Any,
    ) -> None:
        self.architecture = architecture
        self.vocab_size = vocab_size
        self.embedding_dim = embedding_dim
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.kernel_sizes = kernel_sizes or [3, 4, 5]
        self.num_filters = num_filters
        self.num_heads = num_heads
        self.graph_window = graph_window
        self.dropout = dropout
        super().__init__(pad_token_id=pad_token_id, **kwargs)
        sizes = ("vocab_size", "embedding_dim", "hidden_dim", "num_layers", "num_filters", "num_heads", "graph_window")
        for name in sizes:
            require(getattr(self, name) > 0, f"{name} = {getattr(self, name)} must be at least 1")
        require(all(size > 0 for size in self.kernel_sizes), f"kernel_sizes = {kernel_sizes} must be at least 1 each")
        require(
            hidden_dim % (num_heads if architecture == "gat" else 2) == 0,
            f"hidden_dim = {hidden_dim} must be even (lstm), or a multiple of num_heads = {num_heads} (gat)",
        )
        require(0 <= dropout < 1, f"dropout = {dropout} must lie in [0, 1)")

    @property
    def hidden_size(self) -> int:
        """Width of the word vectors."""
        widths = {"cnn": self.num_filters * len(self.kernel_sizes), "bag_of_words": self.embedding_dim}
        return widths.get(self.architecture, self.hidden_dim)
