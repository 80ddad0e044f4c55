"""Evaluate trained classifiers: python eval.py COMMAND ..., see --help."""

import sys

from salience.eval.cli import main

if __name__ == "__main__":
    sys.exit(main())
