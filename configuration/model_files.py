"""Why a model can't be loaded: libraries rarely name the file that is to blame."""

import json
from pathlib import Path
from pickle import UnpicklingError

from safetensors import SafetensorError, safe_open

from salience.configuration.errors import one_line
from salience.configuration.git_lfs import IS_POINTER, is_pointer

_TEXTS = ("config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json", "vocab*", "*.model")
BASELINES = {"sparse": "TF-IDF", "frozen": "vectors of a frozen encoder"}  # by `kind` in run.json
# The first of these that are there are loaded.
_WEIGHTS = ("model*.safetensors", "adapter_model.safetensors", "pytorch_model*.bin")


def loading_fault(name: str, error: Exception) -> str:
    """What is wrong with a model's files, and the way out; where they tell nothing, what a library said.

    Args:
        name: Folder or Hub id that couldn't be loaded.
        error: What was raised.
    """
    folder = Path(name)
    if folder.is_dir() and (found := _damage(folder)):
        return found
    if not (folder / "config.json").exists() and (baseline := _baseline(folder)):
        return f"it is the run of a baseline ({baseline}), which keeps scores and no model: name a run of train.py"
    if isinstance(error, UnpicklingError | EOFError):
        return "its weights are a pickle that is damaged or holds more than weights; save it as model.safetensors"
    if isinstance(error, KeyError):
        return f"its config.json asks for {one_line(error, 100)}, which transformers doesn't know here: correct it"
    if "no file named" in str(error) and (folder / "adapter_config.json").is_file():
        return "it holds an adapter and no whole model: name the run's own folder, or read it with load_adapter"
    if "instantiate the backend tokenizer" in str(error):
        return "it has no tokenizer that can be read; add its tokenizer.json"
    return one_line(error, 400)


def _baseline(folder: Path) -> str | None:
    """What a folder without a model is by its run.json, which runs of baselines have too."""
    try:
        record = json.loads((folder / "run.json").read_bytes())
        return BASELINES.get(record.get("kind"))
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def _damage(folder: Path) -> str | None:
    try:
        files = sorted(folder.iterdir())
        weights = next(filter(None, ([file for file in files if file.match(each)] for each in _WEIGHTS)), [])
        texts = [file for file in files if any(map(file.match, _TEXTS))]
        return next(filter(None, map(_damage_of, (*weights, *texts))), None)
    except OSError as error:
        return f"{error.filename or folder} can't be read: {error.strerror}; let its owner make it readable"


def _damage_of(file: Path) -> str | None:
    """What is wrong with a file, if that can be told of it alone.

    Raises:
        OSError: It can't be read.
    """
    if not file.is_file():
        return None
    file.open("rb").close()  # safetensors takes what it may not read for missing
    if is_pointer(file):
        return f"{file} {IS_POINTER}"
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="numpy"):
                pass
        elif file.suffix == ".json":
            json.loads(file.read_bytes())
    except (SafetensorError, ValueError) as error:
        return f"{file} is damaged ({one_line(error, 200)}): copy it again"
    return None
