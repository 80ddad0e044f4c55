"""What our models share: the output, initial weights, what is refused, and the way in.

Shape suffixes
    B = texts, T = tokens of the longest, D = width of the document vector, S = sentences, E = width of an embedding
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from .windows import PackedInputs, pack_inputs, takes_embeddings

Registered = TypeVar("Registered")


@dataclass
class DocumentOutput(ModelOutput):
    """Document vectors and the weights that made them.

    Attributes:
        last_hidden_state: (B, T, D') contextual token vectors, zero on padding; None without `output_tokens`.
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


def registered(registry: Mapping[str, Registered], name: str, option: str) -> Registered:
    """The registry's entry, or a ValueError that lists what there is."""
    if name not in registry:
        raise ValueError(f'{option} = "{name}" is unknown; choose from {", ".join(sorted(registry))}')
    return registry[name]


def is_watched(module: nn.Module) -> bool:
    """Whether hooks see or change what goes into a module or comes out of it."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def check_finite(model: nn.Module, name_or_path: Any) -> None:
    """Raise ValueError if a weight is NaN or infinite: every answer would be.

    Args:
        model: As it was loaded.
        name_or_path: From where, for the message.
    """
    for name, weight in model.named_parameters():
        if not weight.is_floating_point() or weight.is_meta or not weight.numel():
            continue
        if not torch.stack(weight.aminmax()).isfinite().all():  # NaN is both; isfinite of all takes ten times as long
            raise ValueError(f"{name_or_path} has weights that are no finite numbers ({name}): its training failed")


def check_range(name: str, ids_BT: Tensor, size: int) -> None:
    """Raise ValueError if an id on the CPU isn't in 0 to size - 1."""
    if ids_BT.device.type != "cpu" or torch.compiler.is_compiling() or not ids_BT.numel():
        return
    lowest, highest = (int(each) for each in ids_BT.aminmax())
    if not 0 <= lowest <= highest < size:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"{name} has {wrong}, and this model knows 0 to {size - 1}: is the tokenizer another model's?")


class SaliencePreTrainedModel(PreTrainedModel):
    """Base of all our models."""

    config_class: type[PretrainedConfig]
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    # Tokens whose activations may be kept for the gradient; those of more are computed again. Set where it is trained.
    keep_at_most: int | None = None
    # Whether there is an attention that can be returned.
    returns_attentions = False
    # AutoModel reads a classifier's checkpoint for its document vector.
    _keys_to_ignore_on_load_unexpected = [r"^classifier\.", r"^ngrams\."]

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.wants_attentions(None, None)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # passes everything on
        cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """A saved model; see `PreTrainedModel.from_pretrained`.

        Args:
            pretrained_model_name_or_path: Folder or Hub id.
            args: Of `PreTrainedModel.from_pretrained`.
            kwargs: Of `PreTrainedModel.from_pretrained`.

        Raises:
            ValueError: Weights are no finite numbers.
        """
        found = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        check_finite(found[0] if isinstance(found, tuple) else found, pretrained_model_name_or_path)
        return found

    def wants_attentions(self, output_attentions: bool | None, output_hidden_states: bool | None) -> bool:
        """Whether attentions are asked for, by the caller or else by the configuration.

        Args:
            output_attentions: The caller's; None for the configuration's.
            output_hidden_states: The caller's; None for the configuration's.

        Raises:
            ValueError: Something is asked for that this model doesn't offer.
        """
        config = self.config
        if config.output_hidden_states if output_hidden_states is None else output_hidden_states:
            raise ValueError("output_hidden_states is not offered; call the encoder in `model.encoder` for its layers")
        wanted = bool(config.output_attentions if output_attentions is None else output_attentions)
        if wanted and not self.returns_attentions:
            raise ValueError("output_attentions is offered by hierarchical models, whose words attend to sentences")
        return wanted

    def pack(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        inputs_embeds: Tensor | None,
    ) -> PackedInputs:
        """The texts of a batch, with padding behind them.

        Where a hook watches the embedding of tokens (captum's layer methods, NEFTune), it is called here, once, on
        (B, T), and all that follows is made of its result (B, T, E). Else tokens are looked up where they are needed,
        without padding.

        Args:
            input_ids: As in `ClassifierMixin.forward`.
            attention_mask: As in `ClassifierMixin.forward`.
            token_type_ids: As in `ClassifierMixin.forward`.
            inputs_embeds: As in `ClassifierMixin.forward`.

        Raises:
            ValueError: Shapes don't agree, or (looked at on CPUs only, where it is free) an id is out of range.
        """
        packed = pack_inputs(
            attention_mask, input_ids=input_ids, token_type_ids=token_type_ids, inputs_embeds=inputs_embeds
        )
        tokens, embedding, encoder = packed.tokens, self.get_input_embeddings(), self.encoder
        types = None if encoder is None else getattr(encoder.config, "type_vocab_size", None)
        for name, size in (("input_ids", getattr(embedding, "num_embeddings", None)), ("token_type_ids", types)):
            if name in tokens and size:
                check_range(name, tokens[name], size)
        is_given = "input_ids" not in tokens or "inputs_embeds" in tokens
        if not is_given and is_watched(embedding) and (encoder is None or takes_embeddings(encoder)):
            tokens["inputs_embeds"] = embedding(tokens["input_ids"])
        return packed

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

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Change the number of tokens; see `PreTrainedModel.resize_token_embeddings`."""
        embedding = super().resize_token_embeddings(*args, **kwargs)
        if self.encoder is not None:
            for config in (self.config.encoder_config, self.encoder.config):
                config.vocab_size = self.config.vocab_size
        return embedding
