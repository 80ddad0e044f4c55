"""The files of a report: where they go, and that they get there as a whole or not at all."""

import csv
import logging
import shutil
from pathlib import Path
from typing import Any

from salience.configuration.errors import UserError
from salience.eval.failures.analysis import FailureAnalysis
from salience.eval.report.page import write_page
from salience.eval.report.pictures import PICTURES
from salience.eval.runs import Run
from salience.eval.scores.doubtful_labels import DoubtfulLabels
from salience.model_cards.card import make_card, without_report, write_card
from salience.model_cards.files import write_json
from salience.model_cards.run_folder import CARD_FILE, FAILURES_FILE, RELIABILITY_FILE, REPORT_FILE, REPORT_FOLDER
from salience.train.folder.output import check_places

logger = logging.getLogger(__name__)

PAGE_FILE = "report.html"
DOUBTS_FILE = "doubtful_labels.csv"
PICTURE_FOLDER = "visualizations"
UNFINISHED_FILE = ".unfinished_report"
"""There while a report is written. After a kill it says that what lies beside it is a part, which may be replaced."""


def output_folder(model: str | None, output_dir: str | None) -> Path:
    """Where the report of `--model` goes, by `--output_dir`."""
    folder = Path(str(model))
    return Path(output_dir or (folder / REPORT_FOLDER if folder.is_dir() else "runs/report"))


def check_output(out: Path, model: str | None) -> None:
    """Refuse a folder that holds a report, or files of its names; a part that was left of one is nobody's.

    Args:
        out: Folder of the report.
        model: What `--model` says.

    Raises:
        UserError: It does, or something stands in the way.
    """
    if (out / UNFINISHED_FILE).is_file():
        return
    run = Path(str(model))
    files = [out / name for name in (REPORT_FILE, PAGE_FILE, FAILURES_FILE, DOUBTS_FILE)]
    files += [out / PICTURE_FOLDER / name for name in PICTURES]
    if out.resolve() == (run / REPORT_FOLDER).resolve() and not has_figure(run / CARD_FILE):
        files.append(run / RELIABILITY_FILE)
    for file in files:
        if file.exists():
            raise UserError(f"{file} exists: choose another --output_dir, or move it away")
    check_places(out, [file.relative_to(out) for file in files if out in file.parents])


def write(
    out: Path, results: Any, failures: FailureAnalysis, pictures: dict[str, bytes], run: Run | None, source: str
) -> None:
    """Write pictures, page and JSON, and tell of them in the card of the run.

    Args:
        out: Folder of the report, which `check_output` has seen.
        results: The content of report.json.
        failures: The content of failure_analysis.json.
        pictures: PNGs by their names, without `.png`.
        run: Whose model it is, if it is a run's.
        source: Of the texts, as the list of doubtful labels names it.
    """
    mark = out / UNFINISHED_FILE
    if mark.is_file():
        remove_pictures(out)
    mark.touch()
    for name, picture in pictures.items():
        file = out / PICTURE_FOLDER / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture)
    write_json(out / FAILURES_FILE, failures)
    write_doubts(out / DOUBTS_FILE, source, results["doubtful_labels"])
    write_page(out / PAGE_FILE, results, failures, pictures)
    card = untouched_card(run, out)
    write_json(out / REPORT_FILE, results)  # where it is, the report is complete
    if card:
        (card.parent / RELIABILITY_FILE).write_bytes(pictures["reliability"])
        write_card(card.parent)
    elif left := card_beside(run, out):
        logger.warning("%s isn't as it was written, or its folder has another name: the report isn't put into it", left)
    mark.unlink()


def write_doubts(file: Path, source: str, found: DoubtfulLabels) -> None:
    """Write the labels to look at again, for a spreadsheet.

    Args:
        file: Where they go.
        source: Of the texts; rows are counted from 0.
        found: The labels.
    """
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "row", "text", "given", "predicted", "score"])
        for each in found["texts"]:
            words = (each["text"], each["given"], each["predicted"])
            writer.writerow([source, each["row"], *map(as_text, words), f"{each['score']:.6f}"])


def as_text(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell


def remove_pictures(out: Path) -> None:
    """Remove those that a stopped report has left; the next one may draw others."""
    for picture in (out / PICTURE_FOLDER / name for name in PICTURES):
        if picture.is_dir():
            shutil.rmtree(picture)
        else:
            picture.unlink(missing_ok=True)


def untouched_card(run: Run | None, out: Path) -> Path | None:
    """The card of a run that can tell of a report inside the run's folder, if nobody has edited it.

    An edit within its section on a report doesn't count: that section is of an earlier report, and is replaced.
    """
    card = card_beside(run, out)
    if run is None or card is None:
        return None
    ours, found = str(make_card(run.folder)), read_card(card)
    return card if without_report(found) == without_report(ours) else None


def card_beside(run: Run | None, out: Path) -> Path | None:
    """The card of the run in whose folder a report is; None where there is none."""
    if run is None or out.resolve() != (run.folder / REPORT_FOLDER).resolve():
        return None
    return card if (card := run.folder / CARD_FILE).is_file() else None


def has_figure(card: Path) -> bool:
    """Whether a card shows the figure of an earlier report, which is replaced."""
    return card.is_file() and f"({RELIABILITY_FILE})" in read_card(card)


def read_card(card: Path) -> str:
    """The text of a card; a user may have saved it in another encoding than ours."""
    return card.read_text(encoding="utf-8", errors="replace")
