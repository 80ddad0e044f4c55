"""Evaluate trained classifiers: python eval.py COMMAND ..., see --help."""

import sys

from salience.configuration.terminal import calm_threads
from salience.eval.cli import main

if __name__ == "__main__":
    calm_threads()
    sys.exit(main())
