"""Publish a finished run as a model repository of the Hub."""

import json
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, Discussion, HfApi
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from salience.configuration.errors import UserError, one_line
from salience.model_cards.card import pin_usage
from salience.model_cards.files import sha256_of
from salience.train.folder.hub_files import belongs
from salience.train.publish.contents import Contents, read_contents
from salience.train.publish.hub_access import check_access, one_sentence, open_repo

if TYPE_CHECKING:
    from salience.configuration.flags.training_arguments import SalienceTrainingArguments

logger = logging.getLogger(__name__)
MANIFEST = ".salience_files.json"
"""In the repository, the names of the files that the last push sent: only these may the next one remove."""
LOADED_FIRST = ("adapter_config.json", "model.safetensors")
"""What transformers looks for first, whatever other weights lie beside it."""


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
    handler: bool = False,
) -> str:
    """Upload a finished run folder, or an adapter folder, to a Hub model repo.

    All comes in one commit, so that nobody reads half a model; a second one pins the card's usage blocks to the first.
    Whatever cut a push short, the same call again finishes it. What an earlier push of ours had sent, which its
    `MANIFEST` in the repo says, and this folder lacks is removed in the same commit, and named in a warning; all other
    files of the repo stay. Checkpoints, optimizer state, pickles and what links point to are never uploaded.

    Args:
        folder: the `output_dir` of a training run, or a PEFT adapter folder that names its base model.
        repo_id: `USER/NAME`; a bare `NAME` is put under the token's user. Created if it doesn't exist.
        private: create the repo as private; refused when a public one exists already.
        create_pr: open a pull request instead of committing; one that an earlier push of the same weights opened,
            and that is still open, is gone on with.
        revision: branch to commit to, created if it doesn't exist. Default: `main`.
        commit_message: first line of the commit.
        token: access token. Default: `HF_TOKEN`, or the one that `hf auth login` saved.
        exist_ok: whether the repo may exist already and gets one more commit.
        handler: add handler.py, with which Inference Endpoints answer as the pipeline does.

    Returns:
        The URL of the commit, or of the pull request.

    Raises:
        UserError: the folder isn't finished, or the Hub refused or didn't answer; one sentence with the fix.
    """
    if not isinstance(folder, str | Path):
        raise UserError(f"the folder is a {type(folder).__name__}; name one")
    folder = Path(os.path.expanduser(folder))
    contents = read_contents(folder, handler)
    if create_pr and revision:
        raise UserError("a pull request always goes to main: give --create_pr or --revision, not both")
    api = HfApi(token=check_access(repo_id, private=private, revision=revision, create_pr=create_pr, token=token))
    with one_sentence(api.endpoint, repo_id):
        repo_id = open_repo(api, repo_id, private, revision, exist_ok)
        earlier = find_pull_request(api, repo_id, commit_message, contents) if create_pr else None
        if earlier:
            revision, create_pr = earlier.git_reference, False
        there = _Branch(api, repo_id, revision)
        card = Path(folder, "README.md").read_text(encoding="utf-8")
        stale = there.of_earlier_push(contents)
        if pin_usage(there.text("README.md"), repo_id, "") == pin_usage(card, repo_id, ""):
            del contents["README.md"]  # whatever commit it is pinned to
        contents[MANIFEST] = json.dumps(sorted({*contents, "README.md"}), indent=0).encode()
        operations: list[CommitOperationAdd | CommitOperationDelete] = [CommitOperationDelete(name) for name in stale]
        operations += [CommitOperationAdd(name, content) for name, content in contents.items()]
        commit = api.create_commit(
            repo_id, operations, commit_message=commit_message, revision=revision, create_pr=create_pr
        )
        if stale:
            logger.warning("%s: %s of an earlier push removed", repo_id, ", ".join(map(one_line, stale)))
        if _Branch(api, repo_id, commit.oid).is_pinned():
            return earlier.url if earlier else commit.pr_url or commit.commit_url
        pinned = api.create_commit(
            repo_id,
            [CommitOperationAdd("README.md", pin_usage(card, repo_id, commit.oid).encode())],
            commit_message=f"Pin the card to {commit.oid[:7]}",
            revision=commit.pr_revision or revision,
        )
    return earlier.url if earlier else commit.pr_url or pinned.commit_url


def find_pull_request(api: HfApi, repo_id: str, title: str, contents: Contents) -> Discussion | None:
    """The pull request that an earlier push of the same weights has opened and nobody has closed, if there is one.

    Args:
        api: With the token of the one who pushes.
        repo_id: Full name of the repo.
        title: First line of the push's commit.
        contents: What is pushed.
    """
    weights = {name: sha256_of(file) for name, file in contents.items() if isinstance(file, Path) and is_weights(name)}
    who = api.whoami()["name"]
    for each in api.get_repo_discussions(repo_id, author=who, discussion_type="pull_request"):
        if each.status in ("open", "draft") and each.title == title and each.author == who:
            entries = api.list_repo_tree(repo_id, recursive=True, revision=each.git_reference)
            there = {entry.path: entry.lfs.sha256 for entry in entries if isinstance(entry, RepoFile) and entry.lfs}
            if weights.items() <= there.items():
                return each
    return None


def is_weights(name: str) -> bool:
    """Whether a file of the repo holds weights, which go to its large file storage."""
    return name.endswith(".safetensors")


class _Branch:
    """What a repo holds at a revision."""

    def __init__(self, api: HfApi, repo_id: str, revision: str | None) -> None:
        self.api, self.repo_id, self.revision = api, repo_id, revision

    def blobs(self) -> dict[str, str]:
        """The files, and the identity of what is in each."""
        entries = self.api.list_repo_tree(self.repo_id, recursive=True, revision=self.revision)
        return {entry.path: entry.blob_id for entry in entries if isinstance(entry, RepoFile)}

    def text(self, name: str) -> str:
        """The content of a file; empty if there is none."""
        try:
            file = self.api.hf_hub_download(self.repo_id, name, revision=self.revision)
        except LocalEntryNotFoundError:  # no answer, which is no "no"
            raise
        except EntryNotFoundError:
            return ""
        return Path(file).read_text(encoding="utf-8")

    def of_earlier_push(self, contents: Contents) -> list[str]:
        """Files that an earlier push of ours made and these contents lack.

        Raises:
            UserError: A file that no push of ours made would be loaded in place of the contents.
        """
        manifest = self.text(MANIFEST)
        ours = {name for name in (json.loads(manifest) if manifest else []) if belongs(str(name))}
        others = self.blobs().keys() - contents.keys()
        for name in LOADED_FIRST:
            if name in others - ours:
                raise UserError(
                    f"{self.repo_id} holds {name}, which no earlier push made and which others would load instead: "
                    "delete it there, or choose another repo"
                )
        return sorted(others & ours)

    def is_pinned(self) -> bool:
        """Whether the card's usage blocks are pinned to a commit that has all other files as they are here."""
        pinned = re.search(r'^REVISION = "([0-9a-f]{40})"', self.text("README.md"), re.MULTILINE)
        if not pinned:
            return False
        try:
            before = _Branch(self.api, self.repo_id, pinned[1]).blobs()
        except RevisionNotFoundError:
            return False
        return before | {"README.md": ""} == self.blobs() | {"README.md": ""}


def push_run(training: "SalienceTrainingArguments") -> str:
    """Upload the run of these arguments, as their `hub_` flags say; returns the address of the commit.

    Args:
        training: `output_dir`, and where it goes.

    Raises:
        UserError: See `push_folder`.
    """
    folder = Path(str(training.output_dir))
    name = training.hub_model_id or folder.resolve().name
    return push_folder(
        folder,
        name,
        commit_message="End of training",
        private=bool(training.hub_private_repo),
        revision=training.hub_revision,
        token=training.hub_token,
        handler=training.hub_handler,
    )
