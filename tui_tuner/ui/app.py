"""The Textual app: which screen is on, the run this process trains, themes and the way out.

`run_app` is what the command line calls. Screens are imported when they are first shown.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.events import Event, InputEvent
from textual.reactive import Initialize, Reactive
from textual.screen import Screen
from textual.theme import Theme
from textual.worker import get_current_worker

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import human_seconds, one_line
from tui_tuner.ui.drafts import DraftKeeper
from tui_tuner.ui.garbage import Garbage
from tui_tuner.ui.guard.stalls import StallWatch
from tui_tuner.ui.guard.sturdy import SturdyApp
from tui_tuner.ui.hosting import AppResult, Host, HostFactory, Tuner, thread_host
from tui_tuner.ui.preferences import read_preferences, remember
from tui_tuner.ui.themes import DARK, LIGHT, THEMES

if TYPE_CHECKING:
    from tui_tuner.launch.helper import Helper
    from tui_tuner.launch.terminal.leaving import WayOut
    from tui_tuner.runs.store import RunFolder, RunStore
    from tui_tuner.ui.base_models.fetches import Fetches, Job
    from tui_tuner.ui.bridge import Follower
    from tui_tuner.ui.checking import Refusal
    from tui_tuner.ui.screens.at_once import First

POLL_SECONDS = 0.15


def _commands() -> Any:
    from tui_tuner.ui.commands import TunerCommands

    return TunerCommands


def _first_theme(_app: App[Any]) -> str:
    kept = read_preferences().get("theme")
    return kept if kept in THEMES else DARK


class TunerApp(SturdyApp[AppResult]):
    """The workbench. It owns the run that this process trains; screens only look at journals.

    Args:
        store: Where the runs are.
        open_run: Start in the live pane of this run.
        train: Train `open_run` in a thread of this process.
        resume: Go on from its last checkpoint.
        config: Values to begin the settings with, as in a YAML config.
        opened: A config that the form begins with at once, or a chat.
        host_factory: What trains a run in this process.
        way_out: How this process ends; None makes one of its own.
    """

    TITLE = "tui-tuner"
    CSS_PATH = "style.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[Any]] = {_commands}
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark,f1", "help", _("Help"), key_display="?", priority=False),
        Binding("ctrl+t", "toggle_theme", _("Light or dark"), show=False),
        Binding("ctrl+q", "quit", _("Quit"), show=False, priority=True),
    ]

    # Known before `App.__init__` reads it: a theme set later has the stylesheet parsed a second time.
    theme: Reactive[str] = Reactive(Initialize(_first_theme))

    def __init__(
        self,
        store: RunStore,
        *,
        open_run: RunFolder | None = None,
        train: bool = False,
        resume: bool = False,
        config: dict[str, Any] | None = None,
        opened: First | None = None,
        host_factory: HostFactory = thread_host,
        way_out: WayOut | None = None,
    ) -> None:
        super().__init__()
        self.store = store
        self.drafts = DraftKeeper(config)
        kept_card = read_preferences().get("card")
        self.card: str = kept_card if isinstance(kept_card, str) else ""  # planned for; empty: this machine
        self.host: Host | None = None
        self._open = (open_run, train, resume)
        self._opened = opened
        self._host_factory = host_factory
        self._followers: dict[Path, Follower] = {}
        self._leave_when_ended = False
        self._told_of_end = True
        self._garbage = Garbage()
        self._helper: Helper | None = None
        self._fetches: Fetches | None = None
        self._way_out = way_out
        self._stalls: StallWatch | None = None

    @property
    def draft(self) -> dict[str, Any]:
        """Values of the settings form, as in a YAML config; it is kept on disk as it changes."""
        return self.drafts.draft.values

    @draft.setter
    def draft(self, values: dict[str, Any]) -> None:
        self.drafts.draft.values = values
        self.drafts.touch()

    @property
    def helper(self) -> Helper:
        """Does in processes of its own what needs torch; they start when they are asked."""
        from tui_tuner.launch.helper import Helper

        if self._helper is None:
            self._helper = Helper()
        return self._helper

    @property
    def fetches(self) -> Fetches:
        """The models that this process fetches, whatever screen is on view."""
        from tui_tuner.ui.base_models.fetches import Fetches

        if self._fetches is None:

            def ended(job: Job) -> None:  # in another thread
                self.call_later(self._fetch_ended, job)

            self._fetches = Fetches(ended)
        return self._fetches

    @property
    def fetching(self) -> Job | None:
        """The model that is fetched now."""
        return self._fetches.current if self._fetches is not None else None

    @property
    def available_themes(self) -> dict[str, Theme]:
        return THEMES

    def get_default_screen(self) -> Screen[Any]:
        from tui_tuner.ui.screens.home import HomeScreen

        return HomeScreen()

    def on_mount(self) -> None:
        self._watch_over()
        self.set_interval(POLL_SECONDS, self._tick)
        self.call_after_refresh(self._garbage.begin)
        folder, train, resume = self._open
        if folder is not None:
            if train:
                self.train_here(folder, resume)
            self.open_run(folder)
        if self._opened is not None:
            from tui_tuner.ui.screens.at_once import open_at_once

            open_at_once(self, self._opened)

    def on_unmount(self) -> None:
        self._garbage.end()
        self.drafts.flush()
        if self._stalls is not None:
            self._stalls.end()
        if self._helper is not None:
            self._helper.close()
        if self._fetches is not None:
            self._fetches.close()

    async def on_event(self, event: Event) -> None:
        if isinstance(event, InputEvent):
            self._garbage.touched()
        await super().on_event(event)

    # Runs

    @property
    def training(self) -> bool:
        """True while this process trains a run."""
        return self.host is not None and self.host.alive

    def hosts(self, folder: RunFolder) -> bool:
        """True while this process trains this very run."""
        return self.training and self.host is not None and self.host.folder.path == folder.path

    def follow(self, folder: RunFolder) -> Follower:
        """The one follower of a run, for any number of screens."""
        from tui_tuner.ui.bridge import Follower

        if folder.path not in self._followers:
            self._followers[folder.path] = Follower(folder, partial(self.hosts, folder), self)
        return self._followers[folder.path]

    def open_run(self, folder: RunFolder) -> None:
        """Show the live pane of a run, whatever its state."""
        from tui_tuner.ui.screens.run import RunScreen

        self.push_screen(RunScreen(folder))

    def open_results(self, folder: RunFolder) -> None:
        """Show what a run has brought."""
        from tui_tuner.ui.screens.results import ResultsScreen

        self.push_screen(ResultsScreen(folder))

    def open_settings(
        self, name: str = "", told: Refusal | None = None, *, mend: bool = False, instead: bool = False
    ) -> None:
        """Show the draft; `instead` of the screen on top, and else as `SettingsScreen` has it."""
        from tui_tuner.ui.screens.settings import SettingsScreen

        self._show(SettingsScreen(name, told, mend), instead)

    def open_data(self, *, instead: bool = False) -> None:
        """Show the data of the draft, or let one choose some."""
        from tui_tuner.ui.screens.data import DataScreen

        self._show(DataScreen(), instead)

    def _show(self, screen: Screen[Any], instead: bool) -> None:
        if instead:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    def train_here(self, folder: RunFolder, resume: bool = False) -> None:
        """Train a run in a thread of this process."""
        self.host = self._host_factory(folder, resume)
        self._told_of_end = False
        if self._way_out is not None:
            self._way_out.run_here(folder.name)
        self.host.start()

    def launch(self, folder: RunFolder, resume: bool = False) -> None:
        """Train a run: in a thread here if it fits and none is on, else in a process of its own."""
        devices = None
        with contextlib.suppress(TunerError):
            devices = folder.config().hardware.devices
        if self.training or (isinstance(devices, int) and devices > 1):
            self._launch_detached(folder, resume)
        else:
            self.train_here(folder, resume)

    @work(thread=True, group="launch")
    def _launch_detached(self, folder: RunFolder, resume: bool) -> None:
        from tui_tuner.launch.child import start_detached

        def say(words: str) -> None:
            self.call_later(self.say, one_line(words), "warning")

        worker = get_current_worker()
        try:
            start_detached(folder, resume, say, lambda: worker.is_cancelled or not self.is_running)
        except (TunerError, OSError) as error:
            self.call_later(self.say, one_line(words_of(error)), "error")
            return
        self.call_later(self.say, _("The run continues in a separate process."))

    def command(self, folder: RunFolder, command: str) -> None:
        """Send a control command to a run, wherever it is trained."""
        from tui_tuner.runs.control import send

        try:
            send(folder.control, command)
        except OSError as error:
            self.say(_("The run folder cannot be written: {e}", e=error.strerror), "error")

    def say(self, text: str, severity: Any = "information", timeout: float = 5.0) -> None:
        """A short notice in the corner; never read as markup."""
        self.notify(text, severity=severity, timeout=timeout, markup=False)

    def _tick(self) -> None:
        self._garbage.look()
        trouble = self.drafts.new_trouble()
        if trouble:
            self.say(trouble, "warning", 15)
        more = False
        for path, follower in tuple(self._followers.items()):
            if follower.listeners or self.hosts(follower.folder):
                more = follower.poll() or more
            elif len(self._followers) > 8:
                del self._followers[path]
        if more:
            self.set_timer(0.01, self._tick)
        if not self._told_of_end and not self.training:
            self._told_of_end = True
            self._host_ended()

    def _host_ended(self) -> None:
        if self._leave_when_ended:
            self.leave()
            return
        outcome = self.host.outcome if self.host else None
        if self.host is None or outcome is None:
            return
        follower = self.follow(self.host.folder)
        follower.poll(force=True)
        if not follower.view.ended and outcome.message:  # it ended before it could write a word
            self.say(one_line(outcome.message), "error", 20)

    def _fetch_ended(self, job: Job) -> None:
        """Say what became of a model that was fetched, on whatever screen."""
        from tui_tuner.ui.screens.models.background import say_ended

        say_ended(self, job)

    # The way out

    async def action_quit(self, sure: bool = False) -> None:
        """Leave; with a run on in this process, ask what becomes of it, and of a model that is fetched."""
        if self.fetching is not None and not sure:
            from tui_tuner.ui.screens.models.background import ask_to_quit

            ask_to_quit(self, self.fetching, partial(self.action_quit, True))
            return
        if not self.training:
            self.leave()
            return
        from tui_tuner.ui.screens.dialogs import QuitDialog

        if isinstance(self.screen, QuitDialog):
            return
        self.push_screen(QuitDialog(self.host.folder.name if self.host else ""), self._quit_answered)

    def _quit_answered(self, answer: str | None) -> None:
        if answer == "background":
            self.leave()
        elif answer == "stop" and self.host is not None:
            self._leave_when_ended = True
            self.command(self.host.folder, "stop")
            self.say(_("Saving a checkpoint, then closing."), timeout=60)
            if not self.training:
                self.leave()

    def leave(self, terminal_gone: bool = False, words: str = "") -> None:
        """Close the screen. A run that is on in this process goes on without it."""
        if self._way_out is not None:
            self._way_out.leaving()
        keep = self.host if self.training or self._open[1] else None
        self.exit(AppResult(0, keep, terminal_gone, words))

    def _watch_over(self) -> None:
        """SIGHUP: the run goes on without a screen. SIGTERM, SIGINT: it saves and stops. Stalls are seen."""
        if self.is_headless or self._way_out is None:
            return
        from tui_tuner.launch.terminal.leaving import Screen as Watched

        loop = asyncio.get_running_loop()

        def close(gone: bool) -> None:  # in another thread
            loop.call_soon_threadsafe(self.leave, gone)

        mute = getattr(self._driver, "keep_off", lambda: None)
        self._way_out.watch(Watched(close, lambda: self.host, mute))
        self._stalls = StallWatch(self.fault_log, self._stood_still)
        self._stalls.begin()
        self.set_interval(0.5, self._stalls.beat)

    def _stood_still(self, seconds: float, path: str) -> None:
        words = _("The screen froze for {time}.", time=human_seconds(seconds))
        if path:
            words = f"{words} {_('Details are in {path}.', path=one_line(path))}"
        self.call_later(self.say, words, "warning", 15)

    def run(self, **more: Any) -> AppResult | None:
        """As Textual's, with a way out that needs no event loop."""
        if self._way_out is not None or more.get("headless"):
            return super().run(**more)
        from tui_tuner.launch.terminal.leaving import WayOut

        self._way_out = WayOut()
        self._way_out.begin()
        try:
            return super().run(**more)
        finally:
            self._way_out.stand_down()

    # What the terminal's driver asks for, in any thread

    def screen_opens(self) -> None:
        if self._way_out is not None:
            self._way_out.screen_opens()

    def screen_closed(self) -> None:
        if self._way_out is not None:
            self._way_out.screen_closed()

    def terminal_lost(self) -> None:
        if self._way_out is not None:
            self._way_out.lost()

    # Looks and help

    def action_toggle_theme(self) -> None:
        """Change between the light and the dark theme, and remember it."""
        self.theme = LIGHT if self.theme == DARK else DARK
        remember(theme=self.theme)

    def action_help(self) -> None:
        from tui_tuner.ui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Ours are in `commands.TunerCommands`; Textual's own list would name things twice."""
        return ()


if TYPE_CHECKING:

    def _serves_screens(app: TunerApp) -> Tuner:
        """The app has what screens ask for: mypy compares the two here, as `tuner_of` cannot."""
        return app


def run_app(store: RunStore, **more: Any) -> AppResult:
    """Show the workbench, or what else the arguments of `TunerApp` ask for.

    While `AppResult.host` is alive the caller must keep the process: the run goes on without a screen
    (`launch.terminal.leaving.WayOut.end`).
    """
    app = TunerApp(store, **more)
    result = None
    try:
        result = app.run()
    except (KeyboardInterrupt, OSError):  # thrown out of it, or the terminal went away under the driver
        return AppResult(1, app.host if app.training else None, True)
    except Exception as error:  # a defect in Textual's core
        app.end_by(error)
    if result is None:
        result = AppResult(1, app.host if app.training else None, words=app.fatal)
    return result
