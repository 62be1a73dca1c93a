"""The screen that exports a model: a target, a folder, the progress, and what the comparison found."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.exporting.kinds import TARGETS, TargetKind
from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _
from tui_tuner.ui.screen_words import make_safe_block, make_safe_line
from tui_tuner.ui.screens.exporting import export_jobs
from tui_tuner.ui.screens.exporting.export_words import (
    describe_export,
    describe_target,
    render_outcome,
    render_target_row,
)
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.screens.using.helper_jobs import JobState
from tui_tuner.ui.widgets.judged.fitted_text import Fitted

_LOOK_SECONDS = 0.3  # between two polls of an export
_HUB = "hub"


class TargetsLooked(Message):
    """What some targets would take, by their names, or the error."""

    def __init__(self, found: dict[str, Any], error: str = "") -> None:
        super().__init__()
        self.found, self.error = found, error


class ExportScreen(TunerScreen):
    """A list of targets, a folder, and below them the progress and the outcome."""

    HELP_TEXT = _(
        "Choose what to export to; the size is that on the disk. ^r starts it. The export is written under "
        "another name, loaded by the program it is for, and compared with the result on the same prompts. "
        "It gets its name only then; if it answers otherwise, it is kept under a name that says so.\n"
        "Esc leaves the screen while the export continues; x stops it.\n"
        "On the command line: tui-tuner export."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back"), priority=True),
        Binding("ctrl+r", "start", _("Start"), priority=True),
        Binding("x", "stop", _("Stop")),
        Binding("y", "copy", _("Copy the path")),
    ]
    DEFAULT_CSS = """
    ExportScreen #targets { height: 7; margin: 1 1 0 1; border: none; padding: 0; overflow-x: hidden; }
    ExportScreen #targets { text-wrap: nowrap; text-overflow: ellipsis; }
    ExportScreen #fields { height: auto; padding: 1 1 0 1; }
    ExportScreen .field { height: 1; }
    ExportScreen .field Static { width: 12; color: $dim; }
    ExportScreen .field Input { width: 1fr; border: none; height: 1; padding: 0; background: $panel; }
    ExportScreen #status { height: auto; padding: 0 1; max-height: 5; margin-top: 1; }
    ExportScreen #below { height: 1fr; }
    """

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        self.origin = origin
        self._looks: dict[str, Any] = {}
        self._job: export_jobs.RunningExport | None = None
        self._shown: JobState | None = None
        self._request: Any = None
        self._typed = False  # whether the folder is the user's own

    def build_crumb(self) -> Content:
        return Content.assemble(make_safe_line(self.origin.display_label), ("  ›  ", "$dim"), _("Export"))

    def compose_body(self) -> ComposeResult:
        yield OptionList(*self._list_options(), id="targets")
        with Vertical(id="fields"):
            yield from self._compose_field("out", _("Folder"), _("a new folder"))
            yield from self._compose_field("quantize", _("Weights as"), "")
            yield from self._compose_field("repo", _("Repository"), _("NAME or OWNER/NAME; it is private"))
        yield Static(id="status")
        with VerticalScroll(id="below", classes="panel") as box:
            box.border_title = Content(_("Compared with the result"))
            yield Fitted(lambda _width: Content(""), id="outcome")

    def _compose_field(self, name: str, label: str, placeholder: str) -> ComposeResult:
        with Horizontal(classes="field", id=f"field-{name}"):
            yield Static(Content(label))
            yield Input(placeholder=placeholder, id=name)

    def _list_options(self) -> list[Option]:
        return [
            Option(render_target_row(kind, self._looks.get(name)), name) for name, kind in TARGETS.items()
        ]

    def on_mount(self) -> None:
        self.set_interval(_LOOK_SECONDS, self._follow_export)
        job = export_jobs.find_export(self.app, self.origin.list_origin_values())
        targets = self.query_one("#targets", OptionList)
        targets.highlighted = 0
        self.set_focus(targets)
        if job is not None:
            self._show_earlier(job)
        self._look_at_targets()

    def on_unmount(self) -> None:
        if self._request is not None:
            self._request.cancel()

    def _show_earlier(self, job: export_jobs.RunningExport) -> None:
        """Show an export that was started before this screen was opened."""
        self._job = job
        names = list(TARGETS)
        to = str(job.values.get("to"))
        if to in names:
            self.query_one("#targets", OptionList).highlighted = names.index(to)
        for field, value in (("out", "output"), ("quantize", "quantize"), ("repo", "repo")):
            self.query_one(f"#{field}", Input).value = str(job.values.get(value) or "")
        self._typed = True
        self._follow_export()

    # ---- targets ------------------------------------------------------------------------------------------

    @property
    def _kind(self) -> TargetKind:
        place = self.query_one("#targets", OptionList).highlighted or 0
        return list(TARGETS.values())[place]

    def _look_at_targets(self) -> None:
        """Ask the helper process what each target would take."""
        values = {"model": self.origin.list_origin_values()}
        self._request = self.tuner_app.helper.prepare_request(
            "export_look", values, progress=self._take_look, seconds=300
        )
        self._read_looks(self._request)

    def _take_look(self, found: Any) -> None:
        if isinstance(found, dict):
            self.post_message(TargetsLooked(found))

    @work(thread=True, group="look")
    def _read_looks(self, request: Any) -> None:
        from tui_tuner.launch.helper import Cancelled

        try:
            request.wait_for_result()
        except TunerError as problem:
            self.post_message(TargetsLooked({}, format_error_words(problem)))
        except Cancelled:
            return

    def work_failed(self, group: str, words: str) -> None:
        self.post_message(TargetsLooked({}, words))

    @on(TargetsLooked)
    def _show_looks(self, message: TargetsLooked) -> None:
        if message.error:
            failed = {"bytes": 0, "notes": [], "problem": message.error}
            message.found = {name: failed for name in TARGETS if name not in self._looks}
        self._looks.update(message.found)
        targets = self.query_one("#targets", OptionList)
        for name in message.found:
            if name in TARGETS:
                targets.replace_option_prompt(name, render_target_row(TARGETS[name], self._looks[name]))
        self._show_target()

    @on(OptionList.OptionHighlighted, "#targets")
    def _change_target(self) -> None:
        kind = self._kind
        self.query_one("#field-quantize").display = bool(kind.quantizations)
        self.query_one("#field-repo").display = kind.name == _HUB
        self.query_one("#field-out").display = kind.name != _HUB
        if kind.quantizations:
            field = self.query_one("#quantize", Input)
            field.placeholder = ", ".join(kind.quantizations)
        if not self._typed:
            self.query_one("#out", Input).value = _name_output(self.origin, kind.name)
        self._show_target()

    def _show_target(self) -> None:
        if self._job is None:
            kind = self._kind
            self._show_status(*describe_target(kind, self._looks.get(kind.name)))

    @on(OptionList.OptionSelected, "#targets")
    def _choose_target(self) -> None:
        self.set_focus(self.query_one("#repo" if self._kind.name == _HUB else "#out", Input))

    @on(Input.Changed, "#out")
    def _note_typing(self, event: Input.Changed) -> None:
        self._typed = self._typed or event.value != _name_output(self.origin, self._kind.name)

    # ---- the export ---------------------------------------------------------------------------------------

    @property
    def _is_running(self) -> bool:
        return self._job is not None and self._job.standing.on

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop":
            return self._is_running and self._job is not None and not self._job.standing.stopping
        if action == "start":
            return not self._is_running
        if action == "copy":
            return self._job is not None and self._job.standing.found is not None
        return True

    @on(Input.Submitted)
    def _start_by_enter(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        """Start the export that the fields describe."""
        if self._is_running:
            return
        kind = self._kind
        values = {
            "model": self.origin.list_origin_values(),
            "to": kind.name,
            "output": ""
            if kind.name == _HUB
            else os.path.abspath(os.path.expanduser(self._read_value("out"))),
            "quantize": self._read_value("quantize") if kind.quantizations else "",
            "repo": self._read_value("repo") if kind.name == _HUB else "",
            "device": "cpu" if self.tuner_app.is_training else "auto",  # a run in this process has its device
        }
        # Kept for the callback, which may come after this screen has closed and lost its app.
        app, tuner = self.app, self.tuner_app

        def report_end(job: export_jobs.RunningExport) -> None:
            # While the screen is open it shows the end itself, and an app that is closing has no place for a
            # notice.
            if not self.is_attached and not tuner.helper.is_closed:
                app.call_from_thread(tuner.show_notice, describe_export(job.standing)[0])

        self._job = export_jobs.begin_export(app, tuner.helper, values, report_end)
        self._shown = None
        self._follow_export()
        self.refresh_bindings()
        self.set_focus(self.query_one("#below"))

    def _read_value(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def action_stop(self) -> None:
        """Stop the export; nothing is left of it."""
        if self._job is not None:
            self._job.stop_job()
            self.refresh_bindings()

    def action_copy(self) -> None:
        """Send the path or the address of the export to the terminal's clipboard."""
        found = self._job.standing.found if self._job is not None else None
        if found is not None:
            self.app.copy_to_clipboard(str(found.get("address") or found.get("folder") or ""))
            self.tuner_app.show_notice(_("Sent to the terminal's clipboard, if the terminal supports it."))

    def _follow_export(self) -> None:
        """Show the state of the export, if it has changed."""
        if self._job is None or not self.is_on_view or self._job.standing is self._shown:
            return
        before, now = self._shown, self._job.standing
        self._shown = now
        self._show_status(*describe_export(now))
        if before is None or before.found is not now.found or before.notes != now.notes:
            self.query_one("#outcome", Fitted).show_drawn(partial(render_outcome, now))
        if before is None or before.on != now.on:
            self.refresh_bindings()

    def _show_status(self, words: str, style: str = "$dim") -> None:
        self.query_one("#status", Static).update(make_safe_block(words).stylize(style))


def _name_output(origin: Origin, target: str) -> str:
    """Return a folder that is not there yet, named after the model and the target."""
    name = Path(origin.name).name or "model"
    found, number = Path(f"{name}-{target}"), 2
    while found.exists():
        found, number = Path(f"{name}-{target}-{number}"), number + 1
    return str(found)
