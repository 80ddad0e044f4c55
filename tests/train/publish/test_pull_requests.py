"""A push into a pull request that was cut goes on with it; another one opens another."""

import shutil

import huggingface_hub.constants
import pytest

from salience.configuration.errors import UserError
from salience.train.publish.push import push_folder
from tests.helpers.hub_server import Hub
from tests.helpers.run_folders import finished_run

CARD = '---\ntags: [salience]\n---\nREPO = "user/name"  # where\nREVISION = "main"  # better\n'
TOKENS = {"token": "hf_stranger", "create_pr": True}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        yield hub


@pytest.fixture
def folder(tmp_path):
    folder = finished_run(tmp_path / "run", seed=1)
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def repo(hub, folder, tmp_path):
    main = finished_run(tmp_path / "main", seed=5)
    push_folder(main, "alice/news", token="hf_writer")
    return hub.repos["alice/news"]


def pull_requests(repo):
    return sorted(ref for ref in repo.refs if ref.startswith("refs/pr/"))


def test_a_push_that_ended_before_its_card_was_pinned_goes_on_with_its_pull_request(hub, repo, folder):
    main = repo.sha("main")
    hub.refuse_commits_after(1)
    with pytest.raises(UserError, match="failed .status 503.: run the same command again"):
        push_folder(folder, "alice/news", **TOKENS)
    hub.refuse_commits_after(None)
    model = repo.refs["refs/pr/1"]
    url = push_folder(folder, "alice/news", **TOKENS)
    assert url == f"{hub.url}/alice/news/discussions/1" and pull_requests(repo) == ["refs/pr/1"]
    assert repo.commits[repo.refs["refs/pr/1"]]["parent"] == model
    card = repo.files("refs/pr/1")["README.md"].data.decode()
    assert f'REVISION = "{model}"' in card and 'REPO = "alice/news"' in card
    commits = len(repo.commits)
    assert push_folder(folder, "alice/news", **TOKENS) == url, "there is nothing left to do"
    assert len(repo.commits) == commits and repo.sha("main") == main


@pytest.mark.parametrize("other", ["weights", "title", "author"])
def test_what_is_not_the_same_push_is_a_pull_request_of_its_own(hub, repo, folder, tmp_path, other):
    push_folder(folder, "alice/news", **TOKENS)
    options = dict(TOKENS)
    if other == "weights":
        shutil.copy(finished_run(tmp_path / "second", seed=2) / "model.safetensors", folder)
    elif other == "title":
        options["commit_message"] = "Something else"
    else:
        options["token"] = "hf_writer"
    assert push_folder(folder, "alice/news", **options) == f"{hub.url}/alice/news/discussions/2"
    assert pull_requests(repo) == ["refs/pr/1", "refs/pr/2"]
