"""The suites whose contestants are whole processes: train, predict and start."""

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch

from salience.configuration.errors import UserError
from salience.configuration.flags.model_arguments import ModelArguments
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.flags.training_arguments import does_bf16_well
from salience.eval.benchmark.contestants import PLAIN, TRAINED, models, predictors, starters, trainers
from salience.eval.benchmark.machine import Yardstick
from salience.eval.benchmark.processes import Contestant, Field, Outcome, Race, race
from salience.eval.benchmark.rows import agreement, best_labels, finished, row_of, seconds_of
from salience.eval.benchmark.texts import write_rows, write_splits
from salience.train.building.build import build_model
from salience.train.building.encoder_loading import encoder_path
from salience.train.data.load import TextData

WHOLE = "whole"
MODELS = "models"
NOT_TRAINING = ("test",)
OWN_FLAGS = ("train_file", "validation_file", "test_file", "output_dir", "encoder", "seed")
STARTING = ("load", "first answer")
MACHINE = Contestant("machine", "of_machine.py", "its limits")
MEANINGS = {
    "train": "x: seconds to a trained and validated model over those of `salience train` on the same texts in the "
    "same repetition; x per text: the same for each text that is read, in whichever epoch; above 1, ours is faster.",
    "predict": "x: seconds of all answers over those of ours to the same texts in the same repetition; x per token: "
    "the same for each token that is read, as some cut texts; above 1, ours is faster.",
    "start": "x: seconds from from_pretrained to the first answer over those of the plain class in the same "
    "repetition; above 1, the plain class is faster.",
}


class Setting:
    """What the processes of a suite share: texts, encoder and folder.

    Args:
        arguments: `BenchmarkArguments`.
        data: The texts.
        folder: For all files of this run.

    Raises:
        UserError: There is no encoder.
    """

    def __init__(self, arguments: Any, data: TextData, folder: Path) -> None:
        self.arguments, self.data, self.folder = arguments, data, folder
        self.encoder = encoder_path(arguments.encoder)
        try:
            self.yardstick = Yardstick(self.encoder)
        except (OSError, ValueError) as error:
            raise UserError(f"--encoder {arguments.encoder} can't be loaded: {error}") from error
        self.files = write_splits(folder, data)
        self.field = Field(folder, arguments.peers)

    def chosen(self, contestants: Sequence[Contestant]) -> list[Contestant]:
        """Those that the flags name, and the first one, with which others are compared; all where none is named."""
        wanted = self.arguments.contestants
        return [each for each in contestants if not wanted or each.name in wanted or each is contestants[0]]

    def train(self, contestant: Contestant, repetition: int) -> Outcome:
        """Train one; its model is kept in the first repetition's folder of its name."""
        job = {"task": "train", "files": self.files, "encoder": self.encoder, "seed": self.arguments.seed + repetition}
        return self.field.run(contestant, job | {"model": self.model_folder(contestant.name, repetition)})

    def operations(self, contestant: Contestant, lengths_N: np.ndarray) -> float:
        """Floating-point operations of an encoder that reads texts once, as the contestant does."""
        window = self.yardstick.window if contestant.in_windows else self.yardstick.limit
        return self.yardstick.operations(lengths_N, window)

    def model_folder(self, name: str, repetition: int = 0) -> str:
        """Where a contestant's model is."""
        return str(self.folder / MODELS / f"{name.replace('/', '_')} {repetition}")


def measure_limits(field: Field) -> dict[str, float]:
    """What the machine can do at most now, measured in a process of its own.

    Raises:
        RuntimeError: That failed.
    """
    outcome = field.run(MACHINE, {"task": "measure"})
    if outcome.failure:
        raise RuntimeError(f"the machine's limits can't be measured: {outcome.failure}")
    limits: dict[str, float] = outcome.result["limits"]
    return limits


def check_contestants(suite: str, names: Sequence[str] | None) -> None:
    """Refuse names that no contestant has.

    Raises:
        UserError: There is one.
    """
    known = {"train": trainers({}, 0, bf16=True), "predict": predictors(0)}.get(suite, [])
    if unknown := [name for name in names or () if name not in {each.name for each in known}]:
        choice = ", ".join(f'"{each.name}"' for each in known)
        raise UserError(f'--contestants "{unknown[0]}" is unknown; choose from {choice}')


def check_train_flags(flags: dict[str, Any]) -> None:
    """Refuse flags of `salience train` that it would refuse, and those that a benchmark sets itself.

    Raises:
        UserError: There is one.
    """
    if own := [name for name in OWN_FLAGS if name in flags]:
        raise UserError(f"--train_flags: {own[0]} is set by the benchmark itself; leave it out")
    try:
        RecipeParser().parse_flags({**flags, "output_dir": "anywhere"}, [])
    except UserError as error:
        raise UserError(f"--train_flags: {error}") from error


def measure_training(setting: Setting) -> dict[str, Any]:
    """Suite `train`: from files of texts to a model that is trained, validated and saved, in a process each time."""
    arguments, splits, yardstick = setting.arguments, setting.data.splits, setting.yardstick
    contestants = setting.chosen(trainers(arguments.own_flags, yardstick.limit, does_bf16_well(on_cpu=True)))
    limits = []

    def run(contestant: Contestant, repetition: int) -> Outcome:
        if contestant is contestants[0]:
            limits.append(measure_limits(setting.field))
        outcome = setting.train(contestant, repetition)
        rmtree(setting.folder / MODELS, ignore_errors=True)  # all together would fill a disk
        return outcome

    found, rows = race(contestants, arguments.repetitions, run, "train", contestants[0].name), []
    for each in contestants:
        if each.name in found.outcomes:
            outcomes, lengths = found.outcomes[each.name], yardstick.lengths(splits["train"]["text"], each.limit)
            held_out = yardstick.lengths(splits["validation"]["text"], each.limit)
            epochs = outcomes[0].result.get("epochs", each.epochs)
            num_texts = outcomes[0].result.get("num_texts", len(lengths)) * epochs
            row = row_of(each, outcomes, seconds_of(outcomes, but=NOT_TRAINING), num_texts)
            if each.passes:
                row["tokens"] = float(lengths.sum() * epochs)
                row["operations"] = each.passes * epochs * setting.operations(each, lengths)
                row["operations"] += setting.operations(each, held_out)
            for name in ("validation_accuracy", "test_accuracy"):
                row[name] = float(np.mean([outcome.result[name] for outcome in outcomes]))  # seeds differ
            rows.append(row)
    return finished(rows, found, limits, contestants[0].name, MEANINGS["train"], "texts")


def measure_prediction(setting: Setting) -> dict[str, Any]:
    """Suite `predict`: answers to test texts, whole and as pieces of some lengths, from models trained before."""
    arguments, test = setting.arguments, setting.data.splits["test"]
    contestants = setting.chosen(predictors(setting.yardstick.limit))
    needed = {each.model or each.name for each in contestants}
    trained = [each for each in models(arguments.own_flags, setting.yardstick.limit) if each.name in needed]
    before = race(trained, 1, setting.train, "train the models", TRAINED)
    texts = {WHOLE: list(test["text"])}
    for length in arguments.lengths:
        texts[f"{length} tokens"] = setting.yardstick.pieces(texts[WHOLE], length, arguments.num_pieces)
    files = {name: write_rows(setting.folder / f"{name}.jsonl", each) for name, each in texts.items()}
    limits = []

    def run(contestant: Contestant, _: int) -> Outcome:
        model = contestant.model or contestant.name
        if contestant is contestants[0]:
            limits.append(measure_limits(setting.field))
        if model in before.absent:
            return Outcome({}, 0, f"{model} was not trained: {before.absent[model]}")
        job = {"task": "predict", "files": files, "texts": list(files), "model": setting.model_folder(model)}
        return setting.field.run(contestant, job)

    found, rows = race(contestants, arguments.repetitions, run, "predict", contestants[0].name), []
    labels = [setting.data.label_names[label] for label in test["labels"]]
    for name, each_texts in texts.items():
        for each in contestants:
            if each.name in found.outcomes:
                row = _prediction_row(setting, each, found, name, each_texts)
                if name == WHOLE:
                    answers = best_labels(found.outcomes[each.name][0].result["answers"][name])
                    row["test_accuracy"] = float(np.mean(np.array(answers) == labels))
                rows.append(row)
    return finished(rows, found, limits, contestants[0].name, MEANINGS["predict"], "tokens")


def _prediction_row(setting: Setting, each: Contestant, found: Race, name: str, texts: list[str]) -> dict[str, Any]:
    outcomes, lengths = found.outcomes[each.name], setting.yardstick.lengths(texts, each.limit)
    row = row_of(each, outcomes, seconds_of(outcomes, only=(f"predict {name}",)), len(texts), name)
    row["tokens"] = float(lengths.sum())
    if each.passes:
        row["operations"] = setting.operations(each, lengths)
    if each.reference in found.outcomes:
        ours, theirs = (found.outcomes[who][0].result["answers"][name] for who in (each.name, each.reference))
        row |= agreement(ours, theirs)
    return row


def measure_start(setting: Setting) -> dict[str, Any]:
    """Suite `start`: from `from_pretrained` to the first answer; the weights of the classifiers are fresh."""
    contestants, names = starters(), setting.data.label_names
    for name, flags in ((TRAINED, {"model": "attn_pool"}), (PLAIN, {"model": "sequence_classification"})):
        torch.manual_seed(setting.arguments.seed)
        model_args: Any = ModelArguments(encoder=setting.arguments.encoder, **flags)
        for part in build_model(model_args, [], names, setting.data.problem_type):
            part.save_pretrained(setting.model_folder(name))

    def run(contestant: Contestant, _: int) -> Outcome:
        job = {"task": "start", "files": setting.files, "encoder": setting.encoder}
        return setting.field.run(contestant, job | {"model": setting.model_folder(str(contestant.model))})

    found, rows = race(contestants, setting.arguments.repetitions, run, "start", PLAIN), []
    for each in contestants:
        if each.name in found.outcomes:
            outcomes = found.outcomes[each.name]
            rows.append(row_of(each, outcomes, seconds_of(outcomes, only=STARTING), num_texts=1))
    return finished(rows, found, [measure_limits(setting.field)], PLAIN, MEANINGS["start"], "texts")
