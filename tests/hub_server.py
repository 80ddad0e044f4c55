"""A small stand-in for the Hugging Face Hub on loopback: model repos in memory, LFS uploads, no Xet.

It answers what the unmodified clients (huggingface_hub, transformers, peft) ask when they publish and load a model.
Large files live on a second origin (`localhost` instead of `127.0.0.1`), as on the real Hub's CDN, and a client that
sends its token there is refused.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_store import MAIN, Blob, HubError, Repo, card_data, card_errors, entry

LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".msgpack")
DATE = "2025-01-01T00:00:00.000Z"


class Hub:
    """The server and its state; use it as a context manager.

    `tokens` maps a token to (user, may write). `break_uploads(status, after)` lets `after` more files in and fails
    every later upload, by that status or, with status 0, by cutting the connection, until `mend_uploads()`.
    """

    def __init__(self):
        self.tokens = {"hf_writer": ("alice", True), "hf_reader": ("alice", False), "hf_stranger": ("mallory", True)}
        self.repos = {}
        self.lfs = {}
        self.log = []  # "METHOD path" of every request
        self.broken = threading.Event()  # set when an upload was failed on purpose
        self._uploads_left, self._break_status = None, 0
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.hub = self
        port = self._server.server_address[1]
        self.url, self.cdn = f"http://127.0.0.1:{port}", f"http://localhost:{port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def break_uploads(self, status, after):
        self._uploads_left, self._break_status = after, status

    def mend_uploads(self):
        self._uploads_left = None

    def take_upload(self):
        """Status that the next upload must fail with, or None if it's let in."""
        with self.lock:
            if self._uploads_left is None:
                return None
            self._uploads_left -= 1
            if self._uploads_left >= 0:
                return None
        self.broken.set()
        return self._break_status

    def uploads(self):
        """The sha256 of each upload that arrived, in order; more than once if it was sent again."""
        return [line.rsplit("/", 1)[1] for line in self.log if line.startswith("PUT /lfs/")]

    def add_commit(self, name, files, message, revision="main"):
        """Change {path: bytes} in a repo without a client; returns the commit's sha."""
        repo = self.repos[name]
        blobs = {path: Blob(data, path.endswith(LFS_SUFFIXES)) for path, data in files.items()}
        return repo.commit(repo.ref(revision), {**repo.files(revision), **blobs}, message)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """The tests read `hub.log`, not the terminal."""

    def handle_any(self):
        self.hub = self.server.hub
        parts = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.hub.log.append(f"{self.command} {parts.path}")
        self.body = self._read_body()
        try:
            for methods, pattern, view in ROUTES:
                match = re.fullmatch(pattern, parts.path)
                if match and self.command in methods:
                    with self.hub.lock:
                        return view(self, **{key: unquote(value or "") for key, value in match.groupdict().items()})
            raise HubError(404, f"no such endpoint: {self.command} {parts.path}")
        except HubError as error:
            self.answer(error.body, error.status, error.headers)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def _read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def answer(self, body=b"", status=200, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def user(self):
        """(name, may write) of the caller, (None, False) without a token."""
        header = self.headers.get("Authorization")
        if header is None:
            return None, False
        try:
            return self.hub.tokens[header.removeprefix("Bearer ")]
        except KeyError:
            raise HubError(401, "Invalid credentials in Authorization header") from None

    def repo(self, name, write=False):
        user, may_write = self.user()
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and user != name.split("/")[0]):
            raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
        proposes = user and (self.query.get("create_pr") == "1" or "/refs%2Fpr%2F" in self.path)
        if write and not proposes and not (may_write and user == name.split("/")[0]):
            raise HubError(403, f"You don't have the rights to write to {name}")
        return repo

    def on_cdn(self):
        if self.headers.get("Authorization"):
            raise HubError(400, "Only one auth mechanism allowed")  # as S3 answers a token beside a signed URL


def whoami(request):
    user, may_write = request.user()
    if user is None:
        raise HubError(401, "Invalid username or password.")
    role = "write" if may_write else "read"
    request.answer({"name": user, "orgs": [], "auth": {"accessToken": {"role": role}}})


def create_repo(request):
    user, may_write = request.user()
    ask = json.loads(request.body)
    owner = ask.get("organization") or user
    if user is None:
        raise HubError(401, "Invalid username or password.")
    if not may_write or owner != user:
        raise HubError(403, f"You don't have the rights to create a model under the namespace {owner}")
    name = f"{owner}/{ask['name']}"
    url = f"{request.hub.url}/{name}"
    if name in request.hub.repos:
        raise HubError(409, "You already created this model repo", body={"error": "exists", "url": url})
    repo = request.hub.repos[name] = Repo(name, bool(ask.get("private")) or ask.get("visibility") == "private")
    repo.commit(MAIN, {".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)}, "initial commit")
    request.answer({"url": url, "name": name, "private": repo.private})


def validate_yaml(request):
    errors = card_errors(json.loads(request.body)["content"])
    body = {"errors": [{"message": message} for message in errors], "warnings": []}
    request.answer(body, 400 if errors else 200)


def preupload(request, name, rev):
    files = request.repo(name, write=True).files(rev)

    def mode(file):
        path = file["path"]
        known = {"oid": files[path].oid} if path in files else {}
        lfs = path.endswith(LFS_SUFFIXES) or file["size"] > 10_000_000
        return {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, **known}

    request.answer({"files": [mode(file) for file in json.loads(request.body)["files"]]})


def lfs_batch(request, name):
    # An upload into a pull request needs no write access; the query says nothing of it here.
    request.repo(name)
    objects = json.loads(request.body)["objects"]
    for item in objects:
        if item["oid"] not in request.hub.lfs:
            verify = {"href": f"{request.hub.url}/{name}.git/info/lfs/verify"}
            item["actions"] = {"upload": {"href": f"{request.hub.cdn}/lfs/{item['oid']}"}, "verify": verify}
    request.answer({"transfer": "basic", "objects": objects})


def lfs_put(request, oid):
    request.on_cdn()
    status = request.hub.take_upload()
    if status is not None:
        if status:
            raise HubError(status, "upload refused")
        request.close_connection = True
        return
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise HubError(400, "the content is not what was announced")
    request.hub.lfs[oid] = request.body
    request.answer()


def lfs_get(request, oid):
    request.on_cdn()
    request.answer(request.hub.lfs[oid], 200, {"ETag": f'"{oid}"'})


def lfs_verify(request, name):
    request.repo(name)
    ask = json.loads(request.body)
    if len(request.hub.lfs.get(ask["oid"], b"")) != ask["size"]:
        raise HubError(404, "no such object")
    request.answer({})


def commit(request, name, rev):
    repo = request.repo(name, write=True)
    lines = [json.loads(line) for line in request.body.splitlines() if line]
    header = next(line["value"] for line in lines if line["key"] == "header")
    parent = repo.sha(rev)
    if header.get("parentCommit") not in (None, parent):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(repo.files(rev))
    for key, value in ((line["key"], line["value"]) for line in lines):
        if key == "file":
            files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
        elif key == "lfsFile":
            if value["oid"] not in request.hub.lfs:
                raise HubError(400, f"LFS object {value['oid']} was never uploaded")
            files[value["path"]] = Blob(request.hub.lfs[value["oid"]], True)
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
        elif key == "deletedFolder":
            files = {path: blob for path, blob in files.items() if not path.startswith(value["path"].rstrip("/") + "/")}
    answer, ref = {}, repo.ref(rev)
    if request.query.get("create_pr") == "1":
        number = 1 + sum(ref.startswith("refs/pr/") for ref in repo.refs)
        ref = f"refs/pr/{number}"
        repo.refs[ref] = parent
        answer["pullRequestUrl"] = f"{request.hub.url}/{name}/discussions/{number}"
    sha = repo.commit(ref, files, header["summary"])
    request.answer({"success": True, "commitOid": sha, "commitUrl": f"{request.hub.url}/{name}/commit/{sha}", **answer})


def model_info(request, name, rev=""):
    repo = request.repo(name)
    sha = repo.sha(rev or "main")
    files = repo.files(sha)
    card = files["README.md"].data.decode() if "README.md" in files else ""
    data = card_data(card)
    request.answer(
        {
            "id": name,
            "modelId": name,
            "author": name.split("/")[0],
            "sha": sha,
            "private": repo.private,
            "lastModified": DATE,
            "createdAt": DATE,
            "tags": data.get("tags", []),
            "cardData": data,
            "pipeline_tag": data.get("pipeline_tag", "text-classification"),
            "library_name": data.get("library_name", "transformers"),
            "config": json.loads(files["config.json"].data) if "config.json" in files else {},
            "siblings": [{"rfilename": path, **entry(path, blob)} for path, blob in files.items()],
        }
    )


def tree(request, name, rev, path=""):
    files = request.repo(name).files(rev)
    prefix = path + "/" if path else ""
    inside = {name.removeprefix(prefix): blob for name, blob in files.items() if name.startswith(prefix)}
    if path and not inside:
        raise HubError(404, f"{path} does not exist", "EntryNotFound")
    folders = sorted({name.rsplit("/", 1)[0] for name in inside if "/" in name})
    deep = request.query.get("recursive", "").lower() in ("1", "true")
    listed = [entry(prefix + name, blob) for name, blob in inside.items() if deep or "/" not in name]
    listed += [{"type": "directory", "path": prefix + f, "oid": "0" * 40, "size": 0} for f in folders]
    request.answer(listed)


def paths_info(request, name, rev):
    files = request.repo(name).files(rev)
    wanted = parse_qs(request.body.decode()).get("paths", [])
    request.answer([entry(path, files[path]) for path in wanted if path in files])


def refs(request, name):
    repo = request.repo(name)
    kinds = {"branches": "refs/heads/", "tags": "refs/tags/", "pullRequests": "refs/pr/", "converts": "refs/convert/"}
    listed = {kind: [] for kind in kinds}
    for ref, sha in repo.refs.items():
        kind = next(kind for kind, prefix in kinds.items() if ref.startswith(prefix))
        listed[kind].append({"name": ref.removeprefix(kinds[kind]), "ref": ref, "targetCommit": sha})
    request.answer(listed)


def create_branch(request, name, rev):
    repo = request.repo(name, write=True)
    if repo.ref(rev) in repo.refs:
        raise HubError(409, "Reference already exists")
    repo.refs[repo.ref(rev)] = repo.sha(json.loads(request.body or b"{}").get("startingPoint") or "main")
    request.answer({})


def resolve(request, name, rev, path):
    repo = request.repo(name)
    sha = repo.sha(rev)
    headers = {"X-Repo-Commit": sha}
    blob = repo.files(sha).get(path)
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound", headers=headers)
    if not blob.lfs:
        return request.answer(blob.data, 200, {**headers, "ETag": f'"{blob.oid}"'})
    headers |= {"X-Linked-Etag": f'"{blob.oid}"', "X-Linked-Size": str(len(blob.data)), "ETag": f'"{blob.oid}"'}
    request.hub.lfs[blob.oid] = blob.data
    return request.answer(b"", 302, {**headers, "Location": f"{request.hub.cdn}/lfs/{blob.oid}"})


NAME, API = r"(?P<name>[^/]+/[^/]+)", r"/api/models/(?P<name>[^/]+/[^/]+)"
ROUTES = [
    (("GET",), "/api/whoami-v2", whoami),
    (("POST",), "/api/repos/create", create_repo),
    (("POST",), "/api/validate-yaml", validate_yaml),
    (("POST",), f"{API}/preupload/(?P<rev>[^/]+)", preupload),
    (("POST",), f"/{NAME}\\.git/info/lfs/objects/batch", lfs_batch),
    (("POST",), f"/{NAME}\\.git/info/lfs/verify", lfs_verify),
    (("PUT",), "/lfs/(?P<oid>[0-9a-f]{64})", lfs_put),
    (("GET", "HEAD"), "/lfs/(?P<oid>[0-9a-f]{64})", lfs_get),
    (("POST",), f"{API}/commit/(?P<rev>[^/]+)", commit),
    (("GET",), f"{API}(/revision/(?P<rev>[^/]+))?", model_info),
    (("GET",), f"{API}/tree/(?P<rev>[^/]+)(/(?P<path>.+))?", tree),
    (("POST",), f"{API}/paths-info/(?P<rev>[^/]+)", paths_info),
    (("GET",), f"{API}/refs", refs),
    (("POST",), f"{API}/branch/(?P<rev>[^/]+)", create_branch),
    (("GET", "HEAD"), f"/{NAME}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", resolve),
]
