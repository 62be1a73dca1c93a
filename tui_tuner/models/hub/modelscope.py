"""ModelScope (modelscope.cn, or another address of it): searching it, and what a model on it is.

Its plain HTTP interface is used, as documented by what its own library asks: `openapi/v1/models` to search,
`api/v1/models/NAME` for what one is, `…/repo/files` for its files, `…/repo?FilePath=` for one of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from tui_tuner.errors import HubError, ModelError, TunerError
from tui_tuner.locales import _
from tui_tuner.models.hub import problems
from tui_tuner.models.hub.choice import describe_files
from tui_tuner.models.hub.huggingface import MOST_CONFIG, TEXT, nearest
from tui_tuner.models.hub.kinds import MODELSCOPE, Described, Found, HubFile
from tui_tuner.models.hub.net import asked, is_offline, library, patience, small_json
from tui_tuner.models.hub.stored import find_token
from tui_tuner.text import one_line

DOMAIN = "www.modelscope.cn"
BRANCH = "master"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_client: Any = None


def client() -> Any:
    """An HTTP client of its own: the one of the other hub sends what belongs to that."""
    global _client
    if is_offline():
        raise problems.offline()
    if _client is None:
        _client = library().Client(follow_redirects=True, timeout=patience())
    return _client


def headers() -> dict[str, str]:
    """With the token of this hub, if there is one; it is not passed on to another address."""
    token, _unused = find_token(MODELSCOPE)
    told = {"User-Agent": "tui-tuner"}
    if token:
        told |= {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"}
    return told


def file_url(name: str, file: str, revision: str) -> str:
    values = urlencode({"Revision": revision, "FilePath": file})
    return f"{ModelScope.endpoint()}/api/v1/models/{name}/repo?{values}"


class ModelScope:
    """Functions of one hub, under one name."""

    @staticmethod
    def endpoint() -> str:
        """MODELSCOPE_ENDPOINT, or MODELSCOPE_DOMAIN as its library reads it (a domain, or an address)."""
        told = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or DOMAIN
        return (told if "://" in told else f"https://{told}").strip().rstrip("/")

    @classmethod
    def search(cls, query: str, limit: int) -> list[Found]:
        """Text models, most used first."""
        values = {"search": query, "sort": "downloads", "page_number": 1, "page_size": min(3 * limit, 100)}
        data = _ask(f"/openapi/v1/models?{urlencode(values)}", query, patient=False)
        rows = data.get("models") or data.get("Models") or []
        found = [_found(row) for row in rows if isinstance(row, dict)]
        text = [one for one in found if one.name and one.kind in ("", *TEXT)]
        return sorted(text, key=lambda one: -(one.downloads or 0))[:limit]

    @classmethod
    def describe(cls, name: str, revision: str | None) -> Described:
        if not _NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
            hint = _("A model of ModelScope is called owner/name, such as Qwen/Qwen3-0.6B.")
            raise ModelError(_("is neither a folder here nor a hub id."), where=one_line(name), hint=hint)
        try:
            about = _found({"id": name, **_ask(f"/api/v1/models/{quote(name)}", name)})
        except HubError as error:
            if getattr(error, "unknown", False):
                raise problems.unknown(name, MODELSCOPE, nearest(name, cls.search)) from None
            raise
        asked_for = revision or BRANCH
        values = urlencode({"Revision": asked_for, "Recursive": "True"})
        try:
            listed = _ask(f"/api/v1/models/{quote(name)}/repo/files?{values}", name)
        except HubError as error:
            if getattr(error, "unknown", False):
                raise problems.no_revision(name, revision) from None
            raise
        files = [_file(row) for row in listed.get("Files") or [] if isinstance(row, dict)]
        known = [file for file in files if file is not None]
        latest = listed.get("LatestCommitter")
        return describe_files(
            about,
            known,
            name=name,
            revision=revision,
            commit=one_line(latest.get("Id") or "") if isinstance(latest, dict) else "",
            remote_code=any(file.name.startswith(("modeling_", "configuration_")) for file in known),
            page=f"{cls.endpoint()}/models/{one_line(name)}",
        )

    @classmethod
    def config(cls, model: Described) -> dict[str, Any] | None:
        """Its `config.json`, by one question; None if it is not to be had."""
        if not any(file.name == "config.json" for file in model.files):
            return None
        url = file_url(model.name, "config.json", model.revision or BRANCH)
        return small_json(url, headers(), MOST_CONFIG)


def _ask(path: str, name: str, patient: bool = True) -> dict[str, Any]:
    """`Data` of an answer; errors in words.

    Raises:
        HubError: with `unknown` set where the hub has no such thing.
    """
    endpoint = ModelScope.endpoint()

    def once() -> Any:
        response = client().get(endpoint + path, headers=headers(), timeout=patience())
        response.raise_for_status()
        return response.json()

    try:
        answer = asked(once, patient)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        problem: TunerError = problems.in_words(error, name, MODELSCOPE, endpoint)
        problem.unknown = status == 404  # type: ignore[attr-defined]
        raise problem from None
    if not isinstance(answer, dict):
        raise problems.not_a_hub(one_line(name), endpoint)
    code = answer.get("Code", answer.get("code", 200))
    if answer.get("Success", answer.get("success", True)) is False or code not in (200, "200", "", None):
        said = answer.get("Message") or answer.get("message") or code
        refused = HubError(_("ModelScope refuses: {error}.", error=one_line(said, 200)), where=one_line(name))
        lower = str(said).lower()
        refused.unknown = "not exist" in lower or "not found" in lower  # type: ignore[attr-defined]
        raise refused
    data = answer.get("Data", answer.get("data"))
    return data if isinstance(data, dict) else {}


def _found(row: Mapping[str, Any]) -> Found:
    """A row of a search, or what is said of one model; nothing in it is trusted to have its type."""
    name = row.get("id") if "/" in str(row.get("id") or "") else f"{row.get('Path')}/{row.get('Name')}"
    tasks = row.get("tasks") or row.get("Tasks") or []
    first = tasks[0] if isinstance(tasks, list) and tasks else ""
    kind = first.get("Name") if isinstance(first, dict) else first
    downloads = row.get("downloads", row.get("Downloads"))
    changed = row.get("last_modified") or row.get("LastUpdatedTime") or row.get("GmtModified")
    count = downloads if isinstance(downloads, int) and not isinstance(downloads, bool) else None
    return Found(
        name=one_line(name) if re.fullmatch(_NAME, str(name)) else "",
        source=MODELSCOPE,
        licence=one_line(row.get("license") or row.get("License") or ""),
        gated=bool(row.get("gated") or row.get("ApprovalMode")),
        downloads=count,
        updated=_day(changed),
        kind=one_line(kind) if isinstance(kind, str) else "",
    )


def _day(changed: Any) -> str:
    """A day, of seconds or milliseconds since 1970 or of a text."""
    if isinstance(changed, str):
        return one_line(changed)[:10]
    if not isinstance(changed, (int, float)) or changed <= 0:
        return ""
    seconds = changed / 1000 if changed > 1e11 else changed
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return ""


def _file(row: Mapping[str, Any]) -> HubFile | None:
    name, size, sha = row.get("Path") or row.get("Name"), row.get("Size"), row.get("Sha256")
    if row.get("Type") == "tree" or not isinstance(name, str):
        return None
    known = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    return HubFile(
        name, size if known else None, sha.lower() if isinstance(sha, str) and len(sha) == 64 else ""
    )
