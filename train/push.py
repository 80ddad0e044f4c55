"""Publish a finished run: `salience-push FOLDER USER/NAME`."""

import argparse
import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import build_hf_headers, get_session, validate_repo_id

from salience.model_cards.card import pin_usage
from salience.model_cards.run_folder import is_hub_id
from salience.train.errors import UserError

HUB_FILES = (
    "README.md",
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
    "run.json",
)
"""Everything that a Hub repo of ours holds; `*` never crosses a folder, so no checkpoint's files match."""

# What a request without an answer raises: an OSError from requests (huggingface_hub < 1), an HTTPError from httpx.
CONNECTION_ERRORS = (OSError, HTTPError)


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    create_pr: bool = False,
    revision: str | None = None,
    commit_message: str = "Upload model with Salience",
    token: str | None = None,
    exist_ok: bool = True,
) -> str:
    """Upload a finished run folder, or an adapter folder, to a Hub model repo.

    All comes in one commit, so that nobody reads half a model; a second one pins the card's usage blocks to the first.
    Afterwards the repo holds exactly this folder's `HUB_FILES`: those of an earlier run are removed in the same commit,
    all other files of the repo stay. Checkpoints, optimizer state and pickles are never uploaded.

    Args:
        folder: the `output_dir` of a training run, or a PEFT adapter folder that names its base model.
        repo_id: `USER/NAME`; a bare `NAME` is put under the token's user. Created if it doesn't exist.
        private: create the repo as private; refused when a public one exists already.
        create_pr: open a pull request instead of committing.
        revision: branch to commit to, created if it doesn't exist. Default: `main`.
        commit_message: first line of the commit.
        token: access token. Default: `HF_TOKEN`, or the one that `hf auth login` saved.
        exist_ok: whether the repo may exist already and gets one more commit.

    Returns:
        The URL of the commit, or of the pull request.

    Raises:
        UserError: the folder isn't finished, or the Hub refused or didn't answer; one sentence with the fix.
    """
    folder = Path(folder)
    files = _finished_files(folder)
    contents = _contents(folder, files)
    if create_pr and revision:
        raise UserError("a pull request always goes to main: give --create_pr or --revision, not both")
    check_repo_name(repo_id)
    api = HfApi(token=check_access(token))
    with _one_sentence(api.endpoint, repo_id):
        repo_id = _open_repo(api, repo_id, private, revision, exist_ok)
        stale = _stale_files(api, repo_id, revision, files)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [CommitOperationDelete(name) for name in stale]
        card = _Card(api, folder, repo_id, revision)
        unchanged = {"README.md"} if card.is_there else set()
        operations += [CommitOperationAdd(name, contents[name]) for name in files if name not in unchanged]
        before = api.model_info(repo_id, revision=revision).sha
        commit = api.create_commit(
            repo_id, operations, commit_message=commit_message, revision=revision, create_pr=create_pr
        )
        if commit.oid == before:
            return commit.commit_url
        pinned = card.pin(commit.oid, commit.pr_revision or revision)
    return commit.pr_url or pinned


class _Card:
    """The card of a folder, and whether the repo has it already, whatever commit its usage blocks are pinned to."""

    def __init__(self, api: HfApi, folder: Path, repo_id: str, revision: str | None) -> None:
        self.api, self.repo_id = api, repo_id
        self.text = (folder / "README.md").read_text(encoding="utf-8")
        try:
            there = Path(api.hf_hub_download(repo_id, "README.md", revision=revision)).read_text(encoding="utf-8")
        except EntryNotFoundError:
            there = ""
        self.is_there = pin_usage(there, repo_id, "") == pin_usage(self.text, repo_id, "")

    def pin(self, commit: str, branch: str | None) -> str:
        """Commit the card with its usage blocks pinned to the commit that has the model; the URL of the new commit."""
        operation = CommitOperationAdd("README.md", pin_usage(self.text, self.repo_id, commit).encode())
        message = f"Pin the card to {commit[:7]}"
        return self.api.create_commit(self.repo_id, [operation], commit_message=message, revision=branch).commit_url


def _contents(folder: Path, files: list[str]) -> dict[str, Path | bytes]:
    """What is uploaded for each file: itself, but an adapter names its base model by the Hub id that run.json knows."""
    contents: dict[str, Path | bytes] = {name: folder / name for name in files}
    for name in files:
        if PurePosixPath(name).name != "adapter_config.json":
            continue
        config = _read_json(folder / name)
        run = next((path for path in (folder / "run.json", folder.parent / "run.json") if path.is_file()), None)
        named = _read_json(run).get("model", {}).get("encoder") if run else None
        base = next((each for each in (config.get("base_model_name_or_path"), named) if is_hub_id(each)), None)
        if base is None:
            raise UserError(
                f"{folder / name} must name a base model on the Hub, or nobody else can load the adapter: "
                "set its base_model_name_or_path, or train with --base_model USER/NAME"
            )
        contents[name] = json.dumps(config | {"base_model_name_or_path": base}, indent=2, sort_keys=True).encode()
    return contents


def check_access(token: str | None = None) -> str:
    """Make sure that the Hub answers and knows the token: before training, so that no work waits for a push that fails.

    Args:
        token: access token. Default: `HF_TOKEN`, or the one that `hf auth login` saved.

    Returns:
        The token.

    Raises:
        UserError: there is no token, or the Hub doesn't answer or doesn't accept it.
    """
    token = token or get_token()
    if not token:
        raise UserError("no Hub token: run `hf auth login`, or set HF_TOKEN to a token with write access")
    _check_connection(HfApi().endpoint, token)
    return token


def hub_files(folder: str | Path) -> list[str]:
    """Names of the files in `folder` that belong into its Hub repo, sorted, relative, with `/`."""
    folder = Path(folder)
    found = [path for path in [*folder.glob("*"), *folder.glob("adapter/*")] if path.is_file()]
    return sorted(name for path in found if _belongs(name := path.relative_to(folder).as_posix()))


def _belongs(name: str) -> bool:
    path = PurePosixPath(name)
    patterns = [PurePosixPath(pattern) for pattern in HUB_FILES]
    return any(path.parent == pattern.parent and fnmatchcase(path.name, pattern.name) for pattern in patterns)


def _finished_files(folder: Path) -> list[str]:
    """The folder's Hub files; `UserError` names what a finished run would have and this folder lacks."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the output_dir of a finished run")
    files = hub_files(folder)
    if "adapter_config.json" in files:  # beside a config.json, which load_adapter reads
        needed = ["README.md", "adapter_model.safetensors"]
    else:
        needed = ["README.md", "config.json", "tokenizer_config.json"]
        index = folder / "model.safetensors.index.json"
        if index.is_file() and "model.safetensors" not in files:
            needed += sorted(set(_read_json(index)["weight_map"].values()))
        else:
            needed.append("model.safetensors")
    missing = [name for name in needed if name not in files]
    if missing:
        raise UserError(f"{folder} is no finished run: it has no {', '.join(missing)}; train to the end, then push")
    return files


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: train again, or restore the file") from error


def check_repo_name(repo_id: str) -> None:
    """Make sure that a repository can have this name.

    Raises:
        UserError: it can't.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(
            f"{repo_id!r} can't be a repo name: give USER/NAME, from letters, digits, '-', '_' and '.', at most 96 long"
        ) from error


def _check_connection(endpoint: str, token: str) -> None:
    """One request with a time limit: the Hub client itself waits without end for a server that doesn't answer."""
    try:
        url = f"{endpoint}/api/whoami-v2"
        response = get_session().get(url, headers=build_hf_headers(token=token), timeout=HF_HUB_ETAG_TIMEOUT)
    except OfflineModeIsEnabled as error:
        raise UserError("HF_HUB_OFFLINE is set: unset it to publish") from error
    except CONNECTION_ERRORS as error:
        raise UserError(f"{endpoint} doesn't answer: check the network connection and HF_ENDPOINT") from error
    if response.status_code == 401:
        raise UserError(f"{endpoint} doesn't accept the token: run `hf auth login`, or set HF_TOKEN to a valid one")


def _open_repo(api: HfApi, repo_id: str, private: bool, revision: str | None, exist_ok: bool) -> str:
    """Create repo and branch where they don't exist; returns the repo's full name."""
    try:
        # None leaves the choice to the default of the user's organization.
        repo_id = api.create_repo(repo_id, private=private or None, exist_ok=exist_ok).repo_id
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
        raise UserError(f"{repo_id} exists already: choose another name, or leave out --new to add a commit") from error
    if private and not api.model_info(repo_id).private:
        raise UserError(f"{repo_id} exists and is public: make it private in its settings, or choose another name")
    if revision and not revision.startswith("refs/pr/"):
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    return repo_id


def _stale_files(api: HfApi, repo_id: str, revision: str | None, files: list[str]) -> list[str]:
    return [name for name in api.list_repo_files(repo_id, revision=revision) if _belongs(name) and name not in files]


@contextmanager
def _one_sentence(endpoint: str, repo_id: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except HfHubHTTPError as error:
        raise UserError(_refusal(endpoint, repo_id, error)) from error
    except (RuntimeError, *CONNECTION_ERRORS) as error:
        if isinstance(error, OSError) and error.filename:
            raise UserError(f"{error.filename} can't be read: {error.strerror}") from error
        cause = error.__cause__
        status = f" (status {cause.response.status_code})" if isinstance(cause, HfHubHTTPError) else ""
        raise UserError(
            f"the upload to {repo_id} was interrupted{status}: run the same command again, without --new;"
            " what was uploaded is kept"
        ) from error
    except ValueError as error:  # the client's own checks, such as the card's metadata
        raise UserError(f"{repo_id} was not changed: {_one_line(error)}") from error


def _refusal(endpoint: str, repo_id: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status in (401, 403):
        return f"the token may not write to {repo_id}: use a token with write access, or a repo of your own"
    if status == 404:
        return f"{endpoint} has no such repo or branch: {_one_line(error.server_message or repo_id)}"
    if status == 429:
        return f"{endpoint} asks to wait (too many requests): run the same command again in a few minutes"
    if status >= 500:
        return f"{endpoint} failed (status {status}): run the same command again; what was uploaded is kept"
    return f"{endpoint} refused {repo_id} (status {status}): {_one_line(error.server_message or 'no reason given')}"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def main(argv: list[str] | None = None) -> int:
    """Command line of `salience-push`; prints the URL of the commit or pull request.

    Args:
        argv: arguments. Default: `sys.argv[1:]`.

    Returns:
        Exit status: 0, 2 after a `UserError`, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="salience-push", description="Publish a finished run as a Hub model repo.")
    parser.add_argument("folder", metavar="FOLDER", help="output_dir of a finished run, or its adapter folder")
    parser.add_argument("repo_id", metavar="USER/NAME", help="model repo, created if it doesn't exist")
    parser.add_argument("--private", action="store_true", help="create the repo as private")
    parser.add_argument("--create_pr", action="store_true", help="open a pull request instead of committing")
    parser.add_argument("--revision", metavar="BRANCH", help="commit to this branch (default: main)")
    parser.add_argument("--new", action="store_true", help="fail if the repo exists already")
    args = parser.parse_args(argv)
    message = ""
    try:
        url = push_folder(
            args.folder,
            args.repo_id,
            private=args.private,
            create_pr=args.create_pr,
            revision=args.revision,
            exist_ok=not args.new,
        )
    except UserError as error:
        message = str(error)
    except KeyboardInterrupt:
        print("error: stopped: run the same command again; what was uploaded is kept", file=sys.stderr)
        return 130
    if message:
        gc.collect()  # ends the progress bars of a broken upload, which would share the message's line
        print(f"error: {message}", file=sys.stderr)
        return 2
    print(url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
