"""eval.py predict --model FOLDER_OR_HUB_ID --input FILES --output FILE_OR_FOLDER: labels for texts without any."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import TextArguments
from salience.configuration.flags.flag_rules import check_together
from salience.configuration.flags.parser import RecipeParser
from salience.eval.predict.inputs import find_files, readable
from salience.eval.predict.job import Job, Tally
from salience.eval.predict.on_ray import connected, done_on_ray
from salience.eval.predict.output import begun, choose_place, finish
from salience.eval.predict.planning import PredictArguments, make_job, plan_of
from salience.eval.predict.processes import processes
from salience.eval.predict.rows import Stretch
from salience.eval.predict.writing import head_of
from salience.eval.reading.reader import Reader
from salience.train.data.sources.hub_files import files_of_split

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predicted:
    """A finished prediction.

    Attributes:
        output: The file or folder.
        rows: Rows of the input.
        rejected: Of them, those without an answer.
        rejected_file: Where they are listed; None if there are none.
    """

    output: Path
    rows: int
    rejected: int
    rejected_file: Path | None


def main(argv: list[str]) -> None:
    """`eval.py predict`: see `predict_files`.

    Raises:
        UserError: See `predict_files`; or a flag is wrong.
    """
    parser = _parser()
    if not argv or {"-h", "--help"} & set(argv):
        parser.print_help()
        return
    arguments, text_args = parser.parse(argv)
    found = predict(arguments, text_args, show_progress=True)
    if found is not None:
        told = f" · {found.rejected:,} without an answer, see {found.rejected_file}" if found.rejected else ""
        print(f"output   {found.output}\nrows     {found.rows:,}{told}")


def predict_files(
    model: str | Path, input: str | Path | Sequence[str | Path] | None, output: str | Path, **flags: Any
) -> Predicted:
    """Label the texts of files or of a data set, as `eval.py predict` does.

    Args:
        model: Folder or Hub id of a classifier: ours, or any text-classification model of transformers.
        input: Files, folders of files, or patterns; None for a data set that flags name.
        output: A file that ends as the only input does, or a folder.
        flags: Flags of `eval.py predict` by their names: `dataset_name`, `text_column`, `prefix`, ...

    Returns:
        Where the answers are, how many rows there are, and how many were rejected.

    Raises:
        UserError: There is no such model, a file can't be read, too many rows are rejected, or the output is finished
            already.

    Example:
        >>> predict_files("runs/mine", "new_texts.csv", "answers.csv").rows
    """
    if isinstance(input, bytes) or not isinstance(input, str | Path | Sequence | None):
        raise UserError(
            f"predict_files takes names of files, not a {type(input).__name__}: label it with Predictor(model)(it)"
        )
    inputs = [input] if isinstance(input, str | Path) else input and list(input)
    (arguments, text_args), _ = _parser().parse_flags({"model": model, "input": inputs, "output": output, **flags})
    found = predict(arguments, text_args)
    assert found is not None  # one process
    return found


def _parser() -> RecipeParser:
    return RecipeParser((PredictArguments, TextArguments), program="eval.py predict")


def predict(
    arguments: PredictArguments,
    text_args: TextArguments,
    show_progress: bool = False,
    reader: Reader | None = None,
) -> Predicted | None:
    """See `predict_files`.

    Args:
        arguments: The model, the input and the output.
        text_args: How texts are read.
        show_progress: Whether a bar is shown.
        reader: The model, where it is loaded already.

    Returns:
        None in all processes but the first.
    """
    check_together(arguments, text_args)
    has_source = arguments.input or arguments.dataset_name
    if not has_source or not arguments.output:
        raise UserError(f"--{'output' if has_source else 'input'} is missing: name files of texts and an output")
    files, text_args = _find(arguments, text_args)
    place = choose_place(arguments.output, [name for name, _ in files])
    files = _without_own(files, place.output)
    with processes() as team:
        job = make_job(arguments, text_args, files, place, reader)
        numbers = range(team.process_index, len(job.stretches), team.num_processes)
        if not team.is_main_process:
            team.wait_for_everyone()  # for the first to look at the output
            work(job, numbers, arguments, show_progress=False)
            team.wait_for_everyone()
            return None
        cluster = connected(arguments.ray) if arguments.ray else nullcontext()
        with cluster, begun(place, plan_of(job, arguments)):
            team.wait_for_everyone()
            work(job, numbers, arguments, show_progress)
            team.wait_for_everyone()
            of_all = Tally(arguments.max_rejected, job)  # of several processes each has seen its own
            for number in range(len(job.stretches)):
                of_all.add(number, job.rejected(number))
            head = head_of(job.inputs[0], list(job.predictor.added)) if place.is_file else ""
            rejected = finish(place, len(job.stretches), head)
    return Predicted(place.output, _num_rows(job.stretches), rejected, place.rejected if rejected else None)


def _without_own(files: list[tuple[str, Path]], output: Path) -> list[tuple[str, Path]]:
    """The files without those in the output, whose parts a pattern may fit, too.

    Raises:
        UserError: There are no others.
    """
    others = [each for each in files if output.resolve() not in each[1].resolve().parents]
    if not others:
        raise UserError(f"all files of --input lie in --output {output}; choose another folder")
    if len(others) < len(files):
        logger.warning("%d files of --input lie in --output %s and are not read", len(files) - len(others), output)
    return others


def _find(arguments: PredictArguments, text_args: TextArguments) -> tuple[list[tuple[str, Path]], TextArguments]:
    """The files of the input, and how they are read."""
    if arguments.input:
        return find_files(arguments.input), text_args
    files, separator = files_of_split(arguments, arguments.dataset_split)
    separator = separator if text_args.separator is None else text_args.separator
    return readable(files), replace(text_args, separator=separator)


def work(job: Job, numbers: Iterable[int], arguments: PredictArguments, show_progress: bool) -> None:
    """Do the stretches that aren't done.

    Args:
        job: The prediction.
        numbers: Of the stretches of this process.
        arguments: Of the command.
        show_progress: Whether a bar is shown.

    Raises:
        UserError: Too many rows are rejected.
    """
    tally, todo = Tally(arguments.max_rejected, job), []
    for number in numbers:
        if found := job.found(number):
            tally.add(number, found.rejected)
        else:
            todo.append(number)
    total = _num_rows([job.stretches[number] for number in todo])
    with tqdm(total=total, desc="predicting", unit=" texts", disable=not show_progress) as bar:
        if arguments.ray:
            for number, done in done_on_ray(job, todo, arguments.ray_actors):
                bar.update(done.rows)
                tally.add(number, done.rejected)
            return
        for number in todo:
            tally.add(number, job.run(number, bar.update).rejected)


def _num_rows(stretches: Sequence[Stretch]) -> int:
    return sum(each.rows for each in stretches)
