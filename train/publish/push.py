"""Publish a finished run as a model repository of the Hub."""

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import EntryNotFoundError

from salience.configuration.errors import UserError
from salience.model_cards.card import pin_usage
from salience.model_cards.run_folder import RUN_FILE, is_hub_id, read_json
from salience.train.folder.hub_files import belongs, finished_files
from salience.train.publish.hub_access import check_access, check_repo_name, one_sentence, open_repo

if TYPE_CHECKING:
    from transformers import TrainingArguments


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
    files = finished_files(folder)
    contents = _contents(folder, files)
    if create_pr and revision:
        raise UserError("a pull request always goes to main: give --create_pr or --revision, not both")
    check_repo_name(repo_id)
    api = HfApi(token=check_access(token))
    with one_sentence(api.endpoint, repo_id):
        repo_id = open_repo(api, repo_id, private, revision, exist_ok)
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


def push_run(training: "TrainingArguments", **options: Any) -> str:
    """Upload the run of these arguments, as their `hub_` flags say; returns the address of the commit.

    Args:
        training: `output_dir`, and where it goes.
        options: Of `push_folder`; they win over the flags.

    Raises:
        UserError: See `push_folder`.
    """
    folder = Path(str(training.output_dir))
    name = training.hub_model_id or folder.resolve().name
    flags: dict[str, Any] = {
        "commit_message": "End of training",
        "private": bool(training.hub_private_repo),
        "revision": training.hub_revision,
        "token": training.hub_token,
    }
    return push_folder(folder, name, **(flags | options))


def _contents(folder: Path, files: list[str]) -> dict[str, Path | bytes]:
    """What is uploaded for each file: itself, but an adapter names its base model by the Hub id that run.json knows."""
    contents: dict[str, Path | bytes] = {name: folder / name for name in files}
    for name in files:
        if PurePosixPath(name).name != "adapter_config.json":
            continue
        config = read_json(folder / name)
        run = next((path for path in (folder / RUN_FILE, folder.parent / RUN_FILE) if path.is_file()), None)
        named = read_json(run).get("model", {}).get("encoder") if run else None
        base = next((each for each in (config.get("base_model_name_or_path"), named) if is_hub_id(each)), None)
        if base is None:
            raise UserError(
                f"{folder / name} must name a base model on the Hub, or nobody else can load the adapter: "
                "set its base_model_name_or_path, or train with --base_model USER/NAME"
            )
        contents[name] = json.dumps(config | {"base_model_name_or_path": base}, indent=2, sort_keys=True).encode()
    return contents


def _stale_files(api: HfApi, repo_id: str, revision: str | None, files: list[str]) -> list[str]:
    return [name for name in api.list_repo_files(repo_id, revision=revision) if belongs(name) and name not in files]
