"""What a model card says, as values for its template; everything that comes from data is escaped here."""

import json
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from scipy.stats import binomtest

from salience.configuration.errors import one_line
from salience.configuration.families import codes
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from salience.model_cards.design_facts import design, explanation, is_number
from salience.model_cards.markdown import MAX_NAME, escape, shell_block, table
from salience.model_cards.report_facts import report_facts
from salience.model_cards.run_folder import RunFolder, is_hub_id

SPLITS = ("train", "validation", "test")
MAX_CLASSES = 100  # rows of a table with one row per class
FEW_TEXTS = 30  # fewer test texts of a class than this: its scores are rough
LARGE_RATIO = 3  # largest class : smallest class from which a card warns


@dataclass(frozen=True)
class Metric:
    """A score: its key in the results files, its name in a table, its type in the Hub's metadata (None: not there)."""

    key: str
    title: str
    hub_type: str | None


METRICS = (
    Metric("accuracy", "Accuracy", "accuracy"),
    Metric("precision_macro", "Precision (macro)", "precision"),
    Metric("recall_macro", "Recall (macro)", "recall"),
    Metric("f1_macro", "F1 (macro)", "f1"),
    Metric("precision_weighted", "Precision (weighted)", "precision"),
    Metric("recall_weighted", "Recall (weighted)", "recall"),
    Metric("f1_weighted", "F1 (weighted)", "f1"),
    Metric("roc_auc", "ROC-AUC (one-vs-rest, macro)", "roc_auc"),
    Metric("mse", "Mean squared error", "mse"),
    Metric("mae", "Mean absolute error", "mae"),
    Metric("r2", "R2", "r_squared"),
    Metric("pearson", "Pearson correlation", "pearsonr"),
    Metric("loss", "Loss", None),
)


def card_facts(files: RunFolder, languages: list[str]) -> dict[str, Any]:
    """Everything that the template shows beside title and repo; None or empty for what the run didn't leave.

    Args:
        files: the run.
        languages: ISO codes of the texts; empty if unknown.
    """
    run = files.run
    return {
        "task": _task(files),
        "design": design(files),
        "headline": _headline(files),
        "scores": _scores(files),
        "per_class": _per_class(files.test.get("per_class")),
        "is_regression": files.config.get("problem_type") == REGRESSION,
        **_usage(files),
        "explains": bool(files.config.get("custom_pipelines")),
        "explanation": explanation(files.config.get("explanation")),
        "splits": _splits(run),
        "class_counts": _class_counts(run),
        "source": escape(run["data"]["source"]) if run.get("data", {}).get("source") else None,
        "command": shell_block(run["command"]) if run.get("command") else None,
        "training": _training(files),
        "arguments": _arguments(run),
        "versions": ", ".join(f"{escape(name)} {escape(number)}" for name, number in run.get("versions", {}).items()),
        "limits": _limits(files, languages),
        "report": report_facts(files),
    }


def _task(files: RunFolder) -> str:
    names = _class_names(files)
    if files.config.get("problem_type") == REGRESSION:
        return "This model reads a text and predicts a number."
    listed = ", ".join(map(escape, names[:20])) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")
    if files.config.get("problem_type") == MULTI_LABEL:
        return f"This model reads a text and says which of {len(names):,} labels apply to it: {listed}."
    if not names:
        return "This model reads a text and says which class it belongs to."
    return f"This model reads a text and says which of {len(names):,} classes it belongs to: {listed}."


def _headline(files: RunFolder) -> str | None:
    accuracy, count = files.test.get("accuracy"), files.test.get("samples")
    if not is_number(accuracy) or not is_number(count) or count < 1:
        return None
    return (
        f"Of {count:,} held-out test texts, it labelled **{100 * accuracy:.1f} %** correctly "
        f"(95 % interval: {_interval(accuracy, int(count))} %)."
        + (f" **{leaked:,} of them stand in the training texts, too.**" if (leaked := _leaked(files.run)) else "")
    )


def _leaked(run: dict[str, Any], split: str = "test") -> int:
    """How many texts of a held-out split the model was trained on."""
    return int(run.get("data", {}).get("splits", {}).get(split, {}).get("also_in_training", 0))


def _interval(share: float, count: int) -> str:
    """The 95 % interval of a share (Wilson 1927), in percent."""
    low, high = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _scores(files: RunFolder) -> str | None:
    columns = [(name, scores) for name, scores in [("Test", files.test), ("Validation", files.validation)] if scores]
    rows = [
        [metric.title, *(scores.get(metric.key) for _, scores in columns)]
        for metric in METRICS
        if any(is_number(scores.get(metric.key)) for _, scores in columns)
    ]
    rows.append(["Texts", *(scores.get("samples") for _, scores in columns)])
    return table(["", *(name for name, _ in columns)], rows) if columns else None


def _per_class(per_class: dict[str, dict[str, Any]] | None) -> str | None:
    if not per_class:
        return None
    rows = [[name, *(s.get(key) for key in ("precision", "recall", "f1", "support"))] for name, s in per_class.items()]
    return _class_table(["Class", "Precision", "Recall", "F1", "Test texts"], rows, "test_results.json")


def _class_counts(run: dict[str, Any]) -> str | None:
    counts = _labels(run)
    names = list(dict.fromkeys(name for labels in counts.values() for name in labels))
    if not names:
        return None
    rows = [[name, *(labels.get(name, 0) for labels in counts.values())] for name in names]
    return _class_table(["Class", *(split.capitalize() for split in counts)], rows, "run.json")


def _class_table(header: list[str], rows: list[list[Any]], file_name: str) -> str:
    text = table(header, rows[:MAX_CLASSES])
    more = len(rows) - MAX_CLASSES
    return text if more <= 0 else f"{text}\n\n{more:,} more classes stand in `{file_name}`."


def _splits(run: dict[str, Any]) -> str | None:
    splits = run.get("data", {}).get("splits", {})
    rows = [[name, splits[name].get("rows"), splits[name].get("sha256")] for name in SPLITS if splits.get(name)]
    return table(["Split", "Texts", "SHA-256"], rows) if rows else None


def _usage(files: RunFolder) -> dict[str, Any]:
    base, own_code = files.adapter.get("base_model_name_or_path"), bool(files.config.get("auto_map"))
    # An adapter may name a folder of this machine, which nobody else shall read; `push_folder` puts the Hub id of
    # run.json in its place.
    named = files.run.get("model", {}).get("encoder")
    hub_base = next(filter(is_hub_id, [base, named] if base else []), None)
    is_public = is_hub_id(base) or str(base).startswith("package:")
    shown_base = base if is_public else named or PurePath(str(base)).name
    # transformers 5 writes the settings of rotary positions so that 4 doesn't find them, and takes other ones instead.
    has_rope = "rope_parameters" in (files.config.get("encoder_config") or files.config)
    return {
        "least_transformers": "5" if has_rope else "4.57",
        "is_adapter": files.is_adapter,
        "has_adapter": bool(files.adapter) and not files.is_adapter,
        "adapter_base": escape(shown_base) if base else None,
        # Under one of our own heads, PEFT can't build the base from the encoder's name.
        "peft_base": None if own_code else hub_base,
        "peft_base_revision": files.adapter.get("revision") if hub_base == base else None,
        "own_code": own_code,
        "trust": ", trust_remote_code=True" if own_code else "",
        "weighs": _gives_weights(files),
        "has_thresholds": bool(files.config.get("label_thresholds")),
        "is_multi_label": files.config.get("problem_type") == MULTI_LABEL,
    }


def _gives_weights(files: RunFolder) -> bool:
    code = codes().get(files.config.get("model_type", ""))
    return code is not None and code.gives_weights


def _training(files: RunFolder) -> list[str]:
    run, train = files.run, files.train
    model, machine = run.get("model", {}), run.get("platform", {})
    facts = []
    if is_number(model.get("parameters")):
        trained = model.get("trainable_parameters", model["parameters"])
        facts.append(f"{model['parameters']:,} parameters, of which {trained:,} were trained")
    if is_number(train.get("epoch")):
        facts.append(f"{train['epoch']:g} epochs")
    is_resumed = (
        run.get("arguments", {}).get("resume_from_checkpoint") is not None
    )  # Trainer then tells of the rest only
    if is_number(train.get("train_loss")) and not is_resumed:
        facts.append(f"mean training loss {train['train_loss']:.4f}")
    seconds = train.get("train_runtime", run.get("seconds"))
    if is_number(seconds) and not is_resumed:
        facts.append(f"{_duration(seconds)} on {_machine(machine)}" if machine else _duration(seconds))
    if is_number(peak := run.get("peak_memory_mb", {}).get("ram")):
        facts.append(f"at most {peak:,} MB of memory")
    if is_number(dropped := model.get("attention_dropout")):
        facts.append(f"dropout of attention weights {dropped:g}")
    facts += [f"{name} {escape(run[name])}" for name in ("seed", "precision") if run.get(name) is not None]
    if run.get("started"):
        facts.append(f"started {escape(run['started'])}")
    return facts


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _machine(machine: dict[str, Any]) -> str:
    gpus = machine.get("gpus")
    if gpus:
        return f"{len(gpus)} × {escape(gpus[0])}"
    return f"{machine.get('cores', '?')} cores of {escape(machine.get('cpu', 'a CPU'))}"


def _arguments(run: dict[str, Any]) -> str | None:
    rows = [
        [name, value if isinstance(value, str) else json.dumps(value)]
        for name, value in run.get("arguments", {}).items()
    ]
    return table(["Argument", "Value"], rows) if rows else None


def _limits(files: RunFolder, languages: list[str]) -> list[str]:
    limits = [
        _measured(files),
        *_leaks(files.run),
        *_imbalance(_labels(files.run).get("train", {})),
        *_rough_classes(files.test),
    ]
    if languages:
        limits.append(f"Language of the texts: {', '.join(map(escape, languages))}. Others weren't measured.")
    else:
        limits.append("The language of the texts wasn't recorded; expect it to work in that of its training data only.")
    if files.config.get("problem_type") != REGRESSION:
        limits.append(
            "Scores were calibrated on validation texts; on texts of another source or time they may be off."
            if is_number(files.validation.get("temperature")) and not files.config.get("prior_correction")
            else "A score of 0.9 doesn't mean that 9 of 10 such answers are right, unless that was measured."
        )
    if files.config.get("problem_type") in (None, SINGLE_LABEL):
        limits.append("Every text gets one of the classes, also a text that belongs to none of them.")
    if _gives_weights(files):
        limits.append("Token weights show where the model looked. By themselves they don't explain its decision.")
    return limits


def _measured(files: RunFolder) -> str:
    if files.test:
        return "All test scores come from one test set; on texts of another source, time or style, expect less."
    if files.validation:
        return "No held-out test was made. The validation texts chose the checkpoint, so their scores are optimistic."
    return "This model's quality wasn't measured."


def _leaks(run: dict[str, Any]) -> list[str]:
    return [
        f"{count:,} {split} texts stand in the training texts, too, word for word: scores on them are too high."
        for split in ("validation", "test")
        if (count := _leaked(run, split))
    ]


def _imbalance(counts: dict[str, int]) -> list[str]:
    present = {name: count for name, count in counts.items() if is_number(count) and count > 0}
    if len(present) < 2:
        return []
    large, small = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
    ratio = present[large] / present[small]
    sizes = f"{escape(large)} has {present[large]:,} training texts, {escape(small)} {present[small]:,}"
    if ratio < LARGE_RATIO:
        return [f"The classes are of similar size in training: {sizes}."]
    return [f"The classes are unbalanced 1:{ratio:.1f} ({sizes}): look at the small classes' recall, not at accuracy."]


def _rough_classes(test: dict[str, Any]) -> list[str]:
    supports = {name: scores.get("support") for name, scores in (test.get("per_class") or {}).items()}
    few = [name for name, support in supports.items() if is_number(support) and support < FEW_TEXTS]
    if not few:
        return []
    named = ", ".join(map(escape, few[:10])) + (f" and {len(few) - 10:,} more" if len(few) > 10 else "")
    return [f"Fewer than {FEW_TEXTS} test texts, so only rough scores: {named}."]


def _labels(run: dict[str, Any]) -> dict[str, dict[str, int]]:
    splits = run.get("data", {}).get("splits", {})
    return {name: splits[name]["labels"] for name in SPLITS if splits.get(name, {}).get("labels")}


def _class_names(files: RunFolder) -> list[str]:
    id2label = files.config.get("id2label") or {}
    if id2label:
        return [one_line(id2label[key], MAX_NAME) for key in sorted(id2label, key=int)]
    return list(files.test.get("per_class") or _labels(files.run).get("train", {}))
