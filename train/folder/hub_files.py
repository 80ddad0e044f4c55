"""Which files of a run's folder belong into its Hub repository."""

from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from salience.configuration.errors import UserError
from salience.model_cards.run_folder import RUN_FILE, read_json

HUB_FILES = (
    "README.md",
    "reliability.png",
    "config.json",
    "*.py",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter/README.md",
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "*_results.json",
    RUN_FILE,
)
"""Everything that a Hub repo of ours holds; `*` never crosses a folder, so no checkpoint's files match."""


def hub_files(folder: str | Path) -> list[str]:
    """Names of the files in `folder` that belong into its Hub repo, sorted, relative, with `/`."""
    folder = Path(folder)
    found = [path for path in [*folder.glob("*"), *folder.glob("adapter/*")] if path.is_file()]
    return sorted(name for path in found if belongs(name := path.relative_to(folder).as_posix()))


def belongs(name: str) -> bool:
    """Whether a file of this name, relative and with `/`, is one of `HUB_FILES`."""
    path = PurePosixPath(name)
    patterns = [PurePosixPath(pattern) for pattern in HUB_FILES]
    return any(path.parent == pattern.parent and fnmatchcase(path.name, pattern.name) for pattern in patterns)


def finished_files(folder: Path) -> list[str]:
    """The Hub files of a finished run's folder.

    Raises:
        UserError: the folder is none, or lacks what a finished run has.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the output_dir of a finished run")
    files = hub_files(folder)
    if "adapter_config.json" in files:  # beside a config.json, which load_adapter reads
        needed = ["README.md", "adapter_model.safetensors"]
    else:
        needed = ["README.md", "config.json", "tokenizer_config.json"]
        index = folder / "model.safetensors.index.json"
        if index.is_file() and "model.safetensors" not in files:
            needed += sorted(set(read_json(index)["weight_map"].values()))
        else:
            needed.append("model.safetensors")
    missing = [name for name in needed if name not in files]
    if missing:
        raise UserError(f"{folder} is no finished run: it has no {', '.join(missing)}; train to the end, then push")
    return files
