"""eval.py study STUDY.yaml [--jobs N] [--output_dir OUT] [--flag value ...]: a grid of runs, with resume.

A study names rows, and seeds for each of them; a cell is one row with one seed, a run of train.py in a process of its
own. `seed: S` is given to it, and `split_seed: S` unless the study or a recipe says `split_seed`. Further flags on the
command line count for every row that doesn't take them away (null).

    name: 20 Newsgroups, hierarchical
    recipe: configuration/recipes/20_newsgroups/hierarchical_attn.yaml  # one or a list; relative to the current folder
    arguments: {num_train_epochs: 4}  # flags of every row
    seeds: [0, 1, 2]
    reference: full                   # row that the others are compared with
    sparse: [tfidf_svm]               # TF-IDF baselines of `eval.py baseline`, each a row; some take several labels
    scores: [minority_recall]         # further scores of the test texts, beside those below
    rows:
      full: {}
      no_filter: {filter: none}
      lstm: {model: lstm, max_sentences: null}  # null takes a flag of the recipe away; `recipe:` names another one
      rare: {model: tfidf_logistic_prior, minority_ratio: 6}  # any baseline of `eval.py baseline`, with data of its own
    grid:                             # further rows, a part of each group: focal_2, focal_6, weighted_2, weighted_6
      - {focal: {loss: focal}, weighted: {loss: weighted}}
      - {2: {minority_ratio: 2}, 6: {minority_ratio: 6}}

Further scores are precision_macro, recall_macro, f1_weighted, roc_auc, network_accuracy (without what counts of n-grams
add; all with validation_ before them, too: those of the validation texts), ece (expected calibration error, bins of
equal width), accuracy_short, _medium and _long (fewer than 100 words, 100 to 500, more), and minority_ and majority_
before precision, recall and f1: means over the classes that `minority_labels` names, and over the others.

OUT (default runs/studies/ and the name of the YAML file) gets cells/ROW/seed_S/ with each run, beside it its recipe
seed_S.yaml and its log seed_S.log, study.md with the table, study.png (rows called NAME_NUMBER become curves, where
several names have numbers in common), and study.json:

    name, seeds, reference, scores (the further ones), best_sparse (of those under `sparse`, by mean validation
    accuracy; null without), data (name, source, problem_type, and rows of the splits of one cell)
    rows: {row: {
        kind: "model", "sparse" (TF-IDF) or "frozen" (vectors of a frozen encoder), flags: {those of the row},
        seeds: {seed: {validation_accuracy, accuracy, f1_macro (test), train_seconds, texts_per_second, parameters,
            further scores}},
        mean, sd: {validation_accuracy, accuracy, f1_macro, train_seconds, texts_per_second, further scores},
        against: {other row: {difference, low, high, p_value, mcnemar: {seed: {only_this_right, only_other_right,
            p_value}}}}}}

Where texts have several labels, accuracy is the share of those that get all their labels and no other. Scores run
from 0 to 1; null where one is not defined. `train_seconds` is null for a cell that was stopped and resumed;
`texts_per_second` is that of the test texts, read whole. Both depend on what else the machine did.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

from tqdm import tqdm

from salience.configuration.errors import UserError
from salience.configuration.flags.flag_rules import check
from salience.configuration.flags.parser import RecipeParser, recipe_tokens
from salience.eval.runs import read_scores
from salience.eval.study.cells import Cell, CellRunner
from salience.eval.study.checks import check_cells, check_data
from salience.eval.study.file import Study, read_flags, read_study
from salience.eval.study.results import check_out, mark_as_own, write_results
from salience.model_cards.files import read_json

# Comparing a hundred cells takes seconds, and most of them may be finished already.
SECONDS_BETWEEN_WRITES = 20


@dataclass
class StudyArguments:
    """How a study is run."""

    jobs: int = field(default=1, metadata={"help": "Cells at a time; they share the cores."})
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of the study; unset: runs/studies/ and the name of the YAML file."}
    )


def main(argv: list[str]) -> None:
    """`eval.py study`: see the module.

    Raises:
        UserError: See `run_study`.
    """
    if not argv or {"-h", "--help"} & set(argv):
        print(__doc__)
        return
    if argv[0].startswith("-"):
        raise UserError("name the study's YAML file first, then the flags")
    known, rest = RecipeParser((StudyArguments,), program="eval.py study").parse_known_args(argv[1:])
    study(argv[0], known.jobs, known.output_dir, read_flags(rest))


def run_study(file: str | Path, *, jobs: int = 1, output_dir: str | Path | None = None, **flags: Any) -> dict[str, Any]:
    """Run what isn't finished of a grid of runs with several seeds, and compare them in one table.

    Args:
        file: The study, a YAML file; see `salience.eval.study.command`.
        jobs: Cells at a time; they share the cores.
        output_dir: Folder of the study; None: runs/studies/ and the name of the file.
        flags: Flags of train.py by their names, for every row.

    Returns:
        The content of study.json, see `salience.eval.study.command`.

    Raises:
        UserError: The study or a flag is wrong (nothing was started), or a cell failed (the others were run).

    Example:
        >>> run_study("study.yaml")["rows"]["full"]["mean"]["accuracy"]
    """
    if isinstance(jobs, bool) or not isinstance(jobs, Integral):
        raise UserError(f"--jobs {jobs!r} must be a whole number")
    if not isinstance(output_dir, str | Path | None):
        raise UserError(f"--output_dir {output_dir!r} must name a folder")
    if unset := next((name for name, value in flags.items() if value is None), None):
        raise UserError(f"{unset}=None sets nothing; leave it out, or write {unset}: null in the study's rows")
    words = recipe_tokens(flags)
    return study(str(file), int(jobs), output_dir and str(output_dir), read_flags(words))


def study(file: str, jobs: int, output_dir: str | None, overrides: dict[str, Any]) -> dict[str, Any]:
    """See `run_study`; `overrides` are the flags for every row, as `read_flags` gives them."""
    check(StudyArguments(jobs, output_dir))
    wanted = read_study(os.path.expanduser(file), overrides)
    folder = Path(os.path.expanduser(output_dir or Path("runs/studies", Path(file).stem)))
    check_out(wanted, folder)
    cells = wanted.cells(folder)
    check_cells(wanted, cells)
    check_data(wanted, cells)
    mark_as_own(wanted, folder)
    with stopped_by_sigterm():
        failed = run_cells(wanted, cells, folder, jobs)
    if failed:
        logs = ", ".join(str(cell.log_file) for cell in failed)
        raise UserError(f"{len(failed)} of {len(cells)} cells failed, the others are finished; see {logs}")
    return read_json(folder / "study.json")


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C inside, so that the cells are ended, too; signals reach the main thread only."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:  # a program takes it so already
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_cells(study: Study, cells: list[Cell], folder: Path, jobs: int) -> list[Cell]:
    """Run what isn't finished, and write the results now and then, and at the end. Returns the cells that failed."""
    failed = []
    done: list[Cell] = []
    last_write = time.monotonic()  # what was finished before comes at once, and belongs into one table
    with closing(CellRunner(jobs).run(cells)) as ended, tqdm(total=len(cells), desc="cells") as progress:
        try:
            for cell, is_finished in ended:
                if is_finished:
                    done.append(cell)
                    scores = read_scores(cell.folder)
                    validation, test = scores["validation_accuracy"], scores["accuracy"]
                    progress.write(f"{cell}: accuracy {test:.4f} (validation {validation:.4f})", file=sys.stdout)
                    if time.monotonic() - last_write > SECONDS_BETWEEN_WRITES:
                        write_results(study, done, folder)
                        last_write = time.monotonic()
                else:
                    failed.append(cell)
                    progress.write(f"{cell}: failed, see {cell.log_file}", file=sys.stdout)
                progress.update()
        finally:  # also when it was stopped
            if done:
                write_results(study, done, folder)
        if done:
            progress.write((folder / "study.md").read_text(encoding="utf-8"), file=sys.stdout)
    return failed
