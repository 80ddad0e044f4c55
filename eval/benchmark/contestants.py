"""Who takes part: ours, and peers as their own pages run them."""

from typing import Any

from salience.eval.benchmark.machine import TRAINING_PASSES
from salience.eval.benchmark.processes import OURS, Contestant

# What configuration/recipes/bbc_news sets, without its limit to the length of a text.
RECIPE: dict[str, Any] = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 32,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.1,
}
DEFAULT_EPOCHS = 3
"""Of transformers' TrainingArguments, and so of run_classification.py."""
DEFAULT_LENGTH = 128
TRAINED, TRAINED_BY_DEFAULTS, PLAIN = "salience train", "salience train, defaults", "plain head"
SETFIT_TEXTS = 8

STATIC = [
    Contestant(
        "model2vec", "with_model2vec.py", "static vectors distilled from the encoder, classifier on them, defaults",
        is_peer=True,
    ),
    Contestant("fastText", "with_fasttext.py", "train_supervised with its defaults", is_peer=True),
    Contestant("TF-IDF + linear SVM", "with_sklearn.py", "scikit-learn, both with their defaults"),
]  # fmt: skip


def ours(name: str, flags: dict[str, Any], about: str) -> Contestant:
    """`salience train` with some flags; its epochs stand in the record of its run."""
    return Contestant(
        name, OURS, about, flags, limit=flags.get("max_length"), passes=TRAINING_PASSES, in_windows=True
    )  # fmt: skip


def run_classification(
    name: str, about: str, length: int, padded: bool = True, training: dict[str, Any] | None = None
) -> Contestant:
    """Transformers' example, which cuts texts at `length` tokens."""
    training = training or {}
    options = {"max_seq_length": length, "pad_to_max_length": padded, "training": training}
    epochs = float(training.get("num_train_epochs", DEFAULT_EPOCHS))
    return Contestant(name, "with_transformers.py", about, options, limit=length, epochs=epochs, passes=TRAINING_PASSES)


def trainers(flags: dict[str, Any], limit: int, bf16: bool) -> list[Contestant]:
    """Those of the suite `train`.

    Args:
        flags: Of `salience train`, in the row of its recipe.
        limit: Tokens that the encoder can read at once.
        bf16: Whether the machine computes bfloat16 in hardware.
    """
    tuned = {
        "bf16": bf16,
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 32,
        "num_train_epochs": flags.get("num_train_epochs", DEFAULT_EPOCHS),
    }
    precision = "bfloat16" if bf16 else "float32 (this CPU has no bfloat16)"
    length = min(DEFAULT_LENGTH, limit)
    whole = "whole texts" if "max_length" not in flags else f"texts cut to {flags['max_length']} tokens"
    script = "run_classification.py"
    return [
        ours(TRAINED, flags, f"{whole}, with " + " ".join(f"--{name} {value}" for name, value in flags.items())),
        ours(TRAINED_BY_DEFAULTS, {}, "whole texts, no flag but those of the data and the encoder"),
        run_classification(
            script, f"its defaults: float32, padded and cut to {length} tokens, batch 8", length
        ),
        run_classification(
            f"{script}, whole window", f"float32, padded and cut to the encoder's {limit} tokens, batch 8", limit
        ),
        run_classification(
            f"{script}, tuned", f"{precision}, batch 32, padded to the longest, cut to {limit}", limit, False, tuned
        ),
        run_classification(
            f"{script}, tuned, {DEFAULT_LENGTH} tokens",
            f"{precision}, batch 32, padded to the longest, cut to {length}", length, False, tuned,
        ),
        Contestant(
            "SetFit", "with_setfit.py", f"its defaults, on {SETFIT_TEXTS} texts of each class as in its quick tour",
            {"num_samples": SETFIT_TEXTS}, is_peer=True,
        ),
        *STATIC,
    ]  # fmt: skip


def models(flags: dict[str, Any], limit: int) -> list[Contestant]:
    """Those that are trained for the suite `predict`, whose time isn't measured there."""
    plain = flags | {"model": "sequence_classification"}
    plain["max_length"] = min(int(flags.get("max_length", limit)), limit)
    return [ours(TRAINED, flags, "ours"), ours(PLAIN, plain, "the plain head"), *STATIC]


def predictors(limit: int) -> list[Contestant]:
    """Those of the suite `predict`; the first one is ours, with which the others are compared."""

    def pipe(model: str, size: int) -> Contestant:
        name = "pipeline" if model == TRAINED else f"{PLAIN}, pipeline"
        about = "the same model in" if model == TRAINED else f"the plain head, texts cut to {limit} tokens, in"
        return Contestant(
            f"{name}, batch {size}", "with_pipeline.py", f"{about} transformers' pipeline, float32, batch_size={size}",
            {"batch_size": size}, model=model, limit=None if model == TRAINED else limit, passes=1,
            in_windows=model == TRAINED, reference=f"{name}, batch 1",
        )  # fmt: skip

    return [
        Contestant(
            "salience",
            OURS,
            "what salience score reads with",
            model=TRAINED,
            passes=1,
            in_windows=True,
            reference="pipeline, batch 1",
        ),
        *(pipe(model, size) for model in (TRAINED, PLAIN) for size in (1, 32)),
        *STATIC,
    ]


def starters() -> list[Contestant]:
    """Those of the suite `start`; the first one is ours, with which the others are compared."""
    worker = "with_auto_class.py"
    return [
        Contestant("salience", worker, "ours by the Auto classes, with the code in its folder",
                   {"installed": False}, model=TRAINED),
        Contestant("salience, installed", worker, "ours by load_classifier of the installed package",
                   {"installed": True}, model=TRAINED),
        Contestant(PLAIN, worker, "the plain class of transformers, by the Auto classes",
                   {"installed": False}, model=PLAIN),
    ]  # fmt: skip
