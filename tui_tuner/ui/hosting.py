"""Interfaces inside the workbench: the host as the app sees it, the app as screens and widgets see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from tui_tuner.launch.helper import Helper
    from tui_tuner.runs.control import CommandReceiver
    from tui_tuner.runs.store import RunFolder, RunStore
    from tui_tuner.ui.base_models.fetches import FetchJob, FetchQueue
    from tui_tuner.ui.bridge import RunFollower
    from tui_tuner.ui.drafts import DraftKeeper
    from tui_tuner.ui.start_checking import Refusal


class Host(Protocol):
    """A run in a thread of this process (`launch.thread_host.ThreadHost`)."""

    folder: RunFolder
    control: CommandReceiver
    outcome: Any

    @property
    def is_alive(self) -> bool: ...

    def start_run(self) -> None: ...

    def join_thread(self, timeout: float | None = None) -> None: ...


HostFactory = Callable[["RunFolder", bool], Host]


@dataclass(frozen=True)
class AppResult:
    """The outcome of a closed screen, for the command line.

    Args:
        exit_code: For the shell, if no run is active any more.
        host: The run this process trains or trained last. While it is alive, the caller keeps the process.
        terminal_gone: The terminal hung up: nothing can be written to it.
        words: For the shell: the error that ended the screen, or how to get back to what was left.
    """

    exit_code: int = 0
    host: Host | None = None
    terminal_gone: bool = False
    words: str = ""


class Tuner(Protocol):
    """The part of the app (`app.TunerApp`) that screens, widgets and the command palette use.

    They import this and never the app, which imports them.
    """

    store: RunStore
    drafts: DraftKeeper
    card: str  # the GPU that is planned for; empty: this machine
    host: Host | None

    @property
    def draft(self) -> dict[str, Any]:
        """Values of the settings form, as in a YAML config."""

    @draft.setter
    def draft(self, values: dict[str, Any]) -> None: ...

    @property
    def is_training(self) -> bool: ...

    @property
    def helper(self) -> Helper: ...

    @property
    def fetches(self) -> FetchQueue: ...

    @property
    def fetching(self) -> FetchJob | None: ...

    def is_hosting(self, folder: RunFolder) -> bool: ...

    def follow_run(self, folder: RunFolder) -> RunFollower: ...

    def open_run(self, folder: RunFolder) -> None: ...

    def open_results(self, folder: RunFolder) -> None: ...

    def open_settings(
        self, name: str = "", told: Refusal | None = None, *, mend: bool = False, instead: bool = False
    ) -> None: ...

    def open_data(self, *, instead: bool = False) -> None: ...

    def launch_run(self, folder: RunFolder, resume: bool = False) -> None: ...

    def send_command(self, folder: RunFolder, command: str) -> None: ...

    def show_notice(self, text: str, severity: Any = "information", timeout: float = 5.0) -> None: ...

    def fault_outside(self, error: BaseException) -> None: ...

    def leave_app(self, terminal_gone: bool = False, words: str = "") -> None: ...

    def action_toggle_theme(self) -> None: ...

    def action_help(self) -> None: ...


def get_tuner_app(app: object) -> Tuner:
    """Cast the app of a screen or widget, which Textual only types as `App`."""
    return cast(Tuner, app)


def make_thread_host(folder: RunFolder, resume: bool) -> Host:
    """Create the workbench's host: a worker thread of this process."""
    from tui_tuner.launch.thread_host import ThreadHost

    return ThreadHost(folder, resume=resume)
