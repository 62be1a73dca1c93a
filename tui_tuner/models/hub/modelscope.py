"""Search ModelScope (modelscope.cn or another address), and describe its models.

This uses its plain HTTP interface, as its own library does: `openapi/v1/models` searches,
`api/v1/models/NAME` describes a model, `…/repo/files` lists its files, `…/repo?FilePath=` downloads one.
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
from tui_tuner.models.hub import hub_errors
from tui_tuner.models.hub.choice import describe_hub_files
from tui_tuner.models.hub.huggingface import MOST_CONFIG, TEXT, find_similar_names
from tui_tuner.models.hub.kinds import MODELSCOPE, FoundModel, HubFile, ModelDescription
from tui_tuner.models.hub.net import (
    call_with_retries,
    get_http_library,
    is_network_offline,
    make_request_timeouts,
    read_small_json,
)
from tui_tuner.models.hub.stored_tokens import find_token
from tui_tuner.text import one_line

DOMAIN = "www.modelscope.cn"
BRANCH = "master"
_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_client: Any = None


def make_modelscope_client() -> Any:
    """Return an HTTP client for this hub alone: the client of the other hub adds its own headers."""
    global _client
    if is_network_offline():
        raise hub_errors.make_offline_error()
    if _client is None:
        _client = get_http_library().Client(follow_redirects=True, timeout=make_request_timeouts())
    return _client


def make_modelscope_headers() -> dict[str, str]:
    """Return request headers, with the token of this hub if there is one."""
    token, _unused = find_token(MODELSCOPE)
    told = {"User-Agent": "tui-tuner"}
    if token:
        told |= {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"}
    return told


def make_modelscope_url(name: str, file: str, revision: str) -> str:
    values = urlencode({"Revision": revision, "FilePath": file})
    return f"{ModelScope.hub_address()}/api/v1/models/{name}/repo?{values}"


class ModelScope:
    """The calls of one hub, grouped so that `find_hub_client` can choose."""

    @staticmethod
    def hub_address() -> str:
        """Return MODELSCOPE_ENDPOINT, or MODELSCOPE_DOMAIN (a domain or an address), as its own library
        reads it.
        """
        told = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or DOMAIN
        return (told if "://" in told else f"https://{told}").strip().rstrip("/")

    @classmethod
    def search_models(cls, query: str, limit: int) -> list[FoundModel]:
        """Search for text models, most downloaded first."""
        values = {"search": query, "sort": "downloads", "page_number": 1, "page_size": min(3 * limit, 100)}
        data = _request_data(f"/openapi/v1/models?{urlencode(values)}", query, patient=False)
        rows = data.get("models") or data.get("Models") or []
        found = [_parse_row(row) for row in rows if isinstance(row, dict)]
        # Models without a task are kept, because many there have none.
        text = [one for one in found if one.name and one.kind in ("", *TEXT)]
        return sorted(text, key=lambda one: -(one.downloads or 0))[:limit]

    @classmethod
    def describe_model(cls, name: str, revision: str | None) -> ModelDescription:
        if not _NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
            hint = _("A ModelScope id looks like owner/name, such as Qwen/Qwen3-0.6B.")
            raise ModelError(_("is neither a folder here nor a hub id."), where=one_line(name), hint=hint)
        try:
            about = _parse_row({"id": name, **_request_data(f"/api/v1/models/{quote(name)}", name)})
        except HubError as error:
            if getattr(error, "unknown", False):
                raise hub_errors.make_unknown_model_error(
                    name, MODELSCOPE, find_similar_names(name, cls.search_models)
                ) from None
            raise
        asked_for = revision or BRANCH
        values = urlencode({"Revision": asked_for, "Recursive": "True"})
        try:
            listed = _request_data(f"/api/v1/models/{quote(name)}/repo/files?{values}", name)
        except HubError as error:
            if getattr(error, "unknown", False):
                raise hub_errors.make_no_revision_error(name, revision) from None
            raise
        files = [_parse_file(row) for row in listed.get("Files") or [] if isinstance(row, dict)]
        known = [file for file in files if file is not None]
        latest = listed.get("LatestCommitter")
        return describe_hub_files(
            about,
            known,
            name=name,
            revision=revision,
            commit=one_line(latest.get("Id") or "") if isinstance(latest, dict) else "",
            remote_code=any(file.name.startswith(("modeling_", "configuration_")) for file in known),
            page=f"{cls.hub_address()}/models/{one_line(name)}",
        )

    @classmethod
    def read_config(cls, model: ModelDescription) -> dict[str, Any] | None:
        """Read the `config.json` of a model in one request; None if it is not available."""
        if not any(file.name == "config.json" for file in model.files):
            return None
        url = make_modelscope_url(model.name, "config.json", model.revision or BRANCH)
        return read_small_json(url, make_modelscope_headers(), MOST_CONFIG)


def _request_data(path: str, name: str, patient: bool = True) -> dict[str, Any]:
    """Send a request and return the `Data` of the answer.

    Raises:
        HubError: the request failed; its `unknown` is True if the hub has no such thing.
    """
    endpoint = ModelScope.hub_address()

    def send_request() -> Any:
        response = make_modelscope_client().get(
            endpoint + path, headers=make_modelscope_headers(), timeout=make_request_timeouts()
        )
        response.raise_for_status()
        return response.json()

    try:
        answer = call_with_retries(send_request, patient)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        problem: TunerError = hub_errors.explain_error(error, name, MODELSCOPE, endpoint)
        problem.unknown = status == 404  # type: ignore[attr-defined]
        raise problem from None
    if not isinstance(answer, dict):
        raise hub_errors.make_not_hub_error(one_line(name), endpoint)
    # The hub answers errors with status 200 and a code inside, in two spellings.
    code = answer.get("Code", answer.get("code", 200))
    if answer.get("Success", answer.get("success", True)) is False or code not in (200, "200", "", None):
        said = answer.get("Message") or answer.get("message") or code
        refused = HubError(
            _("ModelScope refused the request: {error}.", error=one_line(said, 200)), where=one_line(name)
        )
        lower = str(said).lower()
        refused.unknown = "not exist" in lower or "not found" in lower  # type: ignore[attr-defined]
        raise refused
    data = answer.get("Data", answer.get("data"))
    return data if isinstance(data, dict) else {}


def _parse_row(row: Mapping[str, Any]) -> FoundModel:
    """Convert a search row or a model's description to `FoundModel`; no value is trusted to have its type."""
    name = row.get("id") if "/" in str(row.get("id") or "") else f"{row.get('Path')}/{row.get('Name')}"
    tasks = row.get("tasks") or row.get("Tasks") or []
    first = tasks[0] if isinstance(tasks, list) and tasks else ""
    kind = first.get("Name") if isinstance(first, dict) else first
    downloads = row.get("downloads", row.get("Downloads"))
    changed = row.get("last_modified") or row.get("LastUpdatedTime") or row.get("GmtModified")
    count = downloads if isinstance(downloads, int) and not isinstance(downloads, bool) else None
    return FoundModel(
        name=one_line(name) if re.fullmatch(_NAME, str(name)) else "",
        source=MODELSCOPE,
        licence=one_line(row.get("license") or row.get("License") or ""),
        gated=bool(row.get("gated") or row.get("ApprovalMode")),
        downloads=count,
        updated=_parse_day(changed),
        kind=one_line(kind) if isinstance(kind, str) else "",
    )


def _parse_day(changed: Any) -> str:
    """Return the day of a time in seconds or milliseconds since 1970, or of a text."""
    if isinstance(changed, str):
        return one_line(changed)[:10]
    if not isinstance(changed, (int, float)) or changed <= 0:
        return ""
    # 1e11 seconds would be the year 5138, so such a number counts milliseconds.
    seconds = changed / 1000 if changed > 1e11 else changed
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return ""


def _parse_file(row: Mapping[str, Any]) -> HubFile | None:
    name, size, sha = row.get("Path") or row.get("Name"), row.get("Size"), row.get("Sha256")
    if row.get("Type") == "tree" or not isinstance(name, str):
        return None
    known = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    return HubFile(
        name, size if known else None, sha.lower() if isinstance(sha, str) and len(sha) == 64 else ""
    )
