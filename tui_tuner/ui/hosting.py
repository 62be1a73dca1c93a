"""What the app needs of whatever trains a run in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tui_tuner.runs.control import Control
    from tui_tuner.runs.store import RunFolder


class Host(Protocol):
    """A run in a thread of this process (`launch.thread.ThreadHost`)."""

    folder: RunFolder
    control: Control
    outcome: Any

    @property
    def alive(self) -> bool: ...

    def start(self) -> None: ...

    def join(self, timeout: float | None = None) -> None: ...


HostFactory = Callable[["RunFolder", bool], Host]


@dataclass(frozen=True)
class AppResult:
    """What the screen leaves behind when it closes.

    Args:
        exit_code: For the shell, where no run is on any more.
        host: The run this process trains or trained last. While it is alive, the caller keeps the process.
        terminal_gone: The terminal hung up: nothing can be written to it.
    """

    exit_code: int = 0
    host: Host | None = None
    terminal_gone: bool = False


def thread_host(folder: RunFolder, resume: bool) -> Host:
    """The host of the workbench: a worker thread of this process."""
    from tui_tuner.launch.thread import ThreadHost

    return ThreadHost(folder, resume=resume)
