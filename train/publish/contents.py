"""What a finished run's folder gives to its Hub repository, and why a folder is none."""

import json
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from salience.configuration.errors import UserError, one_line
from salience.model_cards.files import read_json
from salience.model_cards.run_folder import CARD_FILE, RUN_FILE, is_hub_id
from salience.train.folder.hub_files import hub_files
from salience.train.publish.remote_code import code_files

Contents = dict[str, Path | bytes]
HANDLER = "handler.py"


def read_contents(folder: Path, handler: bool = False) -> Contents:
    """What is uploaded of a finished run, or of an adapter folder, for each file of the repository.

    Code is sent as far as the configuration's `auto_map` reaches, and nothing that a link points to.

    Args:
        folder: The run's, or an adapter folder.
        handler: Add the handler of Inference Endpoints.

    Raises:
        UserError: The folder is none, lacks what a finished run has, holds a damaged or linked file, or would have
            others run code that isn't in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the output_dir of a finished run")
    code = code_files(folder)
    files = [name for name in hub_files(folder) if not name.endswith(".py") or name in code]
    missing = [name for name in _needed(folder, files) if name not in files]
    if missing:
        raise UserError(f"{folder} is no finished run: it has no {', '.join(missing)}; train to the end, then push")
    for name in files:
        if any(path.is_symlink() for path in (folder / name, *(folder / name).parents) if folder in path.parents):
            raise UserError(f"{folder / name} is a link, which is never followed: put the file itself there")
        if name.endswith(".safetensors"):
            _check_weights(folder / name)
        if name.endswith(".json"):
            read_json(folder / name)
        if name.endswith(CARD_FILE):
            _check_text(folder / name)
    contents: Contents = {name: folder / name for name in files}
    adapters = [name for name in files if PurePosixPath(name).name == "adapter_config.json"]
    if handler and "model.safetensors" not in files and "model.safetensors.index.json" not in files:
        raise UserError(f"{folder} holds an adapter, which no endpoint serves: push the run's folder, or no handler")
    if handler:
        contents[HANDLER] = Path(__file__).with_name(HANDLER)
    return contents | {name: _adapter_config(folder, name) for name in adapters}


def _needed(folder: Path, files: list[str]) -> list[str]:
    if "adapter_config.json" in files:  # beside a config.json, which load_adapter reads
        return ["README.md", "adapter_model.safetensors"]
    needed = ["README.md", "config.json", "tokenizer_config.json", RUN_FILE]
    index = folder / "model.safetensors.index.json"
    if index.is_file() and "model.safetensors" not in files:
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise UserError(f"{index} has no weight_map, so this is no finished run; train to the end, then push")
        return needed + sorted(set(map(str, weight_map.values())))
    return [*needed, "model.safetensors"]


def _check_weights(file: Path) -> None:
    """Make sure that a file of weights is whole, by its header."""
    try:
        with safe_open(file, framework="np") as tensors:
            is_empty = not tensors.keys()
    except SafetensorError as error:
        raise UserError(
            f"{file} is no whole file of weights, so this is no finished run; train to the end, then push "
            f"({one_line(error, 100)})"
        ) from error
    if is_empty:
        raise UserError(f"{file} holds no weights, so this is no finished run; train to the end, then push")


def _check_text(file: Path) -> None:
    try:
        file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8, as the Hub reads cards: save it with this encoding, then push"
        ) from error


def _adapter_config(folder: Path, name: str) -> bytes:
    """An adapter's configuration, its base named by the Hub id that it or run.json knows."""
    config = read_json(folder / name)
    run = next((path for path in (folder / RUN_FILE, folder.parent / RUN_FILE) if path.is_file()), None)
    named = read_json(run).get("model", {}).get("encoder") if run else None
    # What the run says comes first: whether the adapter's is a folder depends on where this is asked.
    base = next((each for each in (named, config.get("base_model_name_or_path")) if is_hub_id(each)), None)
    if base is None:
        raise UserError(
            f"{folder / name} must name a base model on the Hub, or nobody else can load the adapter: "
            "set its base_model_name_or_path, or train with --base_model USER/NAME"
        )
    return json.dumps(config | {"base_model_name_or_path": base}, indent=2, sort_keys=True).encode()
