"""Serve models from beginning to end: an address, a server behind the front, requests, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from tui_tuner.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, TunerError
from tui_tuner.locales import _
from tui_tuner.serving.backends import ServerPlan
from tui_tuner.serving.front import Front
from tui_tuner.serving.keys import is_loopback
from tui_tuner.serving.listening import write_url
from tui_tuner.serving.request_log import LoggedRequest
from tui_tuner.serving.server_process import ServerProcess

_GRACE = 3  # seconds that answers have to end in
# SIGHUP too: a closed terminal shows no log
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class ServeOptions:
    """How a server is reached, and by whom.

    Args:
        host: The address that it listens on.
        key: What clients must send; empty if only this machine reaches it.
        show: Told what goes on, a line each.
        show_ready: Told the URL and an example, once it answers.
    """

    host: str
    key: str
    show: Callable[[str], None]
    show_ready: Callable[[str], None]


class _Uvicorn(uvicorn.Server):
    """uvicorn without signals of its own: this program decides what they mean."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve_plan(make_plan: Callable[[Path], ServerPlan], bound: socket.socket, options: ServeOptions) -> int:
    """Run a server until it is stopped; return the exit code.

    Args:
        make_plan: Plans the server, given an empty folder for its socket.
        bound: Where clients reach it.

    Raises:
        RunError: the server behind ended by itself.
    """
    try:
        _stop_at_signals()
        with tempfile.TemporaryDirectory(prefix="tui-tuner-") as folder:
            plan = make_plan(Path(folder))
            process = ServerProcess(plan.arguments, plan.upstream, plan.environment, Path(folder))
            try:
                return asyncio.run(_serve(plan, process, bound, options))
            finally:
                process.end()
    except _Stopped as stopped:
        return stopped.code


class _Stopped(BaseException):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _stop_at_signals() -> None:
    """Let signals end what comes before the event loop, which has handlers of its own."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise _Stopped(EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_TERMINATED)

    for number in _SIGNALS:
        signal.signal(number, stop)


async def _serve(
    plan: ServerPlan, process: ServerProcess, bound: socket.socket, options: ServeOptions
) -> int:
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    _listen_to_signals(stopped)
    ready = asyncio.ensure_future(process.wait_until_ready())
    await _wait_for_first(ready, stopped)
    if stopped.done():
        ready.cancel()
        return stopped.result()
    ready.result()
    server = _build_server(plan, options)
    serving = asyncio.ensure_future(server.serve(sockets=[bound]))
    ended = asyncio.ensure_future(process.wait_for_end())
    options.show_ready(describe_ready(write_url(options.host, bound), list(plan.models), bool(options.key)))
    await _wait_for_first(serving, ended, stopped)
    problem: TunerError | None = None
    if not stopped.done() and ended.done():
        problem = process.describe_end()
    server.should_exit = True
    await serving
    ended.cancel()
    if problem is not None:
        raise problem
    return stopped.result() if stopped.done() else 0


async def _wait_for_first(*those: asyncio.Future[Any]) -> None:
    await asyncio.wait(those, return_when=asyncio.FIRST_COMPLETED)


def _build_server(plan: ServerPlan, options: ServeOptions) -> _Uvicorn:
    def show(request: LoggedRequest) -> None:
        options.show(request.format_line())

    # without a key only this machine is served, so only its own names are right
    local = is_loopback(options.host) and not options.key
    app = Front(plan.upstream, plan.models, options.key, local, show).build_app()
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    return _Uvicorn(config)


def _listen_to_signals(stopped: asyncio.Future[int]) -> None:
    """Let a signal say with which exit code the server ends."""
    loop = asyncio.get_running_loop()

    def stop(code: int) -> None:
        if not stopped.done():
            stopped.set_result(code)

    for number in _SIGNALS:
        loop.add_signal_handler(
            number, stop, EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_TERMINATED
        )


def describe_ready(url: str, names: list[str], has_key: bool) -> str:
    """Return what is shown once a server answers: its address, its models, and a request to try."""
    import json

    body: dict[str, Any] = {"model": names[0], "messages": [{"role": "user", "content": "Hello"}]}
    command = f"curl {url}/v1/chat/completions -H 'Content-Type: application/json'"
    if has_key:
        command += " -H 'Authorization: Bearer KEY'"
    return "\n".join(
        [
            _("ready: {url}/v1", url=url),
            _("models: {names}", names=", ".join(names)),
            _("try: {command}", command=f"{command} -d {shlex.quote(json.dumps(body))}"),
            _("Ctrl-C stops it."),
        ]
    )
