"""Configuration of the hierarchical attention classifier."""

from typing import Any, ClassVar

from transformers import PretrainedConfig

from .configuration_salience import EncoderConfig, require


class HierarchicalAttnConfig(EncoderConfig):
    """Words, a top-k filter of words, sentence vectors, cross-attention from words to sentences, and an MLP.

    The defaults are the sizes of the report's section 1 (Bi-LSTM from scratch). With an `encoder_config` the words are
    the encoder's tokens, and `vocab_size`, `embedding_dim`, `hidden_dim` and `num_layers` are not used.

    Args:
        encoder_config: Configuration of a pretrained encoder, any that `AutoModel` builds; None for the Bi-LSTM.
        vocab_size: Rows of the word embedding.
        pad_token_id: The embedding's padding row.
        embedding_dim: Width of a word embedding.
        hidden_dim: Width of a contextual word vector: both directions of the Bi-LSTM together.
        num_layers: Layers of the Bi-LSTM.
        segmentation: How sentences are found: "punctuation" (a sentence ends with a run of `sentence_end_ids`) or
            "sliding_window" (every `segment_stride` tokens begins a sentence of `segment_size`).
        sentence_end_ids: Ids of the tokens that end a sentence: . ! ? and line breaks.
        segment_size: Tokens of a sliding window.
        segment_stride: Tokens from one sliding window to the next.
        max_sentences: Sentences of a document that are read; 0 for all.
        max_words: Words of a sentence that are read; 0 for all. Sliding windows have `segment_size` instead.
        filter_ratio: Share of each sentence's words that the filter keeps, above 0 and at most 1 (at least one word).
        num_heads: Heads of the cross-attention from words to sentences.
        feed_forward_dim: Inner width of the feed-forward network behind it; None for twice the hidden width.
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
        segmentation: str = "punctuation",
        sentence_end_ids: list[int] | None = None,
        segment_size: int = 50,
        segment_stride: int = 25,
        max_sentences: int = 30,
        max_words: int = 100,
        filter_ratio: float = 0.5,
        num_heads: int = 4,
        feed_forward_dim: int | None = None,
        classifier_hidden_dim: int = 128,
        dropout: float = 0.3,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.embedding_dim = embedding_dim
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.segmentation = segmentation
        self.sentence_end_ids = sentence_end_ids or []
        self.segment_size = segment_size
        self.segment_stride = segment_stride
        self.max_sentences = max_sentences
        self.max_words = max_words
        self.filter_ratio = filter_ratio
        self.num_heads = num_heads
        self.feed_forward_dim = feed_forward_dim
        self.classifier_hidden_dim = classifier_hidden_dim
        self.dropout = dropout
        super().__init__(encoder_config=encoder_config, pad_token_id=pad_token_id, **kwargs)
        sizes = (
            "vocab_size", "embedding_dim", "hidden_dim", "num_layers", "segment_size", "feed_forward_dim",
            "classifier_hidden_dim",
        )  # fmt: skip
        for name in sizes:
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} = {value} must be at least 1")
        for name in ("max_sentences", "max_words"):
            require(getattr(self, name) >= 0, f"{name} = {getattr(self, name)} must be 0 (no limit) or more")
        require(hidden_dim % 2 == 0, f"hidden_dim = {hidden_dim} must be even: half of it for each direction")
        require(
            0 < segment_stride <= segment_size,
            f"segment_stride = {segment_stride} must be between 1 and segment_size = {segment_size}",
        )
        require(0 < filter_ratio <= 1, f"filter_ratio = {filter_ratio} must be above 0 and at most 1")
        require(0 <= dropout < 1, f"dropout = {dropout} must lie in [0, 1)")
        require(
            num_heads > 0 and self.hidden_size % num_heads == 0,
            f"num_heads = {num_heads} must divide the width {self.hidden_size}",
        )

    @property
    def hidden_size(self) -> int:
        """Width of word and document vectors."""
        return self.hidden_dim if self.encoder_config is None else self.encoder_config.hidden_size
