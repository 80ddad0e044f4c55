"""What the stand-in Hub answers at each of its addresses; `request` is the `Handler` of `hub_server`."""

import base64
import hashlib
import json
from urllib.parse import parse_qs

from tests.helpers.hub_store import MAIN, Blob, HubError, Repo, card_data, card_errors, entry

LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".msgpack")
DATE = "2025-01-01T00:00:00.000Z"


def whoami(request):
    user, may_write = request.user()
    if user is None:
        raise HubError(401, "Invalid username or password.")
    role = "write" if may_write else "read"
    answer = {"name": user, "orgs": [], "auth": {"accessToken": {"role": role}}}
    request.answer(answer | request.hub.about.get(user, {}))


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
    request.hub.take_commit()
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
        repo.refs[ref], repo.authors[ref] = parent, request.user()[0]
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


def discussions(request, name):
    """The pull requests, all open; the title of one is that of its first commit."""
    repo, found = request.repo(name), []
    for ref in [ref for ref in repo.refs if ref.startswith("refs/pr/")]:
        history, sha = [], repo.refs[ref]
        while sha is not None and sha != repo.refs[MAIN]:
            history, sha = [repo.commits[sha], *history], repo.commits[sha]["parent"]
        about = {"title": history[0]["title"], "author": {"name": repo.authors[ref]}, "num": int(ref[8:])}
        kind = {"status": "open", "isPullRequest": True, "repo": {"name": name, "type": "model"}}
        found.append({**about, **kind, "createdAt": DATE})
    listed = [each for each in found if each["author"]["name"] == request.query.get("author")]
    request.answer({"discussions": listed, "count": len(listed), "start": 0})


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


NAME, API = r"(?P<name>[^/]+/[^/]+)", r"/api/(?:models|datasets)/(?P<name>[^/]+/[^/]+)"
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
    (("GET",), f"{API}/discussions", discussions),
    (("POST",), f"{API}/branch/(?P<rev>[^/]+)", create_branch),
    (("GET", "HEAD"), f"/(?:datasets/)?{NAME}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", resolve),
]
