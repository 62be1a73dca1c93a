"""All runs: a list that can be searched, and what the one under the cursor was about."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static

from tui_tuner.config.advice import words_of
from tui_tuner.config.deciding import metric_name
from tui_tuner.config.load import dump_config
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.ui.overview import RunRow, can_resume, run_values
from tui_tuner.ui.screens.rows import RowsRead, RowsScreen
from tui_tuner.ui.widgets.run_list import RunList
from tui_tuner.ui.words import block, figure, measured, state_content


class RunsScreen(RowsScreen):
    """List, search, details."""

    HELP_TEXT = _("Type / to search by name or state. Enter opens the live pane, v the results.")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("slash", "search", _("Search"), key_display="/"),
        Binding("v", "results", _("Results")),
        Binding("c", "chat", _("Chat")),
        Binding("r", "resume", _("Resume")),
        Binding("s", "settings", _("New run like it")),
    ]
    DEFAULT_CSS = """
    RunsScreen #search { margin: 1 1 0 1; width: 1fr; }
    RunsScreen #area { height: 1fr; margin-top: 1; }
    RunsScreen #list { width: 1fr; height: 1fr; padding: 0 1; }
    RunsScreen #details { width: 44; height: 1fr; display: none; }
    RunsScreen #details Static { height: auto; }
    RunsScreen.-wide #details { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: list[RunRow] = []
        self._title = ""
        self._shown: tuple[RunRow | None, bool] | None = None  # what `_details` showed, and to a wide screen

    def crumb(self) -> Content:
        return Content(_("Runs"))

    def body(self) -> ComposeResult:
        yield Input(placeholder=_("search"), id="search", compact=True)
        with Horizontal(id="area"):
            yield RunList(id="list", classes="panel")
            with VerticalScroll(id="details", classes="panel") as details:
                details.border_title = Content(_("About it"))
                yield Static()

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#list"))

    @on(RowsRead)
    def _rows_read(self, message: RowsRead) -> None:
        self._found = message.found
        self._filter()

    @on(Input.Changed, "#search")
    def _filter(self) -> None:
        words = self.query_one("#search", Input).value.casefold().split()
        kept = [
            row for row in self._found if all(w in f"{row.folder.name} {row.state}".casefold() for w in words)
        ]
        runs = self.query_one("#list", RunList)
        runs.show(kept)
        title = _("{n} of {all} runs", n=len(kept), all=len(self._found))
        if title != self._title:
            self._title = title
            runs.border_title = Content(title)
        self._details()

    def on_resize(self) -> None:
        self.call_after_refresh(self._details)

    @on(Input.Submitted, "#search")
    def _searched(self) -> None:
        self.set_focus(self.query_one("#list"))

    @on(OptionList.OptionHighlighted, "#list")
    def _details(self) -> None:
        row, pane = self._row(), self.query_one("#details")
        before, self._shown = self._shown, (row, pane.display)
        if self._shown == before:  # an update lays the whole screen out, and so draws all of it
            return
        self.refresh_bindings()
        if pane.display:
            pane.query_one(Static).update(_about(row) if row else Content(""))

    def _row(self) -> RunRow | None:
        return self.query_one("#list", RunList).chosen

    @on(OptionList.OptionSelected, "#list")
    def _open(self) -> None:
        row = self._row()
        if row:
            self.tuner.open_run(row.folder)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "resume":
            row = self._row() if self.is_mounted else None
            return bool(row and can_resume(row.state, row.step, row.exit_code))
        return True

    def action_back(self) -> None:
        if self.focused is self.query_one("#search"):
            self.set_focus(self.query_one("#list"))
        else:
            super().action_back()

    def action_search(self) -> None:
        self.set_focus(self.query_one("#search"))

    def action_results(self) -> None:
        row = self._row()
        if row:
            self.tuner.open_results(row.folder)

    def action_chat(self) -> None:
        """Talk to the model of the run under the cursor."""
        from tui_tuner.ui.screens.chat.opening import open_chat

        row = self._row()
        if row:
            open_chat(self.app, row.folder)

    def action_resume(self) -> None:
        row = self._row()
        if row:
            self.tuner.launch(row.folder, resume=True)
            self.tuner.open_run(row.folder)

    def action_settings(self) -> None:
        """The settings of this run, to change and start again."""
        row = self._row()
        if row is None:
            return
        try:
            values = run_values(row.folder)
        except TunerError as error:
            self.tuner.say(words_of(error), "error")
            return
        self.tuner.drafts.begin(values, row.folder.name)
        self.tuner.open_settings(row.folder.name)


def _about(row: RunRow) -> Content:
    """State, figures and the settings that differ from the defaults."""
    try:
        config = dump_config(row.folder.config(), changed_only=True)
    except TunerError as error:
        config = words_of(error)
    lines = [
        state_content(row.state),
        Content(_("loss {loss}   validation {v}", loss=figure(row.loss), v=figure(row.validation))),
    ]
    if row.metric:
        best = measured(row.metric, row.best)
        lines.append(Content(_("best {metric} {value}", metric=metric_name(row.metric), value=best)))
    if row.message:
        lines.append(block(row.message))
    return Content("\n").join([*lines, Content(""), block(config).stylize("$dim")])
