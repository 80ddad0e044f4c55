"""What the Hub answers before and while something is published, each refusal as one sentence with its fix."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, get_session, validate_repo_id

from salience.configuration.errors import UserError, one_line
from salience.configuration.hub import CONNECTION_ERRORS


def check_access(
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    token: str | None = None,
) -> str:
    """Make sure that a push can succeed, as far as the Hub tells: before training, so that no work waits for one.

    Args:
        repo_id: `USER/NAME`, or a bare `NAME`.
        private: whether the repo shall be private.
        revision: branch that is pushed to.
        create_pr: whether it is a pull request, which needs no rights.
        token: access token. Default: `HF_TOKEN`, or the one that `hf auth login` saved.

    Returns:
        The token.

    Raises:
        UserError: a name can't be, there is no token, the Hub doesn't answer or doesn't accept it, the token may not
            write there, or the repo exists and is public.
    """
    _check_names(repo_id, revision)
    token = token or get_token()
    if not token:
        raise UserError("no Hub token: run `hf auth login`, or set HF_TOKEN to a token with write access")
    endpoint = HfApi().endpoint
    answer = _ask(endpoint, "whoami-v2", token)
    if answer.status_code == 401:
        raise UserError(f"{endpoint} doesn't accept the token: run `hf auth login`, or set HF_TOKEN to a valid one")
    who = _content(answer, endpoint) if answer.status_code == 200 else {}
    if who and not create_pr and not _may_write(who, repo_id):
        raise UserError(_no_rights(repo_id))
    if private:
        name = repo_id if "/" in repo_id else f"{who.get('name')}/{repo_id}"
        there = _ask(endpoint, f"models/{name}", token)
        if there.status_code == 200 and not _content(there, endpoint).get("private"):
            raise UserError(f"{name} exists and is public: make it private in its settings, or choose another name")
    return token


def _check_names(repo_id: str, revision: str | None) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(
            f"{repo_id!r} can't be a repo name: give USER/NAME, from letters, digits, '-', '_' and '.', at most 96 long"
        ) from error
    if revision and re.fullmatch(r"[0-9a-f]{7,40}", revision):
        raise UserError(f"--revision {revision} looks like a commit, and nothing can be added to one: name a branch")


def _ask(endpoint: str, path: str, token: str) -> Any:
    """One request with a time limit: the Hub client itself waits without end for a server that doesn't answer."""
    try:
        headers = build_hf_headers(token=token)
        return get_session().get(f"{endpoint}/api/{path}", headers=headers, timeout=HF_HUB_ETAG_TIMEOUT)
    except OfflineModeIsEnabled as error:
        raise UserError("HF_HUB_OFFLINE is set: unset it to publish") from error
    except CONNECTION_ERRORS as error:
        raise UserError(f"{endpoint} doesn't answer: check the network connection and HF_ENDPOINT") from error


def _content(answer: Any, endpoint: str) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{endpoint} answers with something else than a Hub does: check HF_ENDPOINT and the proxy")
    return found


def _may_write(who: dict[str, Any], repo_id: str) -> bool:
    """Whether the token's owner may write to a repo, and the token too, as far as the Hub says who they are."""
    user = str(who.get("name")).lower()
    owner, _, name = f"{'' if '/' in repo_id else user + '/'}{repo_id}".lower().partition("/")
    roles = {str(org.get("name")).lower(): org.get("roleInOrg") for org in who.get("orgs") or []}
    if owner != user and roles.get(owner, "read") == "read":
        return False
    token = (who.get("auth") or {}).get("accessToken") or {}
    scopes = (token.get("fineGrained") or {}).get("scoped")
    if token.get("role") != "fineGrained" or scopes is None:
        return token.get("role") != "read"
    granted = {
        str((scope.get("entity") or {}).get("name")).lower()
        for scope in scopes
        if "repo.write" in (scope.get("permissions") or ())
    }
    return bool(granted & {owner, f"{owner}/{name}"})


def open_repo(api: HfApi, repo_id: str, private: bool, revision: str | None, exist_ok: bool) -> str:
    """Create repo and branch where they don't exist; returns the repo's full name."""
    try:
        # None leaves the choice to the default of the user's organization.
        repo_id = api.create_repo(repo_id, private=private or None, exist_ok=exist_ok).repo_id
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
        raise UserError(f"{repo_id} exists already: choose another name, or leave out --new to add a commit") from error
    if revision and not revision.startswith("refs/pr/"):
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    return repo_id


@contextmanager
def one_sentence(endpoint: str, repo_id: str) -> Iterator[None]:
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
        raise UserError(f"{repo_id} was not changed: {one_line(error)}") from error


def _no_rights(repo_id: str) -> str:
    return f"the token may not write to {repo_id}: use a token with write access, or a repo of your own"


def _refusal(endpoint: str, repo_id: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status in (401, 403):
        return _no_rights(repo_id)
    if status == 404:
        return f"{endpoint} has no such repo or branch: {one_line(error.server_message or repo_id)}"
    if status == 429:
        return f"{endpoint} asks to wait (too many requests): run the same command again in a few minutes"
    if status >= 500:
        return f"{endpoint} failed (status {status}): run the same command again; what was uploaded is kept"
    return f"{endpoint} refused {repo_id} (status {status}): {one_line(error.server_message or 'no reason given')}"
