"""eval.py space --model FOLDER_OR_HUB_ID --output DIR: a Gradio Space on which anyone can try a classifier.

The folder runs by itself, here (`--launch`, or `python app.py`) and as a Space of the Hub. A model in a folder is
copied into it; one of the Hub is named with its commit.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from salience.configuration.errors import UserError
from salience.configuration.flags.data_arguments import FileArguments
from salience.configuration.flags.parser import RecipeParser
from salience.configuration.hub import find_commit
from salience.eval.reading.load import load_classifier
from salience.eval.space.folder import GRADIO, write_space
from salience.train.data.formats.decoding import read_utf8
from salience.train.folder.new import new_folder


@dataclass
class SpaceArguments:
    """Of which model the Space is, and where it goes."""

    model: str | None = field(default=None, metadata={"help": "Folder or Hub id of a trained classifier."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub id."})
    output: str | None = field(default=None, metadata={"help": "Folder of the Space, new or empty."})
    examples: str | None = field(
        default=None,
        metadata={"help": "A .txt with one text in each line, to try on the page; unset: none."},
    )
    launch: bool = field(default=False, metadata={"help": "Start it here, until Ctrl-C."})


def main(argv: list[str]) -> int:
    """`eval.py space`: see the module.

    Raises:
        UserError: There is no such model; the folder or the examples won't do; or it can't be started here.
    """
    parser = RecipeParser((SpaceArguments,), program="eval.py space")
    if not argv or {"-h", "--help"} & set(argv):
        parser.print_help()
        return 0
    (arguments,) = parser.parse(argv)
    folder = make_space(arguments)
    print(f"space    {folder}\nstart    python {folder / 'app.py'}", flush=True)
    if not arguments.launch:
        return 0
    environment = {"GRADIO_ANALYTICS_ENABLED": "False", **os.environ}
    return subprocess.run([sys.executable, "app.py"], cwd=folder, env=environment, check=False).returncode


def make_space(arguments: SpaceArguments) -> Path:
    """Write the Space; returns its folder.

    Args:
        arguments: Of the command.

    Raises:
        UserError: See `main`.
    """
    with new_folder(arguments.output) as folder:
        if arguments.launch and find_spec("gradio") is None:
            raise UserError(f"--launch needs gradio: pip install gradio=={GRADIO}, or leave it out")
        examples = read_examples(arguments.examples)
        load_classifier(arguments.model, arguments.revision)  # tells what can't be loaded
        model = os.path.expanduser(str(arguments.model))
        write_space(folder, model, find_commit(model, arguments.revision), examples)
    return Path(os.path.expanduser(str(arguments.output))).absolute()


def read_examples(name: str | None) -> list[str]:
    """The texts of `--examples`.

    Raises:
        UserError: It is no .txt file, holds no text, or can't be read.
    """
    if name is None:
        return []
    file = Path(os.path.expanduser(name))
    if file.suffix != ".txt" or not file.is_file():
        raise UserError(f"--examples {name} must be a .txt file with one text in each line")
    lines = str(read_utf8(file, file.name, FileArguments()), "utf-8").splitlines()
    if texts := [line for line in lines if line.strip()]:
        return texts
    raise UserError(f"--examples {name} holds no text")
