"""The screen that uses a model on a file: choose the file, check the first rows, follow the job."""

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
from textual.widgets import Input, Static

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.errors import TunerError
from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import make_safe_block, make_safe_line
from tui_tuner.ui.screens.dialogs import ChoiceDialog
from tui_tuner.ui.screens.file_dialog import FILES, FileDialog
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.screens.using import prediction_jobs
from tui_tuner.ui.screens.using.job_words import describe_job, render_job_rows
from tui_tuner.ui.widgets.judged.fitted_text import Fitted

_LOOK_SECONDS = 0.3  # between two polls of a job


class FirstRowsRead(Message):
    """The first rows as the model would be asked, or the error."""

    def __init__(self, turn: int, look: dict[str, Any] | None, error: str) -> None:
        super().__init__()
        self.turn, self.look, self.error = turn, look, error


class PredictScreen(TunerScreen):
    """Fields for file, output and prompt; below them the first rows or the newest predictions."""

    HELP_TEXT = _(
        "Choose a file with ^o, or type its path and press Enter: the first rows are shown as the model "
        "would be asked. F4 assigns the columns. ^r starts the job.\n"
        "Each row of the file gets a line in the output, in the same order, with the prediction as an "
        "additional column. Esc leaves the screen while the job continues; x stops the job, ^r continues "
        "it.\n"
        "A prompt is a text file with column names in curly brackets, or carp: clues, reasoning, label. "
        "Labels are the allowed answers, separated by commas.\n"
        "On the command line: tui-tuner predict."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back"), priority=True),
        Binding("ctrl+o", "file", _("File"), priority=True),
        Binding("f4", "columns", _("Columns"), priority=True),
        Binding("ctrl+r", "start", _("Start"), priority=True),
        Binding("x", "stop", _("Stop")),
        Binding("y", "copy", _("Copy the path")),
    ]
    DEFAULT_CSS = """
    PredictScreen #fields { height: auto; padding: 1 1 0 1; }
    PredictScreen .field { height: 1; }
    PredictScreen .field Static { width: 11; color: $dim; }
    PredictScreen .field Input { width: 1fr; border: none; height: 1; padding: 0; background: $panel; }
    PredictScreen #status { height: auto; padding: 0 1; max-height: 6; margin-top: 1; }
    PredictScreen #below { height: 1fr; }
    """

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        self.origin = origin
        self._writes = TASKS[origin.task].writes
        self._columns: dict[str, str] = {}
        self._look: dict[str, Any] | None = None
        self._turn = 0
        self._job: prediction_jobs.PredictionJob | None = None
        self._shown: prediction_jobs.PredictionState | None = None

    def build_crumb(self) -> Content:
        return Content.assemble(
            make_safe_line(self.origin.display_label), ("  ›  ", "$dim"), _("Use on a file")
        )

    def compose_body(self) -> ComposeResult:
        with Vertical(id="fields"):
            yield from self._compose_field("path", _("File"), _("path of the rows; ^o chooses one"))
            yield from self._compose_field("out", _("Output"), _("a new JSONL file"))
            if self._writes:
                yield from self._compose_field(
                    "prompt", _("Prompt"), _("as in the rows; or carp, or a text file")
                )
                yield from self._compose_field(
                    "labels", _("Labels"), _("any answer; or, for example, good,bad")
                )
        yield Static(id="status")
        with VerticalScroll(id="below", classes="panel") as box:
            box.border_title = Content(_("First rows, as the model would be asked"))
            yield Fitted(lambda _width: Content(""), id="rows")

    def _compose_field(self, name: str, label: str, placeholder: str) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Static(Content(label))
            yield Input(placeholder=placeholder, id=name)

    def on_mount(self) -> None:
        self.set_interval(_LOOK_SECONDS, self._follow_job)
        job = prediction_jobs.find_job(self.app, self.origin.list_origin_values())
        if job is not None:
            self._show_job(job)
        else:
            self._show_job_status(_("Choose a file with ^o."))
            self.set_focus(self.query_one("#path", Input))

    def _show_job(self, job: prediction_jobs.PredictionJob) -> None:
        """Show a job that was started before this screen was opened."""
        self._job = job
        self._columns = dict(job.values.get("columns") or {})
        for name in ("path", "out"):
            self.query_one(f"#{name}", Input).value = str(job.values.get(name, ""))
        if self._writes:
            self.query_one("#prompt", Input).value = str(job.values.get("prompt_named", ""))
            self.query_one("#labels", Input).value = ",".join(job.values.get("labels") or ())
        self._follow_job()
        self.set_focus(self.query_one("#below"))

    @property
    def _is_running(self) -> bool:
        return self._job is not None and self._job.standing.on

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop":
            return self._is_running and self._job is not None and not self._job.standing.stopping
        if action in ("file", "start"):
            return not self._is_running
        if action == "columns":
            return not self._is_running and bool(self._look and self._look.get("choices"))
        if action == "copy":
            return self._job is not None and not self._is_running and self._job.standing.found is not None
        return True

    # ---- the file -----------------------------------------------------------------------------------------

    def action_file(self) -> None:
        files = FILES["data.path"]
        start = self._read_value("path")
        self.app.push_screen(
            FileDialog(_("Rows to use the model on"), start, files.suffixes, files.recent, folders=True),
            self._take_file,
        )

    def _take_file(self, path: str | None) -> None:
        if path:
            self.query_one("#path", Input).value = path
            self._columns = {}
            self._new_file()

    @on(Input.Submitted)
    def _look_at_entry(self, event: Input.Submitted) -> None:
        if event.input.id == "path":
            self._columns = {}
            self._new_file()
        else:
            self._look_at_rows()

    def _new_file(self) -> None:
        path = Path(self._read_value("path")).expanduser()
        self.query_one("#out", Input).value = _default_output(path)
        self._look_at_rows()
        self.set_focus(self.query_one("#below"))

    def _read_value(self, name: str) -> str:
        found = self.query(f"#{name}")
        return found.first(Input).value.strip() if found else ""

    def _read_values(self) -> dict[str, Any]:
        """Return the fields of a job as plain values, with the typed name of its prompt (`prompt_named`).

        Raises:
            TunerError: the file of the prompt cannot be read.
        """
        from tui_tuner.evaluation.text_input import read_text_input

        prompt = self._read_value("prompt")
        return {
            "model": self.origin.list_origin_values(),
            "path": os.path.expanduser(self._read_value("path")),
            "out": os.path.expanduser(self._read_value("out"))
            or _default_output(Path(self._read_value("path")).expanduser()),
            "columns": dict(self._columns),
            "prompt": prompt if prompt in ("", "carp") else read_text_input(prompt).rstrip("\n"),
            "prompt_named": prompt,
            "labels": [one.strip() for one in self._read_value("labels").split(",") if one.strip()],
            "device": "cpu" if self.tuner_app.is_training else "auto",  # a run in this process has its device
        }

    def _look_at_rows(self) -> None:
        """Read the first rows in the helper process."""
        if not self._read_value("path"):
            self._show_job_status(_("Choose a file with ^o."), "$warning")
            return
        try:
            values = self._read_values()
        except TunerError as error:
            self._show_job_status(format_error_words(error), "$error")
            return
        self._turn += 1
        self._show_job_status(_("Reading the first rows…"))
        self._read_first_rows(
            self._turn, self.tuner_app.helper.prepare_request("predict_look", values, seconds=120)
        )

    @work(thread=True, group="look")
    def _read_first_rows(self, turn: int, request: Any) -> None:
        from tui_tuner.launch.helper import Cancelled

        look, error = None, ""
        try:
            look = request.wait_for_result()
        except TunerError as problem:
            error = format_error_words(problem)
        except Cancelled:
            return
        self.post_message(FirstRowsRead(turn, look, error))

    def work_failed(self, group: str, words: str) -> None:
        self._show_rows(FirstRowsRead(self._turn, None, words))

    @on(FirstRowsRead)
    def _show_rows(self, message: FirstRowsRead) -> None:
        # Once a job has started, its predictions take the place of the first rows.
        if message.turn != self._turn or self._is_running:
            return
        self._look = message.look
        self.refresh_bindings()
        look = message.look or {}
        problem = message.error or " ".join(str(look.get(part) or "") for part in ("problem", "hint")).strip()
        if problem:
            way = _("Press F4 to assign the columns.") if look.get("choices") else ""
            self._show_job_status(f"{problem} {way}".strip(), "$error")
        else:
            self._show_job_status(_("Press ^r to start."))
        self.query_one("#below").border_title = Content(_("First rows, as the model would be asked"))
        self.query_one("#rows", Fitted).show_drawn(partial(render_job_rows, look))

    # ---- columns ------------------------------------------------------------------------------------------

    def action_columns(self) -> None:
        """Choose a role, then the column for it."""
        look = self._look or {}
        roles, now = list(look.get("choices") or ()), dict(look.get("roles") or {}) | self._columns
        answers = [(role, role, one_line(now.get(role, _("no column")), 60)) for role in roles]
        question = Content(_("Which role do you want to assign?"))
        self.app.push_screen(ChoiceDialog(_("Columns"), question, answers), self._ask_for_column)

    def _ask_for_column(self, role: str | None) -> None:
        if role is None:
            return
        names = [str(name) for name in (self._look or {}).get("columns") or ()]
        answers = [(str(place), one_line(name, 60), "") for place, name in enumerate(names)]

        def assign_column(place: str | None) -> None:
            if place is not None:
                kept = dict((self._look or {}).get("roles") or {}) if not self._columns else self._columns
                # A column has one role: assigning it again takes it away from the other.
                kept = {key: name for key, name in kept.items() if name != names[int(place)]}
                self._columns = {**kept, role: names[int(place)]}
                self._look_at_rows()

        title = Content(_("Which column is the {role}?", role=role))
        self.app.push_screen(ChoiceDialog(_("Columns"), title, answers), assign_column)

    # ---- the job ------------------------------------------------------------------------------------------

    def action_start(self) -> None:
        """Start the job, or continue an earlier one that wrote to the same output."""
        if self._is_running or not self._read_value("path"):
            self._look_at_rows()
            return
        try:
            values = self._read_values()
        except TunerError as error:
            self._show_job_status(format_error_words(error), "$error")
            return
        # Kept for the callback, which may come after this screen has closed and lost its app.
        app, tuner = self.app, self.tuner_app

        def report_end(job: prediction_jobs.PredictionJob) -> None:
            # While the screen is open it shows the end itself, and an app that is closing has no place for a
            # notice.
            if not self.is_attached and not tuner.helper.is_closed:
                app.call_from_thread(tuner.show_notice, _describe_end(job))

        self.query_one("#out", Input).value = values["out"]
        self._job = prediction_jobs.begin_job(app, tuner.helper, values, report_end)
        self._shown = None
        self.query_one("#below").border_title = Content(_("Newest predictions"))
        self._follow_job()
        self.refresh_bindings()
        self.set_focus(self.query_one("#below"))

    def action_stop(self) -> None:
        """Stop the job after the current rows are written; ^r continues it."""
        if self._job is not None:
            self._job.stop_job()
            self.refresh_bindings()

    def action_copy(self) -> None:
        """Send the path of the output to the terminal's clipboard."""
        if self._job is not None:
            self.app.copy_to_clipboard(os.path.abspath(str(self._job.values["out"])))
            self.tuner_app.show_notice(_("Sent to the terminal's clipboard, if the terminal supports it."))

    def _follow_job(self) -> None:
        """Show the state of the job, if it has changed."""
        if self._job is None or not self.is_on_view or self._job.standing is self._shown:
            return
        before, now = self._shown, self._job.standing
        self._shown = now
        words, style = describe_job(now, str(self._job.values["out"]))
        self._show_job_status(words, style)
        if before is None or before.newest != now.newest:
            self.query_one("#below").border_title = Content(_("Newest predictions"))
            self.query_one("#rows", Fitted).show_drawn(partial(render_job_rows, {"newest": now.newest}))
        if before is None or before.on != now.on:
            self.refresh_bindings()

    def _show_job_status(self, words: str, style: str = "$dim") -> None:
        self.query_one("#status", Static).update(make_safe_block(words).stylize(style))


def _default_output(path: Path) -> str:
    """Return the default output: next to a file, or in the working folder for a folder of files."""
    name = path.name.split(".")[0] or "rows"
    return str((path.parent if path.is_file() else Path()) / f"{name}.predictions.jsonl")


def _describe_end(job: prediction_jobs.PredictionJob) -> str:
    words, _style = describe_job(job.standing, str(job.values["out"]))
    return words
