"""The files of a comparison."""

from pathlib import Path

from salience.configuration.errors import UserError
from salience.eval.compare.page import render, write_figure
from salience.eval.compare.results import Comparison
from salience.model_cards.files import read_json, write_json
from salience.train.folder.output import check_places, check_unfinished

RESULTS_FILE = Path("results/model_comparison.json")
FIGURE_FILE = Path("visualizations/model_comparison.png")
TABLE_FILE = Path("model_comparison.md")


def check_out(out: Path) -> None:
    """Refuse a folder that holds a run, or files of the names of a comparison that isn't one of ours.

    An earlier comparison is written anew.

    Raises:
        UserError: It does.
    """
    check_unfinished(out, "comparison")
    check_places(out, (RESULTS_FILE, FIGURE_FILE, TABLE_FILE, "sparse/run"))
    results = out / RESULTS_FILE
    if results.exists() and {"test_sha256", "best_sparse", "rows"} <= read_json(results, "move it away").keys():
        return
    for file in (RESULTS_FILE, FIGURE_FILE, TABLE_FILE):
        if (out / file).exists():
            raise UserError(f"{out / file} is no comparison of ours: choose another --output_dir, or move it away")


def write(results: Comparison, out: Path) -> None:
    """Write JSON, figure and table.

    Args:
        results: The content of model_comparison.json, see `salience.eval.compare.command`.
        out: Folder of the comparison.
    """
    for file in (RESULTS_FILE, FIGURE_FILE):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
    write_json(out / RESULTS_FILE, results)
    write_figure(results, out / FIGURE_FILE)
    (out / TABLE_FILE).write_text(render(results, FIGURE_FILE), encoding="utf-8")
