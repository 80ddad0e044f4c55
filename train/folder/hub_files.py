"""Which files of a run's folder belong into its Hub repository."""

from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from salience.model_cards.run_folder import RUN_FILE

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
    "train_results.json",
    "eval_results.json",
    "test_results.json",
    RUN_FILE,
)
"""Everything that a run may put into a Hub repo; `*` never crosses a folder, so no checkpoint's files match."""


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
