"""Train a text classifier: python train.py RECIPE.yaml [--flag value ...]."""

import sys

from salience.train.cli import main

if __name__ == "__main__":
    sys.exit(main())
