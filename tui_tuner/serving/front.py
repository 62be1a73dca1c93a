"""The front of a server: names of models, the key, and a log; answers come from the server behind it.

This is all the server code of this program. The server behind is only reached through it.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tui_tuner.locales import _
from tui_tuner.serving.answers import change_stream, change_whole
from tui_tuner.serving.keys import is_key_right, is_own_name
from tui_tuner.serving.request_log import LoggedRequest
from tui_tuner.serving.translation import RefusedRequest, Translation, list_stops
from tui_tuner.serving.upstream import Upstream, UpstreamAnswer, UpstreamError

_LARGEST = 32 << 20  # bytes of a request
# What is passed on; others, such as loading another model, are not for clients
_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")


@dataclass
class Front:
    """What the front knows.

    Args:
        upstream: The server behind it.
        models: What clients may ask for, by name; None as a value passes requests on as they are.
        key: What clients must send; empty if the server is for this machine alone.
        local: Whether only names of this machine are accepted in the Host header.
        say: Told each request that was answered.
    """

    upstream: Upstream
    models: Mapping[str, Translation | None]
    key: str = ""
    local: bool = True
    say: Callable[[LoggedRequest], None] = lambda _request: None
    began: float = field(default_factory=time.time)

    def build_app(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/v1/models", self._list_models, methods=["GET"]),
            Route("/v1/models/{name:path}", self._show_model, methods=["GET"]),
            Route("/health", self._tell_health, methods=["GET"]),
            *(Route(path, self._pass_on, methods=["POST"]) for path in _PATHS),
        ]
        return Starlette(routes=[self._guard(route) for route in routes])

    def _guard(self, route: Route) -> Route:
        inside = route.endpoint

        async def checked(request: Request) -> Response:
            logged = LoggedRequest(request.method, request.url.path)
            request.state.logged = logged
            try:
                self._check(request)
                answer: Response = await inside(request)
            except RefusedRequest as refused:
                answer = _write_error(refused.status, str(refused), refused.code)
            except ClientDisconnect:
                answer = Response(status_code=499)
            except UpstreamError:
                answer = _write_error(502, _("The model's server does not answer."), "server_error")
            logged.status = answer.status_code
            if not isinstance(answer, StreamingResponse):
                self._log(logged)
            return answer

        return Route(route.path, checked, methods=list(route.methods or ()))

    def _check(self, request: Request) -> None:
        if self.local and not is_own_name(request.headers.get("host", "")):
            raise RefusedRequest(403, _("This server is for programs of its own machine."), "forbidden")
        if self.key and not is_key_right(self.key, request.headers.get("authorization", "")):
            raise RefusedRequest(401, _("The key is missing or wrong."), "invalid_api_key")

    def _log(self, logged: LoggedRequest) -> None:
        logged.end()
        self.say(logged)

    def _describe(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": int(self.began), "owned_by": "tui-tuner"}

    async def _list_models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._describe(name) for name in self.models]})

    async def _show_model(self, request: Request) -> Response:
        name = request.path_params["name"]
        self._require_model(name)
        return JSONResponse(self._describe(name))

    async def _tell_health(self, _request: Request) -> Response:
        answer = await self.upstream.send("GET", "/health")
        return Response(await answer.read_all(), answer.status, media_type="application/json")

    def _require_model(self, name: Any) -> str:
        if isinstance(name, str) and name in self.models:
            return name
        raise RefusedRequest(
            404,
            _("There is no model {name!r} here. There is: {known}.", name=name, known=", ".join(self.models)),
            "model_not_found",
        )

    async def _pass_on(self, request: Request) -> Response:
        body = await _read_body(request)
        # a client of one model may leave its name out
        name = self._require_model(body.get("model", next(iter(self.models))))
        translation = self.models[name]
        stops = list_stops(body) if translation is not None else []
        sent = translation.translate(body) if translation is not None else body
        answer = await self.upstream.send("POST", request.url.path, json.dumps(sent).encode())
        logged: LoggedRequest = request.state.logged
        kind = answer.headers.get("content-type", "application/json")
        if kind.startswith("text/event-stream"):
            changed = change_stream(answer.pieces, name, stops, logged.count)
            headers = {"cache-control": "no-cache"}
            stream = self._log_stream(answer, changed, logged)
            return StreamingResponse(stream, answer.status, headers, "text/event-stream")
        whole = await answer.read_all()
        if answer.status >= 400:
            return _convert_error(answer.status, whole)
        return Response(change_whole(whole, name, stops, logged.count), answer.status, media_type=kind)

    async def _log_stream(
        self, answer: UpstreamAnswer, pieces: AsyncIterator[bytes], logged: LoggedRequest
    ) -> AsyncIterator[bytes]:
        logged.broken = True
        try:
            async for piece in pieces:
                yield piece
            logged.broken = False
        except UpstreamError:
            pass
        finally:
            # a client that went away needs no more tokens
            answer.close()
            self._log(logged)


async def _read_body(request: Request) -> dict[str, Any]:
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > _LARGEST:
        raise RefusedRequest(413, _("The request is too large."), "request_too_large")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST:
            raise RefusedRequest(413, _("The request is too large."), "request_too_large")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RefusedRequest(400, _("The request is no JSON object."), "invalid_request_error")
    return found


def _convert_error(status: int, body: bytes) -> Response:
    """Return an error as OpenAI's clients read it; the server behind may have another form."""
    try:
        told = json.loads(body)
    except ValueError:
        told = {}
    if isinstance(told, dict) and isinstance(told.get("error"), dict):
        return Response(body, status, media_type="application/json")
    detail = told.get("detail") or told.get("error") if isinstance(told, dict) else None
    return _write_error(status, str(detail or _("The model's server failed.")), "server_error")


def _write_error(status: int, message: str, code: str) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    told = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return JSONResponse(told, status, headers)
