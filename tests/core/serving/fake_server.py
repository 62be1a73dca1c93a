"""A small server that answers as `transformers serve` does, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route


class FakeServer:
    """Writes its words one by one.

    Attributes:
        asked: The bodies of requests.
        given_up: Set when a client went away before the end of a stream.
        gate: Waited for before the last word of a stream.
    """

    def __init__(self, words: list[str]) -> None:
        self.words, self.asked = words, []
        self.given_up, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def build_app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    async def _health(self, _request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def _chat(self, request: Request) -> Any:
        body = await request.json()
        self.asked.append(body)
        if body["messages"] == []:
            return JSONResponse({"detail": "no messages"}, 422)
        usage = {
            "prompt_tokens": 3,
            "completion_tokens": len(self.words),
            "total_tokens": 3 + len(self.words),
        }
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(self.words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return JSONResponse(
                {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "model@main",
                    "choices": [choice],
                    "usage": usage,
                }
            )
        return StreamingResponse(self._stream(usage), media_type="text/event-stream")

    async def _stream(self, usage: dict[str, int]) -> Any:
        try:
            for place, word in enumerate(self.words):
                while place == len(self.words) - 1 and not self.gate.is_set():
                    await asyncio.sleep(0.01)
                yield self._write({"content": word}, None)
            yield self._write({}, "stop", usage)
        except asyncio.CancelledError:
            self.given_up.set()
            raise

    def _write(self, delta: dict[str, str], reason: str | None, usage: Any = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        told = {
            "id": "1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "model@main",
            "choices": [choice],
        }
        return f"data: {json.dumps({**told, 'usage': usage} if usage else told)}\n\n"


class Running:
    """A uvicorn server in a thread."""

    def __init__(self, app: Any, path: Path | None = None) -> None:
        config = uvicorn.Config(
            app, uds=str(path) if path else None, port=0, log_level="error", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Running:
        self._thread.start()
        while not self._server.started:
            threading.Event().wait(0.01)
        return self

    @property
    def url(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *_unused: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
