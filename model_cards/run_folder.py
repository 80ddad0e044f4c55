"""The files of a finished run."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from salience.configuration.errors import UserError

ADAPTER_FOLDER = "adapter"
REPORT_FOLDER = "report"
"""Where `eval.py report` puts the report of a run."""
RELIABILITY_FILE = "reliability.png"
"""The figure of that report which a card shows, beside the card."""


@dataclass(frozen=True)
class RunFolder:
    """The files of a finished run that a card is made of; a file that isn't there is an empty dictionary.

    Args:
        path: the `output_dir` of a run, or the adapter folder in it; results are then taken from the run around it.
    """

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        return self._read("config.json")

    @cached_property
    def adapter(self) -> dict[str, Any]:
        """The adapter_config.json of the folder itself or of its adapter folder."""
        return self._read("adapter_config.json") or self._read(f"{ADAPTER_FOLDER}/adapter_config.json")

    @cached_property
    def run(self) -> dict[str, Any]:
        """What train/run_record.py wrote."""
        return self._result("run")

    @cached_property
    def train(self) -> dict[str, Any]:
        """Loss, time and speed of the training."""
        return self._result("train_results")

    @cached_property
    def validation(self) -> dict[str, Any]:
        """Scores on the validation split, without their prefix."""
        return {name.removeprefix("eval_"): value for name, value in self._result("eval_results").items()}

    @cached_property
    def test(self) -> dict[str, Any]:
        """Scores on the test split, without their prefix."""
        return {name.removeprefix("test_"): value for name, value in self._result("test_results").items()}

    @cached_property
    def report(self) -> dict[str, Any]:
        """What `eval.py report` found."""
        return self._result(f"{REPORT_FOLDER}/report")

    @cached_property
    def failures(self) -> dict[str, Any]:
        """The failure modes that `eval.py report` found."""
        return self._result(f"{REPORT_FOLDER}/failure_analysis")

    @property
    def is_adapter(self) -> bool:
        """Whether the folder itself is an adapter, without the weights of its base."""
        return (self.path / "adapter_config.json").is_file()

    def _result(self, stem: str) -> dict[str, Any]:
        beside = self.path.parent if self.path.name == ADAPTER_FOLDER and self.is_adapter else self.path
        return self._read(f"{stem}.json") or RunFolder(beside)._read(f"{stem}.json")

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path} isn't valid JSON ({error}): restore the file or run the training again.") from None
        if not isinstance(content, dict):
            raise UserError(f"{path} holds no JSON object: restore the file or run the training again.")
        return content


def is_hub_id(name: Any) -> bool:
    """Whether the name can be a repo of the Hub: `user/name`, and no folder here."""
    if not isinstance(name, str) or name.count("/") != 1:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()
