"""Train a text classifier: python train.py RECIPE.yaml [--flag value ...]."""

import sys

from salience.configuration.terminal import calm_threads

if __name__ == "__main__":
    calm_threads()
    from salience.train.cli import main

    sys.exit(main())
