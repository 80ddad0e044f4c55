"""eval.py baseline NAME [RECIPE.yaml] --output_dir OUT ...: a baseline without any trained network.

Bags of words, or the document vectors of a frozen encoder (`frozen_...`, with --encoder), on the splits of train.py.

OUT gets eval_results.json, test_results.json, train_results.json (the seconds to fit) and the predictions under the
names that a run of train.py uses, and last run.json.

Where texts have several labels, each is given from a threshold on that is fitted on the validation texts, as for models
of ours: --fit_thresholds and --target_precision count, too.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import OF_TRAINING_TEXTS, DataArguments
from salience.configuration.flags.parser import RecipeParser, flag_name
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.configuration.problem_types import MULTI_LABEL
from salience.eval.baseline.frozen import FROZEN_MODELS
from salience.eval.baseline.models import (
    BASELINES,
    OF_SEVERAL_LABELS,
    THRESHOLD_FLAGS,
    BaselineRun,
    baseline_flags,
    baseline_kind,
    run_baseline,
)
from salience.eval.scores.label_thresholds import fit_label_thresholds, tell_label_thresholds
from salience.eval.scores.metrics import compute_scores
from salience.eval.scores.prediction_files import write_predictions
from salience.eval.scores.predictions import Predictions, count_words
from salience.model_cards.files import write_json
from salience.model_cards.run_folder import RUN_FILE, STARTED_FILE, TRAIN_RESULTS_FILE, read_results, write_results
from salience.train.building.encoder_loading import public_name
from salience.train.data.encoded import labels_of
from salience.train.data.load import TextData, load_splits
from salience.train.folder.output import claimed, start
from salience.train.folder.record import changed_arguments, describe_data, make_record
from salience.train.loop.assembly import score_line

logger = logging.getLogger(__name__)

HELP = """usage: eval.py baseline NAME [RECIPE.yaml ...] --output_dir OUT [--flag value ...]

NAME is one of {}; where texts have several labels, of {}.
Recipes and flags are those of train.py; only the data flags count (not --max_length and --sampled_parts: texts are
read whole), --encoder for frozen_..., and for several labels
--fit_thresholds and --target_precision; what asks for a model, such as --push_to_hub, is refused.
OUT keeps scores and answers to compare with, and no model to predict with."""


def main(argv: list[str]) -> None:
    """`eval.py baseline`: see the module.

    Raises:
        UserError: There is no such baseline, a flag or the data is wrong, or the folder holds a finished run.
    """
    if not argv or {"-h", "--help"} & set(argv):
        print(HELP.format(", ".join(BASELINES), ", ".join(OF_SEVERAL_LABELS)))
        return
    name = argv[0]
    if name not in BASELINES:
        raise UserError(f'"{name}" is no baseline; choose from {", ".join(BASELINES)}')
    model_args, data_args, tuning, training = RecipeParser(program="eval.py baseline").parse(argv[1:])
    for flag in ("push_to_hub", "resume_from_checkpoint"):
        if getattr(training, flag):
            raise UserError(f"--{flag} is for models, and {name} leaves no model; leave it out")
    typed = (flag_name(word) for word in argv if word.startswith("--"))
    tell_idle(name, {*changed_arguments((model_args, data_args, tuning)), *typed})
    folder = Path(training.output_dir)
    started = datetime.now(timezone.utc)
    command = ["eval.py", "baseline", *argv]
    with claimed(folder, baseline_kind(name)):
        data = load_splits(data_args)
        make_baseline_run(name, data, folder, command, training.seed, data_args, tuning, started, model_args)
    split = "test" if "test" in data.splits else "validation"
    print(f"run      {folder}\n{score_line(split, read_results(folder, split))}")


def tell_idle(name: str, given: Iterable[str]) -> None:
    """Warn of flags that have no effect on a baseline: those of a recipe for a model may stand beside the data's.

    Args:
        name: One of `BASELINES`.
        given: Names of flags.
    """
    counting = baseline_flags(name) - OF_TRAINING_TEXTS | {"seed", "output_dir"}
    if idle := sorted(set(given) - counting):
        logger.warning("%s has no use for --%s; texts are read whole", name, ", --".join(idle))


def make_baseline_run(
    name: str,
    data: TextData,
    folder: Path,
    command: list[str],
    seed: int,
    data_args: DataArguments,
    tuning: TuningArguments,
    started: datetime | None = None,
    model_args: Any = None,
) -> None:
    """Fit a baseline, and leave in a folder what a run of train.py would.

    Args:
        name: One of `BASELINES`.
        data: See `run_baseline`.
        folder: Is `claimed`.
        command: The words that make this run again.
        seed: For the record; these baselines draw nothing from it.
        data_args: What the data was loaded by, for the record.
        tuning: How labels are given where texts have several.
        started: When the work began; None for now.
        model_args: See `build_baseline`.

    Raises:
        UserError: See `run_baseline`.
    """
    started = started or datetime.now(timezone.utc)
    run = run_baseline(name, data, model_args)
    encoder = model_args.base_model or public_name(model_args.encoder) if name in FROZEN_MODELS else None
    start(folder, {"kind": baseline_kind(name), "family": name})
    write_json(folder / TRAIN_RESULTS_FILE, {"train_runtime": round(run.fit_seconds, 4)})
    for split, predictions in predictions_of(run, data, tuning).items():
        seconds = run.predict_seconds[split]
        costs = {
            "runtime": round(seconds, 4),
            "samples_per_second": round(len(predictions) / seconds, 3),
            "samples": len(predictions),
        }
        write_results(folder, split, {**compute_scores(predictions), **costs})
        write_predictions(folder, split, np.arange(len(predictions)), predictions)
    of_thresholds = {flag: value for flag, value in changed_arguments((tuning,)).items() if flag in THRESHOLD_FLAGS}
    record = make_record(
        kind=baseline_kind(name),
        command=command,
        arguments=changed_arguments((data_args,)) | of_thresholds,
        data=describe_data(data),
        model={"family": name, "class": name, "encoder": encoder, "parameters": run.num_weights},
        precision="fp64",
        seed=seed,
        started=started,
    )
    write_json(folder / RUN_FILE, record)  # where it is, the run is finished
    (folder / STARTED_FILE).unlink()


def predictions_of(run: BaselineRun, data: TextData, tuning: TuningArguments) -> dict[str, Predictions]:
    """A baseline's answers to each held-out split, with several labels by thresholds fitted on validation.

    Args:
        run: What `run_baseline` gave.
        data: Its data.
        tuning: Whether thresholds are fitted, and to what.
    """
    found = {}
    for split, logits in run.logits.items():
        labels, num_words = labels_of(data.splits[split]), count_words(data.splits[split]["text"])
        logits = logits.astype(np.float32)  # as they are kept, so that their scores can be counted again
        found[split] = Predictions(labels, logits, data.problem_type, data.label_names, num_words)
    if data.problem_type == MULTI_LABEL and tuning.fit_thresholds and "validation" in found:
        thresholds = fit_label_thresholds(found["validation"], tuning.target_precision)
        tell_label_thresholds(found["validation"], thresholds, tuning.target_precision)
        found = {split: replace(each, label_thresholds=thresholds) for split, each in found.items()}
    return found
