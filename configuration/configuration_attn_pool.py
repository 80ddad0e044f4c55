"""Configuration of the attention-pooling classifier."""

from typing import Any, ClassVar

from transformers import PretrainedConfig

from .configuration_fields import require
from .configuration_salience import EncoderConfig, default_encoder_config


class AttnPoolConfig(EncoderConfig):
    """A pretrained encoder, attention over its tokens, hybrid pooling, a linear classifier (arXiv 2512.09444).

    Args:
        encoder_config: Configuration of the encoder, any that `AutoModel` builds; None for BERT-base.
        query: Who asks in the attention: "self" (every token, within blocks of `window_size`; a token's weight is the
            attention it receives, eq. 3-4), "learned" (one learned question) or "cls" (the first token).
        key_dim: Width of a head's queries and keys, d_k of the paper.
        num_heads: Attention heads; each weighs its own slice of the features.
        alpha: Share of the plain mean in the text vector, 0 to 1; the rest is the attention-weighted sum.
        learn_alpha: Train alpha, starting at the given value (which must then lie strictly between 0 and 1).
        projection_dim: Width to which the token vectors are projected before pooling (the paper's hidden dimension d,
            best at 512); None keeps the encoder's.
        classifier_dropout: Dropout on the text vector.
        kwargs: See `EncoderConfig` and `SalienceConfig`.
    """

    model_type = "salience_attn_pool"
    code_name: ClassVar[str] = "attn_pool"

    def __init__(
        self,
        encoder_config: PretrainedConfig | dict[str, Any] | None = None,
        query: str = "self",
        key_dim: int = 64,
        num_heads: int = 1,
        alpha: float = 0.5,
        learn_alpha: bool = False,
        projection_dim: int | None = None,
        classifier_dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        self.query = query
        self.key_dim = key_dim
        self.num_heads = num_heads
        self.alpha = alpha
        self.learn_alpha = learn_alpha
        self.projection_dim = projection_dim
        self.classifier_dropout = classifier_dropout
        self.encoder_config: PretrainedConfig  # never None here
        super().__init__(
            encoder_config=default_encoder_config() if encoder_config is None else encoder_config, **kwargs
        )
        require(key_dim > 0, f"key_dim = {key_dim} must be at least 1")
        require(0 <= alpha <= 1, f"alpha = {alpha} must lie between 0 and 1")
        require(not learn_alpha or 0 < alpha < 1, f"alpha = {alpha} can't be learned: start strictly between 0 and 1")
        require(projection_dim is None or projection_dim > 0, f"projection_dim = {projection_dim} must be at least 1")
        require(0 <= classifier_dropout < 1, f"classifier_dropout = {classifier_dropout} must lie in [0, 1)")
        require(
            num_heads > 0 and self.hidden_size % num_heads == 0,
            f"num_heads = {num_heads} must divide the text vector's width {self.hidden_size}",
        )

    @property
    def hidden_size(self) -> int:
        """Width of the text vector."""
        return self.projection_dim or self.encoder_config.hidden_size
