"""Flags for how a model is tuned, beyond those of transformers' Trainer."""

from dataclasses import dataclass, field

from salience.configuration.flags.flag_rules import check


@dataclass
class TuningArguments:
    """What is trained, on which loss, in which order.

    Raises:
        UserError: A value is out of its range; the message names the flag.
    """

    loss: str = field(
        default="cross_entropy",
        metadata={"help": "cross_entropy, weighted, focal, class_balanced, logit_adjusted or ldam."},
    )
    class_weights: list[str] | None = field(
        default=None,
        metadata={
            "help": "Of --loss weighted: NAME=NUMBER for each class, or numbers in the order of the classes; only "
            "their ratios count. Unset: inverse to the classes' frequencies."
        },
    )
    focal_gamma: float = field(default=2.0, metadata={"help": "Exponent of --loss focal."})
    class_balanced_beta: float = field(default=0.999, metadata={"help": "Beta of --loss class_balanced, in (0, 1)."})
    logit_adjustment_tau: float = field(default=1.0, metadata={"help": "Strength of --loss logit_adjusted."})
    ldam_max_margin: float = field(default=0.5, metadata={"help": "Margin of the rarest class in --loss ldam."})
    balanced_sampling: bool = field(default=False, metadata={"help": "Draw every class equally often."})
    length_grouped: bool = field(default=True, metadata={"help": "Put texts of like length into one batch."})
    adversarial_size: float = field(
        default=0.0,
        metadata={
            "help": "Adversarial training (Miyato et al. 2017): train each batch a second time, its token embeddings "
            "moved along the gradient of the loss by this length (root mean square over the texts of a batch); 0 for "
            "none."
        },
    )
    prior_correction: float = field(
        default=0.0,
        metadata={"help": "Tau: after training, tau * log(class prior) is subtracted from the logits; 0 for none."},
    )
    calibrate: bool = field(
        default=True,
        metadata={
            "help": "After training, fit a temperature on the validation texts and keep it in the model's "
            "configuration, so that scores are probabilities. Alone it changes no answer; it goes into what "
            "--prior_correction takes away, and into how much counts of --ngram_evidence weigh. Not for "
            "regression, nor for --model sequence_classification, whose configuration has no place for it."
        },
    )
    ngram_evidence: bool = field(
        default=True,
        metadata={
            "help": "After training, fit logistic regression, a linear SVM and, for one label per text, complement "
            "naive Bayes on TF-IDF of the training texts' n-grams, and add those that help to the network's logits, "
            "with weights and a damping fitted on the validation texts (a sum k times as large counts k^(1 - damping) "
            "times). At most 64 MiB of the model. Not for regression, nor for --model sequence_classification, nor "
            "beside a --loss or --balanced_sampling that makes up for rare classes."
        },
    )
    target_accuracy: float | None = field(
        default=None,
        metadata={
            "help": "After training, choose a threshold of confidence above which the accuracy on texts like the "
            "validation texts is at least this, with 95 in 100 certainty (an accuracy of 0.95 takes 100 of the surest "
            "validation texts without an error, or more; 0.99 some 550), and keep it in the model's configuration: "
            "`predict` marks less confident answers for review. Unset: no answer is marked. Not for regression, nor "
            "for --model sequence_classification."
        },
    )
    fit_thresholds: bool = field(
        default=True,
        metadata={
            "help": "After training, where a text can have several labels, choose the threshold of each label that has "
            "the best F1 on the validation texts, and keep it in the model's configuration, in the place of 0.5. Not "
            "for --model sequence_classification."
        },
    )
    target_precision: float | None = field(
        default=None,
        metadata={
            "help": "Choose instead each label's lowest threshold with at least this precision on the validation "
            "texts: on other texts it will be somewhat lower, the more so the fewer texts have the label. A label for "
            "which there is none is never given."
        },
    )
    explained_texts: int = field(
        default=16,
        metadata={
            "help": "After training, measure on so many validation texts (of each the first 64 tokens) which method "
            "explains the model's answers most faithfully, and keep it in the model's configuration; 0 for none. Not "
            "for regression, --model sequence_classification, or weights that are spread over processes."
        },
    )
    plain_adam: bool = field(
        default=False,
        metadata={"help": "Use torch.optim.Adam, whose weight decay is an L2 penalty, instead of --optim."},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations without a better one; None never stops."}
    )
    freeze_encoder: bool = field(default=False, metadata={"help": "Train everything but the pretrained encoder."})
    lora: bool = field(
        default=False, metadata={"help": "Train low-rank adapters of the encoder, and all outside of it, with PEFT."}
    )
    lora_r: int = field(default=8, metadata={"help": "Rank of the adapters."})
    lora_alpha: int = field(default=16, metadata={"help": "Scale of the adapters is lora_alpha / lora_r."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout before the adapters."})
    lora_target_modules: list[str] | None = field(
        default=None, metadata={"help": "Names of the encoder's linear layers that get adapters; default: all of them."}
    )

    def __post_init__(self) -> None:
        check(self)
