"""A trained classifier by its folder or its name on the Hub."""

import logging
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

import salience.modeling  # noqa: F401  the Auto classes know our models, so that no code of a repository is run
from salience.configuration.configuration_fields import check_classes
from salience.configuration.errors import UserError, one_line
from salience.configuration.flags.data_arguments import check_type
from salience.configuration.flags.flag_rules import check
from salience.configuration.flags.training_arguments import does_bf16_well
from salience.configuration.hub import find_commit, read_config, refuse_revision_of_folder
from salience.configuration.model_files import loading_fault
from salience.eval.reading.reader import Reader
from salience.eval.reading.words import label_names
from salience.model_cards.run_folder import is_hub_id
from salience.modeling.encoders import NO_LIMIT, further_layers, load_weights, position_limit, pretrained_encoder
from salience.modeling.precision import bfloat16_fault
from salience.modeling.salience_base import SaliencePreTrainedModel
from salience.modeling.tokenizer_loading import PADDED_LENGTH, length_limit, read_tokenizer

logger = logging.getLogger(__name__)


@dataclass
class ClassifierArguments:
    """Which trained classifier is read, and how many texts at a time."""

    model: str | None = field(default=None, metadata={"help": "Folder or Hub id of a trained classifier."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub id."})
    batch_size: int = field(
        default=512, metadata={"help": "Texts at a time at most; of long ones as many as the device reads best."}
    )
    bf16: bool | None = field(
        default=None,
        metadata={"help": "Read with the encoder in bfloat16; unset: where the device does it in hardware."},
    )

    def __post_init__(self) -> None:
        for each in fields(ClassifierArguments):
            check_type(each, getattr(self, each.name))
        check(self)


def load_reader(arguments: ClassifierArguments) -> Reader:
    """A trained classifier that reads on the GPU, if there is one.

    Raises:
        UserError: See `load_classifier`.
    """
    model, tokenizer = load_classifier(arguments.model, arguments.revision)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)  # type: ignore[arg-type]  # its decorator
    bf16 = does_bf16_well(on_cpu=device.type == "cpu") if arguments.bf16 is None else arguments.bf16
    if bf16 and (fault := bfloat16_fault(pretrained_encoder(model), autocast=False, held=True)):
        raise UserError(f"{arguments.model} can't be read in bfloat16 ({one_line(fault)}); add --bf16 false")
    return Reader(model, tokenizer, arguments.batch_size, bf16)


def load_classifier(
    model: str | Path | None, revision: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A trained classifier and its tokenizer, which can pad; no code of its repository is run.

    Args:
        model: Folder or Hub id of any text-classification model of ours or of transformers.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        UserError: There is none, it is damaged, or its classifier was never trained.
    """
    if not model:
        raise UserError("--model is missing: name the folder or Hub id of a trained classifier")
    name = os.path.expanduser(model)  # `Path` would make a Hub id of ./name
    refuse_revision_of_folder(name, revision, "--model", "--revision")
    try:
        revision = find_commit(name, revision)
        fields = read_config(name, revision)
        check_classes(fields)
        classifier, missing, unexpected = load_weights(AutoModelForSequenceClassification, name, revision=revision)
        check_fit(classifier, [] if missing else unexpected)
        check_ngrams(classifier, name, revision)
        tokenizer = read_tokenizer(name, revision)
    except Exception as error:  # files of others can be broken in any way, and libraries have errors of their own
        where = "is no folder here and can't be loaded from the Hub" if is_hub_id(name) else "can't be loaded"
        raise UserError(f"--model {name} {where}: {loading_fault(name, error)}") from error
    tell_other_names(fields, name)
    tell_other_size(classifier, tokenizer, name)
    class_names = label_names(classifier)
    if doubled := next((each for each in class_names if class_names.count(each) > 1), None):
        raise UserError(f"--model {name} has two classes named {doubled!r}: mend id2label in config.json")
    if missing:
        raise UserError(f"--model {name} lacks weights of a classifier ({missing[0]}): name one that was trained")
    if isinstance(classifier, SaliencePreTrainedModel) and length_limit(tokenizer) is None:
        tokenizer.model_max_length = PADDED_LENGTH  # earlier versions saved "no limit"
    if getattr(classifier.config, "pad_token_id", None) is None:
        classifier.config.pad_token_id = tokenizer.pad_token_id
    return classifier, tokenizer


def check_fit(classifier: PreTrainedModel, unexpected: list[str]) -> None:
    """Refuse a configuration that its checkpoint wasn't trained with, or that can't read every text.

    Args:
        classifier: As it was loaded.
        unexpected: Weights of its checkpoint that it has no place for.

    Raises:
        ValueError: It is.
    """
    is_ours = isinstance(classifier, SaliencePreTrainedModel)
    # Some published models have parts that their classifiers never used.
    if dropped := unexpected if is_ours else further_layers(classifier, unexpected):
        raise ValueError(f"it has weights that its config.json has no place for: {dropped[0]}")
    encoder = classifier.encoder if isinstance(classifier, SaliencePreTrainedModel) else None
    if encoder is not None and classifier.config.window_size is None and position_limit(encoder) < NO_LIMIT:
        limit = position_limit(encoder)
        raise ValueError(f"window_size in its config.json is null, and its encoder reads {limit} tokens: set it")


def check_ngrams(classifier: PreTrainedModel, name: str, revision: str | None) -> None:
    """Refuse a configuration without the evidence of n-grams that was counted for its weights.

    Args:
        classifier: As it was loaded, without a word of it: `AutoModel` reads such files, too.
        name: Folder or Hub id.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        ValueError: It is.
    """
    if not isinstance(classifier, SaliencePreTrainedModel) or classifier.config.num_ngrams:
        return
    file = cached_file(name, "model.safetensors", revision=revision, _raise_exceptions_for_missing_entries=False)
    if file is None:  # several files, or a pickle
        return
    with safe_open(file, framework="pt") as weights:
        tables = [key for key in weights.keys() if key.startswith("ngrams.")]  # noqa: SIM118
        if any(weights.get_slice(key).get_shape()[0] for key in tables):
            raise ValueError(
                "num_ngrams in its config.json is 0, and its weights hold n-grams: restore its config.json"
            )


def tell_other_names(fields: dict[str, Any], name: str) -> None:
    """Warn of names that label2id has and id2label lacks, from which a classifier's answers are taken.

    Args:
        fields: Of its config.json, whose classes were checked.
        name: Folder or Hub id, for the message.
    """
    names = (fields.get("id2label") or {}).values()
    others = [
        each for each in fields.get("label2id") or {} if each not in names and not re.fullmatch(r"LABEL_\d+", each)
    ]
    if others:
        says = "label2id in the config.json of %s has %r, which id2label lacks: the answers are named by id2label"
        logger.warning(says, name, others[0])


def tell_other_size(classifier: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Warn of a tokenizer of another size than its model's vocabulary; a pretrained encoder's may have empty rows.

    Args:
        classifier: As it was loaded.
        tokenizer: From the same place.
        name: Folder or Hub id, for the message.
    """
    if not isinstance(classifier, SaliencePreTrainedModel) or classifier.encoder is not None:
        return
    embeddings: Any = classifier.get_input_embeddings()
    size = len(embeddings.weight)
    if len(tokenizer) < size:  # one with more tokens is refused where it gives one of them
        says = "--model %s knows %d tokens, and its tokenizer %d: is it another model's?"
        logger.warning(says, name, size, len(tokenizer))
