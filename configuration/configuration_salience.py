"""What the configurations of all our models share."""

from typing import Any, ClassVar

from transformers import AutoConfig, BertConfig, PretrainedConfig


def require(condition: bool, message: str) -> None:
    """Raise ValueError(message) unless the condition holds."""
    if not condition:
        raise ValueError(message)


class SalienceConfig(PretrainedConfig):
    """Base of our configurations: a classifier whose logits can be calibrated and corrected for class priors.

    Args:
        logit_temperature: By which logits are divided outside of training, before the prior correction, so that
            softmax or sigmoid gives calibrated scores (Guo et al. 2017, temperature scaling); 1 changes nothing. Not
            called `temperature`: transformers keeps that name for text generation.
        prior_correction: One number per class, subtracted from the logits outside of training: tau * log(prior) makes a
            classifier trained on unbalanced classes treat them alike (Menon et al. 2021, post-hoc logit adjustment).
            None for no correction.
        ngram_weight: Weight of the evidence that counts of token n-grams give (`NgramEvidence`), added to the logits
            outside of training; 0 for none. The network learns as if there were none.
        ngram_size: Longest n-gram, in tokens.
        max_ngrams: N-grams that are counted at most, those of most texts; the model has a number for each and class.
        num_ngrams: N-grams that were counted; set where they are.
        kwargs: Everything that `PretrainedConfig` takes (`id2label`, `label2id`, `num_labels`, `problem_type`, ...). A
            model of texts that were put together also has `text_columns` and `text_separator`: a text that it reads is
            `text_separator.join(row[column] for column in text_columns)`.

    Raises:
        ValueError: A value is out of its range; the message names it.
    """

    # Trainer gathers every output of an evaluation unless it is named here.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "pooler_output",
        "pooling_weights",
        "sentence_ids",
        "cross_attentions",
        "auxiliary_loss",
    ]

    def __init__(
        self,
        logit_temperature: float = 1.0,
        prior_correction: list[float] | None = None,
        ngram_weight: float = 0.0,
        ngram_size: int = 2,
        max_ngrams: int = 2**20,
        num_ngrams: int = 0,
        **kwargs: Any,
    ) -> None:
        family = type(self).__name__.removesuffix("Config")
        # All three, whichever class saves the model: one folder serves AutoModel and the classifier.
        kwargs.setdefault(
            "auto_map",
            {
                "AutoConfig": f"configuration_{self.code_name}.{family}Config",
                "AutoModel": f"modeling_{self.code_name}.{family}Model",
                "AutoModelForSequenceClassification": f"modeling_{self.code_name}.{family}ForSequenceClassification",
            },
        )
        super().__init__(**kwargs)
        self.logit_temperature = logit_temperature
        self.prior_correction = prior_correction
        self.ngram_weight = ngram_weight
        self.ngram_size = ngram_size
        self.max_ngrams = max_ngrams
        self.num_ngrams = num_ngrams
        require(0 < logit_temperature < float("inf"), f"logit_temperature = {logit_temperature} must be above 0")
        require(0 <= ngram_weight < float("inf"), f"ngram_weight = {ngram_weight} must be 0 (none) or more")
        require(ngram_size > 0, f"ngram_size = {ngram_size} must be at least 1")
        require(0 < max_ngrams < 2**31, f"max_ngrams = {max_ngrams} must lie between 1 and 2^31 - 1")
        require(
            prior_correction is None or len(prior_correction) == self.num_labels,
            f"prior_correction needs one number for each of the {self.num_labels} labels",
        )

    code_name: ClassVar[str] = "salience"


class EncoderConfig(SalienceConfig):
    """Base of the configurations that can hold a pretrained encoder, and read texts longer than its limit in windows.

    Args:
        encoder_config: The encoder's own configuration (or its dict); None for the family's default.
        window_size: Tokens that the encoder reads at once, special tokens included; None for no limit. `from_encoder`
            sets it to the encoder's limit.
        window_stride: Tokens from the start of one window to the next; None for windows that don't overlap.
        num_prefix_tokens: Special tokens that the tokenizer puts before a text; every window begins with them.
        num_suffix_tokens: Special tokens after a text; every window ends with them.
        kwargs: See `SalienceConfig`.
    """

    def __init__(
        self,
        encoder_config: PretrainedConfig | dict[str, Any] | None = None,
        window_size: int | None = None,
        window_stride: int | None = None,
        num_prefix_tokens: int = 0,
        num_suffix_tokens: int = 0,
        **kwargs: Any,
    ) -> None:
        if isinstance(encoder_config, dict):
            encoder_config = dict(encoder_config)
            encoder_config = AutoConfig.for_model(encoder_config.pop("model_type"), **encoder_config)
        self.encoder_config = encoder_config
        self.window_size = window_size
        self.window_stride = window_stride
        self.num_prefix_tokens = num_prefix_tokens
        self.num_suffix_tokens = num_suffix_tokens
        super().__init__(**kwargs)
        num_special = num_prefix_tokens + num_suffix_tokens
        require(
            window_size is None or window_size > num_special,
            f"window_size = {window_size} leaves no room beside {num_special} special tokens",
        )
        require(
            window_stride is None or (window_size is not None and 0 < window_stride <= window_size - num_special),
            f"window_stride = {window_stride} must be between 1 and window_size minus {num_special} special tokens, "
            f"that no token is left out (window_size = {window_size})",
        )

    @property
    def sub_configs(self) -> dict[str, Any]:
        """Nested configurations, to which transformers passes on its attention implementation."""
        return {} if self.__dict__.get("encoder_config") is None else {"encoder_config": AutoConfig}


def default_encoder_config() -> PretrainedConfig:
    """The encoder of a configuration made without one: BERT at the size of bert-base."""
    return BertConfig()
