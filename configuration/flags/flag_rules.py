"""What flags may say: one table, with that of `flags_together`, for training and for the commands of eval.py.

A row counts for every group of arguments that has its flags. What only a loaded model, the labels or another package
can tell stands in `salience.train.flag_checks`.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

from salience.configuration.flags.flags_together import TOGETHER
from salience.configuration.flags.rule_kinds import Choice, Fixed, Values, changed_flags, refuse
from salience.configuration.flags.value_checks import (
    is_file_name,
    is_json_object,
    is_json_object_or_name,
    is_utf8,
)
from salience.configuration.problem_types import PROBLEM_TYPES

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
    Values("must lie between 0 and 1", lambda v: 0 < v < 1, (
        "class_balanced_beta", "validation_size", "target_accuracy",
    )),
    Values("must be at least 0 and less than 1", lambda v: 0 <= v < 1, ("test_size",)),
    Values("must be at least 0 and at most 1", lambda v: 0 <= v <= 1, ("max_rejected",)),
    Values("must lie above 0, and be at most 1", lambda v: 0 < v <= 1, ("target_precision",)),
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
    Values("must be at most 1000", lambda v: v <= 1000, ("num_layers", "num_heads")),
    Values("must be at most 10", lambda v: v <= 10, ("ngram_size",)),
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
    Fixed("bf16_full_eval", False, "--bf16 true reads in bfloat16, and leaves the weights as they are"),
    Fixed("fp16_full_eval", False, "--fp16 true reads in float16, and leaves the weights as they are"),
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
