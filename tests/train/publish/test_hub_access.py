"""What the Hub tells of rights is looked at before anything is trained."""

import json
from types import SimpleNamespace

import huggingface_hub.constants
import pytest

from salience.configuration.errors import UserError
from salience.train.publish.hub_access import check_access
from tests.helpers.hub_server import Hub
from tests.helpers.hub_store import MAIN, Repo


@pytest.fixture
def hub(monkeypatch):
    with Hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        yield hub


def scope(entity, *permissions):
    """What a fine-grained token may do to a user, an organisation or a repo."""
    return {"entity": {"name": entity}, "permissions": list(permissions)}


RIGHTS = {
    "hf_fine": {"role": "fineGrained", "fineGrained": {"scoped": [scope("alice", "repo.write")]}},
    "hf_fine_repo": {"role": "fineGrained", "fineGrained": {"scoped": [scope("alice/news", "repo.write")]}},
    "hf_fine_other": {"role": "fineGrained", "fineGrained": {"scoped": [scope("alice/other", "repo.write")]}},
    "hf_fine_read": {"role": "fineGrained", "fineGrained": {"scoped": [scope("alice", "repo.content.read")]}},
    "hf_fine_bare": {"role": "fineGrained", "fineGrained": {"scoped": [{"entity": {"name": "alice"}}]}},
    "hf_reader": {"role": "read"},
    "hf_writer": {"role": "write"},
}


@pytest.mark.parametrize(
    ("repo", "token", "may_write"),
    [
        ("news", "hf_writer", True),
        ("Alice/news", "hf_writer", True),
        ("bob/news", "hf_writer", False),
        ("makers/news", "hf_writer", True),
        ("readers/news", "hf_writer", False),
        ("alice/news", "hf_reader", False),
        ("alice/news", "hf_fine", True),
        ("alice/news", "hf_fine_repo", True),
        ("alice/news", "hf_fine_other", False),
        ("alice/news", "hf_fine_read", False),
        ("alice/news", "hf_fine_bare", False),
        ("makers/news", "hf_fine", False),
    ],
)
def test_rights_are_known_before_anything_is_trained(hub, repo, token, may_write):
    hub.tokens[token] = ("alice", True)
    orgs = [{"name": "makers", "roleInOrg": "write"}, {"name": "readers", "roleInOrg": "read"}]
    hub.about["alice"] = {"orgs": orgs, "auth": {"accessToken": RIGHTS[token]}}
    if may_write:
        assert check_access(repo, token=token) == token
    else:
        with pytest.raises(UserError, match=f"the token may not write to {repo}"):
            check_access(repo, token=token)
        assert check_access(repo, create_pr=True, token=token) == token


@pytest.mark.parametrize("content", [b"<html>log in</html>", b"[]", b""])
def test_what_is_no_hub_is_called_so(hub, monkeypatch, content):
    answer = SimpleNamespace(status_code=200, json=lambda: json.loads(content))
    monkeypatch.setattr("salience.train.publish.hub_access._ask", lambda *_: answer)
    with pytest.raises(UserError, match="answers with something else than a Hub does"):
        check_access("alice/news", token="hf_writer")


def test_a_public_repo_is_no_place_for_a_private_model(hub):
    hub.repos["alice/news"] = Repo("alice/news", private=False)
    hub.repos["alice/news"].commit(MAIN, {}, "initial commit")
    for name in ("alice/news", "news"):
        with pytest.raises(UserError, match="alice/news exists and is public"):
            check_access(name, private=True, token="hf_writer")
    hub.repos["alice/news"].private = True
    assert check_access("alice/news", private=True, token="hf_writer") == "hf_writer"
