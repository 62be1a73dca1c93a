"""A server on this machine that messages are sent to; it answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Listener:
    """What came: `(path, headers, body)` of each request.

    Args:
        answers: `{path: [status, ...]}`, the last for all that follow; a text is the address of a redirect
            (308), and `hang` is no answer at all.
    """

    def __init__(self, answers: dict[str, list[Any]] | None = None) -> None:
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        self.answers = answers or {}
        self.end = threading.Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                listener.came.append((self.path, dict(self.headers.items()), body))
                planned = listener.answers.get(self.path.partition("?")[0], [200])
                answer = planned.pop(0) if len(planned) > 1 else planned[0]
                if answer == "hang":
                    listener.end.wait(60)
                    return
                if isinstance(answer, str):
                    self.send_response(308)
                    self.send_header("Location", answer)
                else:
                    self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def said(self, path: str) -> list[dict[str, Any]]:
        """The JSON that came to a path."""
        return [json.loads(body) for at, _headers, body in list(self.came) if at == path]

    def wait(self, count: int, seconds: float = 30.0) -> None:
        """Wait until so many requests have come."""
        until = time.monotonic() + seconds
        while len(self.came) < count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.came) >= count, self.came


@contextmanager
def listening(answers: dict[str, list[Any]] | None = None) -> Iterator[Listener]:
    """A server that runs meanwhile."""
    listener = Listener(answers)
    thread = threading.Thread(target=listener.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.end.set()
        listener.server.shutdown()
        listener.server.server_close()
