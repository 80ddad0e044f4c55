"""What the stand-in Hub keeps: repos with commits, branches and files, and what it checks in a card."""

import hashlib
import json
import re
from dataclasses import dataclass, field

import yaml

MAIN = "refs/heads/main"


class HubError(Exception):
    """An answer other than 200; `code` is the Hub's X-Error-Code."""

    def __init__(self, status, message, code=None, body=None, headers=None):
        super().__init__(message)
        self.status = status
        self.body = body or {"error": message}
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}


@dataclass
class Blob:
    data: bytes
    lfs: bool

    @property
    def git_oid(self):
        content = self.data if not self.lfs else b"pointer to " + self.sha256.encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def sha256(self):
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self):
        return self.sha256 if self.lfs else self.git_oid


@dataclass
class Repo:
    name: str
    private: bool
    commits: dict = field(default_factory=dict)  # sha -> {"files": {path: Blob}, "title": str, "parent": sha | None}
    refs: dict = field(default_factory=dict)  # full ref name -> sha
    authors: dict = field(default_factory=dict)  # full ref name of a pull request -> user

    def commit(self, ref, files, title):
        parent = self.refs.get(ref)
        content = json.dumps([self.name, parent, ref, title, {path: blob.oid for path, blob in files.items()}])
        sha = hashlib.sha1(content.encode()).hexdigest()
        self.commits[sha] = {"files": files, "title": title, "parent": parent}
        self.refs[ref] = sha
        return sha

    def ref(self, revision):
        return revision if revision.startswith("refs/") else f"refs/heads/{revision}"

    def sha(self, revision):
        sha = revision if revision in self.commits else self.refs.get(self.ref(revision))
        if sha is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha

    def files(self, revision):
        return self.commits[self.sha(revision)]["files"]


def card_data(content):
    """The YAML header of a README.md."""
    match = re.match(r"---\r?\n(.*?)\r?\n---", content, re.S)
    return yaml.safe_load(match[1]) or {} if match else {}


def card_errors(content):
    """What is wrong with a card's metadata, as far as a stand-in can tell: YAML, a few types, the model-index."""
    try:
        data = card_data(content)
    except yaml.YAMLError:
        return ["invalid YAML"]
    if not isinstance(data, dict):
        return ["metadata must be a mapping"]
    texts = ("license", "library_name", "pipeline_tag")
    errors = [f'"{key}" must be a string' for key in texts if not isinstance(data.get(key, ""), str)]
    for key in ("tags", "language", "datasets", "metrics"):
        values = data.get(key, [])
        if not isinstance(values, str) and not (isinstance(values, list) and all(isinstance(v, str) for v in values)):
            errors.append(f'"{key}" must be a list of strings')
    try:
        for model in data.get("model-index") or []:
            for result in model["results"]:
                _ = model["name"], result["task"]["type"], result["dataset"]["type"], result["dataset"]["name"]
                for metric in result["metrics"]:
                    _ = metric["type"], metric["value"]
    except (KeyError, TypeError) as error:
        errors.append(f"model-index has no {error}")
    return errors


def entry(path, blob):
    size = len(blob.data)
    lfs = {"lfs": {"oid": blob.sha256, "sha256": blob.sha256, "size": size, "pointerSize": 134}} if blob.lfs else {}
    return {"type": "file", "path": path, "size": size, "oid": blob.git_oid, "blobId": blob.git_oid, **lfs}
