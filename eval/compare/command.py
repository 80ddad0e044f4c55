"""eval.py compare RUN [RUN ...] [--output_dir OUT] [--flag value ...]: runs on the same test texts, in one table.

RUN is the folder of a finished run of train.py or `eval.py baseline` on texts with classes, one or several; with
several, a text is answered right if all its labels are. TF-IDF with linear SVM and logistic regression always stand
beside them, and complement naive Bayes where texts have one class: where none of the RUNs is such a baseline on the
same splits, it is made, from the data that the first run was trained on, and kept in OUT/sparse/NAME for the next
call. run.json knows no folders of absolute paths: name such data once more behind the RUNs, with the flags of train.py
(`--train_file my_texts.csv`).

OUT (default runs/comparison) gets model_comparison.md, visualizations/model_comparison.png and, named as in section 9.3
of the Newsgroups paper, results/model_comparison.json:

    data: name, source, problem_type and splits {split: number of texts} of the run that the baselines share their
        splits with
    test_sha256: fingerprint of the test split
    best_sparse: name of a row that the others are compared with: of the TF-IDF baselines on these splits, the one
        with the highest validation accuracy
    first: name of the other such row: the first RUN
    rows: the RUNs in their order, then the baselines that were made; for each
        name: the part of its folder's path that tells the RUNs apart; of a made baseline its own name
        kind: "model", "sparse" (TF-IDF) or "frozen" (vectors of a frozen encoder)
        family: value of --model, or name of the baseline
        same_training_texts: whether it was trained on the texts that the baselines were trained on
        validation_accuracy, accuracy, f1_macro: 0 to 1, the last two on the test texts
        intervals: {accuracy: [low, high], f1_macro: [low, high]}, 95 %, bootstrap over the test texts
        parameters: number of all weights of the model, or of those of the sparse classifier
        train_seconds: null for a run that was stopped and resumed
        texts_per_second: test texts classified in a second; null if that was too fast to tell
        against_best_sparse: null for the best baseline itself; else difference of the test accuracies, its 95 %
            interval low, high, two-sided p_value (paired bootstrap), and mcnemar {only_this_right, only_other_right,
            p_value}, the exact test
        against_first: the same, from the first RUN; null for that itself
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import OF_TRAINING_TEXTS, DataArguments
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.flags.rule_kinds import refuse_idle
from salience.configuration.flags.tuning_arguments import TuningArguments
from salience.configuration.problem_types import MULTI_LABEL, REGRESSION
from salience.eval.baseline.command import make_baseline_run
from salience.eval.baseline.models import OF_SEVERAL_LABELS, THRESHOLD_FLAGS
from salience.eval.compare.output import check_out, write
from salience.eval.compare.page import text_table
from salience.eval.compare.results import Comparison, collect, reference_run
from salience.eval.runs import Run, check_same_classes, data_flags, load_data, paired_answers, read_run, read_scores
from salience.eval.scores.prediction_files import read_predictions
from salience.model_cards.run_folder import RUN_FILE
from salience.train.folder.output import claimed, held

BASELINES = ("tfidf_svm", "tfidf_logistic", "tfidf_complement_nb")


@dataclass
class CompareArguments:
    """Where a comparison goes."""

    output_dir: str = field(default="runs/comparison", metadata={"help": "Folder for table, figure and baselines."})


def main(argv: list[str]) -> None:
    """`eval.py compare`: see the module.

    Raises:
        UserError: See `compare_runs`; or a flag is wrong.
    """
    if not argv or {"-h", "--help"} & set(argv):
        print(__doc__)
        return
    num_runs = next((place for place, word in enumerate(argv) if word.startswith("-")), len(argv))
    names, words = argv[:num_runs], argv[num_runs:]
    if not names:
        raise UserError("name the folders of the runs first, then the flags")
    print(text_table(compare(names, words)))


def compare_runs(
    runs: Sequence[str | Path], train: Any = None, validation: Any = None, test: Any = None, **flags: Any
) -> Comparison:
    """Put finished runs on the same test texts into one table and figure, TF-IDF baselines beside them.

    Args:
        runs: Folders of finished runs on texts with classes, one or several.
        train: Labelled texts in memory on which the first run was trained, for the baselines, as `train_model` took
            them.
        validation: The same for the validation split.
        test: The same for the test split.
        flags: Flags of `eval.py compare` by their names: `output_dir` (default runs/comparison), and the data flags
            where the baselines need data that the first run names by absolute paths.

    Returns:
        The content of model_comparison.json, see `salience.eval.compare.command`.

    Raises:
        UserError: A run isn't finished or can't be compared with the others, a flag is wrong, or the data for the
            baselines is missing.

    Example:
        >>> [(row["name"], row["accuracy"]) for row in compare_runs(["runs/a", "runs/b"])["rows"]]
    """
    if isinstance(runs, str | Path):
        raise UserError(f"compare_runs takes a list of folders: write compare_runs([{str(runs)!r}])")
    if not isinstance(runs, Sequence):
        raise UserError(f"compare_runs takes a list of folders, not a {type(runs).__name__}")
    _, words = _parser().parse_flags(flags)
    given = {"train": train, "validation": validation, "test": test}
    memory = {split: rows for split, rows in given.items() if rows is not None}
    return compare([str(run) for run in runs], words, memory)


def compare(names: Sequence[str], words: Sequence[str], memory: Mapping[str, Any] | None = None) -> Comparison:
    """See `compare_runs`.

    Args:
        names: Folders of the runs.
        words: The flags as one types them: those of a run are put before them.
        memory: Splits that are given in memory, for the baselines.
    """
    arguments, data_args = _parser().parse(words)
    refuse_idle(data_args, OF_TRAINING_TEXTS, "texts are read whole")
    out = Path(arguments.output_dir)
    with held(out):
        check_out(out)
        runs = [read_run(name) for name in names]
        if not runs:
            raise UserError("there are no runs to compare: name at least one folder")
        check_comparable(runs)
        results = collect(runs, made_baselines(runs, out, words, memory))
        write(results, out)
    return results


def _parser() -> RecipeParser:
    return RecipeParser((CompareArguments, DataArguments), program="eval.py compare")


def check_comparable(runs: Sequence[Run]) -> None:
    """Make sure that the runs answered the same questions.

    Args:
        runs: At least one.

    Raises:
        UserError: They are of different problem types or classes, or were tested on different texts; labels aren't
            classes; a run is given twice, or its results are damaged.
    """
    first, *others = runs
    for number, run in enumerate(runs):
        if run.folder.resolve() in {before.folder.resolve() for before in runs[:number]}:
            raise UserError(f"{run.folder} is given twice: leave one out")
    answers = read_predictions(first.folder, "test")
    kind = answers.problem_type
    for run in others:
        other = read_predictions(run.folder, "test")
        if other.problem_type != kind:
            raise UserError(
                f"{first.folder} is {kind} and {run.folder} {other.problem_type}: compare runs of one problem type"
            )
        check_same_classes(first.folder, answers, run.folder, other)
        if run.splits["test"] != first.splits["test"]:
            raise UserError(
                f"{first.folder} and {run.folder} were tested on different texts: compare runs with the same test split"
            )
    if kind == REGRESSION:
        raise UserError(f"{first.folder} is {kind}, and the baselines need classes")
    for run in runs:  # before anything is made for them
        read_scores(run.folder)
        paired_answers(first.folder, run.folder)


def thresholds_of(run: Run) -> dict[str, Any]:
    """The flags of a run by which a text gets its labels, where it can have several."""
    return {flag: value for flag, value in run.record["arguments"].items() if flag in THRESHOLD_FLAGS}


def made_baselines(runs: Sequence[Run], out: Path, flags: Sequence[str], memory: Mapping[str, Any] | None) -> list[Run]:
    """The TF-IDF baselines that aren't among the runs: those that an earlier call kept, or new ones.

    Args:
        runs: All that are compared; the first model among them says which data.
        out: Folder of the comparison; baselines are in `sparse/NAME`.
        flags: Of the command line; data flags among them win over those in run.json.
        memory: Splits that are given in memory, in place of files.

    Raises:
        UserError: The data isn't there or has changed or isn't that of the run, or a folder holds a baseline on other
            texts.
    """
    reference = reference_run(runs)
    given = {run.family for run in runs if run.splits == reference.splits}
    several = read_predictions(reference.folder, "test").problem_type == MULTI_LABEL
    names = [name for name in BASELINES if not several or name in OF_SEVERAL_LABELS]
    folders = {name: out / "sparse" / name for name in names if name not in given}
    missing = [name for name, folder in folders.items() if not (folder / RUN_FILE).exists()]
    for folder in (folder for name, folder in folders.items() if name not in missing):
        if read_run(folder).splits != reference.splits:
            raise UserError(
                f"{folder} was trained or tested on other texts: choose another --output_dir, or move it away"
            )
        if thresholds_of(read_run(folder)) != thresholds_of(reference):
            raise UserError(
                f"{folder} gives labels by another --fit_thresholds or --target_precision than {reference.folder}: "
                "choose another --output_dir, or move it away"
            )
        read_scores(folder)
        paired_answers(reference.folder, folder)
    if missing or memory or _parser().parse(flags)[1] != DataArguments():  # data that are named are those of the runs
        tokens = [*data_flags(reference, flags), *flags]
        data_args = _parser().parse(tokens)[1]
        data = load_data(reference, data_args, "the TF-IDF baselines", memory=memory)
        seed, tuning = reference.record["seed"], TuningArguments(**thresholds_of(reference))
        for name in tqdm(missing, desc="TF-IDF baselines"):
            command = ["eval.py", "baseline", name, *tokens, f"--seed={seed}", f"--output_dir={folders[name]}"]
            with claimed(folders[name], "sparse"):
                make_baseline_run(name, data, folders[name], command, seed, data_args, tuning)
    return [read_run(folder) for folder in folders.values()]
