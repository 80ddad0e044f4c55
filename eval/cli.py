"""`salience COMMAND ...`, and `eval.py COMMAND ...` for those that look at trained models."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple

from salience.configuration.errors import UserError, did_you_mean
from salience.configuration.terminal import calm_threads, run_program


class Command(NamedTuple):
    """One command: the module whose `main` takes the words behind its name, and what its line of help says."""

    module: str
    usage: str
    help: str
    runs_alone: bool = False  # it answers itself where no word stands behind its name


EVAL_COMMANDS = {
    "score": Command("salience.eval.score.command", "--model RUN --test_file FILE", "scores on labelled texts"),
    "predict": Command(
        "salience.eval.predict.command", "--model RUN --input FILES --output OUT", "labels for files of texts"
    ),
    "report": Command("salience.eval.report.command", "--model RUN", "all about one model, as one page"),
    "explain": Command(
        "salience.eval.explain.command", "--model RUN --text TEXT", "which words and sentences decide an answer"
    ),
    "space": Command("salience.eval.space.command", "--model RUN --output DIR", "a Gradio page to try it on"),
    "export": Command(
        "salience.eval.export.command", "--model RUN --output DIR --test_file FILE", "the model as ONNX, without torch"
    ),
    "compare": Command("salience.eval.compare.command", "RUN [RUN ...]", "finished runs and TF-IDF in one table"),
    "study": Command("salience.eval.study.command", "STUDY.yaml", "a grid of runs with several seeds, in one table"),
    "baseline": Command(
        "salience.eval.baseline.command", "NAME RECIPE.yaml --output_dir OUT", "TF-IDF, or a frozen encoder's vectors"
    ),
    "benchmark": Command(
        "salience.eval.benchmark.command", "--suite train", "time and memory, beside others", runs_alone=True
    ),
}
COMMANDS = {
    "train": Command("salience.train.cli", "[RECIPE.yaml] --output_dir OUT", "from labelled texts to a model"),
    **EVAL_COMMANDS,
    "push": Command("salience.train.publish.command", "OUT USER/NAME", "publish a finished run on the Hub", True),
}
FORMER_NAMES = {"sparse": "baseline"}


def main(
    argv: list[str] | None = None, program: str = "eval.py", commands: Mapping[str, Command] = EVAL_COMMANDS
) -> int:
    """Run one of the commands. Returns the exit status; see `run_program`."""
    return run_program(lambda words: run_command(words, program, commands), argv)


def run_command(argv: list[str], program: str, commands: Mapping[str, Command]) -> int:
    """Run the command that the first word names.

    Raises:
        UserError: There is none, or its input is bad.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(help_text(program, commands))
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"salience {version('salience')}")
        return 0
    name = FORMER_NAMES.get(argv[0], argv[0])
    if name not in commands:
        hint = did_you_mean(name, commands) or f"; the commands are {', '.join(commands)}"
        raise UserError(f'"{argv[0]}" is no command of {program}{hint}')
    run: Callable[[list[str]], int | None] = import_module(commands[name].module).main
    if argv[1:] or commands[name].runs_alone:
        return run(argv[1:]) or 0
    run(["--help"])
    return 2


def salience() -> int:
    """The console program of the installed package."""
    calm_threads()
    return main(program="salience", commands=COMMANDS)


def help_text(program: str, commands: Mapping[str, Command]) -> str:
    """One screen: each command with what it takes and does."""
    width = max(len(f"{name} {each.usage}") for name, each in commands.items())
    lines = [f"  {f'{name} {each.usage}':<{width}}  {each.help}" for name, each in commands.items()]
    return "\n".join(
        [f"usage: {program} COMMAND ...", "", *lines, "", f"{program} COMMAND --help says more. RUN is the folder of a"]
        + [f"finished run, or the name of a model on the Hub. {program} --version says which one this is."]
    )


if __name__ == "__main__":
    sys.exit(salience())
