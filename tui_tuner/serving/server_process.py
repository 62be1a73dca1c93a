"""The server behind the front: started, waited for, and ended with all that it started."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tui_tuner.errors import RunError
from tui_tuner.launch.spawning import ChildProcess
from tui_tuner.locales import _
from tui_tuner.serving.upstream import Upstream, UpstreamError
from tui_tuner.text import one_line, sanitize

_POLL = 0.2  # seconds
_TOLD = 4000  # bytes of a dead server's output
_LINES = 6


class ServerProcess:
    """A server in a process of its own, in a folder of this user alone that goes away with it.

    Args:
        arguments: For `tui_tuner.serving.child`, after the number of this process.
        upstream: Where it will answer.
        environment: More variables for it.
        folder: Its working directory, with its socket.
    """

    def __init__(
        self, arguments: Sequence[str], upstream: Upstream, environment: Mapping[str, str], folder: Path
    ) -> None:
        self._upstream = upstream
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        before, variables = Path.cwd(), dict(os.environ)
        # the folder is no place for modules
        os.environ.update({"PYTHONSAFEPATH": "1", **environment})
        try:
            # so that the model has a plain name, whatever its folder is called
            os.chdir(folder)
            self._process = ChildProcess(
                "tui_tuner.serving.child",
                str(os.getpid()),
                *arguments,
                stdout=self._output,
                stderr=self._output,
            )
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(variables)

    async def wait_until_ready(self) -> None:
        """Wait until the server answers.

        Raises:
            RunError: it ended before.
        """
        while True:
            if self._process.poll() is not None:
                raise self.describe_end()
            try:
                answer = await self._upstream.send("GET", "/health")
                await answer.read_all()
                if answer.status < 400:
                    return
            except UpstreamError:
                pass
            await asyncio.sleep(_POLL)

    async def wait_for_end(self) -> None:
        """Wait until the process has ended."""
        while self._process.poll() is None:
            await asyncio.sleep(_POLL)

    def describe_end(self) -> RunError:
        """Return the error for a server that ended by itself."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _TOLD))
        told = sanitize(self._output.read().decode(errors="replace")).strip().splitlines()
        return RunError(
            _(
                "the model's server ended with code {code}: {problem}",
                code=self._process.returncode,
                problem=one_line(" ".join(line.strip() for line in told[-_LINES:]), 600) or "-",
            ),
            where=_("serving"),
            hint=_("If it was killed, memory may have run out: end other programs that use it."),
        )

    def end(self) -> None:
        """End it, with all that it started."""
        self._process.end_child()
        self._output.close()
