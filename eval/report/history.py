"""How a run's training went, as its trainer_state.json tells."""

import math

from salience.configuration.errors import UserError
from salience.eval.runs import Run
from salience.model_cards.files import read_json
from salience.model_cards.run_checks import MAKE_ANEW, NUMBER, Shape, checked
from salience.model_cards.run_folder import STATE_FILE

DRAWN = ("loss", "eval_loss", "eval_accuracy", "eval_f1_macro")
"""What is drawn over the epochs."""
ENTRY: Shape = {"epoch": NUMBER, **{f"{name}?": NUMBER for name in DRAWN}}


def training_history(run: Run | None) -> list[dict[str, float]] | None:
    """`log_history` of a run; None for other models.

    Infinite gradient norms, which half precision has now and then, are left out: JSON has no such number.

    Raises:
        UserError: It is damaged.
    """
    if run is None or not (run.folder / STATE_FILE).is_file():
        return None
    file = run.folder / STATE_FILE
    entries = read_json(file).get("log_history")
    if not isinstance(entries, list):
        raise UserError(f"{file}: log_history is no list: {MAKE_ANEW}")
    for number, entry in enumerate(entries):
        checked(file, {f"log_history[{number}]": entry}, {f"log_history[{number}]": ENTRY})
    return [{name: value for name, value in entry.items() if _is_finite(value)} for entry in entries]


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
