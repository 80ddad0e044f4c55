"""salience push FOLDER USER/NAME: publish a finished run as a model repository of the Hub."""

import argparse
import gc
from typing import NoReturn

from salience.configuration.errors import UserError
from salience.train.publish.push import push_folder


class _Parser(argparse.ArgumentParser):
    """Ends in one sentence, as the other commands do."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(argv: list[str]) -> None:
    """`salience push`: prints the address of the commit or pull request.

    Raises:
        UserError: See `push_folder`; or a word is missing or unknown.
    """
    parser = _Parser(
        prog="salience push", description="Publish a finished run as a Hub model repo.", allow_abbrev=False
    )
    parser.add_argument("folder", metavar="FOLDER", help="output_dir of a finished run, or its adapter folder")
    parser.add_argument("repo_id", metavar="USER/NAME", help="model repo, created if it doesn't exist")
    parser.add_argument("--private", action="store_true", help="create the repo as private")
    parser.add_argument("--create_pr", action="store_true", help="open a pull request instead of committing")
    parser.add_argument("--revision", metavar="BRANCH", help="commit to this branch (default: main)")
    parser.add_argument("--new", action="store_true", help="fail if the repo exists already")
    parser.add_argument("--handler", action="store_true", help="add handler.py, for Inference Endpoints")
    args = parser.parse_args(argv)
    options = {name: getattr(args, name) for name in ("private", "create_pr", "revision", "handler")}
    message = ""
    try:
        print(push_folder(args.folder, args.repo_id, exist_ok=not args.new, **options))
    except UserError as error:
        message = str(error)
    if message:
        gc.collect()  # ends the progress bars of a broken upload, which would share the message's line
        raise UserError(message)
