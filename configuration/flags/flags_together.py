"""What flags may not say together: rows of the table of `flag_rules`."""

from salience.configuration.families import FAMILIES, is_plain_head
from salience.configuration.flags.rule_kinds import Together, belongs_to, excludes
from salience.configuration.flags.value_checks import has_doubles

LEAVE_IT_OUT = "belongs to {}; leave it out"
TOGETHER = (
    excludes("lora", "freeze_encoder"),
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
    *belongs_to("balanced_sampling", ("false",), "ngram_size", "max_ngrams", says=LEAVE_IT_OUT),
    *belongs_to("loss", ("cross_entropy", "focal"), "ngram_size", "max_ngrams", says=LEAVE_IT_OUT),
    *belongs_to("fit_thresholds", ("true",), "target_precision", says=LEAVE_IT_OUT),
    *belongs_to("ray", (), "ray_actors", says=LEAVE_IT_OUT),
    *belongs_to("word_vectors", (), "word_vectors_vocabulary", says=LEAVE_IT_OUT),
    *belongs_to(
        "freeze_encoder", ("true",), "encoder_cache", says="belongs to {}: what is trained can't be kept"
    ),
    *(
        Together(
            (flag, "encoder", "model"),
            lambda f, flag=flag: getattr(f, flag) and f.encoder is None and f.model in FAMILIES,  # type: ignore[misc]
            f"--{flag} needs a pretrained encoder, and --encoder names none",
        )
        for flag in ("lora", "freeze_encoder")
    ),
    Together(
        ("lora", "model"), lambda f: f.lora and f.model not in FAMILIES,
        "--lora is not offered with --model {model}: its adapters would belong to that model, which is no encoder",
    ),
    Together(
        ("model_revision", "model"), lambda f: f.model_revision and f.model in FAMILIES,
        "--model_revision belongs to a --model of the Hub; leave it out with --model {model}",
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
        ("sampled_parts", "max_length"), lambda f: f.sampled_parts and f.max_length is None,
        "--sampled_parts needs --max_length: the tokens of a part",
    ),
    Together(
        ("validation_size", "test_size"), lambda f: f.validation_size + f.test_size >= 1,
        "--validation_size {validation_size} and --test_size {test_size} leave nothing to train on; make their sum "
        "less than 1",
    ),
    Together(
        ("num_train_epochs", "max_steps"),
        lambda f: f.num_train_epochs is not None and f.num_train_epochs <= 0 and f.max_steps <= 0,
        "--num_train_epochs {num_train_epochs} must be a number above 0",
    ),
    Together(
        ("num_train_epochs",), lambda f: f.num_train_epochs is not None and not f.num_train_epochs < 2**31,
        "--num_train_epochs {num_train_epochs} must be less than 2**31",
    ),
    Together(
        ("load_best_model_at_end", "save_strategy", "eval_strategy"),
        lambda f: f.load_best_model_at_end and f.save_strategy not in ("best", f.eval_strategy),
        "--load_best_model_at_end needs --eval_strategy and --save_strategy to be the same, not {eval_strategy} and "
        "{save_strategy}; set both, or add --load_best_model_at_end false",
    ),
    Together(
        ("load_best_model_at_end", "eval_strategy", "save_strategy", "eval_steps", "save_steps", "logging_steps"),
        lambda f: f.load_best_model_at_end and f.eval_strategy == f.save_strategy == "steps"
        and f.save_steps != (f.eval_steps or f.logging_steps),
        "--load_best_model_at_end needs what is evaluated to be saved, and --save_steps {save_steps} is another number "
        "than --eval_steps; set both to one, or take --save_strategy best",
    ),
    Together(
        ("early_stopping_patience", "eval_strategy"), lambda f: f.early_stopping_patience and f.eval_strategy == "no",
        "--early_stopping_patience needs evaluations: set --eval_strategy to epoch or steps",
    ),
    Together(
        ("encoder_cache", "model"), lambda f: f.encoder_cache is not None and is_plain_head(f.model),
        "--encoder_cache is for our models; leave it out with the plain head",
    ),
    Together(
        ("attention_dropout", "freeze_encoder"), lambda f: f.attention_dropout and f.freeze_encoder,
        "--attention_dropout has no effect on an encoder that is not trained; leave it out with --freeze_encoder",
    ),
    Together(
        ("encoder_cache", "fsdp", "torch_compile"),
        lambda f: f.encoder_cache is not None and (f.fsdp or f.torch_compile),
        "--encoder_cache is not offered with FSDP or --torch_compile",
    ),
    *(
        Together(
            (flag, "model"), lambda f, flag=flag: getattr(f, flag) and is_plain_head(f.model),  # type: ignore[misc]
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
