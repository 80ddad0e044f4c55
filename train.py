"""Train a text classifier: python train.py RECIPE.yaml [--flag value ...]."""

import sys

from salience.configuration.terminal import calm_threads, run_program


def main(words: list[str]) -> int:
    """Import what takes seconds, which can be stopped as the training can, and train."""
    from salience.train.cli import run_command

    return run_command(words)


if __name__ == "__main__":
    calm_threads()
    sys.exit(run_program(main))
