"""eval.py report --model FOLDER_OR_HUB_ID [--test_file FILE] [--output_dir OUT] [--flag value ...]: one model, in full.

How good a classifier is, where it fails, how sure one can be of it, and whether its attention explains its answers.
It is for any text-classification model of transformers, as far as its outputs allow. Without `--test_file`, a run of
train.py is looked at on its own test split (one without, on its validation split), from the data flags in its run.json;
run.json knows no folders of absolute paths, so name such data once more, with the flags of train.py.

OUT (default: MODEL/report for a folder, else runs/report) gets report.html, which needs no other file and no network,
visualizations/ with its figures, failure_analysis.json (see `salience.eval.failures.analysis`), doubtful_labels.csv
(labels to look at again, the most doubtful first), and report.json:

    model: name, revision, class, parameters, temperature (that divides its logits; null where none was fitted)
    data: name, split (test or validation), texts, classes (names), sha256 of texts and labels
    made: date, command, versions, seed
    scores: accuracy, precision_macro, ..., per_class; see `salience.eval.scores.metrics.compute_scores`
    intervals: {accuracy, precision_macro, ..., f1_weighted: {value, low, high}}
    confusion: texts by true class (row) and answer (column); null where a text can have several classes
    confused_pairs: see `salience.eval.scores.breakdown.confused_pairs`; null likewise
    length: see `salience.eval.scores.breakdown.by_length`; a text's words are what stands between white space
    class_frequency: see `salience.eval.scores.breakdown.by_class_frequency`
    calibration: of these texts, see `salience.eval.scores.calibration`
    thresholds: chosen_on ("validation", or "same" where there are no others than these), and rows:
        wanted_accuracy, threshold (null where none can be promised to give it), and on these texts its coverage and
        accuracy
    label_thresholds: probability from which on each label is given; null where a text has one class, or it is 0.5
    doubtful_labels: see `salience.eval.scores.doubtful_labels`: estimate (how many labels are wrong), texts, and
        control (how well swapped labels would be found; null where a text can have several classes)
    training: log_history of the run; null for other models
    attention: see `salience.eval.explain.attention_profile`, or only `reason` for a model without such weights
    faithfulness: see `salience.eval.explain.faithfulness`, or only `reason` where nothing can be tested; and verdict,
        in words
    examples: row (from 0), true, predicted, right, confidence, num_words, text, and words [[word, share of the
        attention], ...] of some texts; `words` is null for a model without weights
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from datasets import DatasetDict

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import OF_TRAINING_TEXTS, DataArguments, FileArguments
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.flags.rule_kinds import refuse_idle
from salience.configuration.problem_types import REGRESSION
from salience.eval.failures.analysis import FailureAnalysis
from salience.eval.failures.remedies import own_ablation, read_ablation
from salience.eval.reading.load import ClassifierArguments, load_reader
from salience.eval.reading.reader import Reader
from salience.eval.report.about import About, describe
from salience.eval.report.content import Findings, collect
from salience.eval.report.history import training_history
from salience.eval.report.output import PAGE_FILE, check_output, output_folder, untouched_card, write
from salience.eval.report.pictures import as_png, draw
from salience.eval.report.texts import Sizes, Texts
from salience.eval.runs import Run, data_flags, finished_run, load_data, read_own_results
from salience.eval.scores.prediction_files import predictions_file
from salience.model_cards.run_folder import PREFIXES
from salience.train.data.load import TextData, columns_of_model, load_test
from salience.train.data.sources.memory import describe_table
from salience.train.folder.output import held

# They say how data becomes splits, or what is trained on of them, and nothing of one file of labelled texts.
OF_SPLITS = {each.name for each in fields(DataArguments)} - {each.name for each in fields(FileArguments)} - {
    "test_file", "data_name",
}  # fmt: skip


class Report(About, Findings):
    """The content of report.json; see the module."""


@dataclass
class ReportArguments(ClassifierArguments):
    """Which model is reported on, how closely it is looked at, and where the report goes."""

    output_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of the report; unset: report/ in the model's folder, or runs/report for a Hub id."},
    )
    ablation: str | None = field(
        default=None,
        metadata={"help": "study.json that tells what remedies bring; unset: our own."},
    )
    num_documents: int = field(default=500, metadata={"help": "Texts whose attention and failures are looked at."})
    num_explained: int = field(
        default=50, metadata={"help": "Texts on which explanations are tested: each is read once for each word."}
    )
    report_seed: int = field(default=0, metadata={"help": "Of all that is drawn for the report."})


class WrittenReport(NamedTuple):
    """A report that was written."""

    page: Path
    results: Report  # the content of report.json, see the module
    failures: FailureAnalysis  # the content of failure_analysis.json


def main(argv: list[str]) -> None:
    """`eval.py report`: see the module.

    Raises:
        UserError: There is no such model, data or study; the model is no classifier; or a report is there already.
    """
    parser = _parser()
    if not argv or {"-h", "--help"} & set(argv):
        print(__doc__)
        parser.print_help()
    else:
        print_summary(report(argv, ["eval.py", "report", *argv]))


def write_report(model: str | Path, test: Any = None, **flags: Any) -> WrittenReport:
    """All about one model: how good it is, where it fails, how sure one can be, and whether attention explains it.

    Args:
        model: Folder or Hub id of a classifier: ours, or any text-classification model of transformers.
        test: Labelled texts in memory, in place of `test_file=`: see `salience.train.load_splits`. None and no
            file: the test split of the run whose folder `model` is.
        flags: Flags of `eval.py report` by their names: `output_dir`, `num_documents`, `num_explained`, ...

    Returns:
        The page, and the numbers on it.

    Raises:
        UserError: There is no such model, data or study; the model is no classifier; or a report is there already.

    Example:
        >>> written = write_report("runs/mine")
        >>> written.page, written.results["intervals"]["accuracy"]
    """
    _, words = _parser().parse_flags({"model": model, **flags})
    return report(words, ["write_report", *words], test)


def _parser() -> RecipeParser:
    return RecipeParser((ReportArguments, DataArguments), program="eval.py report")


def report(words: list[str], command: list[str], memory: Any = None) -> WrittenReport:
    """See `write_report`.

    Args:
        words: Recipes and flags as one types them: those of a run are put before them.
        command: For the record.
        memory: Labelled texts in memory.
    """
    arguments, data_args = _parser().parse(words)
    if memory is not None or is_one_file(data_args):
        refuse_idle(
            data_args, OF_SPLITS, "the model is tested on all texts of the file, or in memory, and on no others"
        )
    else:
        refuse_idle(data_args, OF_TRAINING_TEXTS, "held-out texts are read whole")
    out = output_folder(arguments.model, arguments.output_dir)
    with held(out):
        check_output(out, arguments.model)
        return _report(arguments, data_args, out, words, command, memory)


def is_one_file(data_args: DataArguments) -> bool:
    """Whether the flags name texts to test on, and no data that they are a split of."""
    return data_args.test_file is not None and not (data_args.train_file or data_args.dataset_name)


def _report(
    arguments: ReportArguments, data_args: DataArguments, out: Path, words: list[str], command: list[str], memory: Any
) -> WrittenReport:
    reader = load_reader(arguments)
    study = arguments.ablation or own_ablation(reader.model.config.model_type)
    ablation = read_ablation(study) if study else None
    if reader.problem_type == REGRESSION or len(reader.label_names) < 2:
        kind = "predicts numbers and no classes" if reader.problem_type == REGRESSION else "has a single label"
        raise UserError(f"--model {arguments.model} {kind}, and a report is on several classes: use eval.py score")
    run = finished_run(arguments.model)
    if run:
        check_run(run, out)
    if run is None or memory is not None or is_one_file(data_args):
        data, split = file_data(data_args, reader, memory), "test"
    else:
        tokens = _parser().tokens(words)
        data_args = _parser().parse_tokens([*data_flags(run, tokens), *tokens])[1]
        data = load_data(run, data_args, "the texts of the report")
        split = "test" if "test" in data.splits else "validation"
    texts = Texts.of(data, split, reader)
    sizes = Sizes(arguments.num_documents, arguments.num_explained, arguments.report_seed)
    found, failures = collect(reader, texts, run, ablation, sizes)
    results: Report = {**describe(arguments, arguments.report_seed, command, reader, data, split), **found}
    write(out, results, failures, as_png(draw(results, reader, texts)), run, source_of(data_args, data, split))
    return WrittenReport(out / PAGE_FILE, results, failures)


def source_of(data_args: DataArguments, data: TextData, split: str) -> str:
    """The file that a split is, or the data of which it is a part."""
    file = data_args.test_file if split == "test" else data_args.validation_file
    loses_rows = split == "validation" and (data_args.drop_leaked or data_args.minority_labels)
    is_whole = file and not data_args.resplit and not loses_rows
    return Path(str(file)).name if is_whole else f"{data.name}, {split}"


def check_run(run: Run, out: Path) -> None:
    """Read what the report will need of a run, before the work.

    Raises:
        UserError: A file is damaged, or the scores of one aren't those of the predictions beside it.
    """
    training_history(run)
    for split in PREFIXES:
        if predictions_file(run.folder, split).is_file():
            read_own_results(run.folder, split)
    untouched_card(run, out)


def file_data(data_args: DataArguments, reader: Reader, memory: Any = None) -> TextData:
    """`--test_file`, or texts in memory, for a model that is trained already, as a test split."""
    data_args = columns_of_model(data_args, reader.model.config)
    rows = load_test(data_args, reader.label_names, reader.problem_type, memory)
    source = Path(str(data_args.test_file)).name if memory is None else describe_table(memory)
    return TextData(
        DatasetDict(test=rows), reader.label_names, reader.problem_type, data_args.data_name or source, source
    )


def print_summary(written: WrittenReport) -> None:
    """Where the report is, and what it says in four lines."""
    results = written.results
    intervals, calibration = results["intervals"], results["calibration"]
    scores = " · ".join(
        f"{name} {intervals[name]['value']:.4f} ({intervals[name]['low']:.4f} to {intervals[name]['high']:.4f})"
        for name in ("accuracy", "f1_macro", "recall_macro")
    )
    lines = (
        f"report     {written.page}",
        f"scores     {scores} on {results['data']['texts']} texts",
        f"calibrated expected calibration error {calibration['ece_equal_mass']:.4f}",
        f"attention  {results['faithfulness']['verdict']}",
    )
    print("\n".join(lines))
