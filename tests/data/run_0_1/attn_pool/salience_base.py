"""What our models share: outputs, initial weights, the loss, and the classifier on top.

Shape suffixes
    B = texts, T = tokens, D = width of the document vector, C = classes, S = sentences
"""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .ngram_evidence import NgramEvidence
from .windows import pack_inputs

Registered = TypeVar("Registered")


@dataclass
class DocumentOutput(ModelOutput):
    """Document vectors and the weights that made them.

    Attributes:
        last_hidden_state: (B, T, D') contextual token vectors, zero on padding; None for baselines.
        pooler_output: (B, D) document vectors.
        pooling_weights: (B, T) weight of each token in its document vector; they sum to 1 over a document's tokens.
        sentence_ids: (B, T) number of the sentence that a token belongs to, -1 for none (hierarchical models).
        cross_attentions: (B, heads, T, S) attention of each kept word over sentences, with `output_attentions=True`.
        auxiliary_loss: (B,) what penalties add to each document's loss; None without any, and outside of training.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    pooling_weights: Tensor | None = None
    sentence_ids: Tensor | None = None
    cross_attentions: Tensor | None = None
    auxiliary_loss: Tensor | None = None


@dataclass
class ClassifierOutput(ModelOutput):
    """Class scores, and what `DocumentOutput` says of the document.

    Attributes:
        loss: Scalar, if labels were given.
        logits: (B, C), before softmax or sigmoid.
        pooler_output: (B, D) document vectors.
        pooling_weights: (B, T) weight of each token, summing to 1 over a document's tokens.
        sentence_ids: (B, T), see `DocumentOutput`.
        cross_attentions: See `DocumentOutput`.
        auxiliary_loss: (B,), see `DocumentOutput`; `loss` has its mean over documents.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    pooler_output: Tensor | None = None
    pooling_weights: Tensor | None = None
    sentence_ids: Tensor | None = None
    cross_attentions: Tensor | None = None
    auxiliary_loss: Tensor | None = None


def registered(registry: Mapping[str, Registered], name: str, option: str) -> Registered:
    """The registry's entry, or a ValueError that lists what there is."""
    if name not in registry:
        raise ValueError(f'{option} = "{name}" is unknown; choose from {", ".join(sorted(registry))}')
    return registry[name]


def classification_loss(
    logits_BC: Tensor, labels: Tensor, problem_type: str | None, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Cross-entropy, binary cross-entropy or squared error, by problem type.

    Args:
        logits_BC: Scores.
        labels: (B,) class ids, (B, C) zeros and ones, or (B,) or (B, C) real values.
        problem_type: As in `PretrainedConfig`; None is resolved here, from the labels' type and the number of outputs.
        num_items_in_batch: Labels in the whole accumulated batch, over which the sum is averaged; None for this one.

    Raises:
        ValueError: The problem type is unknown.
    """
    if problem_type is None:
        is_class_ids = not labels.is_floating_point()
        several = "single_label_classification" if is_class_ids else "multi_label_classification"
        problem_type = "regression" if logits_BC.shape[1] == 1 else several
    reduction = "mean" if num_items_in_batch is None else "sum"
    logits_BC = logits_BC.float()
    if problem_type == "single_label_classification":
        loss = F.cross_entropy(logits_BC, labels.view(-1), reduction=reduction)
    elif problem_type == "multi_label_classification":
        loss = F.binary_cross_entropy_with_logits(logits_BC, labels.float(), reduction=reduction)
    elif problem_type == "regression":
        loss = F.mse_loss(logits_BC, labels.float().view_as(logits_BC), reduction=reduction)
    else:
        raise ValueError(f'problem_type = "{problem_type}" is unknown')
    return loss if num_items_in_batch is None else loss / num_items_in_batch


def auxiliary_mean(auxiliary_B: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
    """Mean of the documents' penalties over the accumulated batch, like the loss of their labels.

    Args:
        auxiliary_B: Penalty of each document.
        labels: As in `classification_loss`; with several per document, as many of the items are its.
        num_items_in_batch: As in `classification_loss`.
    """
    if num_items_in_batch is None:
        return auxiliary_B.mean()
    return auxiliary_B.sum() * (labels.numel() / auxiliary_B.shape[0]) / num_items_in_batch


def ngram_evidence(config: PretrainedConfig) -> NgramEvidence | None:
    """The evidence of n-grams that a configuration asks for, or None.

    Raises:
        ValueError: It asks for some, and texts don't have exactly one class each.
    """
    if not config.ngram_weight:
        return None
    if config.problem_type not in (None, "single_label_classification"):
        raise ValueError(f"ngram_weight needs exactly one class for each text, not {config.problem_type}")
    num_classes: int = config.num_labels  # type: ignore[assignment]  # never None here
    return NgramEvidence(num_classes, config.num_ngrams, config.ngram_size)


class SaliencePreTrainedModel(PreTrainedModel):
    """Base of all our models."""

    config_class: type[PretrainedConfig]
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    # AutoModel reads a classifier's checkpoint for its document vector.
    _keys_to_ignore_on_load_unexpected = [r"^classifier\.", r"^ngrams\."]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # The torch.nn.init functions, which transformers 5 guards: weights that were loaded stay as they are.
        if (init_own_parameters := getattr(module, "init_own_parameters", None)) is not None:
            init_own_parameters()
        elif isinstance(module, (nn.Linear, nn.Conv1d)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LSTM):
            for name, parameter in module.named_parameters():
                if "bias" in name:
                    nn.init.zeros_(parameter)
                else:
                    nn.init.xavier_uniform_(parameter) if "_ih_" in name else nn.init.orthogonal_(parameter)

    @property
    def encoder(self) -> PreTrainedModel | None:
        """The pretrained encoder inside, or None."""
        return getattr(self.base_model, "pretrained", None)

    def train(self, mode: bool = True) -> "SaliencePreTrainedModel":
        """Set training mode; an encoder of which nothing is trained keeps to evaluation mode, without dropout."""
        super().train(mode)
        encoder = self.encoder
        if encoder is not None and not any(parameter.requires_grad for parameter in encoder.parameters()):
            encoder.eval()
        return self

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of tokens, whose output `inputs_embeds` replaces."""
        encoder = self.encoder
        return self.base_model.get_submodule("embeddings") if encoder is None else encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embedding of tokens."""
        if self.encoder is None:
            self.base_model.embeddings = value
        else:
            self.encoder.set_input_embeddings(value)


class ClassifierMixin:
    """The classifier on a document model: a class needs `model`, `dropout`, `classifier` and `ngrams`."""

    config: PretrainedConfig
    model: SaliencePreTrainedModel
    dropout: nn.Module
    classifier: nn.Module
    ngrams: NgramEvidence | None
    training: bool
    # What the document model is told beside the text.
    document_options: dict[str, bool] = {}
    # The loss below is averaged over num_items_in_batch where Trainer gives it.
    accepts_loss_kwargs = True

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> ClassifierOutput:
        """Classify a batch of texts.

        Args:
            input_ids: (B, T) token ids.
            attention_mask: (B, T), non-zero for a token; padding may lie on either side. None: no padding.
            token_type_ids: (B, T), for encoders that know them.
            inputs_embeds: (B, T, E) token embeddings instead of ids.
            labels: (B,) class ids, (B, C) zeros and ones, or real values, by `config.problem_type`.
            num_items_in_batch: Labels in the accumulated batch, over which the loss is averaged; None for this batch.
            output_attentions: Return the cross-attention of hierarchical models.
            output_hidden_states: Not offered; the encoder's layers are found in `model.encoder`.

        Raises:
            ValueError: `output_hidden_states` is asked for, or there is no input.
        """
        if output_hidden_states:
            raise ValueError("output_hidden_states is not offered; call the encoder in `model.encoder` for its layers")
        options = self.document_options | ({"output_attentions": True} if output_attentions else {})
        if output_attentions and "output_attentions" not in signature(self.model.forward).parameters:
            raise ValueError("output_attentions is offered by hierarchical models, whose words attend to sentences")
        document = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            **options,
        )
        logits_BC = self.classifier(self.dropout(document.pooler_output))
        if self.ngrams is not None and not self.training:
            packed = pack_inputs(attention_mask, input_ids=input_ids, inputs_embeds=inputs_embeds)
            logits_BC = logits_BC + self.config.ngram_weight * self.ngrams(packed)
        if self.config.logit_temperature != 1 and not self.training:
            # Not in bfloat16, which would round some classes to a tie and so change answers.
            precise = torch.promote_types(logits_BC.dtype, torch.float32)
            logits_BC = logits_BC.to(precise) / self.config.logit_temperature
        if self.config.prior_correction is not None and not self.training:
            logits_BC = logits_BC - logits_BC.new_tensor(self.config.prior_correction)
        loss = None
        if labels is not None:
            loss = classification_loss(logits_BC, labels, self.config.problem_type, num_items_in_batch)
            if document.auxiliary_loss is not None:
                loss = loss + auxiliary_mean(document.auxiliary_loss, labels, num_items_in_batch)
        return ClassifierOutput(
            loss=loss,
            logits=logits_BC,
            pooler_output=document.pooler_output,
            pooling_weights=document.pooling_weights,
            sentence_ids=document.sentence_ids,
            cross_attentions=document.cross_attentions,
            auxiliary_loss=document.auxiliary_loss,
        )
