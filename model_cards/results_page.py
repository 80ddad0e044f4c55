"""The page of results and the README's table of results, made from templates and the numbers of finished studies.

`python -m salience.model_cards.results_page`, or `make pages`, writes both in a checkout of the repository.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from salience.model_cards.markdown import difference_text, percent_text, table

RESULTS = Path(__file__).resolve().parent / "results"
README = RESULTS.parents[1] / "README.md"
BEGIN, END = "<!-- results: written by `make pages` -->\n", "<!-- end of results -->"
AGAINST = "points against "
TITLES = {
    "f1_macro": "macro F1",
    "roc_auc": "ROC-AUC",
    "ece": "ECE",
    "validation_accuracy": "validation accuracy",
    "recall_macro": "macro recall",
    "validation_recall_macro": "validation macro recall",
    "minority_precision": "precision of the rare classes",
    "network_accuracy": "network alone",
    "minority_recall": "recall of the rare classes",
    "accuracy_short": "below 100 words",
    "accuracy_medium": "100 to 500",
    "accuracy_long": "above 500",
}
"""By name, a score as the head of a column, where that isn't the name itself."""

Column = str | Sequence[str]


@dataclass(frozen=True)
class StudyNumbers:
    """The numbers of a study.json as the templates say them: scores in percent, differences in points.

    Args:
        content: What the file holds.
    """

    content: Mapping[str, Any]

    def score(self, row: str, name: str = "accuracy") -> str:
        """A row's mean ± standard deviation over the seeds."""
        return percent_text(self._row(row)["mean"][name], self._row(row)["sd"][name])

    def seeds(self, row: str, name: str = "accuracy") -> str:
        """A row's score with each seed."""
        return ", ".join(percent_text(seed[name]) for seed in self._row(row)["seeds"].values())

    def num_seeds(self, row: str) -> int:
        """With how many seeds a row was run."""
        return len(self._row(row)["seeds"])

    def against(self, row: str, other: str) -> str:
        """How many points of accuracy a row is above another, with interval and p-value."""
        return difference_text(self._row(row)["against"][other])

    def points(self, row: str, other: str) -> str:
        """The same difference alone."""
        return f"{100 * self._row(row)['against'][other]['difference']:+.2f}"

    def difference(self, row: str, other: str, name: str) -> str:
        """How many points the mean of a score is above another row's, where nothing compares the two in pairs."""
        return f"{100 * (self._row(row)['mean'][name] - self._row(other)['mean'][name]):+.2f}"

    def minutes(self, row: str) -> str:
        """Minutes of training, the median of the seeds: other work on the machine slows some of them."""
        seconds = [seed["train_seconds"] for seed in self._row(row)["seeds"].values()]
        return f"{median(each for each in seconds if each is not None) / 60:.2f}"  # None: that one was stopped

    def texts(self, split: str) -> str:
        """How many texts a split has."""
        return f"{self.content['data']['splits'][split]:,}"

    def table(self, rows: Mapping[str, str], columns: Sequence[Column]) -> str:
        """A Markdown table.

        Args:
            rows: What a line is called -> the row of the study, or a pattern of rows with `{}`.
            columns: Each a score, `minutes` or `points against ROW`; or, for patterns, title, score and what stands for
                `{}`.
        """
        names = {row: label for label, row in rows.items()}
        header = ["", *(self._title(column, names) for column in columns)]
        return table(header, [[label, *(self._cell(row, column) for column in columns)] for label, row in rows.items()])

    def _row(self, name: str) -> Mapping[str, Any]:
        return self.content["rows"][name]

    def _title(self, column: Column, names: Mapping[str, str]) -> str:
        if not isinstance(column, str):
            return column[0]
        if column.startswith(AGAINST):
            label = names[column.removeprefix(AGAINST)]
            return AGAINST + re.split("[,:] ", label)[0]
        return TITLES.get(column, column)

    def _cell(self, row: str, column: Column) -> str:
        if not isinstance(column, str):
            _, column, part = column
            row = row.format(part)
        if column == "minutes":
            return self.minutes(row)
        if column.startswith(AGAINST):
            other = column.removeprefix(AGAINST)
            return "" if row == other else self.against(row, other)
        return self.score(row, column)


def read_study(name: str) -> StudyNumbers:
    """The numbers of a committed study.

    Args:
        name: Its folder in `model_cards/results`.
    """
    return StudyNumbers(_read(RESULTS / name / "study.json"))


def read_benchmark(name: str) -> dict[str, Any]:
    """The parts of a committed benchmark.

    Args:
        name: Its folder in `model_cards/results`.
    """
    parts: dict[str, Any] = _read(RESULTS / name / "benchmark.json")["parts"]
    return parts


def ratio(part: Mapping[str, Any], model: str, other: str, **where: str) -> str:
    """How many times as long as another model one takes: median, and lowest and highest of the repetitions.

    Args:
        part: Of a benchmark.
        model: One of its models.
        other: Another.
        **where: What else tells its row from others: `mode`, `batches`.
    """
    (row,) = [each for each in part["rows"] if each | where | {"model": model} == each]
    return _spread(row["ratios"][other])


def ratios(part: Mapping[str, Any], other: str, models: Mapping[str, str], precision: str) -> list[list[str]]:
    """A row for each model and mode: how many times as long as another model it takes, for each kind of batches.

    Args:
        part: `pooling` of a benchmark.
        other: The other model.
        models: What each row says -> its model.
        precision: Of the batches.
    """
    kinds = [each for each in dict.fromkeys(row["batches"] for row in part["rows"]) if each.endswith(precision)]
    modes = {"training": "training", "prediction": "inference"}
    return [
        [f"{said}, {word}", *(ratio(part, model, other, mode=mode, batches=kind) for kind in kinds)]
        for said, model in models.items()
        for word, mode in modes.items()
    ]


def race(name: str, suite: str) -> list[list[str]]:
    """Of a benchmark of whole programs, a row for each program and kind of texts.

    Args:
        name: Its folder in `model_cards/results`.
        suite: train, predict or start.
    """
    part = read_benchmark(name)[suite]
    ours, num_kinds = part["rows"][0]["model"], len({row.get("batches") for row in part["rows"]})
    found = []
    for row in part["rows"]:
        kind = f", {row['batches']}" if num_kinds > 1 else ""
        accuracy = f"{100 * row['test_accuracy']:.1f}" if "test_accuracy" in row else ""
        both = (_spread(row[each][ours]) for each in ("ratios", "ratios_per_one"))
        share = f"{100 * row['share_bf16']:.0f} %" if "share_bf16" in row else ""
        found.append([f"{row['model']}{kind}", f"{row['seconds']['median']:.3g}", *both, accuracy, share])
    return found


def started(part: Mapping[str, Any], other: str) -> list[list[str]]:
    """Of a benchmark of first answers, a row for each program: its seconds, and how many times another's.

    Args:
        part: `start` of a benchmark.
        other: The other program.
    """
    return [[row["model"], f"{row['seconds']['median']:.2f}", _spread(row["ratios"][other])] for row in part["rows"]]


def speeds(name: str) -> list[list[str]]:
    """Of a benchmark on a GPU, a row for each model, mode and kind of batches, those on an encoder only.

    Args:
        name: Its folder in `model_cards/results`.
    """
    found = _read(RESULTS / name / "benchmark.json")
    limit = found["environment"]["limits"]["bf16_flops"]
    return [
        [
            f"{row['model']}, {row['mode']}, {row['batches'].split(',')[0]}",
            f"{1000 * row['seconds']['median']:.0f}",
            f"{row['tokens_per_second']:,.0f}",
            f"{100 * row['operations_per_second'] / limit:.1f} %",
            f"{row['megabytes']:,.0f}",
        ]
        for row in found["parts"]["pooling"]["rows"]
        if "operations_per_second" in row and row["model"] != "mean pooling"
    ]


def growth(part: Mapping[str, Any]) -> list[list[Any]]:
    """Each way of attending, its longest document, exponents of time and memory, and its process's peak in MB."""
    names = [f"{what}_exponent{start}" for what in ("time", "memory") for start in ("", "_from_10000")]
    return [
        [
            f"{row['variant']}, {row['mode']}",
            max(row["words"]),
            *(f"{row[name]:.2f}" for name in names),
            f"{row['peak_megabytes'][-1]:,.0f}",
        ]
        for row in part["rows"]
    ]


def render_page() -> str:
    """The text of `model_cards/results/README.md`."""
    titles = re.findall("^## (.+)$", (RESULTS / "page.md.j2").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return _render("page.md.j2", contents="\n".join(map(_linked, titles[1:]))) + "\n"


def readme_with_table(readme: str) -> str:
    """The README with its table of results as the studies have it.

    Args:
        readme: Its text, with the two comments between which the table stands.

    Raises:
        ValueError: A comment is missing.
    """
    written, found = re.subn(
        f"(?<={re.escape(BEGIN)}).*(?={re.escape(END)})",
        lambda _: _render("table.md.j2") + "\n",
        readme,
        flags=re.DOTALL,
    )
    if found != 1:
        raise ValueError(f"README.md needs the comments {BEGIN.strip()} and {END.strip()} once")
    return written


def main() -> None:
    """Write both."""
    (RESULTS / "README.md").write_text(render_page(), encoding="utf-8")
    README.write_text(readme_with_table(README.read_text(encoding="utf-8")), encoding="utf-8")


def _linked(title: str) -> str:
    """A line of the contents; GitHub names a section by its words."""
    anchor = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
    return f"- [{title}](#{anchor})"


def _render(name: str, **further: str) -> str:
    known = {"study": read_study, "benchmark": read_benchmark, "ratio": ratio}
    known |= {"ratios": ratios, "race": race, "started": started, "speeds": speeds, "growth": growth, "table": table}
    environment = Environment(  # Markdown, so nothing is escaped as HTML; an unknown name is an error
        loader=FileSystemLoader(RESULTS), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name).render(known | further)


def _spread(found: Mapping[str, float]) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    main()
