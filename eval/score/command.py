"""eval.py score --model FOLDER_OR_HUB_ID --test_file FILE: how good a trained model is on labelled texts."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from salience.configuration.flags.data_arguments import FileArguments
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.terminal import escaped
from salience.eval.reading.load import ClassifierArguments, load_reader
from salience.eval.scores.metrics import Scores, compute_scores
from salience.model_cards.files import read_whole, write_json
from salience.model_cards.run_folder import RUN_FILE
from salience.train.data.encoded import labels_of
from salience.train.data.load import columns_of_model, load_test
from salience.train.folder.new import new_files

logger = logging.getLogger(__name__)


@dataclass
class ScoreArguments(ClassifierArguments):
    """Which model is scored, and where the scores go."""

    output_dir: str | None = field(default=None, metadata={"help": "Folder for scores.json; unset: only print."})


def main(argv: list[str]) -> None:
    """`eval.py score`: see `score_model`.

    Raises:
        UserError: See `score_model`; or a flag is wrong.
    """
    parser = _parser()
    if not argv or {"-h", "--help"} & set(argv):
        parser.print_help()
        return
    scores = score(*parser.parse(argv))
    print(escaped(json.dumps(scores, indent=2, ensure_ascii=False)))


def score_model(model: str | Path, test: Any = None, **flags: Any) -> Scores:
    """How good a trained model is on labelled texts.

    Args:
        model: Folder or Hub id of a classifier: ours, or any text-classification model of transformers.
        test: Labelled texts in memory, in place of `test_file=`: see `salience.train.load_splits`.
        flags: Flags of `eval.py score` by their names: `revision` (of a Hub id), `batch_size`, `text_column`,
            `output_dir` (gets scores.json), ...

    Returns:
        accuracy, precision_macro, recall_macro, f1_macro, the same with _weighted, roc_auc and `per_class`; mse, mae,
        r2 and pearson for regression: see `salience.eval.scores.metrics.compute_scores`.

    Raises:
        UserError: There is no such model or file, scores are there already, or can't be written there.

    Example:
        >>> score_model("runs/mine", (["first text", "second text"], ["news", "sport"]))["accuracy"]
    """
    (arguments, data_args), _ = _parser().parse_flags({"model": model, **flags})
    return score(arguments, data_args, test)


def _parser() -> RecipeParser:
    return RecipeParser((ScoreArguments, FileArguments), program="eval.py score")


def tell_training_file(model: str | None, test_file: str | None) -> None:
    """Warn of texts that come from a file of the name of one that a run was trained on."""
    record = Path(model or "") / RUN_FILE
    if test_file is None:
        return
    arguments = (read_whole(record) or {}).get("arguments")
    trained_on = arguments.get("train_file") if isinstance(arguments, dict) else None
    if isinstance(trained_on, list) and Path(test_file).name in {Path(str(each)).name for each in trained_on}:
        says = "%s is called as what this model was trained on: scores on texts that it has seen are too high"
        logger.warning(says, test_file)


def score(arguments: ScoreArguments, data_args: FileArguments, memory: Any = None) -> Scores:
    """See `score_model`.

    Args:
        arguments: The model, and where its scores go.
        data_args: How texts are read.
        memory: Labelled texts in memory; None for the file that `data_args` names.
    """
    with new_files(arguments.output_dir, "scores.json") as folder:
        reader = load_reader(arguments)
        data_args = columns_of_model(data_args, reader.model.config)
        tell_training_file(arguments.model, data_args.test_file)
        rows = load_test(data_args, reader.label_names, reader.problem_type, memory)
        logits = reader.logits(reader.token_ids(rows["text"]), progress="reading texts")
        scores = compute_scores(reader.predictions(labels_of(rows), logits))
        if folder:
            about = {"model": arguments.model, "revision": arguments.revision, "rows": len(rows)}
            write_json(folder / "scores.json", {**about, **scores})
    return scores
