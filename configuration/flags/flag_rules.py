"""What flags may say: one table for training and for the commands of eval.py.

A row counts for every group of arguments that has its flags. What only a loaded model, the labels or another package
can tell stands in `salience.train.flag_checks`.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

from salience.configuration.families import FAMILIES
from salience.configuration.flags.rule_kinds import (
    Choice,
    Fixed,
    Together,
    Values,
    belongs_to,
    changed_flags,
    excludes,
    refuse,
)
from salience.configuration.flags.value_checks import (
    has_doubles,
    is_file_name,
    is_json_object,
    is_json_object_or_name,
    is_utf8,
)

PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
CLEANING_RULES = ("headers", "footers", "quotes")
QUOTING = ("checked", "trusted", "none")
NO_LIMIT = math.inf
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*|multilingual|code")


def _backends() -> Iterable[str]:
    from accelerate.utils import DynamoBackend

    return [backend.value.lower() for backend in DynamoBackend]


VALUES = (
    Values("must be a finite number", math.isfinite, (
        "learning_rate", "weight_decay", "warmup_steps", "max_grad_norm", "adam_epsilon", "eval_delay",
        "minority_ratio", "eval_steps", "save_steps", "logging_steps", "num_train_epochs",
    )),
    Values("must be at least 0", lambda v: v >= 0, (
        "learning_rate", "weight_decay", "warmup_steps", "max_grad_norm", "dataloader_num_workers", "seed",
        "adam_epsilon", "eval_delay", "report_seed", "max_tokens_per_pass", "heaviest_words", "explained_texts",
        "frozen_layers",
    )),
    # Single precision overflows far beyond.
    Values("must lie between 0 and 1000", lambda v: 0 <= v <= 1000, (
        "focal_gamma", "logit_adjustment_tau", "ldam_max_margin", "prior_correction", "adversarial_size",
        "neftune_noise_alpha",
    )),
    Values("must lie between -1000 and 1000", lambda v: -1000 <= v <= 1000, (
        "entropy_weight", "diversity_weight", "reconstruction_weight",
    )),
    Values("must be at most 1e6", lambda v: v <= 1e6, ("learning_rate", "weight_decay", "adam_epsilon")),
    Values("must be at least 1", lambda v: 1 <= v < NO_LIMIT, (
        "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
        "eval_accumulation_steps", "dataloader_prefetch_factor", "torch_empty_cache_steps", "ddp_timeout",
        "vocab_size", "min_frequency", "max_train_samples", "max_length", "lora_r", "lora_alpha",
        "early_stopping_patience", "batch_size", "num_documents", "num_explained", "jobs", "repetitions",
        "num_batches", "words", "batch_sizes", "max_texts", "lengths", "num_pieces", "rows_per_part", "ray_actors",
    )),
    Values("must be at least 1, or -1 to count epochs instead", lambda v: v == -1 or v >= 1, ("max_steps",)),
    Values("must be a number of at least 1", lambda v: v >= 1, ("minority_ratio",)),
    Values("must be a number above 0", lambda v: v > 0, ("eval_steps", "save_steps", "logging_steps")),
    Values("must lie in [0, 1)", lambda v: 0 <= v < 1, (
        "label_smoothing_factor", "adam_beta1", "adam_beta2", "lora_dropout", "attention_dropout",
    )),
    Values("must lie between 0 and 1", lambda v: 0 < v < 1, ("class_balanced_beta", "validation_size")),
    Values("must be at least 0 and less than 1", lambda v: 0 <= v < 1, ("test_size",)),
    Values("must be at least 0 and at most 1", lambda v: 0 <= v <= 1, ("max_rejected",)),
    Values("must lie above 0, and be at most 1", lambda v: 0 < v <= 1, ("target_accuracy", "target_precision")),
    Values("must be at least 0 and less than 2**32", lambda v: 0 <= v < 2**32, ("split_seed", "data_seed")),
    Values("must be less than 2**32", lambda v: v < 2**32, ("seed", "report_seed")),
    Values("must be less than 2**31", lambda v: v < 2**31, (
        "max_steps", "warmup_steps", "per_device_train_batch_size", "per_device_eval_batch_size",
        "gradient_accumulation_steps", "batch_size", "vocab_size", "min_frequency", "max_train_samples", "max_length",
        "window_size", "window_stride", "segment_size", "segment_stride", "max_words", "max_sentences", "graph_window",
    )),
    # Of models as they are built; what they take together is told by `salience.train.building.memory`.
    Values("must be at most 65536", lambda v: v <= 2**16, (
        "embedding_dim", "hidden_dim", "key_dim", "projection_dim", "feed_forward_dim", "classifier_hidden_dim",
        "linear_features", "num_filters", "kernel_sizes", "lora_r", "lora_alpha",
    )),
    Values("must be at most 1000", lambda v: v <= 1000, ("num_layers", "num_heads", "ngram_size")),
    Values("""is not a JSON object such as '{"key": 1}'""", is_json_object, (
        "lr_scheduler_kwargs", "gradient_checkpointing_kwargs", "activation_checkpointing_kwargs", "model_options",
        "train_flags",
    )),
    # These may also name a JSON file.
    Values("""is not a JSON object such as '{"key": 1}'""", is_json_object_or_name, (
        "fsdp_config", "deepspeed", "liger_kernel_config",
    )),
    Values("is no name of the Hub for a licence, such as mit or apache-2.0", lambda v: bool(LICENSE.fullmatch(v)), (
        "license",
    )),
    Values("is no code of a language, such as en, de or zh", lambda v: bool(LANGUAGE.fullmatch(v)), ("language",)),
    Values("is empty: name the characters between two labels, or leave it out", bool, ("label_separator",)),
    Values("must be one character, such as ; or \\t", lambda v: len(v.encode()) == 1 and v not in '"\r\n', (
        "separator",
    )),
    Values("names a label with no character, or white space only", lambda v: bool(v.strip()), ("class_names",)),
    Values("names no column", bool, ("text_column", "label_column")),
    Values("names no file", bool, ("train_file", "validation_file", "test_file", "input", "output")),
    Values("has a character that no name of a file can have; rename it", is_file_name, (
        "output_dir", "model", "encoder", "encoder_cache", "word_vectors", "word_vectors_vocabulary", "train_file",
        "validation_file", "test_file", "dataset_name", "input", "output",
    )),
    # It could be read, but not be written into the files of a run after training.
    Values("isn't valid UTF-8; rename it", is_utf8, (
        "train_file", "validation_file", "test_file", "dataset_name", "dataset_config", "dataset_revision",
        "dataset_split", "data_name", "text_column", "text_separator", "label_column", "label_separator", "class_names",
        "input", "output", "prefix",
    )),
)  # fmt: skip

CHOICES = (
    Choice(("eval_strategy", "logging_strategy"), lambda: ("no", "steps", "epoch")),
    Choice(("save_strategy",), lambda: ("no", "steps", "epoch", "best")),
    Choice(("torch_compile_backend",), _backends),
    Choice(("problem_type",), lambda: PROBLEM_TYPES),
    Choice(("clean",), lambda: CLEANING_RULES),
    Choice(("quoting",), lambda: QUOTING),
)

NOT_OFFERED = (
    Fixed("hub_strategy", "end", "the Hub gets finished models only"),
    Fixed("dataloader_drop_last", False, "it would leave texts out of the scores, too"),
    Fixed("prediction_loss_only", False),
    Fixed("batch_eval_metrics", False),
    Fixed("eval_do_concat_batches", True),
    Fixed("eval_use_gather_object", False),
    Fixed("include_for_metrics", []),
    Fixed("accelerator_config", None),
    Fixed("parallelism_config", None),
    Fixed("save_safetensors", True),
    Fixed("train_sampling_strategy", "random"),
    Fixed("group_by_length", False, "--length_grouped does it"),
    Fixed("label_names", None),
    Fixed("remove_unused_columns", True),
    Fixed("debug", ""),
    Fixed("do_train", False),
    Fixed("do_eval", False),
    Fixed("do_predict", False),
)

LEAVE_IT_OUT = "belongs to {}; leave it out"
TOGETHER = (
    excludes("lora", "freeze_encoder"),
    excludes("lora", "frozen_layers"),
    excludes("freeze_encoder", "frozen_layers"),
    excludes("input", "dataset_name"),
    excludes("class_weights", "balanced_sampling"),
    *belongs_to("loss", ("weighted",), "class_weights", says=LEAVE_IT_OUT),
    *belongs_to("loss", ("focal",), "focal_gamma", says=LEAVE_IT_OUT),
    *belongs_to("loss", ("class_balanced",), "class_balanced_beta", says=LEAVE_IT_OUT),
    *belongs_to("loss", ("logit_adjusted",), "logit_adjustment_tau", says=LEAVE_IT_OUT),
    *belongs_to("loss", ("ldam",), "ldam_max_margin", says=LEAVE_IT_OUT),
    *belongs_to(
        "lora", ("true",), "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", says=LEAVE_IT_OUT
    ),
    *belongs_to("push_to_hub", ("true",), "hub_handler", says=LEAVE_IT_OUT),
    *belongs_to("plain_adam", ("false",), "optim", "optim_args", says=LEAVE_IT_OUT),
    *belongs_to("ngram_evidence", ("true",), "ngram_size", "max_ngrams", says=LEAVE_IT_OUT),
    *belongs_to("fit_thresholds", ("true",), "target_precision", says=LEAVE_IT_OUT),
    *belongs_to("ray", (), "ray_actors", says=LEAVE_IT_OUT),
    *belongs_to("word_vectors", (), "word_vectors_vocabulary", says=LEAVE_IT_OUT),
    *belongs_to(
        "freeze_encoder", ("true",), "encoder_cache", says="belongs to {}: what is trained can't be kept"
    ),
    *(
        Together(
            (flag, "encoder"), lambda f, flag=flag: getattr(f, flag) and f.encoder is None,  # type: ignore[misc]
            f"--{flag} needs a pretrained encoder, and --encoder names none",
        )
        for flag in ("lora", "freeze_encoder", "frozen_layers")
    ),
    *(
        Together(
            (flag, "encoder"), lambda f, flag=flag: flag in f.changed and f.encoder,  # type: ignore[misc]
            f"--{flag} belongs to models from scratch; leave it out with --encoder",
        )
        for flag in ("vocabulary", "min_frequency")
    ),
    *belongs_to("encoder", (), "encoder_revision", "base_model", "attention_dropout", says=LEAVE_IT_OUT),
    *(
        Together(
            (flag, "dataset_name"), lambda f, flag=flag: getattr(f, flag) and not f.dataset_name,  # type: ignore[misc]
            f"--{flag} belongs to --dataset_name; leave it out",
        )
        for flag in ("dataset_config", "dataset_revision", "dataset_split")
    ),
    Together(
        ("text_separator", "text_column"), lambda f: f.text_separator is not None and len(f.text_column) == 1,
        "--text_separator has no effect here: it stands between the texts of several columns (--text_column)",
    ),
    Together(
        ("class_names",), lambda f: has_doubles(f.class_names),
        "--class_names has a name twice; give each label its own",
    ),
    Together(
        ("minority_ratio", "minority_labels"), lambda f: f.minority_ratio > 1 and not f.minority_labels,
        "--minority_ratio needs --minority_labels: name the labels that shall become rare",
    ),
    Together(
        ("validation_size", "test_size"), lambda f: f.validation_size + f.test_size >= 1,
        "--validation_size {validation_size} and --test_size {test_size} leave nothing to train on; make their sum "
        "less than 1",
    ),
    Together(
        ("num_train_epochs", "max_steps"), lambda f: f.num_train_epochs <= 0 and f.max_steps <= 0,
        "--num_train_epochs {num_train_epochs} must be a number above 0",
    ),
    Together(
        ("num_train_epochs",), lambda f: not f.num_train_epochs < 2**31,
        "--num_train_epochs {num_train_epochs} must be less than 2**31",
    ),
    Together(
        ("load_best_model_at_end", "save_strategy", "eval_strategy"),
        lambda f: f.load_best_model_at_end and f.save_strategy not in ("best", f.eval_strategy),
        "--load_best_model_at_end needs --eval_strategy and --save_strategy to be the same, not {eval_strategy} and "
        "{save_strategy}; set both, or add --load_best_model_at_end false",
    ),
    Together(
        ("early_stopping_patience", "eval_strategy"), lambda f: f.early_stopping_patience and f.eval_strategy == "no",
        "--early_stopping_patience needs evaluations: set --eval_strategy to epoch or steps",
    ),
    Together(
        ("encoder_cache", "model"), lambda f: f.encoder_cache is not None and FAMILIES[f.model].code is None,
        "--encoder_cache is for our models; leave it out with the plain head",
    ),
    Together(
        ("encoder_cache", "fsdp", "torch_compile"),
        lambda f: f.encoder_cache is not None and (f.fsdp or f.torch_compile),
        "--encoder_cache is not offered with FSDP or --torch_compile",
    ),
    *(
        Together(
            (flag, "model"), lambda f, flag=flag: getattr(f, flag) and FAMILIES[f.model].code is None,  # type: ignore[misc]
            f"--{flag} is kept in our models' configuration; the plain head has no place for it",
        )
        for flag in ("prior_correction", "target_accuracy", "target_precision")
    ),
    Together(
        ("lora", "fsdp"), lambda f: f.lora and f.fsdp,
        "--lora is not offered with FSDP: the merged model is put together by one process",
    ),
    Together(
        ("adversarial_size", "freeze_encoder"), lambda f: f.adversarial_size and f.freeze_encoder,
        "--adversarial_size changes what the encoder reads: leave out --freeze_encoder",
    ),
    Together(
        ("adversarial_size", "torch_compile", "deepspeed", "fsdp"),
        lambda f: f.adversarial_size and (f.torch_compile or f.deepspeed or f.fsdp),
        "--adversarial_size is not offered with --torch_compile, --deepspeed or FSDP",
    ),
)  # fmt: skip

NO_EFFECT = "has no effect here: it belongs to {}"
MODEL_RULES = (
    *belongs_to("attention_kernel", ("linear",), "linear_features", says=NO_EFFECT),
    *belongs_to("filter", ("top_k", "random", "idf"), "filter_ratio", says=NO_EFFECT),
    *belongs_to("segmentation", ("sliding_window",), "segment_size", "segment_stride", says=NO_EFFECT),
    *belongs_to("segmentation", ("punctuation", "learned"), "max_words", says=NO_EFFECT),
    *(
        Together(
            (flag, "alpha", "learn_alpha"),
            lambda f, flag=flag: flag in f.changed and f.alpha == 1 and not f.learn_alpha,  # type: ignore[misc]
            f"--{flag} has no effect here: it belongs to --alpha below 1, where attention weighs the tokens",
        )
        for flag in ("query", "key_dim", "num_heads")
    ),
)
"""Between fields of one model's configuration, with its defaults where flags aren't set."""


def check(group: Any) -> None:
    """Refuse values of one group of arguments. That a flag has no effect is told by `check_together` alone.

    Args:
        group: A dataclass of flags, or anything else that has them as attributes.

    Raises:
        UserError: A value can't be; the sentence names the flag.
    """
    for row in (*NOT_OFFERED, *VALUES, *CHOICES):
        row.check(vars(group))
    refuse(TOGETHER, vars(group), changed=())


def check_together(*groups: Any) -> None:
    """Refuse what flags of several groups say together, and flags that belong to others that aren't set.

    Raises:
        UserError: They don't go together; the sentence names them.
    """
    values = {name: value for group in groups for name, value in vars(group).items()}
    refuse(TOGETHER, values, {name for group in groups for name in changed_flags(group)})
