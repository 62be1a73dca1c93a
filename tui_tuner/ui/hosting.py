"""What the parts of the workbench know of each other: the app of its host, screens and widgets of the app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from tui_tuner.launch.helper import Helper
    from tui_tuner.runs.control import Control
    from tui_tuner.runs.store import RunFolder, RunStore
    from tui_tuner.ui.base_models.fetches import Fetches, Job
    from tui_tuner.ui.bridge import Follower
    from tui_tuner.ui.checking import Refusal
    from tui_tuner.ui.drafts import DraftKeeper


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
        words: For the shell: where a fault ended the screen, or how to see again what one has left.
    """

    exit_code: int = 0
    host: Host | None = None
    terminal_gone: bool = False
    words: str = ""


class Tuner(Protocol):
    """What screens, widgets and the command palette may ask of the app (`app.TunerApp`).

    They import this and never the app, which imports them.
    """

    store: RunStore
    drafts: DraftKeeper
    card: str  # the card that is planned for; empty: this machine
    host: Host | None

    @property
    def draft(self) -> dict[str, Any]:
        """Values of the settings form, as in a YAML config."""

    @draft.setter
    def draft(self, values: dict[str, Any]) -> None: ...

    @property
    def training(self) -> bool: ...

    @property
    def helper(self) -> Helper: ...

    @property
    def fetches(self) -> Fetches: ...

    @property
    def fetching(self) -> Job | None: ...

    def hosts(self, folder: RunFolder) -> bool: ...

    def follow(self, folder: RunFolder) -> Follower: ...

    def open_run(self, folder: RunFolder) -> None: ...

    def open_results(self, folder: RunFolder) -> None: ...

    def open_settings(
        self, name: str = "", told: Refusal | None = None, *, mend: bool = False, instead: bool = False
    ) -> None: ...

    def open_data(self, *, instead: bool = False) -> None: ...

    def launch(self, folder: RunFolder, resume: bool = False) -> None: ...

    def command(self, folder: RunFolder, command: str) -> None: ...

    def say(self, text: str, severity: Any = "information", timeout: float = 5.0) -> None: ...

    def fault_outside(self, error: BaseException) -> None: ...

    def leave(self, terminal_gone: bool = False, words: str = "") -> None: ...

    def action_toggle_theme(self) -> None: ...

    def action_help(self) -> None: ...


def tuner_of(app: object) -> Tuner:
    """The app of a screen or widget, as what it is here: Textual knows it only as an `App`."""
    return cast(Tuner, app)


def thread_host(folder: RunFolder, resume: bool) -> Host:
    """The host of the workbench: a worker thread of this process."""
    from tui_tuner.launch.thread import ThreadHost

    return ThreadHost(folder, resume=resume)
