"""eval.py export --model FOLDER_OR_HUB_ID --output DIR [--test_file FILE]: a model that runs without torch, as ONNX.

The folder gets model.onnx, model_int8.onnx with `--int8`, tokenizer.json, predict.py, which needs onnxruntime,
tokenizers and numpy only, and export_results.json: how each file answers beside the model itself, on the texts of
`--test_file`, or else on those that the run was tested on (on its validation texts, where it had no others).
"""

import shutil
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from tokenizers import Tokenizer

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import DataArguments, FileArguments
from salience.configuration.flags.flag_rules import check
from salience.configuration.flags.parser import RecipeParser
from salience.eval.export.graph import write_graph, write_int8
from salience.eval.export.measuring import Measured, compared, exported_logits, spread, table, timed, tolerance
from salience.eval.reading.load import load_classifier
from salience.eval.reading.reader import Reader
from salience.eval.runs import data_flags, finished_run, load_data
from salience.model_cards.files import write_json
from salience.modeling.documents import padded
from salience.modeling.encoders import pretrained_encoder
from salience.train.building.encoder_loading import public_name
from salience.train.data.encoded import labels_of
from salience.train.data.load import columns_of_model, load_test
from salience.train.folder.new import new_folder

GRAPH, GRAPH_INT8, RESULTS = "model.onnx", "model_int8.onnx", "export_results.json"


@dataclass
class ExportArguments:
    """Which model is exported, and where to."""

    model: str | None = field(default=None, metadata={"help": "Folder or Hub id of a trained classifier."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub id."})
    output: str | None = field(
        default=None,
        metadata={
            "help": "A new folder. Its graphs give logits, scores, chosen (the number of the answer's class, or which "
            "of several), and is_sure where the model has a threshold; the names of the classes are their metadata."
        },
    )
    int8: bool = field(
        default=False,
        metadata={"help": "Also write model_int8.onnx, with the products of the pretrained encoder in int8."},
    )
    max_texts: int = field(
        default=1_000, metadata={"help": "Texts that it is measured on at most, spread evenly over them."}
    )

    def __post_init__(self) -> None:
        check(self)


def main(argv: list[str]) -> None:
    """`eval.py export`: see `export_model`.

    Raises:
        UserError: See `export_model`; or a flag is wrong.
    """
    parser = _parser()
    if not argv or {"-h", "--help"} & set(argv):
        parser.print_help()
        return
    arguments, data_args = parser.parse(argv)
    results = export(arguments, data_args)
    print(table(results["measured"]))
    print(f"texts    {results['texts']:,}, the longest of {results['longest']:,} tokens\noutput   {arguments.output}")


def export_model(model: str | Path, output: str | Path, test: Any = None, **flags: Any) -> dict[str, Any]:
    """Write a model as ONNX with a program that runs it without torch, and measure it beside torch.

    Args:
        model: Folder or Hub id of a classifier: ours, or any text-classification model of transformers.
        output: A new folder.
        test: Labelled texts in memory, in place of `test_file=`: see `salience.train.load_splits`.
        flags: Flags of `eval.py export` by their names: `int8`, `max_texts`, `test_file`, `text_column`, ...

    Returns:
        The content of export_results.json.

    Raises:
        UserError: The folder exists, there is no such model or file, a package is missing, the exporter can't do the
            model, or a logit differs from torch's by more than 1e-4.

    Example:
        >>> export_model("runs/mine", "exported", test_file="test.csv", int8=True)["measured"]
    """
    (arguments, data_args), _ = _parser().parse_flags({"model": model, "output": output, **flags})
    return export(arguments, data_args, test)


def _parser() -> RecipeParser:
    return RecipeParser((ExportArguments, FileArguments), program="eval.py export")


def export(arguments: ExportArguments, data_args: FileArguments, memory: Any = None) -> dict[str, Any]:
    """See `export_model`.

    Args:
        arguments: The model and the folder.
        data_args: How the texts are read on which the export is measured.
        memory: Labelled texts in memory; None for the file that `data_args` names.
    """
    try:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            import_module(name)
    except ImportError as error:
        raise UserError(f"{error}; run: pip install -c constraints.txt -e '.[export]'") from error
    with new_folder(arguments.output) as folder:
        reader = Reader(*load_classifier(arguments.model, arguments.revision))
        rows = labelled_texts(arguments, data_args, reader, memory)
        rows = rows.select(spread(len(rows), arguments.max_texts))
        files = write_files(reader, arguments.int8, folder)
        results = measure(reader, files, list(rows["text"]), labels_of(rows), folder)
        write_json(
            folder / RESULTS, {"model": str(public_name(arguments.model)), "revision": arguments.revision, **results}
        )
    return results


def labelled_texts(
    arguments: ExportArguments, data_args: FileArguments, reader: Reader, memory: Any
) -> datasets.Dataset:
    """The texts that an export is measured on.

    Args:
        arguments: See `export`.
        data_args: See `export`.
        reader: Of the model.
        memory: See `export`.

    Raises:
        UserError: They can't be read, or there are none.
    """
    run = finished_run(arguments.model)
    if run is None or memory is not None or data_args != FileArguments():
        data_args = columns_of_model(data_args, reader.model.config)
        return load_test(data_args, reader.label_names, reader.problem_type, memory)
    recorded: Any = RecipeParser((DataArguments,), program="eval.py export").parse(data_flags(run, []))
    data = load_data(run, recorded[0], "the texts that the export is measured on", "name others: --test_file FILE")
    return data.splits["test" if "test" in data.splits else "validation"]


def write_files(reader: Reader, wants_int8: bool, folder: Path) -> list[str]:
    """Write everything but the results; returns the names of the graphs.

    Args:
        reader: The model.
        wants_int8: Whether there is a graph in int8, too.
        folder: For the files.

    Raises:
        UserError: The exporter can't do the model, its tokenizer has no tokenizer.json, or there is no encoder.
    """
    tokenizer, model = reader.tokenizer, reader.model
    if wants_int8 and pretrained_encoder(model) is None:
        raise UserError(f"--int8 is of an encoder's products, and --model {model.name_or_path} has none; leave it out")
    if not tokenizer.is_fast:
        raise UserError(f"--model {model.name_or_path} has a {type(tokenizer).__name__}, which has no tokenizer.json")
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]  # a fast one has it
    backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    backend.no_truncation() if reader.limit is None else backend.enable_truncation(reader.limit)
    backend.save(str(folder / "tokenizer.json"))
    shutil.copy(Path(__file__).with_name("predict.py"), folder / "predict.py")
    example = padded(tokenizer, reader.token_ids(["a b c. d e", "a b c d e f g. h"]))
    write_graph(model, example, folder / GRAPH)
    if not wants_int8:
        return [GRAPH]
    write_int8(model, folder / GRAPH, folder / GRAPH_INT8)
    return [GRAPH, GRAPH_INT8]


def measure(reader: Reader, files: list[str], texts: list[str], labels: np.ndarray, folder: Path) -> dict[str, Any]:
    """The model itself and each file of it on texts.

    Args:
        reader: The model.
        files: Names of the graphs.
        texts: Real ones.
        labels: (N,) or (N, C).
        folder: Where the files are.

    Raises:
        UserError: A logit of the graph in float32 differs too much from the model's.
    """
    ids = reader.token_ids(texts)
    own = timed(lambda given, progress: reader.logits(reader.token_ids(given), progress), texts, "torch")
    num_bytes = sum(each.numel() * each.element_size() for each in reader.model.state_dict().values())
    measured: list[Measured] = [compared("torch", num_bytes, own, own[0], labels, reader)]
    for file in files:
        found = timed(exported_logits(folder, file), texts, file)
        size = sum(each.stat().st_size for each in folder.glob(f"{file}*"))
        measured.append(compared(file, size, found, own[0], labels, reader))
    largest, most = measured[1]["largest_difference"], tolerance(reader, own[0])
    if largest is None or not largest <= most:
        raise UserError(
            f"{GRAPH} differs from the model by {largest:.1e} in a logit, more than {most:.1e}: nothing was exported"
        )
    return {
        "texts": len(texts),
        "longest": max(map(len, ids)),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers", "onnxruntime", "onnxscript")},
        "measured": measured,
    }
