"""The live pane of a run: the same screen while it trains, in attached terminals, and after its end."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.widgets import ContentSwitcher

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.inference.leads import has_saved_model
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.ui.bridge import RunSnapshot, RunUpdated
from tui_tuner.ui.machine_load import LoadReader, MachineLoad
from tui_tuner.ui.run_overview import can_resume_run, read_run_values
from tui_tuner.ui.screen_words import make_safe_line
from tui_tuner.ui.screens.past.improvement import can_improve, open_improved_settings
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.start_checking import convert_run_to_refusal
from tui_tuner.ui.widgets.judged.next_steps import list_next_keys
from tui_tuner.ui.widgets.live.choices import Choices
from tui_tuner.ui.widgets.live.failure import Failure
from tui_tuner.ui.widgets.live.live_samples import Samples
from tui_tuner.ui.widgets.live.log_pane import LogPane
from tui_tuner.ui.widgets.live.numbers import Numbers
from tui_tuner.ui.widgets.live.run_chart import RunChart
from tui_tuner.ui.widgets.live.run_head import RunHead
from tui_tuner.ui.widgets.live.run_words import (
    describe_live_run,
    format_attach_command,
    format_detach_question,
    format_left_message,
    is_run_local,
)
from tui_tuner.ui.widgets.live.verdict_line import format_stop_question
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.widgets.zoom import Zooms
from tui_tuner.verdicts.verdict_lines import is_verdict_useless

_FIGURES_SECONDS = 1.0
_MACHINE_SECONDS = 2.0  # these figures change at every reading, and most terminal output comes from them
_TABS = (("log", _("Log")), ("samples", _("Answers")), ("choices", _("Choices")))


class RunScreen(Zooms, TunerScreen):
    """Progress, curves, figures, and a lower pane with the log, answers or choices."""

    HELP_TEXT = _(
        "The pane reads the run's journal, so it is the same in every terminal, during and after the run.\n"
        "Pause holds the run at its next step. Stop saves a checkpoint first; the run can be resumed.\n"
        "Tab switches the lower pane: log, answers, and the value of every `auto`. g switches the chart: "
        "loss, learning rate, speed, gradient norm, memory, metrics. z zooms the lower pane to the whole "
        "screen, Z the next pane.\n"
        "Detach closes the workbench; the run continues."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        # Keys that are bound twice (p, s, c, e) have one active action at a time; `check_action` decides
        # which.
        Binding("p", "tell('pause')", _("Pause")),
        Binding("p", "tell('continue')", _("Continue")),
        Binding("x", "stop", _("Stop")),
        Binding("s", "tell('save')", _("Save a checkpoint"), show=False),
        Binding("e", "tell('evaluate')", _("Evaluate now"), show=False),
        Binding("enter", "settings", _("Settings")),
        Binding("f4", "mend", _("Fix")),
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
        Binding("e", "lead('e')", _("Export"), show=False),
        Binding("s", "lead('s')", _("Run again"), show=False),
        Binding("c", "tab('choices')", _("Values of every `auto`"), show=False),
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
        """Show a run; with `then_results`, switch to its results when it completes while still on view."""
        super().__init__()
        self.folder = folder
        self._then_results = then_results
        self.snapshot: RunSnapshot | None = None
        self._machine: LoadReader | None = None
        self._load: MachineLoad | None = None
        self._asking: Screen[Any] | None = None  # a dialog that only makes sense while the run is live
        self._local = is_run_local(folder)
        self._leads: dict[str, str] = {}

    def build_crumb(self) -> Content:
        return make_safe_line(self.folder.name)

    def compose_body(self) -> ComposeResult:
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
        self.tuner_app.follow_run(self.folder).add_listener(self)

    def on_resize(self) -> None:
        # Lines and bars are made for the width of the screen, which is known only after the layout
        self.call_after_refresh(self._draw_figures)

    def on_unmount(self) -> None:
        # The follower outlives this screen: other screens may watch the same run.
        self.tuner_app.follow_run(self.folder).listeners.discard(self)

    def on_screen_resume(self) -> None:
        # Listening again posts the current snapshot: updates under another screen were not drawn
        self.tuner_app.follow_run(self.folder).add_listener(self)

    def on_run_updated(self, message: RunUpdated) -> None:
        before, self.snapshot = self.snapshot, message.snapshot
        # `on_screen_resume` catches up later. The first snapshot is always drawn, or the screen would open
        # empty.
        if not self.is_on_view and before is not None:
            return
        self.query_one(TopBar).set_right_words(describe_live_run(message.snapshot))
        self.query_one(RunChart).show_view(message.snapshot.view)
        if before is None or before.state != message.snapshot.state:
            self._draw_new_state(before)
        elif before.view.verdict is not message.snapshot.view.verdict:
            self.refresh_bindings()
        # The log is drawn with the figures, at most once a second: it changes with every step.
        if before is None or self.query_one("#lower", ContentSwitcher).current != "log":
            self._draw_lower()
        if before is None or not message.snapshot.is_live:
            self._draw_figures()

    def _draw_new_state(self, before: RunSnapshot | None) -> None:
        self._leads = self._find_leads()
        self._show_failure()
        self._draw_figures()
        self.query_one(RunChart).repaint()
        self.refresh_bindings()
        snapshot = self.snapshot
        if snapshot is None or before is None or not before.is_live:
            return
        if not snapshot.is_live and self._asking is not None and self.app.screen is self._asking:
            # A question such as "stop the run?" has become pointless, and answering it would do nothing.
            self._asking.dismiss(False)
            if snapshot.state != "completed":
                self.tuner_app.show_notice(_("The run has ended in the meantime."), "warning", 10)
        if self._has_failed_early:
            # The screen itself shows the failure: a notice would cover the reason
            return
        if snapshot.state == "completed" and self._then_results and self.app.screen is self:
            # Only once: the user may come back from the results to this screen.
            self._then_results = False
            self.action_results()
        elif snapshot.state == "completed" and is_verdict_useless(snapshot.view.verdict_name):
            said = _("The run is complete, but its result is not usable. Press v to see why.")
            self.tuner_app.show_notice(said, "warning", 15)
        elif snapshot.state == "completed":
            self.tuner_app.show_notice(_("The run is complete. Press v for its results."), timeout=10)
        elif snapshot.state in ("failed", "lost"):
            self.tuner_app.show_notice(
                snapshot.view.message or _("The run's process has ended."), "error", 15
            )

    @property
    def _has_failed_early(self) -> bool:
        """Return whether the run failed before its first step."""
        found = self.snapshot
        return found is not None and found.state == "failed" and not found.view.steps

    @property
    def _is_resumable(self) -> bool:
        found = self.snapshot
        return found is not None and can_resume_run(found.state, len(found.view.steps), found.view.exit_code)

    def _show_failure(self) -> None:
        self.set_class(self._has_failed_early, "-failed")
        if self._has_failed_early and self.snapshot is not None:
            pane = self.query_one(Failure)
            pane.show_refusal(convert_run_to_refusal(self.snapshot.view), self._is_resumable)
            self.set_focus(pane, scroll_visible=False)
        elif isinstance(self.focused, Failure):
            self._show_tab("log")

    def _draw_figures(self) -> None:
        if self.snapshot is None or not self.is_on_view:
            return
        self.query_one(RunHead).show_progress(self.snapshot, list(self._leads.items()))
        # The log breaks its lines at the width of its pane, which a hidden pane does not have.
        if not self.has_class("-failed"):
            self.query_one(LogPane).show_snapshot(self.snapshot)
        self.query_one(Numbers).show_figures(
            self.snapshot, self._load if self.snapshot.is_live and self._local else None
        )

    def _draw_lower(self) -> None:
        if self.snapshot is not None:
            self.query_one(Samples).show_samples(self.snapshot.view)
            self.query_one(Choices).show_choices(self.snapshot.view)

    def _read_machine(self) -> None:
        if self.snapshot is None or not self.snapshot.is_live or not self._local:
            return
        # Made at the first reading: it asks drivers for the GPUs, and a finished run needs none of that.
        if self._machine is None:
            self._machine = LoadReader()
        self._load = self._machine.read_load()

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keep keys that make no sense in this state out of the footer."""
        state = self.snapshot.state if self.snapshot else ""
        live = bool(self.snapshot and self.snapshot.is_live)
        if action == "tell":
            command = parameters[0]
            if command == "pause":
                return state in ("running", "starting")
            return state == "paused" if command == "continue" else live
        if action == "stop":
            return live
        if action == "resume":
            return self._is_resumable
        if action == "settings":
            return self._has_failed_early
        if action == "mend":
            found = self.snapshot
            if found is None or live:
                return False
            return (
                convert_run_to_refusal(found.view).is_fixable
                if self._has_failed_early
                else can_improve(found.view.verdict)
            )
        if action == "lead":
            return parameters[0] in self._leads
        if action == "results":
            return not live and bool(self.snapshot and self.snapshot.view.steps)
        if action == "detach":
            return live
        if action in ("zoom", "zoom_next"):
            return not self._has_failed_early
        return True

    def action_tell(self, command: str) -> None:
        """Send a command to the run."""
        self.tuner_app.send_command(self.folder, command)
        said = {
            "pause": _("The run pauses at its next step."),
            "continue": _("Continued."),
            "save": _("The run saves a checkpoint at its next step."),
            "evaluate": _("The run evaluates at its next step."),
        }
        self.tuner_app.show_notice(said[command], timeout=3)

    def action_stop(self) -> None:
        from tui_tuner.ui.screens.dialogs import ConfirmDialog

        question = _("Stop this run? It saves a checkpoint first and can be resumed.")
        if self.snapshot is not None:
            question = format_stop_question(self.snapshot.view) or question
        self._asking = ConfirmDialog(
            _("Stop"), question, _("Stop and save"), _("Keep it running"), careful=True
        )
        self.app.push_screen(self._asking, self._stop_if_confirmed)

    def _stop_if_confirmed(self, yes: bool | None) -> None:
        if yes:
            self.tuner_app.send_command(self.folder, "stop")
            self.tuner_app.show_notice(_("The run saves a checkpoint and stops."), timeout=3)

    def action_resume(self) -> None:
        """Resume from the last checkpoint."""
        self.tuner_app.launch_run(self.folder, resume=True)
        self.tuner_app.follow_run(self.folder).add_listener(self)

    def action_settings(self, mend: bool = False) -> None:
        """Open the settings with this run's values, at the field that caused its failure."""
        if self.snapshot is None:
            return
        try:
            values = read_run_values(self.folder)
        except TunerError as error:
            self.tuner_app.show_notice(format_error_words(error), "error")
            return
        self.tuner_app.drafts.begin_draft(values, self.folder.name)
        refusal = convert_run_to_refusal(self.snapshot.view)
        self.tuner_app.open_settings(self.folder.name, refusal, mend=mend, instead=True)

    def action_mend(self) -> None:
        """Open the settings with the fixes for the failure, or with the changes that the verdict advises."""
        verdict = self.snapshot.view.verdict if self.snapshot is not None else None
        if self._has_failed_early or verdict is None:
            self.action_settings(True)
        else:
            open_improved_settings(self, self.folder, verdict)

    def _find_leads(self) -> dict[str, str]:
        """Return the keys of next steps with their labels; empty while the run is live or without a model."""
        found = self.snapshot
        if found is None or found.is_live or self._has_failed_early or not has_saved_model(self.folder):
            return {}
        keys = {
            key: words
            for key, words in list_next_keys(self.folder, found.view)
            if key in ("c", "u", "e", "s")
        }
        return {"v": _("results"), **keys}

    def action_lead(self, key: str) -> None:
        """Open the next step of a key: chat, use it on a file, export it, or run again with a change."""
        from tui_tuner.ui.screens.using.next_screens import open_next_step

        open_next_step(self, self.folder, key)

    def action_results(self) -> None:
        self.tuner_app.open_results(self.folder)

    def action_detach(self) -> None:
        """Close the workbench while the run continues."""
        if self.tuner_app.is_hosting(self.folder):
            from tui_tuner.ui.screens.dialogs import ConfirmDialog

            question = format_detach_question(self.snapshot is not None and self.snapshot.state == "paused")
            command = format_attach_command(self.folder)
            dialog = ConfirmDialog(_("Detach"), question, _("Detach"), _("Stay"), code=command)
            self._asking = dialog
            self.app.push_screen(dialog, lambda yes: self.tuner_app.leave_app() if yes else None)
        else:
            self.tuner_app.leave_app(
                words=format_left_message(self.snapshot) if self.snapshot is not None else ""
            )

    def action_suspend(self) -> None:
        """Refuse to suspend: point to `d`, which leaves the screen without stopping the run."""
        if self.tuner_app.is_hosting(self.folder):
            self.tuner_app.show_notice(
                # The signal would stop all threads of this process, and the training with them.
                _("Suspending would pause the training. Press d to leave the screen; the run continues.")
            )
        else:
            self.tuner_app.show_notice(_("Press d to leave this screen; the run continues without it."))

    # Charts

    def action_chart(self, by: int) -> None:
        """Switch to the next or the previous chart."""
        self.query_one(RunChart).turn_chart(by)

    def action_axis(self) -> None:
        """Switch the horizontal axis: steps, tokens or time."""
        self.query_one(RunChart).turn_axis()

    def action_turn(self) -> None:
        names = [name for name, _label in _TABS]
        now = self.query_one("#lower", ContentSwitcher).current or "log"
        self._show_tab(names[(names.index(now) + 1) % len(names)])

    def action_tab(self, name: str) -> None:
        if self.has_class("-failed"):
            self._show_tab(name)
        elif self._has_failed_early and self.query_one("#lower", ContentSwitcher).current == name:
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
