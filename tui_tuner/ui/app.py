"""The Textual app: its screens, the run that this process trains, themes, and leaving.

`run_workbench_app` is what the command line calls. Screens are imported when they are first shown.
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

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import format_seconds, one_line
from tui_tuner.ui.drafts import DraftKeeper
from tui_tuner.ui.garbage import GarbageTiming
from tui_tuner.ui.guard.stalls import StallWatch
from tui_tuner.ui.guard.sturdy import SturdyApp
from tui_tuner.ui.hosting import AppResult, Host, HostFactory, Tuner, make_thread_host
from tui_tuner.ui.preferences import read_preferences, save_preferences
from tui_tuner.ui.themes import DARK, LIGHT, THEMES

if TYPE_CHECKING:
    from tui_tuner.launch.helper import Helper
    from tui_tuner.launch.terminal.leaving import WayOut
    from tui_tuner.runs.store import RunFolder, RunStore
    from tui_tuner.ui.base_models.fetches import FetchJob, FetchQueue
    from tui_tuner.ui.bridge import RunFollower
    from tui_tuner.ui.screens.first_screen import First
    from tui_tuner.ui.start_checking import Refusal

POLL_SECONDS = 0.15


def _load_commands() -> Any:
    from tui_tuner.ui.command_palette import TunerCommands

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
        resume: Resume from its last checkpoint.
        config: Values to begin the settings with, as in a YAML config.
        opened: A config to open in the form at once, or a chat.
        host_factory: What trains a run in this process.
        way_out: How this process ends; None creates one.
    """

    TITLE = "tui-tuner"
    CSS_PATH = "style.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[Any]] = {_load_commands}
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
        host_factory: HostFactory = make_thread_host,
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
        self._followers: dict[Path, RunFollower] = {}
        self._leave_when_ended = False
        self._told_of_end = True
        self._garbage = GarbageTiming()
        self._helper: Helper | None = None
        self._fetches: FetchQueue | None = None
        self._way_out = way_out
        self._stalls: StallWatch | None = None

    @property
    def draft(self) -> dict[str, Any]:
        """Values of the settings form, as in a YAML config; saved to disk as they change."""
        return self.drafts.draft.values

    @draft.setter
    def draft(self, values: dict[str, Any]) -> None:
        self.drafts.draft.values = values
        self.drafts.note_change()

    @property
    def helper(self) -> Helper:
        """Runs what needs torch in separate processes, which start when first needed."""
        from tui_tuner.launch.helper import Helper

        if self._helper is None:
            self._helper = Helper()
        return self._helper

    @property
    def fetches(self) -> FetchQueue:
        """The models that this process downloads, independent of the screen shown."""
        from tui_tuner.ui.base_models.fetches import FetchQueue

        if self._fetches is None:
            # Called in the download's thread, so it must not touch widgets itself.
            def report_end(job: FetchJob) -> None:
                self.call_later(self._fetch_ended, job)

            self._fetches = FetchQueue(report_end)
        return self._fetches

    @property
    def fetching(self) -> FetchJob | None:
        """The model that is being downloaded, if any."""
        return self._fetches.current if self._fetches is not None else None

    @property
    def available_themes(self) -> dict[str, Theme]:
        return THEMES

    def get_default_screen(self) -> Screen[Any]:
        from tui_tuner.ui.screens.home import HomeScreen

        return HomeScreen()

    def on_mount(self) -> None:
        self._watch_over()
        self.set_interval(POLL_SECONDS, self._poll_runs)
        # After the first paint: what the start made is then frozen out of the collector's search.
        self.call_after_refresh(self._garbage.start_collecting)
        folder, train, resume = self._open
        if folder is not None:
            if train:
                self.train_here(folder, resume)
            self.open_run(folder)
        if self._opened is not None:
            from tui_tuner.ui.screens.first_screen import open_first_screen

            open_first_screen(self, self._opened)

    def on_unmount(self) -> None:
        self._garbage.restore_thresholds()
        self.drafts.flush_draft()
        if self._stalls is not None:
            self._stalls.stop_watching()
        if self._helper is not None:
            self._helper.close()
        if self._fetches is not None:
            self._fetches.close()

    async def on_event(self, event: Event) -> None:
        if isinstance(event, InputEvent):
            self._garbage.note_input()
        await super().on_event(event)

    @property
    def is_training(self) -> bool:
        """True while this process trains a run."""
        return self.host is not None and self.host.is_alive

    def is_hosting(self, folder: RunFolder) -> bool:
        """True while this process trains this very run."""
        return self.is_training and self.host is not None and self.host.folder.path == folder.path

    def follow_run(self, folder: RunFolder) -> RunFollower:
        """Return the run's one follower, shared by all screens."""
        from tui_tuner.ui.bridge import RunFollower

        if folder.path not in self._followers:
            self._followers[folder.path] = RunFollower(folder, partial(self.is_hosting, folder), self)
        return self._followers[folder.path]

    def open_run(self, folder: RunFolder) -> None:
        from tui_tuner.ui.screens.run import RunScreen

        self.push_screen(RunScreen(folder))

    def open_results(self, folder: RunFolder) -> None:
        from tui_tuner.ui.screens.results import ResultsScreen

        self.push_screen(ResultsScreen(folder))

    def open_settings(
        self, name: str = "", told: Refusal | None = None, *, mend: bool = False, instead: bool = False
    ) -> None:
        """Show the draft, replacing the top screen if `instead`; the rest is as in `SettingsScreen`."""
        from tui_tuner.ui.screens.settings import SettingsScreen

        self._show_screen(SettingsScreen(name, told, mend), instead)

    def open_data(self, *, instead: bool = False) -> None:
        """Show the data of the draft, or let the user choose some."""
        from tui_tuner.ui.screens.data_screen import DataScreen

        self._show_screen(DataScreen(), instead)

    def _show_screen(self, screen: Screen[Any], instead: bool) -> None:
        if instead:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    def train_here(self, folder: RunFolder, resume: bool = False) -> None:
        self.host = self._host_factory(folder, resume)
        self._told_of_end = False
        if self._way_out is not None:
            self._way_out.name_run(folder.name)
        self.host.start_run()

    def launch_run(self, folder: RunFolder, resume: bool = False) -> None:
        """Train a run: in a thread here if none is running, otherwise in a separate process."""
        devices = None
        # A damaged config is reported by the run itself, in its journal.
        with contextlib.suppress(TunerError):
            devices = folder.load_config().hardware.devices
        # A thread can train on one GPU only; several need a process for each, started by a launcher.
        if self.is_training or (isinstance(devices, int) and devices > 1):
            self._launch_detached(folder, resume)
        else:
            self.train_here(folder, resume)

    @work(thread=True, group="launch")
    def _launch_detached(self, folder: RunFolder, resume: bool) -> None:
        from tui_tuner.launch.child import start_detached

        def report_words(words: str) -> None:
            self.call_later(self.show_notice, one_line(words), "warning")

        worker = get_current_worker()
        try:
            start_detached(folder, resume, report_words, lambda: worker.is_cancelled or not self.is_running)
        except (TunerError, OSError) as error:
            self.call_later(self.show_notice, one_line(format_error_words(error)), "error")
            return
        self.call_later(self.show_notice, _("The run continues in a separate process."))

    def send_command(self, folder: RunFolder, command: str) -> None:
        """Send a control command to a run, wherever it is trained."""
        from tui_tuner.runs.control import send_control_command

        try:
            send_control_command(folder.control_path, command)
        except OSError as error:
            self.show_notice(_("The run folder cannot be written: {e}", e=error.strerror), "error")

    def show_notice(self, text: str, severity: Any = "information", timeout: float = 5.0) -> None:
        """Show a short notice in the corner; its text is never read as markup."""
        self.notify(text, severity=severity, timeout=timeout, markup=False)

    def _poll_runs(self) -> None:
        self._garbage.collect_if_idle()
        trouble = self.drafts.new_trouble()
        if trouble:
            self.show_notice(trouble, "warning", 15)
        more = False
        for path, follower in tuple(self._followers.items()):
            if follower.listeners or self.is_hosting(follower.folder):
                # Also without listeners: bell and end of a run trained here must not wait for a screen.
                more = follower.poll_journal() or more
            # A follower holds the curves of its run in memory, but reopening a recent run should be instant.
            elif len(self._followers) > 8:
                del self._followers[path]
        if more:
            # One poll reads for a limited time; the short timer lets keys and painting in between.
            self.set_timer(0.01, self._poll_runs)
        if not self._told_of_end and not self.is_training:
            self._told_of_end = True
            self._host_ended()

    def _host_ended(self) -> None:
        if self._leave_when_ended:
            self.leave_app()
            return
        outcome = self.host.outcome if self.host else None
        if self.host is None or outcome is None:
            return
        follower = self.follow_run(self.host.folder)
        follower.poll_journal(force=True)
        if not follower.view.has_ended and outcome.message:  # it ended before its first event
            self.show_notice(one_line(outcome.message), "error", 20)

    def _fetch_ended(self, job: FetchJob) -> None:
        from tui_tuner.ui.screens.models.downloads import report_download_end

        report_download_end(self, job)

    async def action_quit(self, sure: bool = False) -> None:
        """Leave; first ask what to do with a run in this process and with a download."""
        if self.fetching is not None and not sure:
            from tui_tuner.ui.screens.models.downloads import confirm_quit_during_download

            confirm_quit_during_download(self, self.fetching, partial(self.action_quit, True))
            return
        if not self.is_training:
            self.leave_app()
            return
        from tui_tuner.ui.screens.dialogs import QuitDialog

        # Pressing quit again while it asks must not stack a second dialog.
        if isinstance(self.screen, QuitDialog):
            return
        self.push_screen(QuitDialog(self.host.folder.name if self.host else ""), self._quit_answered)

    def _quit_answered(self, answer: str | None) -> None:
        if answer == "background":
            self.leave_app()
        elif answer == "stop" and self.host is not None:
            self._leave_when_ended = True
            self.send_command(self.host.folder, "stop")
            self.show_notice(_("Saving a checkpoint, then closing."), timeout=60)
            if not self.is_training:
                self.leave_app()

    def leave_app(self, terminal_gone: bool = False, words: str = "") -> None:
        """Close the screen. A run in this process continues without it."""
        if self._way_out is not None:
            self._way_out.note_leaving()
        # Also an ended run, if the command line started it: its outcome becomes the exit code.
        keep = self.host if self.is_training or self._open[1] else None
        self.exit(AppResult(0, keep, terminal_gone, words))

    def _watch_over(self) -> None:
        """Handle SIGHUP (run without a screen), SIGTERM and SIGINT (save and stop), and watch for stalls."""
        if self.is_headless or self._way_out is None:
            return
        from tui_tuner.launch.terminal.leaving import Screen as Watched

        loop = asyncio.get_running_loop()

        def close_screen(gone: bool) -> None:  # called in the thread that receives signals
            loop.call_soon_threadsafe(self.leave_app, gone)

        mute = getattr(self._driver, "keep_off", lambda: None)
        self._way_out.set_screen(Watched(close_screen, lambda: self.host, mute))
        self._stalls = StallWatch(self.fault_log, self._stood_still)
        self._stalls.start_watching()
        self.set_interval(0.5, self._stalls.record_beat)

    def _stood_still(self, seconds: float, path: str) -> None:
        words = _("The screen froze for {time}.", time=format_seconds(seconds))
        if path:
            words = f"{words} {_('Details are in {path}.', path=one_line(path))}"
        self.call_later(self.show_notice, words, "warning", 15)

    def run(self, **more: Any) -> AppResult | None:
        """Run the app with a way out that needs no event loop."""
        if self._way_out is not None or more.get("headless"):
            return super().run(**more)
        from tui_tuner.launch.terminal.leaving import WayOut

        self._way_out = WayOut()
        self._way_out.start_listening()
        try:
            return super().run(**more)
        finally:
            self._way_out.stand_down()

    # Called by the terminal's driver, in any thread

    def note_screen_opening(self) -> None:
        if self._way_out is not None:
            self._way_out.note_screen_opening()

    def note_screen_closed(self) -> None:
        if self._way_out is not None:
            self._way_out.note_screen_closed()

    def terminal_lost(self) -> None:
        if self._way_out is not None:
            self._way_out.handle_lost_terminal()

    # Themes and help

    def action_toggle_theme(self) -> None:
        self.theme = LIGHT if self.theme == DARK else DARK
        save_preferences(theme=self.theme)

    def action_help(self) -> None:
        from tui_tuner.ui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Return none: `commands.TunerCommands` has ours, and Textual's list would repeat them."""
        return ()


if TYPE_CHECKING:

    def _serves_screens(app: TunerApp) -> Tuner:
        """Let mypy check that the app implements `Tuner`, which the cast in `get_tuner_app` hides."""
        return app


def run_workbench_app(store: RunStore, **more: Any) -> AppResult:
    """Run the workbench; `more` are arguments of `TunerApp`.

    While `AppResult.host` is alive the caller must keep the process: the run continues without a screen
    (`launch.terminal.leaving.WayOut.finish_process`).
    """
    app = TunerApp(store, **more)
    result = None
    try:
        result = app.run()
    except (KeyboardInterrupt, OSError):  # interrupted, or the terminal vanished under the driver
        return AppResult(1, app.host if app.is_training else None, True)
    except Exception as error:  # a defect in Textual's core
        app.end_by(error)
    if result is None:
        result = AppResult(1, app.host if app.is_training else None, words=app.fatal)
    return result
