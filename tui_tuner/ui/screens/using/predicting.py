"""A model is used on a file: which one, what would be asked of its rows, and how far it is."""

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

from tui_tuner.config.advice import words_of
from tui_tuner.config.kinds import TASKS
from tui_tuner.errors import TunerError
from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.choosing import FILES, ChooseFile
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.screens.using import jobs
from tui_tuner.ui.screens.using.words import progress_content, rows_content
from tui_tuner.ui.widgets.judged.fitted import Fitted
from tui_tuner.ui.words import block, safe

_LOOK_SECONDS = 0.3  # between two looks at a job


class Looked(Message):
    """The first rows were read, or not."""

    def __init__(self, turn: int, look: dict[str, Any] | None, error: str) -> None:
        super().__init__()
        self.turn, self.look, self.error = turn, look, error


class PredictScreen(TunerScreen):
    """Fields above, the first rows or the newest predictions below."""

    HELP_TEXT = _(
        "Choose a file with ^o, or type its path and press Enter: the first rows are shown as the model "
        "would be asked. F4 says which column is what. ^r starts it.\n"
        "Each row of the file gets a line in the output, in the same order, with the prediction as one more "
        "column. Esc leaves it running; x stops it, and ^r goes on where it was ended.\n"
        "A prompt is a text file with names of columns in curly brackets, or carp: clues, reasoning, label. "
        "Labels are what an answer must be one of, with commas between.\n"
        "The same on the command line: tui-tuner predict."
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
        self._job: jobs.Running | None = None
        self._shown: jobs.Standing | None = None

    def crumb(self) -> Content:
        return Content.assemble(safe(self.origin.label), ("  ›  ", "$dim"), _("Use on a file"))

    def body(self) -> ComposeResult:
        with Vertical(id="fields"):
            yield from self._field("path", _("File"), _("path of the rows; ^o chooses one"))
            yield from self._field("out", _("Output"), _("a JSONL file, made anew"))
            if self._writes:
                yield from self._field("prompt", _("Prompt"), _("what the rows ask; or carp, or a text file"))
                yield from self._field("labels", _("Labels"), _("any answer; or such as good,bad"))
        yield Static(id="status")
        with VerticalScroll(id="below", classes="panel") as box:
            box.border_title = Content(_("First rows, as they would be asked"))
            yield Fitted(lambda _width: Content(""), id="rows")

    def _field(self, name: str, label: str, placeholder: str) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Static(Content(label))
            yield Input(placeholder=placeholder, id=name)

    def on_mount(self) -> None:
        self.set_interval(_LOOK_SECONDS, self._follow)
        job = jobs.running(self.app, self.origin.plain())
        if job is not None:
            self._take(job)
        else:
            self._say(_("Choose a file with ^o."))
            self.set_focus(self.query_one("#path", Input))

    def _take(self, job: jobs.Running) -> None:
        """Show a job that was begun before."""
        self._job = job
        self._columns = dict(job.values.get("columns") or {})
        for name in ("path", "out"):
            self.query_one(f"#{name}", Input).value = str(job.values.get(name, ""))
        if self._writes:
            self.query_one("#prompt", Input).value = str(job.values.get("prompt_named", ""))
            self.query_one("#labels", Input).value = ",".join(job.values.get("labels") or ())
        self._follow()
        self.set_focus(self.query_one("#below"))

    @property
    def _on(self) -> bool:
        return self._job is not None and self._job.standing.on

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "stop":
            return self._on and self._job is not None and not self._job.standing.stopping
        if action in ("file", "start"):
            return not self._on
        if action == "columns":
            return not self._on and bool(self._look and self._look.get("choices"))
        if action == "copy":
            return self._job is not None and not self._on and self._job.standing.found is not None
        return True

    # ---- the file -----------------------------------------------------------------------------------------

    def action_file(self) -> None:
        """Choose the file."""
        files = FILES["data.path"]
        start = self._value("path")
        self.app.push_screen(
            ChooseFile(_("Rows to use the model on"), start, files.suffixes, files.recent, folders=True),
            self._file_chosen,
        )

    def _file_chosen(self, path: str | None) -> None:
        if path:
            self.query_one("#path", Input).value = path
            self._columns = {}
            self._new_file()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        if event.input.id == "path":
            self._columns = {}
            self._new_file()
        else:
            self._look_at()

    def _new_file(self) -> None:
        path = Path(self._value("path")).expanduser()
        self.query_one("#out", Input).value = _beside(path)
        self._look_at()
        self.set_focus(self.query_one("#below"))

    def _value(self, name: str) -> str:
        found = self.query(f"#{name}")
        return found.first(Input).value.strip() if found else ""

    def _values(self) -> dict[str, Any]:
        """A job in plain values, and how its prompt was named (`prompt_named`).

        Raises:
            TunerError: the file of the prompt cannot be read.
        """
        from tui_tuner.evaluation.asked import read_text

        prompt = self._value("prompt")
        return {
            "model": self.origin.plain(),
            "path": os.path.expanduser(self._value("path")),
            "out": os.path.expanduser(self._value("out")) or _beside(Path(self._value("path")).expanduser()),
            "columns": dict(self._columns),
            "prompt": prompt if prompt in ("", "carp") else read_text(prompt).rstrip("\n"),
            "prompt_named": prompt,
            "labels": [one.strip() for one in self._value("labels").split(",") if one.strip()],
            "device": "cpu" if self.tuner.training else "auto",  # a run in this process has its device
        }

    def _look_at(self) -> None:
        """Read the first rows, in the helper process."""
        if not self._value("path"):
            self._say(_("Choose a file with ^o."), "$warning")
            return
        try:
            values = self._values()
        except TunerError as error:
            self._say(words_of(error), "$error")
            return
        self._turn += 1
        self._say(_("Reading the first rows…"))
        self._read(self._turn, self.tuner.helper.request("predict_look", values, seconds=120))

    @work(thread=True, group="look")
    def _read(self, turn: int, request: Any) -> None:
        from tui_tuner.launch.helper import Cancelled

        look, error = None, ""
        try:
            look = request.wait()
        except TunerError as problem:
            error = words_of(problem)
        except Cancelled:
            return
        self.post_message(Looked(turn, look, error))

    def work_failed(self, group: str, words: str) -> None:
        self._looked(Looked(self._turn, None, words))

    @on(Looked)
    def _looked(self, message: Looked) -> None:
        if message.turn != self._turn or self._on:
            return
        self._look = message.look
        self.refresh_bindings()
        look = message.look or {}
        problem = message.error or " ".join(str(look.get(part) or "") for part in ("problem", "hint")).strip()
        if problem:
            way = _("F4 says which column is what.") if look.get("choices") else ""
            self._say(f"{problem} {way}".strip(), "$error")
        else:
            self._say(_("^r starts it."))
        self.query_one("#below").border_title = Content(_("First rows, as they would be asked"))
        self.query_one("#rows", Fitted).show(partial(rows_content, look))

    # ---- columns ------------------------------------------------------------------------------------------

    def action_columns(self) -> None:
        """Say which column a role has: first the role, then the column."""
        look = self._look or {}
        roles, now = list(look.get("choices") or ()), dict(look.get("roles") or {}) | self._columns
        answers = [(role, role, one_line(now.get(role, _("no column")), 60)) for role in roles]
        question = Content(_("For which part is a column chosen?"))
        self.app.push_screen(Choose(_("Columns"), question, answers), self._role_chosen)

    def _role_chosen(self, role: str | None) -> None:
        if role is None:
            return
        names = [str(name) for name in (self._look or {}).get("columns") or ()]
        answers = [(str(place), one_line(name, 60), "") for place, name in enumerate(names)]

        def chosen(place: str | None) -> None:
            if place is not None:
                kept = dict((self._look or {}).get("roles") or {}) if not self._columns else self._columns
                kept = {key: name for key, name in kept.items() if name != names[int(place)]}
                self._columns = {**kept, role: names[int(place)]}
                self._look_at()

        title = Content(_("Which column is the {role}?", role=role))
        self.app.push_screen(Choose(_("Columns"), title, answers), chosen)

    # ---- the job ------------------------------------------------------------------------------------------

    def action_start(self) -> None:
        """Use the model on the file; what an earlier attempt has written is gone on with."""
        if self._on or not self._value("path"):
            self._look_at()
            return
        try:
            values = self._values()
        except TunerError as error:
            self._say(words_of(error), "$error")
            return
        app, tuner = self.app, self.tuner

        def ended(job: jobs.Running) -> None:
            if not self.is_attached and not tuner.helper.closed:
                app.call_from_thread(tuner.say, _ended_words(job))

        self.query_one("#out", Input).value = values["out"]
        self._job = jobs.begin(app, tuner.helper, values, ended)
        self._shown = None
        self.query_one("#below").border_title = Content(_("Newest predictions"))
        self._follow()
        self.refresh_bindings()
        self.set_focus(self.query_one("#below"))

    def action_stop(self) -> None:
        """Write the rows at hand, and end; ^r goes on later."""
        if self._job is not None:
            self._job.stop()
            self.refresh_bindings()

    def action_copy(self) -> None:
        """The path of the output, to the terminal's clipboard."""
        if self._job is not None:
            self.app.copy_to_clipboard(os.path.abspath(str(self._job.values["out"])))
            self.tuner.say(_("Sent to the terminal, which keeps it for pasting if it can."))

    def _follow(self) -> None:
        """Show where the job is, if that is somewhere else than before."""
        if self._job is None or not self.on_view or self._job.standing is self._shown:
            return
        before, now = self._shown, self._job.standing
        self._shown = now
        words, style = progress_content(now, str(self._job.values["out"]))
        self._say(words, style)
        if before is None or before.newest != now.newest:
            self.query_one("#below").border_title = Content(_("Newest predictions"))
            self.query_one("#rows", Fitted).show(partial(rows_content, {"newest": now.newest}))
        if before is None or before.on != now.on:
            self.refresh_bindings()

    def _say(self, words: str, style: str = "$dim") -> None:
        self.query_one("#status", Static).update(block(words).stylize(style))


def _beside(path: Path) -> str:
    """An output beside a file, or in the working folder where that is a folder of files."""
    name = path.name.split(".")[0] or "rows"
    return str((path.parent if path.is_file() else Path()) / f"{name}.predictions.jsonl")


def _ended_words(job: jobs.Running) -> str:
    words, _style = progress_content(job.standing, str(job.values["out"]))
    return words
