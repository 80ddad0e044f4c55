"""Which flag of train.py to change against a failure, and what an ablation has measured of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import not_
from pathlib import Path
from typing import Any, TypedDict

from transformers import PretrainedConfig

from salience import model_cards
from salience.configuration.errors import UserError
from salience.configuration.families import codes
from salience.model_cards.files import read_json

RESULTS = Path(model_cards.__file__).parent / "results"


class Effect(TypedDict):
    """A row of a study that differs from the reference row by one flag; see `measured_effect`."""

    study: str | None
    row: str
    value: Any
    reference_value: Any
    reference: str
    accuracy: float
    reference_accuracy: float
    difference: float
    low: float
    high: float
    p_value: float


class OfferedRemedy(TypedDict):
    """A `Remedy` for one model, as JSON."""

    flag: str
    advice: str
    why: str
    current: Any
    measured_effect: list[Effect] | None


# A row that takes a flag away (null) differs from one that doesn't name it.
ABSENT = object()


@dataclass(frozen=True)
class Remedy:
    """A flag, and what to set it to.

    Attributes:
        flag: Its name, without dashes.
        advice: The value, or where to look for one.
        why: What it does against the failure.
        is_open: Whether a model with this value can follow the advice; by default, where the option is off.
        option: Field of the model's configuration that holds it; None: it has the flag's name. Models without the field
            don't have the flag.
    """

    flag: str
    advice: str
    why: str
    is_open: Callable[[Any], bool] = not_
    option: str | None = None

    def is_offered(self, config: PretrainedConfig) -> bool:
        """Whether a model with this configuration has the flag, and doesn't follow the advice already."""
        option = self.option or self.flag
        return hasattr(config, option) and self.is_open(getattr(config, option))

    def as_json(self, config: PretrainedConfig, ablation: Mapping[str, Any] | None) -> OfferedRemedy:
        """The flag for one model.

        Args:
            config: Of the model, which has the flag.
            ablation: See `measured_effect`.

        Returns:
            flag, advice, why, current (the model's value) and measured_effect.
        """
        return {
            "flag": self.flag,
            "advice": self.advice,
            "why": self.why,
            "current": getattr(config, self.option or self.flag),
            "measured_effect": None if ablation is None else measured_effect(self.flag, ablation),
        }


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> set[str]:
    """Flags that two rows of a study set otherwise."""
    return {key for key in {*ours, *theirs} if ours.get(key, ABSENT) != theirs.get(key, ABSENT)}


def measured_effect(flag: str, ablation: Mapping[str, Any]) -> list[Effect] | None:
    """What an ablation says of a flag: each row that differs from the reference row by nothing but this flag's value.

    Args:
        flag: Its name, without dashes.
        ablation: The content of a study.json; see `salience.eval.study.command`.

    Returns:
        For each such row: study (its name), row, value and reference_value (null: that of the study's recipe),
        reference, accuracy and reference_accuracy (mean over seeds), difference (row minus reference) with its interval
        low and high and p_value. None where there is no such row.

    Raises:
        UserError: It isn't the content of a study.json.
    """
    try:
        name, rows = ablation["reference"], ablation["rows"]
        if name is None or rows[name]["kind"] != "model":
            return None
        wanted = rows[name]["flags"]
        effects: list[Effect] = [
            {
                "study": ablation.get("name"),
                "row": row,
                "value": found["flags"].get(flag),
                "reference_value": wanted.get(flag),
                "reference": name,
                "accuracy": found["mean"]["accuracy"],
                "reference_accuracy": rows[name]["mean"]["accuracy"],
                "difference": found["against"][name]["difference"],
                "low": found["against"][name]["low"],
                "high": found["against"][name]["high"],
                "p_value": found["against"][name]["p_value"],
            }
            for row, found in rows.items()
            if found["kind"] == "model"
            and differing(found["flags"], wanted) == {flag}
            and name in found["against"]  # not before both were trained
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError("the ablation is not a study.json: give the one that eval.py study has written") from error
    return effects or None


def own_ablation(model_type: str) -> Path | None:
    """The file of our own study that has options of such models on and off, or None."""
    code = codes().get(model_type)
    return RESULTS / code.ablation / "study.json" if code and code.ablation else None


def read_ablation(file: str | Path) -> dict[str, Any]:
    """The content of a study.json, for the flag --ablation.

    Raises:
        UserError: It can't be read, or isn't one.
    """
    name, way_out = f"--ablation {file}", "give a study.json of eval.py study"
    content = read_json(Path(file), way_out, name)
    if not {"reference", "rows"} <= content.keys():
        raise UserError(f"{name} holds no study: {way_out}")
    return content
