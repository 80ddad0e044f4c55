"""From flags to a prediction in parts, and what those are parts of."""

import hashlib
import os
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import HubArguments, TextArguments
from salience.configuration.flags.rule_kinds import changed_flags
from salience.configuration.hub import find_commit
from salience.configuration.problem_types import MULTI_LABEL
from salience.eval.predict.csv_rows import CsvInput
from salience.eval.predict.inputs import open_inputs
from salience.eval.predict.job import Job
from salience.eval.predict.json_rows import typed
from salience.eval.predict.output import Place
from salience.eval.predict.predictor import Predictor
from salience.eval.predict.writing import added_cells
from salience.eval.reading.load import ClassifierArguments
from salience.eval.reading.reader import Reader
from salience.model_cards.files import sha256_of
from salience.train.folder.record import versions

DECIDING = ("salience", "torch", "transformers", "tokenizers")
"""On whose versions answers depend."""
MODEL_FILES = (
    "config.json", "*.safetensors", "*.safetensors.index.json", "pytorch_model*", "tokenizer*", "vocab*", "merges.txt",
    "special_tokens_map.json", "added_tokens.json", "*.model",
)  # fmt: skip
"""What the answers of a model in a folder depend on."""


@dataclass
class PredictArguments(HubArguments, ClassifierArguments):
    """Which texts are labelled by which model, and where the answers go."""

    files_flag = "input"

    dataset_split: str | None = field(
        default=None, metadata={"help": "Split of the data set that is labelled; unset: the only one that it has."}
    )
    input: list[str] | None = field(
        default=None,
        metadata={
            "help": "Files of texts: .csv, .tsv, .jsonl, .json with one object in each line (each also .gz), .parquet; "
            "folders of such files, or patterns in quotes."
        },
    )
    output: str | None = field(
        default=None,
        metadata={
            "help": "A file that ends as the only input does, or a folder, which gets parquet files in the order of "
            "the input. The same command goes on where it was stopped."
        },
    )
    prefix: str = field(
        default="", metadata={"help": "Stands before the names of new columns: label, score, probabilities."}
    )
    heaviest_words: int = field(
        default=0,
        metadata={
            "help": "Add a column with so many words that the model's pooling weighs most; they say what was read, not "
            "why it was decided."
        },
    )
    label_separator: str = field(
        default="|", metadata={"help": "Stands between the values of a list in .csv and .tsv files."}
    )
    rows_per_part: int = field(default=10_000, metadata={"help": "Rows that are read and written at a time."})
    max_rejected: float = field(
        default=0.1,
        metadata={"help": "Stop where more than this share of the rows is rejected (and more than ten, or all)."},
    )
    ray: str | None = field(
        default=None,
        metadata={
            "help": "Let actors of Ray do the parts: auto for the cluster that this machine belongs to, local to start "
            "one here, or an address. All machines must see the same files."
        },
    )
    ray_actors: int = field(default=2, metadata={"help": "How many actors of Ray, each with a GPU if there are any."})


def make_job(
    arguments: PredictArguments,
    text_args: TextArguments,
    files: list[tuple[str, Path]],
    place: Place,
    reader: Reader | None,
) -> Job:
    """Load the model, look at the input, and divide it.

    Args:
        arguments: Of the command.
        text_args: How texts are read.
        files: The input.
        place: Where the parts go.
        reader: The model, where it is loaded already.

    Raises:
        UserError: The model can't be loaded, or a file can't be read.
    """
    predictor = make_predictor(arguments, text_args, reader)
    text_args = replace(
        text_args,
        text_column=predictor.text_arguments.text_column,
        text_separator=predictor.text_arguments.text_separator,
    )
    inputs = open_inputs(files, text_args, not place.is_file, list(predictor.added))
    surveys = []
    for number, each in enumerate(inputs):
        with each.unchanged():
            surveys.append(each.survey(number, arguments.rows_per_part))
        each.close()
    inputs = typed(inputs, surveys)
    stretches = [stretch for survey in surveys for stretch in survey.stretches]
    if not stretches:
        raise UserError(f"'{files[0][0]}' has no rows; give a file with at least one")
    if place.is_file and isinstance(inputs[0], CsvInput):
        _refuse_unwritable(inputs[0], predictor, arguments.label_separator)
    elif "label_separator" in changed_flags(arguments):
        raise UserError(
            f"--label_separator {arguments.label_separator} has no effect here: it belongs to --output that ends in "
            ".csv or .tsv; leave it out"
        )
    return Job(predictor, inputs, stretches, place, arguments.label_separator)


def make_predictor(arguments: PredictArguments, text_args: TextArguments, reader: Reader | None) -> Predictor:
    """The predictor of the flags, which stays what it is on any machine that sees the same files.

    Args:
        arguments: Of the command.
        text_args: How texts are read.
        reader: The model, where it is loaded already.

    Raises:
        UserError: The model can't be loaded.
    """
    predictor = Predictor(
        model=arguments.model or "",
        revision=arguments.revision,
        text_column=text_args.text_column,
        text_separator=text_args.text_separator,
        keep_empty_texts=text_args.keep_empty_texts,
        clean=text_args.clean,
        batch_size=arguments.batch_size,
        bf16=arguments.bf16,
        prefix=arguments.prefix,
        heaviest_words=arguments.heaviest_words,
    )
    name = os.path.expanduser(predictor.model)
    is_folder = Path(name).is_dir()
    if not is_folder:
        predictor = replace(predictor, revision=_commit(name, arguments.revision) if name else None)
    reader = reader or predictor.reader
    pinned = replace(predictor, model=str(Path(name).absolute()) if is_folder else name, bf16=reader.bf16)
    pinned.__dict__["reader"] = reader  # it is loaded already
    return pinned


def _commit(name: str, revision: str | None) -> str | None:
    try:
        return find_commit(name, revision)
    except (OSError, ValueError) as error:
        raise UserError(f"--model {name} can't be loaded: {one_line(error, 400)}") from error


def plan_of(job: Job, arguments: PredictArguments) -> dict[str, Any]:
    """What the parts of a prediction are parts of: the content of its manifest.

    Args:
        job: The prediction.
        arguments: Of the command.
    """
    predictor, text_args = job.predictor, job.inputs[0].args
    rows = Counter[int]()
    for stretch in job.stretches:
        rows[stretch.file] += stretch.rows
    named = ("prefix", "heaviest_words", "batch_size", "rows_per_part", "label_separator")
    flags = {name: getattr(arguments, name) for name in named} | {"bf16": predictor.bf16}
    inputs = []
    for number, each in enumerate(job.inputs):
        with each.unchanged():
            known = {"name": each.name, "bytes": each.path.stat().st_size, "sha256": sha256_of(each.path)}
        inputs.append({**known, "rows": rows[number], **each.describe()})
    return {
        "model": {"name": str(arguments.model), "revision": predictor.revision, "sha256": fingerprint(predictor.model)},
        "inputs": inputs,
        "flags": {**asdict(text_args), **flags},
        "columns": {name: str(kind) for name, kind in predictor.added.items()},
        "versions": {name: known for name, known in versions().items() if name in DECIDING},
        "parts": len(job.stretches),
        "rows": rows.total(),
    }


def fingerprint(model: str | Path) -> str | None:
    """Over the files that a model's answers depend on; None for one of the Hub, which its commit tells."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted({each for pattern in MODEL_FILES for each in folder.glob(pattern) if each.is_file()}):
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _refuse_unwritable(source: CsvInput, predictor: Predictor, between: str) -> None:
    """Refuse names of classes that a csv file can't hold, before the work."""
    names, kind = predictor.reader.label_names, predictor.reader.problem_type
    if set(between) & set("0123456789.+-e"):
        raise UserError(f"--label_separator {between} stands in numbers, too, and separates them; choose another")
    if kind == MULTI_LABEL and (bad := next((each for each in names if between in each), None)):
        raise UserError(
            f"the class '{bad}' has {between} in its name, which stands between several labels in a .csv: choose "
            "another --label_separator"
        )
    added_cells(source, [[name] for name in (*names, *predictor.added)])
