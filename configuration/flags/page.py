"""`python -m salience.configuration.flags.page`: write README.md of this folder from the flags' own help.

With `--check` nothing is written; the exit status says whether the file is what would be.
"""

import sys
from collections.abc import Iterable
from dataclasses import Field, fields
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from salience.configuration.families import FAMILIES, codes
from salience.configuration.flags.data_arguments import DataArguments, FileArguments, TextArguments
from salience.configuration.flags.flag_rules import NOT_OFFERED
from salience.configuration.flags.flags_together import MODEL_RULES
from salience.configuration.flags.model_arguments import CommonModelArguments, defaults_of, meaning, model_options
from salience.configuration.flags.rule_kinds import default_of, shown
from salience.configuration.flags.training_arguments import SalienceTrainingArguments
from salience.configuration.flags.tuning_arguments import TuningArguments

FOLDER = Path(__file__).parents[1]
PAGE = FOLDER / "README.md"
COMMAND = "python -m salience.configuration.flags.page"
# By command of eval.py, the flags that it has beside those of the data; named only, as nothing here imports eval.
COMMANDS = {
    "score": ("salience.eval.score.command:ScoreArguments", FileArguments),
    "predict": ("salience.eval.predict.planning:PredictArguments", TextArguments),
    "report": ("salience.eval.report.command:ReportArguments", DataArguments),
    "explain": ("salience.eval.explain.command:ExplainArguments", None),
    "space": ("salience.eval.space.command:SpaceArguments", None),
    "export": ("salience.eval.export.command:ExportArguments", FileArguments),
    "compare": ("salience.eval.compare.command:CompareArguments", DataArguments),
    "study": ("salience.eval.study.command:StudyArguments", None),
    "benchmark": ("salience.eval.benchmark.command:BenchmarkArguments", DataArguments),
}


def page() -> str:
    """The whole page, in Markdown."""
    sections = [INTRODUCTION, models(), group("Texts and labels", DataArguments)]
    sections += [group("How a model is tuned", TuningArguments), training(), commands(), recipes()]
    return "\n\n".join(sections) + "\n"


INTRODUCTION = f"""# Flags and recipes

<!-- Written by `{COMMAND}`; change the help of the flags instead. -->

`train.py [RECIPE.yaml ...] [--flag value ...]`: a recipe's lines are flags without dashes (`learning_rate: 1e-3`,
`train_file: [a.csv, b.csv]`), later recipes win over earlier ones, and flags over recipes. `null` leaves a flag at its
default. An unknown flag is an error, and so is one that has no effect with the chosen model, loss or way of training.
`train.py` is `salience train`, and `eval.py COMMAND` is `salience COMMAND`."""


def models() -> str:
    """Section: families, the flags of all, and the fields of each family's configuration with its default."""
    families = [[f"`{name}`", family.help, family.encoder] for name, family in FAMILIES.items()]
    classes = [code.config_class() for code in codes().values()]
    names = sorted({name for config in classes for name in model_options(config)})
    rows = [[f"`--{name}`", defaults(name), meaning(name)] for name in names]
    only = [f"`--{row.flags[0]}` {row.says.partition(': it ')[2]}" for row in MODEL_RULES]
    return "\n\n".join(
        [
            "## Models",
            table(["`--model`", "What it is", "`--encoder`"], families),
            flag_table(fields(CommonModelArguments)),
            "Fields of a model's configuration, each with its default and the families that have it:",
            table(["Flag", "Default", "What it does"], rows),
            f"Where they have an effect, in a model that has both flags: {'; '.join(only)}.",
        ]
    )


def defaults(name: str) -> str:
    """The defaults of a field of our configurations, each with the families that have it."""
    return "<br>".join(f"{cell(value) or 'unset'} {', '.join(families)}" for value, families in defaults_of(name))


def group(title: str, arguments: Any) -> str:
    """Section: the flags of one dataclass."""
    return f"## {title}\n\n{flag_table(fields(arguments))}"


def training() -> str:
    """Section: flags of transformers whose default or meaning is ours, and those that are not offered."""
    by_name = {each.name: each for each in fields(SalienceTrainingArguments)}
    ours = [by_name[name] for name in SalienceTrainingArguments.__annotations__]
    refused = ", ".join(f"`--{row.flag}`" for row in NOT_OFFERED if row.flag != "hub_strategy")
    return "\n\n".join(
        [
            "## Training",
            "All flags of transformers' "
            "[TrainingArguments](https://huggingface.co/docs/transformers/main_classes/trainer#transformers.TrainingArguments)"
            " are flags here; `train.py --help` lists them. These have another default or meaning:",
            flag_table(ours),
            f"Not offered: {refused}.",
        ]
    )


def commands() -> str:
    """Section: the flags of each command of eval.py."""
    parts = ["## eval.py"]
    for command, (name, data) in COMMANDS.items():
        more = (
            ""
            if data is None
            else " It also takes the flags of its texts: "
            + (
                "all of [Texts and labels](#texts-and-labels) but those that its texts have no use for."
                if data is DataArguments
                else f"{', '.join(f'`--{each.name}`' for each in fields(data))}."
            )
        )
        parts.append(f"### {command}\n\n`eval.py {command} --help` says what it does.{more}")
        parts.append(flag_table(fields(resolve_name(name))))
    parts.append(
        "### baseline\n\n`eval.py baseline NAME` takes the flags and recipes of `train.py`, and tells "
        "which have no effect on it: all but those of texts and labels, of the encoder for `frozen_...`, and of "
        "thresholds for several labels."
    )
    return "\n\n".join(parts)


def recipes() -> str:
    """Section: recipes and studies of this folder, by the comment that they begin with."""
    files = sorted([*FOLDER.glob("recipes/*/*.yaml"), *FOLDER.glob("studies/*.yaml")])
    rows = [[f"[{path.relative_to(FOLDER)}]({path.relative_to(FOLDER)})", opening(path)] for path in files]
    return f"## Recipes and studies\n\n{table(['File', 'What it is'], rows)}"


def opening(path: Path) -> str:
    """The first sentences of a recipe: its comment down to the command or the end."""
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or line.startswith("#  "):
            break
        words.append(line.removeprefix("#").strip())
    return " ".join(words)


def flag_table(flags: Iterable[Field]) -> str:
    """Flags with their defaults and their help."""
    rows = [
        [f"`--{each.name}`", cell(default_of(each)), str(each.metadata.get("help", "")).replace("%%", "%")]
        for each in flags
        if each.init
    ]
    return table(["Flag", "Default", "What it does"], rows)


def cell(value: Any) -> str:
    """A default as one would type it; nothing for none."""
    return "" if value is None or shown(value) == "" else f"`{shown(value)}`"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *([word.replace("|", "\\|") for word in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(argv: list[str]) -> str | None:
    """Write the page, or with --check compare it. Returns a sentence if something is wrong."""
    if argv == ["--check"]:
        is_current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        return None if is_current else f"{PAGE} isn't what the flags say; run: {COMMAND}"
    if argv:
        return f"usage: {COMMAND} [--check]"
    PAGE.write_text(page(), encoding="utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
