"""Which model a report is on, which texts, and how it was made."""

from datetime import datetime, timezone
from typing import TypedDict

from transformers import PretrainedConfig

from salience.eval.reading.load import ClassifierArguments
from salience.eval.reading.reader import Reader
from salience.train.building.encoder_loading import public_name
from salience.train.data.load import TextData
from salience.train.folder.record import num_weights, versions
from salience.train.folder.redaction import redact_command

ReportedModel = TypedDict(
    "ReportedModel",
    {"name": str | None, "revision": str | None, "class": str, "parameters": int, "temperature": float | None},
)
"""Which model a report is on."""


class ReportedData(TypedDict):
    """Which texts it is on."""

    name: str
    split: str | None
    texts: int
    classes: list[str]
    sha256: str


class Made(TypedDict):
    """How it was made."""

    date: str
    command: str
    versions: dict[str, str]
    seed: int


class About(TypedDict):
    """What `describe` gives."""

    model: ReportedModel
    data: ReportedData
    made: Made


def describe(
    arguments: ClassifierArguments, seed: int, command: list[str], reader: Reader, data: TextData, split: str
) -> About:
    """The keys model, data and made of report.json.

    Args:
        arguments: Which model was asked for.
        seed: Of all that was drawn.
        command: Made the report.
        reader: The model.
        data: Where its texts are from.
        split: Which of them.
    """
    return {
        "model": {
            "name": public_name(arguments.model),
            "revision": arguments.revision,
            "class": type(reader.model).__name__,
            "parameters": num_weights(reader.model),
            "temperature": fitted_temperature(reader.model.config),
        },
        "data": {
            "name": data.name,
            "split": split,
            "texts": len(data.splits[split]),
            "classes": data.label_names,
            "sha256": data.fingerprint(split)["sha256"],
        },
        "made": {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": redact_command(command),
            "versions": versions(),
            "seed": seed,
        },
    }


def fitted_temperature(config: PretrainedConfig) -> float | None:
    """What divides a model's logits; None where nothing was fitted, which leaves them as they are."""
    temperature = getattr(config, "logit_temperature", 1.0)
    return None if temperature == 1 else temperature
