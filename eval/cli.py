"""eval.py COMMAND ...: what a trained model is worth, and how models compare."""

import sys
from collections.abc import Callable
from importlib import import_module

from salience.configuration.errors import UserError


def _command(module: str) -> Callable[[list[str]], None]:
    """`main` of a room of this package, imported when it is called: the commands need much, and not the same."""
    return lambda argv: import_module(f"salience.eval.{module}.command").main(argv)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "score": _command("score"),
    "sparse": _command("baseline"),
    "study": _command("study"),
    "compare": _command("compare"),
    "report": _command("report"),
    "benchmark": _command("benchmark"),
}
"""What stands behind `eval.py`; each takes the words behind its name and raises `UserError`."""

HELP = """usage: eval.py COMMAND ...

  score --model FOLDER_OR_HUB_ID --test_file FILE   scores of a trained model on labelled texts
  sparse NAME RECIPE.yaml --output_dir OUT          a bag-of-words baseline on the splits of train.py
  study STUDY.yaml                                  a grid of runs with several seeds, in one table
  report --model FOLDER_OR_HUB_ID                   all about one model: report.html, figures, failure_analysis.json
  compare RUN [RUN ...]                             finished runs and TF-IDF baselines in one table and figure
  benchmark --suite hierarchical                    time and memory of the hierarchical model and of others

eval.py COMMAND --help says more."""


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands. Returns the exit status: 0, or 2 for bad input."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP)
        return 0 if argv else 2
    try:
        if argv[0] not in COMMANDS:
            raise UserError(f'"{argv[0]}" is no command of eval.py; the commands are {", ".join(COMMANDS)}')
        COMMANDS[argv[0]](argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
