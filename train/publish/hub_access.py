"""What the Hub answers before and while something is published, each refusal as one sentence with its fix."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi, get_token
from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, get_session, validate_repo_id

from salience.configuration.errors import UserError, one_line
from salience.configuration.hub import CONNECTION_ERRORS


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


def open_repo(api: HfApi, repo_id: str, private: bool, revision: str | None, exist_ok: bool) -> str:
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


def _refusal(endpoint: str, repo_id: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status in (401, 403):
        return f"the token may not write to {repo_id}: use a token with write access, or a repo of your own"
    if status == 404:
        return f"{endpoint} has no such repo or branch: {one_line(error.server_message or repo_id)}"
    if status == 429:
        return f"{endpoint} asks to wait (too many requests): run the same command again in a few minutes"
    if status >= 500:
        return f"{endpoint} failed (status {status}): run the same command again; what was uploaded is kept"
    return f"{endpoint} refused {repo_id} (status {status}): {one_line(error.server_message or 'no reason given')}"
