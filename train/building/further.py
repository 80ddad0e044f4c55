"""A trained model as the start of further training: on the labels that it knows, or on others with a new output."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from salience.configuration.configuration_fields import problem_type_of
from salience.configuration.configuration_salience import FITTED
from salience.configuration.errors import UserError, one_line
from salience.configuration.families import FAMILIES
from salience.configuration.flags.data_arguments import DataArguments, FileArguments
from salience.configuration.flags.model_arguments import chosen_options
from salience.configuration.hub import find_commit, refuse_revision_of_folder
from salience.model_cards.files import read_whole
from salience.model_cards.run_folder import PREFIXES, RUN_FILE
from salience.modeling.salience_base import SaliencePreTrainedModel
from salience.train.building.builders import Built
from salience.train.building.encoder_loading import public_name
from salience.train.building.fingerprints import fingerprint_of
from salience.train.building.label_scale import answer_in_labels, label_scale
from salience.train.building.text_columns import separator_of
from salience.train.building.word_tokenizer import portable_tokenizer
from salience.train.data.labels import LabelScheme
from salience.train.data.load import TextData, columns_of_model

logger = logging.getLogger(__name__)

MOST_DEVIATIONS, MOST_TIMES_WIDER = 5, 10
"""Of the numbers of a regression, beyond which they aren't of the kind that was learned."""
SEEN_BEFORE = "the scores, and what is fitted to such texts, flatter"


def pin_revision(model_args: Any) -> None:
    """Let the flags name the commit of a trained model on the Hub.

    Args:
        model_args: `ModelArguments`, whose `--model` names a trained model; is changed.

    Raises:
        UserError: There is none.
    """
    name, revision = model_args.model, model_args.model_revision
    refuse_revision_of_folder(name, revision, "--model", "--model_revision")
    try:
        model_args.model_revision = find_commit(name, revision)
    except (OSError, ValueError) as error:
        raise UserError(f"--model {name} can't be loaded: {one_line(error, 400)}") from error


@dataclass
class Start:
    """A trained model that goes on, without what was fitted to its answers and labels.

    Attributes:
        name: As `--model` says it.
        revision: Commit on the Hub; None for a folder.
        model: The model.
        tokenizer: Its tokenizer.
        sha256: Of its weights, by their names.
        family: Of it.
        encoder: What its run.json names as its encoder; None where it has none, or nobody knows.
        data: What its run.json says that it was trained and tested on; empty where nobody knows.
        arguments: The flags of its run, by its run.json; empty where nobody knows.
        perhaps_seen: Held-out splits of the new texts that may hold texts that it was trained on.
    """

    name: str
    revision: str | None
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sha256: str
    family: str
    encoder: str | None
    data: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    perhaps_seen: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, model_args: Any, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> "Start":
        """Take a model as it was loaded.

        Args:
            model_args: `ModelArguments` that name it.
            model: It; is changed.
            tokenizer: Its tokenizer.

        Raises:
            UserError: It is none of ours.
        """
        name, config = model_args.model, model.config
        if not isinstance(model, SaliencePreTrainedModel):
            raise UserError(
                f"--model {name} is a {config.model_type} model and none of ours: give --model sequence_classification "
                f"--encoder {name} for a plain head on its encoder"
            )
        weights, run = fingerprint_of(model), _recorded(name, model_args.model_revision)
        recorded = _section(run, "model")
        config.drop_fitted(tuple(FITTED), f"--model {name} is trained on")
        model.ngrams = None  # type: ignore[assignment]  # a module or nothing
        config._name_or_path = ""  # what is saved doesn't say where it lay here
        family = recorded.get("family")
        family = family if family in _families(config) else _families(config)[0]
        model.float()  # training is
        encoder = recorded.get("encoder")
        return cls(
            name, model_args.model_revision, model, portable_tokenizer(tokenizer), weights, family,
            encoder if isinstance(encoder, str) else None, _section(run, "data"),
            _section(run, "arguments"),
        )  # fmt: skip

    @property
    def labels(self) -> LabelScheme:
        """Its labels, in their order."""
        names: dict[int, str] = self.model.config.id2label  # type: ignore[assignment]  # int keys, always
        ordered = [names[index] for index in range(len(names))]
        return LabelScheme(problem_type_of(self.model.config), ordered, is_of_model=True)

    def record(self) -> dict[str, Any]:
        """What run.json says of it."""
        found = {"name": str(public_name(self.name)), "revision": self.revision, "sha256": self.sha256}
        return {**found, "split_otherwise": True, "perhaps_seen": self.perhaps_seen} if self.perhaps_seen else found

    def compare_splits(self, data: TextData, data_args: DataArguments, in_memory: bool) -> None:
        """Tell where texts that are held out now may be among those that it was trained on.

        Args:
            data: The new texts.
            data_args: Their flags.
            in_memory: Whether they have no name by which others are known to be the same; their number has to do.
        """
        splits = {name: _section(_section(self.data, "splits"), name) for name in ("train", *PREFIXES)}
        if in_memory:
            counts = [rows for each in splits.values() if isinstance(rows := each.get("rows"), int)]
            is_same = self.data.get("source") == data.source
            is_same &= sum(counts) == sum(len(each) for each in data.splits.values())
            common = dict.fromkeys(PREFIXES, [data.source] if is_same else [])
        else:
            learned = sources_of("train", self.arguments)
            common = {name: sorted(learned & sources_of(name, vars(data_args))) for name in PREFIXES}
        held_out = {each.get("sha256") for name, each in splits.items() if name != "train"}
        names = self.labels.names  # classes may be called otherwise now
        is_renamed = names != data.label_names and len(names) == len(data.label_names)
        known = [data, *([replace(data, label_names=names)] if is_renamed else [])]
        self.perhaps_seen = [
            split
            for split in PREFIXES
            if split in data.splits
            and common[split]
            and not held_out & {each.fingerprint(split)["sha256"] for each in known}
        ]
        if self.perhaps_seen:
            logger.warning(
                "--model %s was trained on %s, too, of which other %s texts were held out: %s. Split the files as its "
                "run.json says (split_seed, validation_size, test_size), or hold out texts that it hasn't seen",
                self.name, ", ".join(common[self.perhaps_seen[0]]), " and ".join(self.perhaps_seen), SEEN_BEFORE,
            )  # fmt: skip

    def choose_columns(self, data_args: FileArguments) -> None:
        """Read the columns that it was trained on, where flags name no others.

        Args:
            data_args: Is changed.
        """
        chosen = columns_of_model(data_args, self.model.config)
        data_args.text_column, data_args.text_separator = chosen.text_column, chosen.text_separator
        if len(data_args.text_column) > 1 and data_args.text_separator is None:
            data_args.text_separator = separator_of(self.tokenizer)
        for name in ("text_columns", "text_separator"):  # `remember_columns` sets them anew
            self.model.config.__dict__.pop(name, None)

    def ready(self, model_args: Any, data: TextData) -> Built:
        """The model for the labels of new texts, and its tokenizer.

        Args:
            model_args: `ModelArguments`.
            data: The new texts, loaded with `labels`.

        Raises:
            UserError: A flag is out of its range.
        """
        config, labels = self.model.config, self.labels
        wanted = data.label_names or labels.names[:1]  # numbers have no names
        if data.problem_type != labels.problem_type:
            self._renew_output(data, f"it answers {labels.problem_type}, and the new texts are {data.problem_type}")
        elif wanted != labels.names:
            new = [repr(each) for each in wanted if each not in labels.names]
            self._renew_output(data, f"it doesn't know {', '.join(new[:5])}{', ...' * (len(new) > 5)}")
        elif why := other_numbers(config.label_scale, label_scale(data)):
            self._renew_output(data, why)
        for name, value in chosen_options(model_args).items():
            setattr(config, name, value)
        try:
            type(config)(**config.to_dict())
        except ValueError as error:
            raise UserError(f"--model {self.name}: {one_line(error)}") from error
        return self.model, self.tokenizer

    def _renew_output(self, data: TextData, why: str) -> None:
        """Give it an output layer with fresh weights, one output for each label of the data."""
        model: Any = self.model
        names = data.label_names or ["value"]
        logger.warning("--model %s gets a new output layer, as %s; all else of it is kept", self.name, why)
        layers = [each for each in model.classifier.named_modules() if isinstance(each[1], nn.Linear)]
        place, old = layers[-1]
        layer = nn.Linear(old.in_features, len(names), bias=old.bias is not None)
        model._init_weights(layer)
        model.set_submodule(f"classifier.{place}".rstrip("."), layer)
        model.config.problem_type = data.problem_type
        model.config.label_scale = None
        answer_in_labels(model, data)
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: index for index, name in enumerate(names)}


def other_numbers(known: Sequence[float] | None, new: Sequence[float] | None) -> str | None:
    """Why an output layer can't go on: the new numbers are of another size than those it has learned; None if it can.

    Args:
        known: Mean and standard deviation of the numbers that it has learned; None for classes.
        new: Of those that it shall learn.
    """
    if known is None or new is None:
        return None
    far = abs(new[0] - known[0]) > MOST_DEVIATIONS * max(known[1], new[1])
    wider = max(new[1] / known[1], known[1] / new[1])
    if not far and wider <= MOST_TIMES_WIDER:
        return None
    return "it has learned numbers of {:.4g} ± {:.4g}, and the new ones are {:.4g} ± {:.4g}".format(*known, *new)


def _recorded(name: str, revision: str | None) -> dict[str, Any]:
    """The run.json of a trained model; nothing where there is none that can be read."""
    if Path(name).is_dir():
        file = Path(name) / RUN_FILE
    else:
        found = cached_file(name, RUN_FILE, revision=revision, _raise_exceptions_for_missing_entries=False)
        file = Path(found or RUN_FILE)
        if found is None:
            return {}
    return read_whole(file) or {}


def sources_of(split: str, flags: Mapping[str, Any]) -> set[str]:
    """The files, or the Hub data set, that a split is or is a part of, without folders.

    Args:
        split: `train`, `validation` or `test`.
        flags: Of the data; from a file, so that they can be anything.
    """
    files = flags.get("train_file")
    of_training = [*(files if isinstance(files, list) else []), flags.get("dataset_name")]
    own = [flags.get(f"{name}_file") for name in PREFIXES if flags.get("resplit") or name == split]
    names = own if any(own) and not flags.get("resplit") else [*of_training, *own]
    return {name if name.startswith("package:") else PurePath(name).name for name in names if isinstance(name, str)}


def _section(record: dict[str, Any], name: str) -> dict[str, Any]:
    """An object in another one; an empty one where it is something else."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _families(config: Any) -> list[str]:
    """The families whose classes and options a configuration has; of equal ones the first is the likelier."""
    return [
        name
        for name, family in FAMILIES.items()
        if family.code is not None
        and family.code.model_type == config.model_type
        and all(getattr(config, option) == value for option, value in family.options.items())
    ]
