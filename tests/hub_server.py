"""A hub played by a local server: Hugging Face and ModelScope as clients see them, with faults on demand.

    with PlayedHub() as hub:
        hub.add_demo("acme/tiny")            # the embedded model, under a name of a hub
        hub.slow(100_000)                    # bytes a second, of each connection
        hub.break_after("model.safetensors", 1_000_000)   # once: the connection ends in the middle
        hub.refuse("/api/models", 429, times=1, headers={"Retry-After": "1"})
        ...
        hub.sent["model.safetensors"]        # bytes that went out

Large files are sent from another host than the hub's own, as real ones are: `localhost` beside `127.0.0.1`.
`in_this_process` lets huggingface_hub in the process of a test ask it; `environment` is for other processes.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

LARGE = 100_000  # bytes from which a file is kept by its SHA-256, outside of git
PIECE = 16_384
TOKEN = "hf_" + "a" * 34
MODELSCOPE_TOKEN = "ms-00000000-1111-4222-8333-444444444444"


@dataclass
class PlayedModel:
    """A model of the played hub: contents of files by name, at one commit."""

    name: str
    files: dict[str, bytes]
    commit: str = "c" * 40
    branches: tuple[str, ...] = ("main", "master")
    gated: bool = False
    private: bool = False
    downloads: int = 1000
    pipeline_tag: str | None = "text-generation"
    tags: tuple[str, ...] = ("safetensors", "transformers", "license:apache-2.0")
    parameters: int | None = 901_120
    card: dict[str, Any] | None = None  # the head of its README.md
    tell_sizes: bool = True  # some mirrors tell names of files alone
    readers: set[str] = field(default_factory=set)  # tokens that may read a gated or private one


@dataclass
class Refusal:
    """An answer in the place of the right one, so many times."""

    part: str  # of the path
    status: int
    times: int
    headers: dict[str, str]
    body: str = ""


class PlayedHub:
    """The server, what it holds, its faults, and what it was asked."""

    def __init__(self) -> None:
        self.models: dict[str, PlayedModel] = {}
        self.users = {TOKEN: "anna", MODELSCOPE_TOKEN: "anna"}
        self.sent: Counter[str] = Counter()  # bytes of each file
        self.requests: list[tuple[str, str, str]] = []  # method, path, Range
        self.authorized: list[tuple[str, bool]] = []  # Host, whether a token came along
        self.refusals: list[Refusal] = []
        self.rate: float | None = None
        self.ranges = ""  # "none" sends all of a file whatever is asked, "other" a part nobody asked for
        self.stalled = threading.Event()
        self._breaks: dict[str, list[int]] = {}
        self._spoilt: Counter[str] = Counter()
        self._gone = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.files_url = f"http://localhost:{self.port}"

    def __enter__(self) -> PlayedHub:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._gone.set()
        self._server.shutdown()
        self._server.server_close()

    # what it holds

    def add(self, name: str, files: Mapping[str, bytes], **more: Any) -> PlayedModel:
        self.models[name] = PlayedModel(name, dict(files), **more)
        return self.models[name]

    def add_demo(self, name: str, extra: Mapping[str, bytes] | None = None, **more: Any) -> PlayedModel:
        """The embedded model, a real one of 3.6 MB. `extra`: more files, such as those of other programs."""
        from tui_tuner import demo

        folder = Path(demo.__file__).parent / "model"
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        return self.add(name, {**files, **(extra or {})}, **more)

    # its faults

    def slow(self, rate: float | None) -> None:
        """Send so many bytes a second on each connection."""
        self.rate = rate

    def break_after(self, file: str, count: int, times: int = 1) -> None:
        """End the connection after so many bytes of an answer with this file."""
        self._breaks.setdefault(file, []).extend([count] * times)

    def spoil(self, file: str, times: int = 1) -> None:
        """Send another first byte than the file has."""
        self._spoilt[file] += times

    def refuse(
        self,
        part: str,
        status: int,
        times: int = 1_000_000,
        headers: Mapping[str, str] | None = None,
        body: str = "",
    ) -> None:
        """Answer paths with this part by a status."""
        self.refusals.append(Refusal(part, status, times, dict(headers or {}), body))

    def heal(self) -> None:
        """No faults any more."""
        self.refusals.clear()
        self._breaks.clear()
        self._spoilt.clear()
        self.rate = None
        self.ranges = ""
        self.stalled.clear()

    # what it was asked

    @property
    def bytes_sent(self) -> int:
        """Of large files, which is what counts."""
        return sum(count for name, count in self.sent.items() if name.endswith(".safetensors"))

    # how a client is led here

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables for another process, whose cache and tokens lie in `folder`."""
        return {
            "HF_ENDPOINT": self.url,
            "MODELSCOPE_ENDPOINT": self.url,
            "HF_HOME": str(folder / "hf"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def in_this_process(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        """Lead huggingface_hub, which reads its environment when it is imported, here."""
        from huggingface_hub import constants, hf_api

        monkeypatch.setattr(hf_api.api, "endpoint", self.url)  # what functions of the module ask
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN", "HF_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        for name, value in self.environment(folder).items():
            monkeypatch.setenv(name, value)
        home = folder / "hf"
        for name, value in {
            "ENDPOINT": self.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": self.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        if hasattr(constants, "HF_URL_HOSTS"):
            monkeypatch.setattr(constants, "HF_URL_HOSTS", frozenset({"127.0.0.1"}))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A played hub that this process asks, with an empty cache. Import it into a test module to use it."""
    with PlayedHub() as played:
        played.in_this_process(monkeypatch, tmp_path / "home")
        yield played


def _handler(hub: PlayedHub) -> type[BaseHTTPRequestHandler]:
    class Handler(_Answers):
        played = hub

    return Handler


class _Answers(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    played: PlayedHub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_unused: Any) -> None:
        """Nothing: tests look at `requests`."""

    def _answer(self) -> None:
        hub = self.played
        self.path_only = unquote(urlsplit(self.path).path)
        self.values = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        self.sent_body = self.rfile.read(length) if length else b""
        hub.requests.append((self.command, self.path, self.headers.get("Range") or ""))
        hub.authorized.append((self.headers.get("Host", ""), bool(self._token())))
        try:
            for refusal in hub.refusals:
                if refusal.times > 0 and refusal.part in self.path:
                    refusal.times -= 1
                    self._text(refusal.status, refusal.body, refusal.headers)
                    return
            self._route()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(self) -> None:
        path = self.path_only
        if path == "/api/models":
            self._search()
        elif path == "/api/whoami-v2":
            self._who()
        elif path.startswith("/api/models/"):
            self._describe(path.removeprefix("/api/models/"))
        elif path.startswith("/cdn/"):
            self._cdn(path.removeprefix("/cdn/"))
        elif path == "/openapi/v1/models":
            self._search_modelscope()
        elif path == "/api/v1/login":
            self._login_modelscope()
        elif path.startswith("/api/v1/models/"):
            self._modelscope(path.removeprefix("/api/v1/models/"))
        elif "/resolve/" in path:
            self._resolve(*path.lstrip("/").split("/resolve/", 1))
        else:
            self._text(200, "<html>a page</html>", {"Content-Type": "text/html"})

    # the hub of Hugging Face

    def _search(self) -> None:
        words = self.values.get("search", "").lower().split()
        found = [m for m in self.played.models.values() if all(w in m.name.lower() for w in words)]
        found.sort(key=lambda model: -model.downloads)
        self._json(
            [_told(model) for model in found if not model.private][: int(self.values.get("limit", 20))]
        )

    def _who(self) -> None:
        user = self.played.users.get(self._token())
        if user is None:
            self._json({"error": "Invalid username or password."}, 401)
        else:
            access = {"displayName": "laptop", "role": "read"}
            self._json(
                {"type": "user", "name": user, "auth": {"type": "access_token", "accessToken": access}}
            )

    def _describe(self, rest: str) -> None:
        name, what, revision = rest, "", "main"
        for word in ("/revision/", "/tree/"):
            if word in rest:
                name, revision = rest.split(word, 1)
                what = word.strip("/")
        model = self._readable(name, revision, files=False)
        if model is None:
            return
        if what == "tree":
            self._json([_entry(file, body) for file, body in model.files.items()])
            return
        self._json(_told(model, blobs="blobs" in self.values))

    def _resolve(self, name: str, rest: str) -> None:
        revision, _unused, file = rest.partition("/")
        model = self._readable(name, revision, files=True)
        if model is None:
            return
        if file not in model.files:
            self._text(404, "", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": model.commit})
            return
        body = model.files[file]
        headers = {"X-Repo-Commit": model.commit, "Accept-Ranges": "bytes"}
        if len(body) >= LARGE:
            sha = hashlib.sha256(body).hexdigest()
            where = f"{self.played.files_url}/cdn/{name}/{file}"
            headers |= {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(body)), "Location": where}
            # as for all large files today; whoever follows them asks for a token, which `requests` shows
            route = f"{self.played.url}/api/models/{name}/xet-read-token/{model.commit}"
            headers |= {"X-Xet-Hash": sha, "X-Xet-Refresh-Route": route}
            self._text(302, "", headers)
        else:
            self._bytes(file, body, {**headers, "ETag": f'"{_git(body)}"'})

    def _cdn(self, rest: str) -> None:
        name, file = _split(rest, self.played.models)
        body = self.played.models[name].files[file]
        self._bytes(file, body, {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "Accept-Ranges": "bytes"})

    def _readable(self, name: str, revision: str, files: bool) -> PlayedModel | None:
        """The model, if whoever asks may read it; else the hub's own refusal is sent."""
        model, token = self.played.models.get(name), self._token()
        if token and token not in self.played.users:
            told = "Invalid credentials in Authorization header"
            self._text(401, json.dumps({"error": told}), {"X-Error-Message": told})
        elif model is None or (model.private and token not in model.readers):
            self._text(404 if token else 401, "", {"X-Error-Code": "RepoNotFound"})
        elif revision not in (*model.branches, model.commit):
            self._text(404, "", {"X-Error-Code": "RevisionNotFound"})
        elif model.gated and files and token not in model.readers:
            self._text(403 if token else 401, "", {"X-Error-Code": "GatedRepo"})
        else:
            return model
        return None

    # ModelScope

    def _search_modelscope(self) -> None:
        words = self.values.get("search", "").lower().split()
        found = [m for m in self.played.models.values() if all(w in m.name.lower() for w in words)]
        rows = [
            {"id": m.name, "downloads": m.downloads, "license": "apache-2.0", "tasks": [m.pipeline_tag]}
            for m in sorted(found, key=lambda model: -model.downloads)
        ]
        self._json({"success": True, "data": {"models": rows, "total_count": len(rows)}})

    def _login_modelscope(self) -> None:
        token = json.loads(self.sent_body).get("AccessToken")
        user = self.played.users.get(token)
        if user is None:
            self._json({"Code": 10010205, "Success": False, "Message": "invalid access token"}, 400)
        else:
            self._json({"Code": 200, "Success": True, "Data": {"Username": user, "AccessToken": token}})

    def _modelscope(self, rest: str) -> None:
        name = "/".join(rest.split("/")[:2])
        model, what = self.played.models.get(name), rest.removeprefix(name)
        if model is None:
            self._json({"Code": 10010205001, "Success": False, "Message": "model not exist"}, 404)
            return
        if model.private and self._token() not in model.readers:
            self._json({"Code": 403, "Success": False, "Message": "no permission"}, 403)
            return
        if not what:
            data = {"Path": name.split("/")[0], "Name": name.split("/")[1], "License": "Apache License 2.0"}
            tasks = [{"Name": model.pipeline_tag}]
            data |= {"Downloads": model.downloads, "LastUpdatedTime": 1_770_000_000, "Tasks": tasks}
            self._json({"Code": 200, "Success": True, "Data": data})
            return
        if self.values.get("Revision") not in (*model.branches, model.commit):
            self._json({"Code": 404, "Success": False, "Message": "revision not exist"}, 404)
        elif what == "/repo/files":
            files = [
                {"Path": file, "Name": file.rpartition("/")[2], "Type": "blob", "Size": len(body)}
                | {"Sha256": hashlib.sha256(body).hexdigest()}
                for file, body in model.files.items()
            ]
            self._json({"Code": 200, "Success": True, "Data": {"Files": files}})
        elif what == "/repo" and self.values.get("FilePath") in model.files:
            self._bytes(self.values["FilePath"], model.files[self.values["FilePath"]], {})
        else:
            self._json({"Code": 404, "Success": False, "Message": "file not found"}, 404)

    # how answers are sent

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()

    def _json(self, value: Any, status: int = 200) -> None:
        self._text(status, json.dumps(value), {"Content-Type": "application/json"})

    def _text(self, status: int, body: str, headers: Mapping[str, str]) -> None:
        data = body.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _bytes(self, file: str, body: bytes, headers: Mapping[str, str]) -> None:
        """A file, or the rest of it that `Range` asks for, with the faults that are due."""
        hub, first = self.played, 0
        asked = "" if hub.ranges == "none" else self.headers.get("Range") or ""
        last = len(body) - 1
        if asked.startswith("bytes="):
            begins, _unused, ends_at = asked[6:].partition("-")
            first, last = int(begins), min(last, int(ends_at or last))
            if hub.ranges == "other":
                first = max(0, first - 1000)
        if first > len(body) or (first and first == len(body)):
            self._text(416, "", {"Content-Range": f"bytes */{len(body)}"})
            return
        self.send_response(206 if asked else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        if self.command == "HEAD":
            return
        ends = hub._breaks[file].pop(0) if hub._breaks.get(file) else None
        rest = body[first : last + 1]
        if hub._spoilt[file] and not first:
            hub._spoilt[file] -= 1
            rest = bytes([rest[0] ^ 1]) + rest[1:]
        self._pieces(file, rest if ends is None else rest[:ends])
        if ends is not None:
            self.close_connection = True

    def _pieces(self, file: str, rest: bytes) -> None:
        hub = self.played
        piece = PIECE if hub.rate is None else max(1, min(PIECE, int(hub.rate / 10)))
        for start in range(0, len(rest), piece):
            while hub.stalled.is_set() and not hub._gone.is_set():
                time.sleep(0.02)
            part = rest[start : start + piece]
            self.wfile.write(part)
            hub.sent[file] += len(part)
            if hub.rate is not None:
                time.sleep(len(part) / hub.rate)


def _told(model: PlayedModel, blobs: bool = False) -> dict[str, Any]:
    """What the hub says of a model."""
    told: dict[str, Any] = {
        "_id": "1",
        "id": model.name,
        "modelId": model.name,
        "sha": model.commit,
        "gated": "manual" if model.gated else False,
        "private": model.private,
        "downloads": model.downloads,
        "likes": 1,
        "tags": list(model.tags),
        "lastModified": "2026-05-01T10:00:00.000Z",
        "siblings": [{"rfilename": file} for file in model.files],
    }
    if model.card is not None:
        told["cardData"] = model.card
    if model.pipeline_tag:
        told["pipeline_tag"] = model.pipeline_tag
    if model.parameters is not None:
        told["safetensors"] = {"parameters": {"F32": model.parameters}, "total": model.parameters}
    if blobs and model.tell_sizes:
        for one in told["siblings"]:
            entry = _entry(one["rfilename"], model.files[one["rfilename"]])
            one |= {"size": entry["size"], "blobId": entry["oid"]}
            if "lfs" in entry:
                one["lfs"] = {"sha256": entry["lfs"]["oid"], "size": entry["size"], "pointerSize": 134}
    return told


def _entry(name: str, body: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(body), "oid": _git(body)}
    if len(body) >= LARGE:
        entry["lfs"] = {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
    return entry


def _git(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def _split(rest: str, models: Mapping[str, PlayedModel]) -> tuple[str, str]:
    name = next(name for name in models if rest.startswith(name + "/"))
    return name, rest.removeprefix(name + "/")
