"""The classifier on top of our document models: its output, its loss, and what corrects its logits.

Shape suffixes
    B = texts, T = tokens, D = width of the document vector, C = classes, S = sentences
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .ngram_evidence import NgramEvidence, damped, damping_factor
from .salience_base import SaliencePreTrainedModel
from .windows import pack_inputs


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
    """The evidence of n-grams that a configuration has, or None."""
    if not config.ngram_weight:
        return None
    num_classes: int = config.num_labels  # type: ignore[assignment]  # never None here
    return NgramEvidence(num_classes, config.num_ngrams, config.ngram_size)


class ClassifierMixin:
    """The classifier on a document model: a class needs `model`, `dropout`, `classifier` and `ngrams`."""

    config: Any
    model: SaliencePreTrainedModel
    dropout: nn.Module
    classifier: nn.Module
    ngrams: NgramEvidence | None
    training: bool
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
            attention_mask: (B, T), 1 for a token and 0 for padding, on either side. None: no padding.
            token_type_ids: (B, T), for encoders that know them.
            inputs_embeds: (B, T, E) token embeddings instead of ids.
            labels: (B,) class ids, (B, C) zeros and ones, or real values, by `config.problem_type`.
            num_items_in_batch: Labels in the accumulated batch, over which the loss is averaged; None for this batch.
            output_attentions: Return the cross-attention of hierarchical models; None for the configuration's.
            output_hidden_states: Not offered; the encoder's layers are found in `model.encoder`.

        Raises:
            ValueError: Something is asked for that the model doesn't offer, there is no input, or shapes don't agree.
        """
        document = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_tokens=False,
            return_dict=True,
        )
        logits_BC = self.classifier(self.dropout(document.pooler_output))
        if self.config.label_scale is not None:
            mean, deviation = self.config.label_scale
            # Not in bfloat16, in which 1,001 is 1,000.
            logits_BC = logits_BC.to(torch.promote_types(logits_BC.dtype, torch.float32)) * deviation + mean
        if not self.training:
            logits_BC = self.corrected(logits_BC, input_ids, attention_mask, inputs_embeds)
        elif torch.is_grad_enabled():
            self.config.begin_training()
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

    def save_pretrained(self, *arguments: Any, **options: Any) -> Any:
        """As `PreTrainedModel.save_pretrained`; evidence goes that was dropped with the labels which it is of."""
        if not self.config.num_ngrams:
            self.ngrams = None
        return super().save_pretrained(*arguments, **options)  # type: ignore[misc]  # of the class that this is mixed in

    def corrected(
        self, logits_BC: Tensor, input_ids: Tensor | None, attention_mask: Tensor | None, inputs_embeds: Tensor | None
    ) -> Tensor:
        """Logits (B, C) with the evidence of n-grams, calibrated, and corrected for class priors."""
        config = self.config
        if self.ngrams is not None:
            packed = pack_inputs(attention_mask, input_ids=input_ids, inputs_embeds=inputs_embeds)
            logits_BC = logits_BC + config.ngram_weight * damped(self.ngrams(packed), config.ngram_damping)
        if config.logit_temperature != 1:
            # Not in bfloat16, which would round some classes to a tie and so change answers.
            logits_BC = logits_BC.to(torch.promote_types(logits_BC.dtype, torch.float32)) / config.logit_temperature
        if config.prior_correction is not None:
            logits_BC = logits_BC - logits_BC.new_tensor(config.prior_correction)
        return logits_BC

    def counted(self, input_ids: Tensor, attention_mask: Tensor, target: int) -> Tensor | None:
        """What each token adds to a class's logit by the evidence of n-grams, (B, T); None without evidence.

        Args:
            input_ids: As in `forward`.
            attention_mask: As in `forward`.
            target: Number of the class.
        """
        if self.ngrams is None:
            return None
        packed, config = pack_inputs(attention_mask, input_ids=input_ids), self.config
        factor_B1 = damping_factor(self.ngrams(packed), config.ngram_damping)
        return config.ngram_weight / config.logit_temperature * factor_B1 * self.ngrams.per_token(packed, target)
