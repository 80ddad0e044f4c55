"""What a name on the Hub stands for, asked once and with a time limit.

The Hub's own clients try again for half a minute where there is no connection, and wait without end for a server that
doesn't answer.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from salience.configuration.errors import UserError

CONNECTION_ERRORS = (OSError, HTTPError)
"""What a request without an answer raises: an OSError from requests (huggingface_hub < 1), an HTTPError from httpx."""


def refuse_revision_of_folder(name: str, revision: str | None, flag: str, revision_flag: str) -> None:
    """Refuse a revision of what isn't on the Hub.

    Args:
        name: Hub id or folder.
        revision: Branch, tag or commit; None where nobody gave one.
        flag: Of the name.
        revision_flag: Of the revision.

    Raises:
        UserError: It is a folder's.
    """
    if revision is not None and Path(name).is_dir():
        raise UserError(f"{revision_flag} belongs to a Hub id, and {flag} {name} is a folder; leave it out")


def find_commit(name: str, revision: str | None = None, repo_type: str = "model") -> str | None:
    """The commit that a Hub id stands for now, so that all files are of the same one and it can be named later.

    Args:
        name: Hub id, or a folder.
        revision: Branch, tag or commit. Default: main.
        repo_type: "model" or "dataset".

    Returns:
        Its hash; that of the newest copy in the cache where the Hub doesn't answer or fails. None for a folder.

    Raises:
        OSError: There is no such repository or revision, or neither an answer nor a copy; says which.
        ValueError: It can't be a Hub id, or what answers is no Hub.
    """
    if Path(name).is_dir():
        return None
    if Path(name).is_file():
        raise OSError(f"{name} is a file, not a folder")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise OSError("there is no such folder")
    validate_repo_id(name)
    endpoint, wanted = HfApi().endpoint, revision or "main"
    if constants.HF_HUB_OFFLINE:
        return _cached_commit(name, revision, repo_type, "HF_HUB_OFFLINE is set, and there is no copy in the cache")
    try:
        return _commit_by_request(name, wanted, repo_type)
    except RevisionNotFoundError as error:
        raise OSError(f"it has no branch, tag or commit {wanted}") from error
    except CONNECTION_ERRORS as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status == 403 or isinstance(error, GatedRepoError):
            raise OSError("it is gated: ask for access on its page, and run `hf auth login`") from error
        if status == 401 or isinstance(error, RepositoryNotFoundError):
            private = "it is private and the token isn't its owner's"
            raise OSError(f"{endpoint} has no {repo_type} of this name, or {private}") from error
        fails = f"fails (status {status})" if status else "doesn't answer"
        return _cached_commit(name, revision, repo_type, f"{endpoint} {fails}, and there is no copy in the cache")


def _commit_by_request(name: str, revision: str, repo_type: str) -> str:
    """The commit as the Hub says it; ValueError where what answers is no Hub."""
    try:
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        commit = HfApi().repo_info(name, revision=revision, repo_type=repo_type, timeout=timeout).sha
    except (KeyError, TypeError):
        commit = None
    if commit is None:
        raise ValueError(f"{HfApi().endpoint} answers without a commit: check HF_ENDPOINT")
    return commit


def read_config(name: str, revision: str | None = None) -> dict[str, Any]:
    """What a model's config.json holds, after a look at what transformers takes for granted.

    Args:
        name: Folder or Hub id.
        revision: Branch, tag or commit of a Hub id.

    Raises:
        OSError: There is none, or it is empty or no JSON.
        ValueError: It holds no object, or names a type of models or numbers that isn't known.
    """
    import torch  # slow, and asking the Hub needs neither
    from transformers import CONFIG_MAPPING, PretrainedConfig

    try:
        fields = PretrainedConfig.get_config_dict(name, revision=revision)[0]
    except (AttributeError, TypeError) as error:  # one version fails at a list, the other passes it on
        raise ValueError("its config.json holds no JSON object") from error
    if not isinstance(fields, dict):
        raise ValueError("its config.json holds no JSON object")
    if not fields:
        raise OSError("it has no config.json, or one that is empty: name the folder that holds the whole model")
    kind, dtype = fields.get("model_type"), fields.get("dtype", fields.get("torch_dtype"))
    if kind is not None and not (isinstance(kind, str) and kind in CONFIG_MAPPING):
        if "auto_map" in fields:
            raise ValueError(
                f"it brings its own code, which is never run, and model_type = {kind!r} in its config.json is unknown "
                "here; choose one that transformers knows"
            )
        raise ValueError(f"model_type = {kind!r} in its config.json is no type of models that transformers knows")
    known = isinstance(dtype, str) and isinstance(getattr(torch, dtype.removeprefix("torch."), None), torch.dtype)
    if not (dtype is None or dtype == "auto" or isinstance(dtype, dict) or known):
        raise ValueError(f"dtype = {dtype!r} in its config.json is no type of numbers")
    return fields


def _cached_commit(name: str, revision: str | None, repo_type: str, otherwise: str) -> str:
    """The commit of the copy in the cache; OSError with the reason in `otherwise` if there is none."""
    for file in ("config.json", "adapter_config.json", "README.md", ".gitattributes"):
        found = try_to_load_from_cache(name, file, revision=revision, repo_type=repo_type)
        if isinstance(found, str):
            return Path(found).parent.name
    raise OSError(otherwise)
