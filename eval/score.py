"""eval.py score --model FOLDER_OR_HUB_ID --test_file FILE: how good a trained model is on labelled texts."""

import json
from dataclasses import dataclass, field

import numpy as np
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

import salience.modeling  # noqa: F401  the Auto classes know our models, so that no code of a repository is run
from salience.configuration.arguments import RecipeParser, one_line
from salience.configuration.data_arguments import FileArguments
from salience.train.data import load_test
from salience.train.errors import UserError
from salience.train.output_folder import new_file
from salience.train.run_record import write_json
from salience.train.tokenize import read_tokenizer, tokenize

from .explain import label_names
from .reader import token_limit
from .scoring import compute_scores


@dataclass
class ScoreArguments:
    """Which model is scored, and where the scores go."""

    model: str | None = field(default=None, metadata={"help": "Folder or Hub id of a trained classifier."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub id."})
    output_dir: str | None = field(default=None, metadata={"help": "Folder for scores.json; unset: only print."})
    batch_size: int = field(default=32, metadata={"help": "Texts at a time."})


def main(argv: list[str]) -> None:
    """`eval.py score`: see `score`.

    Raises:
        UserError: See `score`; or a flag is wrong.
    """
    parser = RecipeParser((ScoreArguments, FileArguments), program="eval.py score")
    if not argv or {"-h", "--help"} & set(argv):
        parser.print_help()
    else:
        score(*parser.parse(argv))


def score(arguments: ScoreArguments, data_args: FileArguments) -> None:
    """Print the model's scores on the labelled file, and write them to `output_dir/scores.json` if that is given.

    Raises:
        UserError: There is no such model or file, scores are there already, or can't be written there.
    """
    target = new_file(arguments.output_dir, "scores.json")
    if arguments.batch_size < 1:
        raise UserError(f"--batch_size {arguments.batch_size} must be at least 1")
    model, tokenizer = load_model(arguments)
    config = model.config
    # As transformers takes it where nothing is said.
    problem_type = config.problem_type or ("regression" if config.num_labels == 1 else "single_label_classification")
    names = label_names(model)
    rows = load_test(data_args, names, problem_type)
    tokens = tokenize(rows, tokenizer, token_limit(model, tokenizer))
    options = TrainingArguments(
        output_dir=arguments.output_dir or ".",
        per_device_eval_batch_size=arguments.batch_size,
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
    )
    trainer = Trainer(model, options, processing_class=tokenizer, data_collator=DataCollatorWithPadding(tokenizer))
    prediction = trainer.predict(tokens)
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    scores = compute_scores(logits, np.asarray(prediction.label_ids), problem_type, names)
    print(json.dumps(scores, indent=2, ensure_ascii=False))  # noqa: T201
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, {"model": arguments.model, "revision": arguments.revision, "rows": len(rows), **scores})


def load_model(arguments: ScoreArguments) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The classifier and its tokenizer, which can pad.

    Raises:
        UserError: There is none, or its classifier was never trained.
    """
    if not arguments.model:
        raise UserError("--model is missing: name the folder or Hub id of a trained classifier")
    try:
        trusted = {"revision": arguments.revision, "trust_remote_code": False}
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            arguments.model, output_loading_info=True, **trusted
        )
        tokenizer = read_tokenizer(arguments.model, arguments.revision)
    except Exception as error:  # files of others can be broken in any way, and libraries have errors of their own
        raise UserError(f"--model {arguments.model} can't be loaded: {one_line(error)}") from error
    if set(model.config.id2label) != set(range(model.config.num_labels)):
        raise UserError(f"--model {arguments.model}: the keys of id2label in its config.json must count from 0")
    names = label_names(model)
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--model {arguments.model} has two classes named {doubled!r}: mend id2label in config.json")
    if missing := sorted(loading["missing_keys"]):
        raise UserError(
            f"--model {arguments.model} lacks weights of a classifier ({missing[0]}): name one that was trained"
        )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer
