"""Attention-pooling classifier: any pretrained encoder, attention over its tokens, hybrid pooling (arXiv 2512.09444).

Shape suffixes
    B = texts, T = tokens of the longest, P = tokens of all texts, padding left out, D = width of the document vector
"""

from torch import Tensor, nn
from transformers.utils.generic import can_return_tuple

# A modeling file must itself import each file of ours that it needs: transformers 4 loads no others from a folder.
from .attributions import METHODS  # noqa: F401
from .classifier import ClassifierMixin, ngram_evidence
from .configuration_attn_pool import AttnPoolConfig
from .documents import Document  # noqa: F401
from .encoder_checks import check_reading  # noqa: F401
from .encoders import EncoderPreTrainedModel, build_encoder
from .explaining import explain  # noqa: F401
from .explaining_pipeline import ExplainingPipeline  # noqa: F401
from .ngram_evidence import NgramEvidence  # noqa: F401
from .pooling import QUERIES, AttentionPooling
from .ragged import Ragged, recomputed  # noqa: F401
from .salience_base import DocumentOutput, registered
from .subject import Subject  # noqa: F401
from .unpadded import in_one_row  # noqa: F401
from .weight_numbers import check_numbers  # noqa: F401
from .windows import encode_windows


class AttnPoolPreTrainedModel(EncoderPreTrainedModel):
    """Base of the attention-pooling models."""

    config_class = AttnPoolConfig


class AttnPoolModel(AttnPoolPreTrainedModel):
    """Encodes texts of any length and pools each into one vector."""

    def __init__(self, config: AttnPoolConfig) -> None:
        super().__init__(config)
        registered(QUERIES, config.query, "query")
        self.pretrained = build_encoder(config)
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
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_tokens: bool = True,
    ) -> DocumentOutput:
        """Document vectors (B, D) as `pooler_output`, token weights (B, T), projected token vectors (B, T, D).

        The arguments are those of `AttnPoolForSequenceClassification.forward`; without `output_tokens` there are no
        token vectors, the one thing here that is as wide as the longest text.
        """
        self.wants_attentions(output_attentions, output_hidden_states)
        packed = self.pack(input_ids, attention_mask, token_type_ids, inputs_embeds)
        hidden_PD = self.projection(encode_windows(self.pretrained, packed, self.config, self.keep_at_most))
        pool = recomputed(self.pooler, hidden_PD.shape[0], self.keep_at_most)
        pooled_BD, weights_P = pool(hidden_PD, packed.texts)
        return DocumentOutput(
            last_hidden_state=packed.unpack(packed.grid(hidden_PD)) if output_tokens else None,
            pooler_output=pooled_BD,
            pooling_weights=packed.unpack(packed.grid(weights_P)),
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
