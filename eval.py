"""Evaluate a trained classifier: python eval.py score --model FOLDER --test_file FILE."""

import sys

from salience.eval.cli import main

if __name__ == "__main__":
    sys.exit(main())
