"""Configuration of the hierarchical attention classifier."""

import math
from typing import Any, ClassVar

from transformers import PretrainedConfig

from .configuration_fields import require
from .configuration_salience import EncoderConfig


class HierarchicalAttnConfig(EncoderConfig):
    """Words, a top-k filter of words, sentence vectors, cross-attention from words to sentences, and an MLP.

    The defaults are the sizes of the Newsgroups paper, section 1 (from scratch). With an `encoder_config` the words are
    the encoder's tokens, and `vocab_size`, `embedding_dim`, `hidden_dim` and `num_layers` are not used.

    Args:
        encoder_config: Configuration of a pretrained encoder, any that `AutoModel` builds; None for the Bi-LSTM.
        vocab_size: Rows of the word embedding. Of train.py: words of the training texts at most, and two more rows are
            made, for padding and for unknown words.
        pad_token_id: The embedding's padding row.
        embedding_dim: Width of a word embedding.
        hidden_dim: Width of a contextual word vector: both directions of the Bi-LSTM together.
        num_layers: Layers of the Bi-LSTM.
        embedding_skip: Whether a linear projection of the word embeddings is added to the Bi-LSTM's output.
        segmentation: How sentences are found: "punctuation" (a sentence ends with a run of `sentence_end_ids`),
            "sliding_window" (every `segment_stride` tokens begins a sentence of `segment_size`) or "learned"
            (boundaries are predicted from the token vectors, starting from those of "punctuation").
        sentence_end_ids: Ids of the tokens that end a sentence: . ! ? and line breaks.
        segment_size: Tokens of a sliding window.
        segment_stride: Tokens from one sliding window to the next.
        max_sentences: Sentences of a document that are read; 0 for all.
        max_words: Words of a sentence that are read; 0 for all. Sliding windows have `segment_size` instead.
        filter: Which words go on: "top_k" (the most important ones of each sentence), "adaptive" (as many as a ratio
            learned for each document says), "none" (all), or for comparison "random" and "idf" (the rarest).
        filter_ratio: Share of each sentence's words that "top_k", "random" and "idf" keep, above 0 and at most 1 (at
            least one word).
        attention_scope: Where the filter's self-attention looks: "sentence" or "document".
        attention_kernel: "softmax" (exact) or "linear" (its estimate by random features, whose cost grows with a
            document's length and not its square), for self-attention and cross-attention.
        linear_features: Random features of the linear attention.
        learn_temperature: Whether importance is the sigmoid of a score over a learned temperature.
        idf_prior: Whether importance is multiplied by TF-IDF, whose document frequencies are kept in the weights.
        boundary_penalty: Share of importance that the first and last word of a document lose, 0 to 1; less at the
            second and third.
        entropy_weight: Weight in the loss of the entropy of importance over a document's words: above 0 sharpens it.
        diversity_weight: Weight in the loss of its concentration on few words: above 0 spreads it.
        reconstruction_weight: Weight in the loss of the error in reconstructing word embeddings from contextual
            vectors.
        num_heads: Heads of the cross-attention from words to sentences.
        fusion: How words and what they read in sentences are joined: "residual" or "gated".
        document_pooling: What importance does: with "mean" it scales each kept word before the cross-attention, and the
            document is the plain mean behind it (as in the paper); with "importance" it is its weight in that mean.
        feed_forward_dim: Inner width of the feed-forward network after the cross-attention; None for twice the hidden
            width.
        classifier_hidden_dim: Inner width of the classifier.
        dropout: Dropout of every component.
        kwargs: See `EncoderConfig` and `SalienceConfig`.
    """

    model_type = "salience_hierarchical_attn"
    code_name: ClassVar[str] = "hierarchical_attn"

    def __init__(
        self,
        encoder_config: PretrainedConfig | dict[str, Any] | None = None,
        vocab_size: int = 20_000,
        pad_token_id: int = 0,
        embedding_dim: int = 200,
        hidden_dim: int = 256,
        num_layers: int = 2,
        embedding_skip: bool = False,
        segmentation: str = "punctuation",
        sentence_end_ids: list[int] | None = None,
        segment_size: int = 50,
        segment_stride: int = 25,
        max_sentences: int = 30,
        max_words: int = 100,
        filter: str = "top_k",
        filter_ratio: float = 0.5,
        attention_scope: str = "sentence",
        attention_kernel: str = "softmax",
        linear_features: int = 128,
        learn_temperature: bool = False,
        idf_prior: bool = False,
        boundary_penalty: float = 0.0,
        entropy_weight: float = 0.0,
        diversity_weight: float = 0.0,
        reconstruction_weight: float = 0.0,
        num_heads: int = 4,
        fusion: str = "residual",
        document_pooling: str = "importance",
        feed_forward_dim: int | None = None,
        classifier_hidden_dim: int = 128,
        dropout: float = 0.3,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding_dim = embedding_dim
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.embedding_skip = embedding_skip
        self.segmentation = segmentation
        self.sentence_end_ids = sentence_end_ids or []
        self.segment_size = segment_size
        self.segment_stride = segment_stride
        self.max_sentences = max_sentences
        self.max_words = max_words
        self.filter = filter
        self.filter_ratio = filter_ratio
        self.attention_scope = attention_scope
        self.attention_kernel = attention_kernel
        self.linear_features = linear_features
        self.learn_temperature = learn_temperature
        self.idf_prior = idf_prior
        self.boundary_penalty = boundary_penalty
        self.entropy_weight = entropy_weight
        self.diversity_weight = diversity_weight
        self.reconstruction_weight = reconstruction_weight
        self.num_heads = num_heads
        self.fusion = fusion
        self.document_pooling = document_pooling
        self.feed_forward_dim = feed_forward_dim
        self.classifier_hidden_dim = classifier_hidden_dim
        self.dropout = dropout
        super().__init__(encoder_config=encoder_config, pad_token_id=pad_token_id, **kwargs)
        sizes = (
            "vocab_size", "embedding_dim", "hidden_dim", "num_layers", "segment_size", "feed_forward_dim",
            "classifier_hidden_dim", "linear_features",
        )  # fmt: skip
        for name in sizes:
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} = {value} must be at least 1")
        for name in ("max_sentences", "max_words"):
            require(getattr(self, name) >= 0, f"{name} = {getattr(self, name)} must be 0 (no limit) or more")
        require(
            not embedding_skip or self.encoder_config is None,
            "embedding_skip = True is for the Bi-LSTM; a pretrained encoder has such connections inside",
        )
        require(hidden_dim % 2 == 0, f"hidden_dim = {hidden_dim} must be even: half of it for each direction")
        require(
            0 < segment_stride <= segment_size,
            f"segment_stride = {segment_stride} must be between 1 and segment_size = {segment_size}",
        )
        require(0 < filter_ratio <= 1, f"filter_ratio = {filter_ratio} must be above 0 and at most 1")
        require(0 <= boundary_penalty <= 1, f"boundary_penalty = {boundary_penalty} must lie in [0, 1]")
        for name in ("entropy_weight", "diversity_weight", "reconstruction_weight"):
            require(math.isfinite(getattr(self, name)), f"{name} = {getattr(self, name)} must be a finite number")
        require(reconstruction_weight >= 0, f"reconstruction_weight = {reconstruction_weight} must be 0 or more")
        require(
            attention_scope in ("sentence", "document"),
            f'attention_scope = "{attention_scope}" is unknown; choose from document, sentence',
        )
        require(
            document_pooling in ("mean", "importance"),
            f'document_pooling = "{document_pooling}" is unknown; choose from importance, mean',
        )
        require(0 <= dropout < 1, f"dropout = {dropout} must lie in [0, 1)")
        require(
            num_heads > 0 and self.hidden_size % num_heads == 0,
            f"num_heads = {num_heads} must divide the width {self.hidden_size}",
        )

    @property
    def hidden_size(self) -> int:
        """Width of word and document vectors."""
        return self.hidden_dim if self.encoder_config is None else self.encoder_config.hidden_size

    @property
    def needs_idf(self) -> bool:
        """Whether the weights hold document frequencies."""
        return self.idf_prior or self.filter == "idf"
