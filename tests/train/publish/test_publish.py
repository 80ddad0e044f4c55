"""Publishing, with the unmodified clients in processes of their own, against the stand-in Hub."""

import json
import socket
import subprocess
import sys

import pytest
import torch
from transformers import AutoTokenizer

from salience.modeling import AttnPoolForSequenceClassification
from salience.train.publish.contents import read_contents
from tests.helpers.hub_server import Hub
from tests.helpers.hub_store import MAIN, Repo
from tests.helpers.paths import ROOT
from tests.helpers.run_folders import finished_run
from tests.helpers.slow import others_slow, slow_case
from tests.helpers.toy import clean_environment

TEXT = "the bank raised its rates"
REPO_FILES = {
    ".gitattributes", ".salience_files.json", "README.md", "adapter/README.md", "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors", "config.json", "eval_results.json", "model.safetensors", "run.json",
    "test_results.json", "tokenizer.json", "tokenizer_config.json", "train_results.json",
}  # fmt: skip
OWNERS_FILES = ["handler.py", "my_results.json", "merges.txt", "notes/plot.py", "etc_results.json", "adapter/notes.txt"]
LOAD = """
import json, sys
sys.modules["salience"] = None  # a stranger doesn't have the package
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

def logits(repo, text, **options):
    options["trust_remote_code"] = True
    tokenizer = AutoTokenizer.from_pretrained(repo, **options)
    model = AutoModelForSequenceClassification.from_pretrained(repo, **options)
    return model.eval()(**tokenizer(text, return_tensors="pt")).logits[0].tolist()
"""
REFUSED = [
    ("alice/news", None, "no Hub token: run `hf auth login`"),
    ("alice/news", "hf_wrong", "doesn't accept the token: run `hf auth login`"),
    ("alice/news", "hf_reader", "the token may not write to alice/news"),
    ("bob/news", "hf_writer", "the token may not write to bob/news"),
    ("alice/good+news", "hf_writer", "'alice/good+news' can't be a repo name"),
    ("alice/news --revision 0123abc", "hf_writer", "--revision 0123abc looks like a commit"),
    (
        f"alice/news --revision {40 * '0'}",
        "hf_writer",
        "commit, and nothing can be added to one: name a branch",
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("first"), seed=1)


@pytest.fixture(scope="module")
def second_run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("second"), seed=2)


@pytest.fixture
def hub():
    with Hub() as hub:
        yield hub


@pytest.fixture
def client(hub, tmp_path):
    """Starts Python as a user would, with an empty cache; `client(...)` waits for it and checks its status."""

    def start(*command, token="hf_writer", **variables):
        env = clean_environment(tmp_path / "home", **{"HF_ENDPOINT": hub.url} | variables)
        if token:
            env["HF_TOKEN"] = token
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *map(str, command)], env=env, cwd=tmp_path, **pipes)

    def finish(*command, status=0, **options):
        process = start(*command, **options)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == status, err
        assert not any(token in out + err for token in (*hub.tokens, "hf_wrong"))
        if status == 0:
            return out.strip()
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and "Traceback" not in err, err
        return errors[0]

    finish.start = start
    return finish


@pytest.fixture
def push(client):
    return lambda *arguments, **options: client("-m", "salience.eval.cli", "push", *arguments, **options)


def logits_of(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AttnPoolForSequenceClassification.from_pretrained(folder).eval()
    return model(**tokenizer(TEXT, return_tensors="pt")).logits[0].tolist()


def commit_of(url):
    return url.rsplit("/commit/", 1)[1]


@pytest.mark.slow
def test_loads_by_name_at_a_pinned_revision(hub, client, push, run, second_run):
    first = commit_of(push(run, "alice/news"))
    second = commit_of(push(second_run, "alice/news"))
    script = f"""{LOAD}
name, text, first = sys.argv[1:]
pinned = {{"revision": first, "trust_remote_code": True}}
pipe = pipeline("text-classification", model=name, **pinned)
print(json.dumps({{
    "type": AutoConfig.from_pretrained(name, **pinned).model_type,
    "width": AutoModel.from_pretrained(name, **pinned).config.hidden_size,
    "pinned": logits(name, text, revision=first),
    "main": logits(name, text),
    "scores": sorted(pipe(text, top_k=None), key=lambda score: score["label"]),
}}))"""
    found = json.loads(client("-c", script, "alice/news", TEXT, first, token=None))

    assert hub.repos["alice/news"].sha("main") == second != first
    assert found["type"] == "salience_attn_pool"
    assert found["width"] == 16
    assert found["pinned"] == logits_of(run)
    assert found["main"] == logits_of(second_run) != found["pinned"]
    expected = torch.tensor(found["pinned"]).softmax(0).tolist()
    assert [score["label"] for score in found["scores"]] == ["economy", "science", "sports"]
    assert [score["score"] for score in found["scores"]] == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_private_repo_needs_the_owners_token(hub, client, push, run):
    push(run, "alice/secret", "--private")
    assert hub.repos["alice/secret"].private
    script = f"""{LOAD}
name, text = sys.argv[1:]
refused = []
for token in (False, "hf_wrong", "hf_stranger"):
    try:
        AutoConfig.from_pretrained(name, token=token, trust_remote_code=True)
    except OSError as error:
        refused.append(type(error).__name__)
print(json.dumps([refused, logits(name, text, token="hf_writer")]))"""
    refused, logits = json.loads(client("-c", script, "alice/secret", TEXT, token=None))
    assert len(refused) == 3
    assert logits == logits_of(run)


def test_repo_holds_what_belongs_there_and_nothing_of_an_earlier_run(hub, push, run, second_run, tmp_path):
    push(run, "alice/news")
    files = set(hub.repos["alice/news"].files("main"))
    code = {name for name in files if name.endswith(".py")}
    assert files - code - {"special_tokens_map.json", "vocab.txt"} == REPO_FILES  # transformers 4 writes these two
    assert "modeling_attn_pool.py" in code
    own = {name: b"the owner's" for name in OWNERS_FILES}
    hub.add_commit("alice/news", own, "by hand")

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    sent = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    for name in sent:
        (adapter / name).write_bytes((second_run / "adapter" / name).read_bytes())
    push(adapter, "alice/news")
    files = hub.repos["alice/news"].files("main")
    assert set(files) == {".gitattributes", ".salience_files.json", *own, *sent}
    assert files["adapter_model.safetensors"].data == (adapter / "adapter_model.safetensors").read_bytes()


@pytest.mark.slow
def test_interrupted_upload_is_continued(hub, client, push, run):
    hub.break_uploads(status=0, after=1)
    killed = client.start("-m", "salience.eval.cli", "push", run, "alice/news")
    assert hub.broken.wait(60)
    killed.kill()
    killed.communicate()
    assert set(hub.repos["alice/news"].files("main")) == {".gitattributes"}

    hub.break_uploads(status=507, after=0)
    error = push(run, "alice/news", status=2)
    assert error == (
        "error: the upload to alice/news was interrupted (status 507): run the same command again, without --new;"
        " what was uploaded is kept"
    )
    arrived = set(hub.lfs)
    assert len(arrived) == 1

    hub.mend_uploads()
    sent = len(hub.uploads())
    push(run, "alice/news")
    assert len(hub.uploads()) == sent + 1
    assert arrived.isdisjoint(hub.uploads()[sent:])
    assert set(read_contents(run)) < set(hub.repos["alice/news"].files("main"))


@pytest.mark.slow
def test_a_name_that_exists(hub, push, run):
    first = push(run, "alice/news", "--new")
    assert push(run, "alice/news", "--new", status=2).startswith("error: alice/news exists already: choose another")
    assert push(run, "alice/news", "--private", status=2).startswith("error: alice/news exists and is public")
    assert push(run, "alice/news") == first, "nothing changed, so there is no new commit"
    assert len(hub.repos["alice/news"].commits) == 2


def test_the_card_is_pinned_to_the_commit_that_has_the_model(hub, push, run):
    (run / "README.md").write_text('REPO = "user/name"  # where\nREVISION = "main"  # better\n')
    push(run, "alice/news")
    repo = hub.repos["alice/news"]
    text = repo.files("main")["README.md"].data.decode()
    commit = next(oid for oid, each in repo.commits.items() if each["title"].startswith("Upload"))
    assert text == f'REPO = "alice/news"\nREVISION = "{commit}"\n'


@pytest.mark.slow
def test_pull_request_and_branch_leave_main_alone(hub, push, run, second_run):
    push(run, "alice/news")
    repo = hub.repos["alice/news"]
    main = repo.sha("main")
    url = push(second_run, "alice/news", "--create_pr", token="hf_stranger")
    assert url == f"{hub.url}/alice/news/discussions/1"
    weights = (second_run / "model.safetensors").read_bytes()
    assert repo.files("refs/pr/1")["model.safetensors"].data == weights

    assert push(second_run, "alice/news", "--revision", "next").startswith(f"{hub.url}/alice/news/commit/")
    assert repo.files("next")["model.safetensors"].data == weights
    assert repo.sha("main") == main
    assert "not both" in push(run, "alice/news", "--create_pr", "--revision", "next", status=2)


def test_refusals_are_one_sentence(hub, client, run):
    given = [(token, words.split()) for words, token, _ in REFUSED]
    told = json.loads(client(ROOT / "tests" / "helpers" / "pushing_process.py", run, json.dumps(given), token=None))
    for (status, error), (words, _, sentence) in zip(told, REFUSED, strict=True):
        errors = [line for line in error.splitlines() if line.startswith("error: ")]
        assert status == 2 and len(errors) == 1 and "Traceback" not in error, (words, error)
        assert sentence in errors[0], words
    assert not hub.repos


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        slow_case(({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set")),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 doesn't answer"),
    ],
)
def test_a_hub_that_is_not_there_is_told(hub, push, run, options, sentence):
    assert sentence in push(run, "alice/news", status=2, **options)
    assert not hub.repos


@pytest.mark.slow
def test_a_hub_that_never_answers(push, run):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        error = push(run, "alice/news", status=2, HF_ENDPOINT=endpoint, HF_HUB_ETAG_TIMEOUT="1")
    assert error == f"error: {endpoint} doesn't answer: check the network connection and HF_ENDPOINT"


def test_what_the_hub_says_of_a_card(hub, push, tmp_path):
    run = finished_run(tmp_path / "run", seed=3)
    (run / "README.md").write_text("---\ntags: {a: 1}\n---\n")
    assert 'Invalid metadata in README.md. - "tags" must be a list' in push(run, "alice/news", status=2)
    assert "README.md" not in hub.repos["alice/news"].files("main")


@pytest.mark.parametrize("same_card", [True, False])
@pytest.mark.slow
def test_a_push_that_ended_before_its_card_was_pinned_is_finished_by_the_next(
    hub, push, run, second_run, tmp_path, same_card
):
    card = '# News\nREPO = "user/name"\nREVISION = "main"  # better\n'
    for number, folder in enumerate((run, second_run)):
        (folder / "README.md").write_text(card if same_card else f"{card}{number}")
    push(run, "alice/news")
    repo = hub.repos["alice/news"]
    pinned = repo.sha("main")
    hub.refuse_commits_after(1)
    assert "failed (status 503)" in push(second_run, "alice/news", status=2)
    model = repo.sha("main")
    assert repo.commits[model]["parent"] == pinned and repo.commits[model]["title"].startswith("Upload")
    hub.refuse_commits_after(None)
    url = push(second_run, "alice/news")
    assert commit_of(url) == repo.sha("main") and repo.commits[repo.sha("main")]["parent"] == model
    assert f'REVISION = "{model}"' in repo.files("main")["README.md"].data.decode()
    assert push(second_run, "alice/news") == url, "there is nothing left to do"


@pytest.mark.slow
@pytest.mark.parametrize("name", others_slow(["adapter_config.json", "model.safetensors"], "model.safetensors"))
def test_a_model_of_somebody_else_is_not_pushed_over(hub, push, run, tmp_path, name):
    folder = finished_run(tmp_path / "run", seed=4)
    if name == "model.safetensors":
        folder = folder / "adapter"
    push(run, "alice/other")
    hub.repos["alice/news"] = Repo("alice/news", private=False)
    hub.repos["alice/news"].commit(MAIN, {}, "initial commit")
    hub.add_commit("alice/news", {name: b"{}"}, "by hand")
    assert f"alice/news holds {name}, which no earlier push made" in push(folder, "alice/news", status=2)
