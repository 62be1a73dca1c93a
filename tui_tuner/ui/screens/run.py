"""The live pane of a run: one screen for the process that trains, for attached terminals, for ended runs."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widgets import ContentSwitcher

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.inference.leads import has_model
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.ui.bridge import RunUpdated, Snapshot
from tui_tuner.ui.checking import refusal_of_run
from tui_tuner.ui.machine import Load, Machine
from tui_tuner.ui.overview import can_resume, run_values
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.past.improving import can_improve, improve
from tui_tuner.ui.widgets.judged.next_steps import next_keys
from tui_tuner.ui.widgets.live.chart import RunChart
from tui_tuner.ui.widgets.live.choices import Choices
from tui_tuner.ui.widgets.live.failure import Failure
from tui_tuner.ui.widgets.live.log_pane import LogPane
from tui_tuner.ui.widgets.live.numbers import Numbers
from tui_tuner.ui.widgets.live.run_head import RunHead
from tui_tuner.ui.widgets.live.run_words import about, attach_command, detach_question, is_local, left_words
from tui_tuner.ui.widgets.live.samples import Samples
from tui_tuner.ui.widgets.live.verdict_line import stop_question
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.widgets.zoom import Zooms
from tui_tuner.ui.words import safe
from tui_tuner.verdicts.told import is_useless

_FIGURES_SECONDS = 1.0
_MACHINE_SECONDS = 2.0  # figures that always change are most of what is written to the terminal
_TABS = (("log", _("Log")), ("samples", _("Answers")), ("choices", _("Choices")))


class RunScreen(Zooms, TunerScreen):
    """Progress, curve, figures, and a log that can turn into answers or choices."""

    HELP_TEXT = _(
        "The pane reads the run's journal, so it shows the same in every terminal, live or ended.\n"
        "Pause holds the run at its next step. Stop saves a checkpoint first; the run can be resumed.\n"
        "Tab turns the lower part: log, answers, and what every `auto` became. g turns the chart: loss, "
        "learning rate, speed, gradient norm, memory, metrics. z gives the lower part the whole screen, Z "
        "the next part.\n"
        "Detach closes the workbench; the run goes on."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "tell('pause')", _("Pause")),
        Binding("p", "tell('continue')", _("Continue")),
        Binding("x", "stop", _("Stop")),
        Binding("s", "tell('save')", _("Save a checkpoint"), show=False),
        Binding("e", "tell('evaluate')", _("Evaluate now"), show=False),
        Binding("enter", "settings", _("Settings")),
        Binding("f4", "mend", _("Mend")),
        Binding("r", "resume", _("Resume")),
        Binding("v", "results", _("Results")),
        Binding("g", "chart(1)", _("Chart")),
        Binding("G,shift+g", "chart(-1)", _("Previous chart"), show=False),
        Binding("b", "axis", _("Chart by steps, tokens or time"), show=False),
        Binding("tab", "turn", _("Next of log, answers and choices"), show=False),
        Binding("l", "tab('log')", _("Log"), show=False),
        Binding("a", "tab('samples')", _("Answers")),
        Binding("c", "lead('c')", _("Chat")),
        Binding("u", "lead('u')", _("Use"), show=False),
        Binding("s", "lead('s')", _("Run again"), show=False),
        Binding("c", "tab('choices')", _("What every `auto` became"), show=False),
        *Zooms.ZOOM,
        Binding("d", "detach", _("Detach")),
        Binding("ctrl+z", "suspend", "", show=False),
        Binding("q", "app.quit", _("Quit")),
        Binding("escape", "back", _("Home")),
    ]
    PANES = ("#lower", "#chart", "Numbers")
    DEFAULT_CSS = """
    RunScreen #middle { height: 12; max-height: 50vh; }
    RunScreen.-tall #middle { height: 52%; max-height: 100vh; }
    RunScreen #bottom { height: 1fr; }
    RunScreen #tabs { height: 1; padding: 0 1; }
    RunScreen #lower { height: 1fr; border-top: solid $line; }
    RunScreen Failure { display: none; }
    RunScreen.-failed Failure { display: block; }
    RunScreen.-failed #middle, RunScreen.-failed #lower { display: none; }
    """

    def __init__(self, folder: RunFolder, then_results: bool = False) -> None:
        """Show a run; with `then_results`, its results once it is complete, if one still looks at it."""
        super().__init__()
        self.folder = folder
        self._then_results = then_results
        self.snapshot: Snapshot | None = None
        self._machine: Machine | None = None
        self._load: Load | None = None
        self._asking: Screen[Any] | None = None  # a question that only makes sense while the run is on
        self._local = is_local(folder)
        self._leads: dict[str, str] = {}

    def crumb(self) -> Content:
        return safe(self.folder.name)

    def body(self) -> ComposeResult:
        yield RunHead()
        yield Failure()
        with Horizontal(id="middle"):
            yield RunChart(id="chart")
            yield Numbers(classes="panel")
        with ContentSwitcher(initial="log", id="lower"):
            yield LogPane(id="log")
            yield Samples(id="samples")
            yield Choices(id="choices")

    def on_mount(self) -> None:
        self._show_tab("log")
        self.set_interval(_FIGURES_SECONDS, self._draw_figures)
        self.set_interval(_MACHINE_SECONDS, self._read_machine)
        self.tuner.follow(self.folder).listen(self)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_figures)  # lines and bars are as wide as the screen

    def on_unmount(self) -> None:
        self.tuner.follow(self.folder).listeners.discard(self)

    def on_screen_resume(self) -> None:
        self.tuner.follow(self.folder).listen(self)  # what came while the screen was covered

    def on_run_updated(self, message: RunUpdated) -> None:
        before, self.snapshot = self.snapshot, message.snapshot
        if not self.on_view and before is not None:
            return
        self.query_one(TopBar).say(about(message.snapshot))
        self.query_one(RunChart).show(message.snapshot.view)
        if before is None or before.state != message.snapshot.state:
            self._state_changed(before)
        elif before.view.verdict is not message.snapshot.view.verdict:
            self.refresh_bindings()
        if before is None or self.query_one("#lower", ContentSwitcher).current != "log":
            self._draw_lower()
        if before is None or not message.snapshot.live:
            self._draw_figures()

    def _state_changed(self, before: Snapshot | None) -> None:
        self._leads = self._find_leads()
        self._show_failure()
        self._draw_figures()
        self.query_one(RunChart).repaint()
        self.refresh_bindings()
        snapshot = self.snapshot
        if snapshot is None or before is None or not before.live:
            return
        if not snapshot.live and self._asking is not None and self.app.screen is self._asking:
            self._asking.dismiss(False)
            if snapshot.state != "completed":
                self.tuner.say(_("The run has ended in the meantime."), "warning", 10)
        if self._failed_early:
            return  # the screen says it, and nothing must cover it
        if snapshot.state == "completed" and self._then_results and self.app.screen is self:
            self._then_results = False
            self.action_results()
        elif snapshot.state == "completed" and is_useless(snapshot.view.verdict_name):
            said = _("The run is complete, but its result is of no use. Press v to see why.")
            self.tuner.say(said, "warning", 15)
        elif snapshot.state == "completed":
            self.tuner.say(_("The run is complete. Press v for its results."), timeout=10)
        elif snapshot.state in ("failed", "lost"):
            self.tuner.say(snapshot.view.message or _("The run's process is gone."), "error", 15)

    @property
    def _failed_early(self) -> bool:
        """Whether the run failed before its first step: then nothing of it is worth more than the reason."""
        found = self.snapshot
        return found is not None and found.state == "failed" and not found.view.steps

    @property
    def _can_resume(self) -> bool:
        found = self.snapshot
        return found is not None and can_resume(found.state, len(found.view.steps), found.view.exit_code)

    def _show_failure(self) -> None:
        self.set_class(self._failed_early, "-failed")
        if self._failed_early and self.snapshot is not None:
            pane = self.query_one(Failure)
            pane.show(refusal_of_run(self.snapshot.view), self._can_resume)
            self.set_focus(pane, scroll_visible=False)
        elif isinstance(self.focused, Failure):
            self._show_tab("log")

    def _draw_figures(self) -> None:
        if self.snapshot is None or not self.on_view:
            return
        self.query_one(RunHead).show(self.snapshot, list(self._leads.items()))
        if not self.has_class("-failed"):  # lines are broken at the width that the pane has
            self.query_one(LogPane).show(self.snapshot)
        self.query_one(Numbers).show(
            self.snapshot, self._load if self.snapshot.live and self._local else None
        )

    def _draw_lower(self) -> None:
        if self.snapshot is not None:
            self.query_one(Samples).show(self.snapshot.view)
            self.query_one(Choices).show(self.snapshot.view)

    def _read_machine(self) -> None:
        if self.snapshot is None or not self.snapshot.live or not self._local:
            return
        if self._machine is None:
            self._machine = Machine()
        self._load = self._machine.read()

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense now stands in the footer."""
        state = self.snapshot.state if self.snapshot else ""
        live = bool(self.snapshot and self.snapshot.live)
        if action == "tell":
            command = parameters[0]
            if command == "pause":
                return state in ("running", "starting")
            return state == "paused" if command == "continue" else live
        if action == "stop":
            return live
        if action == "resume":
            return self._can_resume
        if action == "settings":
            return self._failed_early
        if action == "mend":
            found = self.snapshot
            if found is None or live:
                return False
            return (
                refusal_of_run(found.view).mendable if self._failed_early else can_improve(found.view.verdict)
            )
        if action == "lead":
            return parameters[0] in self._leads
        if action == "results":
            return not live and bool(self.snapshot and self.snapshot.view.steps)
        if action == "detach":
            return live
        if action in ("zoom", "zoom_next"):
            return not self._failed_early
        return True

    def action_tell(self, command: str) -> None:
        """Send a command to the run."""
        self.tuner.command(self.folder, command)
        said = {
            "pause": _("It pauses at the next step."),
            "continue": _("It continues."),
            "save": _("It saves at the next step."),
            "evaluate": _("It evaluates at the next step."),
        }
        self.tuner.say(said[command], timeout=3)

    def action_stop(self) -> None:
        from tui_tuner.ui.screens.dialogs import Confirm

        question = _("Stop this run? It saves a checkpoint first and can be resumed.")
        if self.snapshot is not None:
            question = stop_question(self.snapshot.view) or question
        self._asking = Confirm(_("Stop"), question, _("Stop and save"), _("Keep it running"), careful=True)
        self.app.push_screen(self._asking, self._stop_answered)

    def _stop_answered(self, yes: bool | None) -> None:
        if yes:
            self.tuner.command(self.folder, "stop")
            self.tuner.say(_("It saves a checkpoint and stops."), timeout=3)

    def action_resume(self) -> None:
        """Go on from the last checkpoint."""
        self.tuner.launch(self.folder, resume=True)
        self.tuner.follow(self.folder).listen(self)

    def action_settings(self, mend: bool = False) -> None:
        """Back to the settings with the values of this run, to the field that kept it from beginning."""
        if self.snapshot is None:
            return
        try:
            values = run_values(self.folder)
        except TunerError as error:
            self.tuner.say(words_of(error), "error")
            return
        self.tuner.drafts.begin(values, self.folder.name)
        refusal = refusal_of_run(self.snapshot.view)
        self.tuner.open_settings(self.folder.name, refusal, mend=mend, instead=True)

    def action_mend(self) -> None:
        """The same, and what can be done there; of a run that has ended, what its verdict advises."""
        verdict = self.snapshot.view.verdict if self.snapshot is not None else None
        if self._failed_early or verdict is None:
            self.action_settings(True)
        else:
            improve(self, self.folder, verdict)

    def _find_leads(self) -> dict[str, str]:
        """The keys that lead on from a run that has ended; none while it is on, or where it has no model."""
        found = self.snapshot
        if found is None or found.live or self._failed_early or not has_model(self.folder):
            return {}
        keys = {key: words for key, words in next_keys(self.folder, found.view) if key in ("c", "u", "s")}
        return {"v": _("results"), **keys}

    def action_lead(self, key: str) -> None:
        """Talk to the model, use it on a file, or run again with a change."""
        from tui_tuner.ui.screens.using.leading import lead_on

        lead_on(self, self.folder, key)

    def action_results(self) -> None:
        self.tuner.open_results(self.folder)

    def action_detach(self) -> None:
        """Close the workbench; the run goes on."""
        if self.tuner.hosts(self.folder):
            from tui_tuner.ui.screens.dialogs import Confirm

            question = detach_question(self.snapshot is not None and self.snapshot.state == "paused")
            command = attach_command(self.folder)
            dialog = Confirm(_("Detach"), question, _("Detach"), _("Stay"), code=command)
            self._asking = dialog
            self.app.push_screen(dialog, lambda yes: self.tuner.leave() if yes else None)
        else:
            self.tuner.leave(words=left_words(self.snapshot) if self.snapshot is not None else "")

    def action_suspend(self) -> None:
        """A stopped process would hold its training thread as well, and a run of another is left by d."""
        if self.tuner.hosts(self.folder):
            self.tuner.say(
                _("Suspended, this process would not train. d leaves the screen, and the run goes on.")
            )
        else:
            self.tuner.say(_("d leaves this screen; the run does not need it."))

    # Charts

    def action_chart(self, by: int) -> None:
        """The next chart, or the one before."""
        self.query_one(RunChart).turn(by)

    def action_axis(self) -> None:
        """The charts by steps, by tokens or by time."""
        self.query_one(RunChart).turn_axis()

    def action_turn(self) -> None:
        names = [name for name, _label in _TABS]
        now = self.query_one("#lower", ContentSwitcher).current or "log"
        self._show_tab(names[(names.index(now) + 1) % len(names)])

    def action_tab(self, name: str) -> None:
        if self.has_class("-failed"):
            self._show_tab(name)
        elif self._failed_early and self.query_one("#lower", ContentSwitcher).current == name:
            self._show_failure()
        else:
            self._show_tab("log" if self.query_one("#lower", ContentSwitcher).current == name else name)

    def _show_tab(self, name: str) -> None:
        self.remove_class("-failed")
        switcher = self.query_one("#lower", ContentSwitcher)
        switcher.current = name
        parts = [(f" {label} ", "bold $primary" if key == name else "$dim") for key, label in _TABS]
        switcher.border_title = Content.assemble(*parts, ("  tab", "$accent"))
        self._draw_lower()
        self.call_after_refresh(self._draw_figures)
        self.set_focus(self.query_one(f"#{name}"), scroll_visible=False)
