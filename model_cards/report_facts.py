"""What a model card says from the report of a run; everything that comes from data is escaped here."""

from typing import Any

from salience.model_cards.markdown import escape, table
from salience.model_cards.run_folder import RELIABILITY_FILE, RunFolder


def report_facts(files: RunFolder) -> dict[str, Any] | None:
    """The values of the card's section on the report; None for a run without one.

    Args:
        files: The run.
    """
    report = files.report
    if not report:
        return None
    data, calibration = report["data"], report["calibration"]
    temperature = report["model"]["temperature"]
    return {
        "texts": f"Measured on {data['texts']:,} {data['split']} texts of {escape(data['name'])} by `eval.py report`.",
        "calibration": f"Expected calibration error {calibration['ece_equal_mass']:.4f} in bins of equal mass, "
        f"{calibration['ece_equal_width']:.4f} in bins of equal width; Brier score {calibration['brier']:.4f}."
        + (f" Logits are divided by a temperature of {temperature:.3f}, fitted on validation." if temperature else ""),
        "figure": RELIABILITY_FILE if (files.path / RELIABILITY_FILE).is_file() else None,
        "thresholds": _thresholds(report["thresholds"]),
        "lengths": table(
            ["Words", "Texts", "Accuracy", "F1 (macro)"],
            [[row["name"], row["texts"], row["accuracy"], row["f1_macro"]] for row in report["length"]["bins"]],
        ),
        "frequency": _frequency(report["class_frequency"]),
        "verdict": escape_all(report["faithfulness"]["verdict"]),
        "failures": _failures(files.failures),
    }


def escape_all(text: str) -> str:
    """Text of any length, escaped for Markdown."""
    return " ".join(escape(word) for word in text.split())


def _thresholds(thresholds: dict[str, Any]) -> str:
    header = ["Wanted accuracy", "Answer from a confidence of", "Part of the texts answered", "Accuracy of these"]
    rows = [
        [row["wanted_accuracy"], row["threshold"], row["coverage"], row["accuracy"]]
        for row in thresholds["rows"]
        if row["threshold"] is not None
    ]
    if not rows:
        wanted = min((row["wanted_accuracy"] for row in thresholds["rows"]), default=0)
        return f"No confidence can be promised to give an accuracy of {wanted:g} or more."
    where = "validation texts" if thresholds["chosen_on"] == "validation" else "these very texts"
    promise = "so that the accuracy on texts like them is at least the wanted one, with 95 % confidence"
    return f"{table(header, rows)}\n\nThresholds were chosen on {where}, {promise}."


def _frequency(frequency: dict[str, Any]) -> str:
    groups = [(name, frequency[name]) for name in ("minority", "majority")]
    if not groups[0][1]["classes"]:
        return "No class has less than half the texts of the mean class."
    header = ["Classes", "Which", "Texts", "Precision", "Recall", "F1"]
    rows = [
        [name, ", ".join(each["classes"][:20]), each["texts"], each["precision"], each["recall"], each["f1"]]
        for name, each in groups
    ]
    return table(header, rows)


def _failures(failures: dict[str, Any]) -> str | None:
    if not failures.get("applicable"):
        return None
    rows = []
    for mode in failures["modes"].values():
        if mode and mode["use"]:
            judged = mode[mode["use"]]
            goes = "yes" if mode["goes_with_errors"] else "no"
            rows.append([mode["number"], mode["title"], judged["right"]["share"], judged["wrong"]["share"], goes])
    header = ["Mode", "Failure", "Share of right answers", "Share of wrong answers", "More frequent with errors"]
    return (
        table(header, rows)
        if rows
        else "No threshold separates texts with one of the five known failures from texts without."
    )
