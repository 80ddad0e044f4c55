"""What a name on the Hub stands for, asked once and with a time limit.

The Hub's own clients try again for half a minute where there is no connection, and wait without end for a server that
doesn't answer.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import build_hf_headers, get_session, validate_repo_id

CONNECTION_ERRORS = (OSError, HTTPError)
"""What a request without an answer raises: an OSError from requests (huggingface_hub < 1), an HTTPError from httpx."""


def find_commit(name: str, revision: str | None = None, repo_type: str = "model") -> str | None:
    """The commit that a Hub id stands for now, so that all files are of the same one and it can be named later.

    Args:
        name: Hub id.
        revision: Branch, tag or commit. Default: main.
        repo_type: "model" or "dataset".

    Returns:
        Its hash, without a connection that of the newest copy in the cache; None if the Hub answers and can't tell.

    Raises:
        OSError: There is no such repository or revision, or neither a connection nor a copy; says which.
        ValueError: It can't be a Hub id.
    """
    if Path(name).is_file():
        raise OSError(f"{name} is a file, not a folder")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise OSError("there is no such folder")
    validate_repo_id(name)
    endpoint, wanted = HfApi().endpoint, revision or "main"
    url = f"{endpoint}/api/{repo_type}s/{name}/revision/{wanted.replace('/', '%2F')}"
    if constants.HF_HUB_OFFLINE:
        return _cached_commit(name, revision, repo_type, "HF_HUB_OFFLINE is set, and there is no copy in the cache")
    try:
        response = get_session().get(url, headers=build_hf_headers(), timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except CONNECTION_ERRORS:
        reason = f"{endpoint} doesn't answer, and there is no copy in the cache"
        return _cached_commit(name, revision, repo_type, reason)
    if response.status_code == 404 and response.headers.get("X-Error-Code") == "RevisionNotFound":
        raise OSError(f"it has no branch, tag or commit {wanted}")
    if response.status_code in (401, 404):
        raise OSError(f"{endpoint} has no {repo_type} of this name, or it is private and the token isn't its owner's")
    if response.status_code == 403:
        raise OSError("it is gated: ask for access on its page, and run `hf auth login`")
    return response.json().get("sha") if response.status_code == 200 else None


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
