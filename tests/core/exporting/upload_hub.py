"""A hub that takes uploads, played by a local server, as huggingface_hub sees it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

TOKEN = "hf_" + "b" * 34
_COMMIT = "d" * 40


class UploadHub:
    """Repositories by name, each with its files; what was asked; and who may write."""

    def __init__(self, role: str = "write") -> None:
        self.repos: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.role = role
        self.refuse_commits = False
        self.asked: list[str] = []

    def __enter__(self) -> UploadHub:
        hub = self

        class Answers(_Answers):
            played = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def in_this_process(self, monkeypatch: pytest.MonkeyPatch, folder: Path, token: str = TOKEN) -> None:
        """Let huggingface_hub of this process ask it, with a token, and keep its files apart."""
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setenv("HF_ENDPOINT", self.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setenv("HF_TOKEN", token)


class _Answers(BaseHTTPRequestHandler):
    played: UploadHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_unused: Any) -> None:
        return

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.played, self.path.partition("?")[0]
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._read_chunks()
        hub.asked.append(f"{self.command} {path}")
        if path.startswith("/upload/"):
            hub.blobs[path.rpartition("/")[2]] = body
            return self._send({})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send({"error": "unauthorized"}, 401)
        if path == "/api/whoami-v2":
            told = {"accessToken": {"role": hub.role, "displayName": "t"}}
            return self._send({"type": "user", "name": "anna", "orgs": [{"name": "acme"}], "auth": told})
        if path == "/api/validate-yaml":
            return self._send({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            told = json.loads(body)
            name = f"{told.get('organization') or 'anna'}/{told['name']}"
            if name in hub.repos:
                return self._send({"error": "exists", "url": f"{hub.url}/{name}"}, 409)
            hub.repos[name] = {"private": _is_private(told), "files": {}}
            return self._send({"url": f"{hub.url}/{name}", "name": name})
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            made = [
                {**one, "actions": {"upload": {"href": f"{hub.url}/upload/{one['oid']}", "header": {}}}}
                for one in objects
            ]
            return self._send({"transfer": "basic", "objects": made})
        name, _slash, rest = path.removeprefix("/api/models/").partition("/")
        owner, (name, _slash, rest) = name, rest.partition("/")
        return self._answer_repo(f"{owner}/{name}", rest, body)

    def _answer_repo(self, name: str, rest: str, body: bytes) -> None:
        hub = self.played
        repo = hub.repos.get(name)
        if repo is None:
            return self._send({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if rest.startswith("preupload/"):
            files = [
                {"path": one["path"], "uploadMode": _choose_mode(one["path"]), "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]  # fmt: skip
            return self._send({"files": files})
        if rest.startswith("commit/"):
            if hub.refuse_commits:
                return self._send({"error": "you have no rights"}, 403)
            for line in body.splitlines():
                told = json.loads(line)
                value = told["value"]
                if told["key"] == "file":
                    repo["files"][value["path"]] = base64.b64decode(value["content"])
                elif told["key"] == "lfsFile":
                    repo["files"][value["path"]] = hub.blobs[value["oid"]]
            url = f"{hub.url}/{name}/commit/{_COMMIT}"
            return self._send({"success": True, "commitOid": _COMMIT, "commitUrl": url, "hookOutput": ""})
        siblings = [
            {"rfilename": file, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
            for file, content in repo["files"].items()
        ]
        return self._send(
            {"id": name, "modelId": name, "sha": _COMMIT, "private": bool(repo["private"]),
             "siblings": siblings, "tags": [], "downloads": 0, "likes": 0}
        )  # fmt: skip

    def _read_chunks(self) -> bytes:
        """Read a body that came in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return b""
        found = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _send(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, one in (headers or {}).items():
            self.send_header(name, one)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _choose_mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"


def _is_private(told: dict[str, Any]) -> bool:
    return told.get("private") is True or told.get("visibility") == "private"
