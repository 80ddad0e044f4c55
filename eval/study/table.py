"""A study's results as a table."""

from collections.abc import Mapping
from typing import Any

from salience.configuration.problem_types import MULTI_LABEL
from salience.eval.runs import HOW_SEVERAL_COUNT
from salience.eval.study.scores import score_title
from salience.model_cards.markdown import difference_text, escape, percent_text, table

LEGEND = (
    "Mean ± standard deviation over the seeds, in percent. Points: difference of the test accuracies, with its 95 % "
    "interval and p-value by a paired bootstrap over the test texts; where each seed splits the data anew, a text that "
    "several splits share is drawn as if it were several, which makes them somewhat too narrow; no p-value is "
    "corrected for the number of rows. Minutes: of cells that were not stopped, without what follows the training of a "
    "network (counting n-grams, weighing, calibration). Texts per second: test texts, read whole; minutes and these "
    "depend on what else the machine did, and with an encoder_cache they are those of looking up what the encoder said."
)
NO_PROBABILITIES = (
    " A linear SVM gives margins and no probabilities: its calibration error is that of a softmax over them."
)
OTHER_SEEDS = (
    " Rows have different seeds: points are over the seeds that both rows have, other numbers over a row's own."
)


def render(study: Mapping[str, Any]) -> str:
    """A study's results as Markdown.

    Args:
        study: The content of study.json.
    """
    against = list(dict.fromkeys(name for name in (study["reference"], study["best_sparse"]) if name))
    further = study.get("scores", [])  # a study of an earlier version has none
    header = ["row", "seeds", "validation accuracy", "test accuracy", "test macro F1"]
    header += [
        *(score_title(name) for name in further),
        "parameters",
        "training minutes",
        "texts per second",
    ]
    lines = []
    for name, row in study["rows"].items():
        if not row["seeds"]:
            continue
        mean, sd = row["mean"], row["sd"]
        scores = [percent_text(mean[key], sd[key]) for key in ("validation_accuracy", "accuracy", "f1_macro", *further)]
        minutes = "" if mean["train_seconds"] is None else f"{mean['train_seconds'] / 60:.2f}"
        speed = mean.get("texts_per_second")  # nor has it this
        texts_per_second = "" if speed is None else f"{speed:.0f}"
        parameters = max(cell["parameters"] for cell in row["seeds"].values())
        compared = [difference_text(row["against"].get(other)) for other in against]
        lines.append([name, len(row["seeds"]), *scores, parameters, minutes, texts_per_second, *compared])
    found = table([*header, *(f"points against {name}" for name in against)], lines)
    figure = "![Scores of each row, with standard deviations](study.png)"
    # Nor does it tell the problem type: all had one label for each text.
    several = f" {HOW_SEVERAL_COUNT}" if study["data"].get("problem_type") == MULTI_LABEL else ""
    seeds = {tuple(row["seeds"]) for row in study["rows"].values() if row["seeds"]}
    other_seeds = OTHER_SEEDS if len(seeds) > 1 else ""
    margins = NO_PROBABILITIES if "ece" in further and any(name.endswith("_svm") for name in study["rows"]) else ""
    return f"# {escape(study['name'])}\n\n{found}\n\n{LEGEND}{margins}{other_seeds}{several}\n\n{figure}\n"
