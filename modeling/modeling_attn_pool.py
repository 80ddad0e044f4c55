"""Attention-pooling classifier: any pretrained encoder, attention over its tokens, hybrid pooling (arXiv 2512.09444).

Shape suffixes
    B = texts, T = tokens, D = width of the document vector
"""

from torch import Tensor, nn
from transformers.utils.generic import can_return_tuple

from .configuration_attn_pool import AttnPoolConfig
from .encoders import EncoderPreTrainedModel, build_encoder
from .ngram_evidence import NgramEvidence  # noqa: F401
from .pooling import QUERIES, AttentionPooling
from .ragged import Ragged  # noqa: F401
from .salience_base import ClassifierMixin, DocumentOutput, ngram_evidence, registered
from .windows import encode_windows, pack_inputs


class AttnPoolPreTrainedModel(EncoderPreTrainedModel):
    """Base of the attention-pooling models."""

    config_class = AttnPoolConfig


class AttnPoolModel(AttnPoolPreTrainedModel):
    """Encodes texts of any length and pools each into one vector."""

    def __init__(self, config: AttnPoolConfig) -> None:
        super().__init__(config)
        registered(QUERIES, config.query, "query")
        self.pretrained = build_encoder(config.encoder_config)
        encoder_width = config.encoder_config.hidden_size
        self.projection = nn.Linear(encoder_width, config.projection_dim) if config.projection_dim else nn.Identity()
        self.pooler = AttentionPooling(
            config.hidden_size,
            query=config.query,
            key_dim=config.key_dim,
            num_heads=config.num_heads,
            alpha=config.alpha,
            learn_alpha=config.learn_alpha,
            block_size=config.window_size,
        )
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> DocumentOutput:
        """Document vectors (B, D) as `pooler_output`, token weights (B, T), projected token vectors (B, T, D).

        The arguments are those of `AttnPoolForSequenceClassification.forward`.
        """
        packed = pack_inputs(
            attention_mask, input_ids=input_ids, token_type_ids=token_type_ids, inputs_embeds=inputs_embeds
        )
        hidden_BTD = self.projection(encode_windows(self.pretrained, packed, self.config))
        pooled_BD, weights_BT = self.pooler(hidden_BTD, packed.mask_BT)
        return DocumentOutput(
            last_hidden_state=packed.unpack(hidden_BTD * packed.mask_BT[:, :, None]),
            pooler_output=pooled_BD,
            pooling_weights=packed.unpack(weights_BT),
        )


class AttnPoolForSequenceClassification(ClassifierMixin, AttnPoolPreTrainedModel):
    """Linear classifier on the document vector of `AttnPoolModel`."""

    model: AttnPoolModel

    def __init__(self, config: AttnPoolConfig) -> None:
        super().__init__(config)
        self.model = AttnPoolModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)  # type: ignore[arg-type]  # never None here
        self.ngrams = ngram_evidence(config)
        self.post_init()


__all__ = ["AttnPoolForSequenceClassification", "AttnPoolModel", "AttnPoolPreTrainedModel"]
