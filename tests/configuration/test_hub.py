"""A name on the Hub is looked up once, quickly, and answered by its commit or by the reason why there is none."""

import socket
import time

import huggingface_hub.constants
import pytest

from salience.configuration.hub import find_commit
from tests.helpers.hub_server import Hub
from tests.helpers.hub_store import MAIN, HubError, Repo


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with Hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        for name, private in (("alice/tiny", False), ("alice/secret", True)):
            hub.repos[name] = Repo(name, private)
            hub.repos[name].commit(MAIN, {}, "initial commit")
            hub.add_commit(name, {"config.json": b"{}"}, "first")
        yield hub


def test_a_branch_stands_for_its_commit(hub):
    first = hub.repos["alice/tiny"].sha("main")
    hub.repos["alice/tiny"].refs["refs/heads/v/1"] = first
    second = hub.add_commit("alice/tiny", {"config.json": b"[]"}, "second")
    assert find_commit("alice/tiny") == find_commit("alice/tiny", "main") == find_commit("alice/tiny", second) == second
    assert find_commit("alice/tiny", "v/1") == find_commit("alice/tiny", first) == first


@pytest.mark.parametrize(
    ("name", "revision", "reason"),
    [
        ("alice/none", None, "has no model of this name, or it is private"),
        ("alice/secret", None, "has no model of this name, or it is private"),
        ("alice/tiny", "v2", "it has no branch, tag or commit v2"),
        (__file__, None, "is a file, not a folder"),
    ],
)
def test_why_there_is_none(hub, name, revision, reason):
    with pytest.raises(OSError, match=reason):
        find_commit(name, revision)


def test_without_a_connection_the_cache_counts_and_nobody_waits(hub, monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 1)
        start = time.monotonic()
        with pytest.raises(OSError, match="doesn't answer, and there is no copy"):
            find_commit("alice/tiny")
        commit = "0123456789abcdef" * 2 + "01234567"
        repo = tmp_path / "models--alice--tiny"
        (repo / "refs").mkdir(parents=True)
        (repo / "refs/main").write_text(commit)
        (repo / "snapshots" / commit).mkdir(parents=True)
        (repo / "snapshots" / commit / "config.json").write_text("{}")
        assert find_commit("alice/tiny") == commit
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        assert find_commit("alice/tiny") == commit
        with pytest.raises(OSError, match="HF_HUB_OFFLINE is set"):
            find_commit("alice/tiny", "v2")
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_that_fails_does_not_unpin_a_model(hub, monkeypatch, status):
    def fails(*_):
        raise HubError(status, "later")

    monkeypatch.setattr("tests.helpers.hub_server.ROUTES", [(("GET",), ".*", fails)])
    with pytest.raises(OSError, match=rf"fails \(status {status}\), and there is no copy"):
        find_commit("alice/tiny", "v/1")
