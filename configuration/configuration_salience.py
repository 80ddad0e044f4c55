"""What the configurations of all our models share."""

from typing import Any, ClassVar

import transformers
from transformers import AutoConfig, BertConfig, PretrainedConfig
from transformers.utils import logging

from .configuration_fields import (
    check_classes,
    check_fitted,
    check_types,
    names_by_id,
    require,
    rotary_fields_of_version_4,
)

logger = logging.get_logger(__name__)
IS_VERSION_4 = transformers.__version__.startswith("4.")

# Of the folders that this code writes. It goes up when older code would give other answers; the code then reads every
# format up to its own, and a folder without a number has format 1. Format 2 may have an `ngram_damping`, format 3 a
# `label_scale`.
FORMAT = 3
# What was fitted for a model's classes, and its value before that.
FITTED: dict[str, Any] = {
    "logit_temperature": 1.0,
    "prior_correction": None,
    "ngram_weight": 0.0,
    "ngram_damping": 0.0,
    "num_ngrams": 0,
    "explanation": None,
    "review_threshold": None,
    "label_thresholds": None,
}
# Of these, what was fitted to a trained model's answers, and so not to those of one that is trained on.
FITTED_TO_ANSWERS = ("logit_temperature", "prior_correction", "explanation", "review_threshold", "label_thresholds")
# The pipeline that lies beside a saved model: transformers takes it with trust_remote_code=True.
PIPELINES = {
    "text-classification": {
        "impl": "explaining_pipeline.ExplainingPipeline",
        "pt": ["AutoModelForSequenceClassification"],
    }
}


class SalienceConfig(PretrainedConfig):
    """Base of our configurations: a classifier whose logits can be calibrated and corrected for class priors.

    What was fitted for its classes (`FITTED`) is dropped, with a warning, when their number or names change.

    Args:
        logit_temperature: By which logits are divided outside of training, before the prior correction, so that
            softmax or sigmoid gives calibrated scores (Guo et al. 2017, temperature scaling); 1 changes nothing. Not
            called `temperature`: transformers keeps that name for text generation.
        prior_correction: One number per class, subtracted from the logits outside of training: tau * log(prior) makes a
            classifier trained on unbalanced classes treat them alike (Menon et al. 2021, post-hoc logit adjustment).
            None for no correction.
        ngram_weight: Weight of the evidence of token n-grams (`NgramEvidence`), which is added to the logits outside of
            training, before the temperature; 0 for none. Fitted on validation texts after training.
        ngram_damping: Evidence that is k times as strong counts for k^(1 - damping), see `damping_factor`; 0 for none,
            below 1. Fitted together with the weight.
        ngram_size: Longest n-gram of --ngram_evidence, in tokens.
        max_ngrams: Largest number of n-grams of --ngram_evidence, which are the most frequent by training texts; never
            more than fill 64 MiB, at 12 + 2 x classes bytes each.
        num_ngrams: N-grams that the model has evidence of.
        explanation: Which method explains this model's answers most faithfully, as it was measured after training:
            `method`, `comprehensiveness` of each method, that of `random` words, and on how many `texts`; and `naopc`,
            {methods, p_values, random, texts} on the model's own scale. None: nobody has measured it.
        review_threshold: Confidence below which an answer is for a person to look at, 0 to 1; None: nobody has asked.
        label_thresholds: Probability from which on each label is given, where a text can have several; None: 0.5.
        label_scale: Mean and standard deviation of the training labels of a regression: its answer is the network's
            times the second plus the first. None: the network's itself.
        kwargs: Everything that `PretrainedConfig` takes (`id2label`, `label2id`, `num_labels`, `problem_type`, ...),
            and `salience_format`, the `FORMAT` of the folder. A model of texts of another column than `text` also has
            `text_columns`, and `text_separator` where they are several: a text that it reads is
            `text_separator.join(row[column] for column in text_columns)`.

    Raises:
        ValueError: A value is out of its range, or the folder's format is newer than this code; the message says it.
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
        ngram_damping: float = 0.0,
        ngram_size: int = 2,
        max_ngrams: int = 2**19,
        num_ngrams: int = 0,
        explanation: dict[str, Any] | None = None,
        review_threshold: float | None = None,
        label_thresholds: list[float] | None = None,
        label_scale: list[float] | None = None,
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
        # transformers refuses a model that names one unless it may run the repository's code. Where these classes are
        # installed, no code of it is needed, and `salience.modeling` has put its own pipeline in place.
        if not type(self).__module__.startswith("transformers_modules."):
            kwargs.pop("custom_pipelines", None)
        self.salience_format = kwargs.pop("salience_format", FORMAT)
        require(
            type(self.salience_format) is int and 1 <= self.salience_format <= FORMAT,
            f"the model's format is {self.salience_format!r}, and this code reads formats up to {FORMAT}: install a "
            "newer salience, or load it with trust_remote_code=True where salience isn't imported",
        )
        # Before the labels, which drop what doesn't belong to them.
        self.logit_temperature = logit_temperature
        self.prior_correction = prior_correction
        self.ngram_weight = ngram_weight
        self.ngram_damping = ngram_damping
        self.ngram_size = ngram_size
        self.max_ngrams = max_ngrams
        self.num_ngrams = num_ngrams
        self.explanation = explanation
        self.review_threshold = review_threshold
        self.label_thresholds = label_thresholds
        self.label_scale = label_scale
        check_types(self, SalienceConfig)
        check_classes(kwargs)
        super().__init__(**kwargs)
        self.label_scale = label_scale  # transformers begins with two labels, and then has those that are asked for
        require(0 < logit_temperature < float("inf"), f"logit_temperature = {logit_temperature} must be above 0")
        require(0 <= ngram_weight < float("inf"), f"ngram_weight = {ngram_weight} must be 0 (none) or more")
        require(0 <= ngram_damping < 1, f"ngram_damping = {ngram_damping} must be 0 (none) or more, and below 1")
        require(ngram_size > 0, f"ngram_size = {ngram_size} must be at least 1")
        require(0 < max_ngrams < 2**31, f"max_ngrams = {max_ngrams} must lie between 1 and 2^31 - 1")
        check_fitted(self)

    code_name: ClassVar[str] = "salience"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """A configuration from a dictionary, and what the caller sets in it: labels first, as they drop what is fitted.

        Args:
            config_dict: Fields, as `config.json` has them.
            kwargs: Fields that the caller sets, and `return_unused_kwargs`.

        Raises:
            ValueError: They are of another family, or a value is out of its range.
        """
        found_type = config_dict.get("model_type", cls.model_type)
        require(
            found_type == cls.model_type,
            f"it is a {found_type} model, no {cls.model_type} model: load it with AutoModelForSequenceClassification",
        )
        config_dict = {"salience_format": 1} | config_dict
        if config_dict.get("id2label") is None:  # transformers doesn't save its default
            config_dict["id2label"] = {0: "LABEL_0", 1: "LABEL_1"}
        if kwargs.get("num_labels") not in (None, 1):  # which transformers 5 sets before the fields
            config_dict["label_scale"] = None
        of_labels = ("num_labels", "id2label", "label2id")
        ordered = sorted(kwargs, key=lambda name: name not in of_labels)
        found = super().from_dict(config_dict, **{name: kwargs[name] for name in ordered})
        config = found[0] if isinstance(found, tuple) else found
        cls(**config.to_dict())  # looks at what the caller set, too
        return found

    def to_diff_dict(self) -> dict[str, Any]:
        """The fields that are saved: labels too where they are transformers' default, as others read `config.json`."""
        fields = self.to_dict()
        diff = super().to_diff_dict() | {name: fields[name] for name in ("id2label", "label2id")}
        if "AutoModelForSequenceClassification" in (diff.get("auto_map") or {}):
            diff["custom_pipelines"] = PIPELINES
        return diff

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "id2label" and value is not None:
            before = names_by_id(getattr(self, "id2label", None))
            if before and before != names_by_id(value):
                self.drop_fitted(tuple(FITTED), "the model's classes have changed")
                super().__setattr__("label2id", {name: index for index, name in names_by_id(value).items()})
        if (name == "problem_type" and value != "regression") or (name == "id2label" and len(value or ()) > 1):
            super().__setattr__("label_scale", None)  # of a regression's one number
        if name == "problem_type" and None not in (old := self.__dict__.get(name), value) and old != value:
            self.drop_fitted(tuple(FITTED), "the model's problem type has changed")
        if name in ("ngram_damping", "label_scale") and value:
            super().__setattr__("salience_format", FORMAT)  # a model of before may be trained on
        super().__setattr__(name, value)

    def begin_training(self) -> None:
        """Drop what was fitted to the answers of weights that now change: it would spoil the loss of evaluations."""
        self.drop_fitted(FITTED_TO_ANSWERS, "the model is trained on")

    def drop_fitted(self, names: tuple[str, ...], reason: str) -> None:
        """Set what was fitted back to what it was before, and say so.

        Args:
            names: Keys of `FITTED`.
            reason: Why it no longer fits.
        """
        dropped = [name for name in names if getattr(self, name) != FITTED[name]]
        for name in dropped:
            setattr(self, name, FITTED[name])
        if dropped:
            logger.warning(f"{reason}: what was fitted before that is dropped ({', '.join(dropped)})")


# Sizes of an encoder that tools for any model of transformers look for.
ENCODER_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads")


class EncoderConfig(SalienceConfig):
    """Base of the configurations that can hold a pretrained encoder, and read texts longer than its limit in windows.

    Args:
        encoder_config: The encoder's own configuration (or its dict); None for the family's default.
        window_size: Tokens that the encoder reads at once, special tokens included; None for no limit. `from_encoder`
            sets it to what the encoder was trained on, where it says so, else to its limit, or the tokenizer's.
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
        if encoder_config is not None and not isinstance(encoder_config, PretrainedConfig):
            encoder_config = self.read_encoder_config(encoder_config)
        self.encoder_config = encoder_config
        for name in ENCODER_SIZES:  # `to_dict` adds them
            kwargs.pop(name, None)
        self.window_size = window_size
        self.window_stride = window_stride
        self.num_prefix_tokens = num_prefix_tokens
        self.num_suffix_tokens = num_suffix_tokens
        super().__init__(**kwargs)
        if encoder_config is not None and hasattr(encoder_config, "vocab_size"):
            self.vocab_size: int = encoder_config.vocab_size
        require(num_prefix_tokens >= 0 <= num_suffix_tokens, "num_prefix_tokens, num_suffix_tokens must be 0 or more")
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
    def num_hidden_layers(self) -> int:
        """Layers of the encoder."""
        return self.encoder_config.num_hidden_layers  # type: ignore[union-attr]  # without one there is no such field

    @property
    def num_attention_heads(self) -> int:
        """Attention heads of the encoder."""
        return self.encoder_config.num_attention_heads  # type: ignore[union-attr]  # without one there is no such field

    def to_dict(self) -> dict[str, Any]:
        """All fields, and the encoder's sizes where PEFT looks for them."""
        encoder_config = self.__dict__.get("encoder_config")
        sizes = {name: getattr(encoder_config, name, None) for name in ENCODER_SIZES}
        return super().to_dict() | {name: size for name, size in sizes.items() if size is not None}

    def to_diff_dict(self) -> dict[str, Any]:
        """The fields that are saved: the encoder's sizes stand in its own configuration."""
        return {name: value for name, value in super().to_diff_dict().items() if name not in ENCODER_SIZES}

    @staticmethod
    def read_encoder_config(fields: dict[str, Any]) -> PretrainedConfig:
        """An encoder's configuration from its dictionary, whichever version of transformers wrote that.

        Args:
            fields: Of the encoder, with its `model_type`.

        Raises:
            ValueError: It is none, or this version can't be told what another one wrote.
        """
        is_one = isinstance(fields, dict) and isinstance(fields.get("model_type"), str)
        require(is_one, f"encoder_config = {fields!r} must be a configuration with its model_type")
        fields = dict(fields)
        model_type = fields.pop("model_type")
        if IS_VERSION_4 and fields.get("rope_parameters"):
            fields = rotary_fields_of_version_4(model_type, fields)
        return AutoConfig.for_model(model_type, **fields)

    @property
    def sub_configs(self) -> dict[str, Any]:
        """Nested configurations, to which transformers passes on its attention implementation."""
        return {} if self.__dict__.get("encoder_config") is None else {"encoder_config": AutoConfig}


def default_encoder_config() -> PretrainedConfig:
    """The encoder of a configuration made without one: BERT at the size of bert-base."""
    return BertConfig()
