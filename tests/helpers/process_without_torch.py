"""Run in a process that can't import torch and all that needs it: `FOLDER/predict.py` on the texts of standard input.

Arguments: an exported folder, and the name of a graph. Reads a JSON list of texts, writes one of answers.
"""

import importlib.abc
import json
import sys

UNWANTED = {"torch", "transformers", "salience", "onnx", "onnxscript", "scipy", "sklearn", "pyarrow", "pandas"}


class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in UNWANTED:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


sys.meta_path.insert(0, NoTorch())
sys.path.insert(0, sys.argv[1])

from predict import Classifier  # noqa: E402

json.dump(Classifier(sys.argv[2])(json.load(sys.stdin)), sys.stdout)
