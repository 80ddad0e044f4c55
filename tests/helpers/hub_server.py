"""A small stand-in for the Hugging Face Hub on loopback: repos of models and data sets in memory, LFS uploads, no Xet.

It answers what the unmodified clients (huggingface_hub, transformers, peft) ask when they publish and load a model.
Large files live on a second origin (`localhost` instead of `127.0.0.1`), as on the real Hub's CDN, and a client that
sends its token there is refused.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.helpers.hub_store import Blob, HubError
from tests.helpers.hub_views import LFS_SUFFIXES, ROUTES


class Hub:
    """The server and its state; use it as a context manager.

    `tokens` maps a token to (user, may write). `break_uploads(status, after)` lets `after` more files in and fails
    every later upload, by that status or, with status 0, by cutting the connection, until `mend_uploads()`.
    """

    def __init__(self):
        self.tokens = {"hf_writer": ("alice", True), "hf_reader": ("alice", False), "hf_stranger": ("mallory", True)}
        self.about = {}  # user -> what whoami says beside the name
        self.repos = {}
        self.lfs = {}
        self.log = []  # "METHOD path" of every request
        self.broken = threading.Event()  # set when an upload was failed on purpose
        self._uploads_left, self._break_status, self._commits_left = None, 0, None
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

    def refuse_commits_after(self, number):
        """Let so many more commits in and answer 503 to every later one; None lets all in again."""
        self._commits_left = number

    def take_commit(self):
        """Let the next commit in, or refuse it."""
        if self._commits_left is not None:
            self._commits_left -= 1
            if self._commits_left < 0:
                raise HubError(503, "Service Unavailable")

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
