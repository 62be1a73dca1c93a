"""All runs: a list to search, sort, mark and tidy up, with details of the run under the cursor."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.deciding import is_deciding_higher_better, name_shown_metric
from tui_tuner.config.load import dump_config
from tui_tuner.errors import TunerError
from tui_tuner.locales import _, _n
from tui_tuner.runs.store import RunFolder
from tui_tuner.ui.run_overview import RunRow, can_resume_run, read_run_values
from tui_tuner.ui.screen_words import (
    STATES,
    describe_run_state,
    format_screen_metric,
    format_screen_number,
    make_safe_block,
    make_safe_line,
    render_run_state,
)
from tui_tuner.ui.screens.past.run_keeper import RunKeeper, render_run_notes
from tui_tuner.ui.screens.run_rows import RowsRead, RowsScreen, describe_run_count
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.widgets.run_list import SORT_WORDS, SORTS, RunHeads, RunList


class RunsScreen(RowsScreen):
    """The list of all runs, with a search field and a pane of details."""

    HELP_TEXT = _(
        "Press / to search in names, states, tasks, models and notes; #word searches tags.\n"
        "Space marks runs: c compares the marked ones, Del moves them to the trash.\n"
        "Enter opens the live pane, v the results."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("slash", "search", _("Search"), key_display="/"),
        Binding("f", "filter", _("Filter"), show=False),
        Binding("o", "sort", _("Sort"), show=False),
        Binding("space", "mark", _("Mark"), key_display="␣"),
        Binding("c", "overlay", _("Compare")),
        Binding("v", "results", _("Results")),
        Binding("a", "chat", _("Chat with it, or ask it"), show=False),
        Binding("r", "resume", _("Resume")),
        Binding("s", "settings", _("New like it")),
        Binding("t", "tags", _("Tags"), show=False),
        Binding("n", "note", _("Note"), show=False),
        Binding("delete", "delete", _("To the trash"), show=False),
        Binding("u", "restore", _("Out of the trash"), show=False),
    ]
    DEFAULT_CSS = """
    RunsScreen #search { margin-top: 1; width: 1fr; }
    RunsScreen #area { height: 1fr; margin-top: 1; layout: vertical; }
    RunsScreen #runs { height: 1fr; width: 1fr; padding: 0; }
    RunsScreen #list { height: 1fr; padding: 0 1; }
    RunsScreen #details { width: 1fr; height: 6; }
    RunsScreen #details Static { height: auto; }
    RunsScreen.-wide #area { layout: horizontal; }
    RunsScreen.-wide #details { width: 44; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._found: list[RunRow] = []
        self._more = True  # the list is still being read
        self._title = ""
        self._sort = ""
        self._shown: tuple[RunRow | None, bool] | None = None  # the row in the details, and whether wide

    def build_crumb(self) -> Content:
        return Content(_("Runs"))

    def compose_body(self) -> ComposeResult:
        yield Input(placeholder=_("search: words, #tag"), id="search", compact=True)
        with Container(id="area"):
            with Vertical(id="runs", classes="panel"):
                yield RunHeads()
                yield RunList(id="list", marks=True)
            with VerticalScroll(id="details", classes="panel", can_focus=False) as details:
                details.border_title = Content(_("Details"))
                yield Static()

    def on_mount(self) -> None:
        self.set_focus(self._run_list)

    @property
    def _run_list(self) -> RunList:
        return self.query_one("#list", RunList)

    @property
    def _run_keeper(self) -> RunKeeper:
        return RunKeeper(self.tuner_app, self.app.push_screen, self._read_if_visible)

    @on(RowsRead)
    def _take_runs(self, message: RowsRead) -> None:
        self._found, self._more = message.found, message.more
        known = {row.folder.path for row in self._found}
        if not message.more:
            # While the list is still being read, a missing run is not a deleted one: its mark must survive.
            for path in [path for path in self._run_list.marked if path not in known]:
                del self._run_list.marked[path]
        self._show_matching()

    @on(Input.Changed, "#search")
    def _show_matching(self) -> None:
        words = self.query_one("#search", Input).value.split()
        kept = sort_run_rows([row for row in self._found if row.matches_words(words)], self._sort)
        self._run_list.show_rows(kept)
        self._draw_heads()
        self._show_details()

    def _draw_heads(self) -> None:
        """Update the title with its counts, and the column names."""
        runs = self._run_list
        self.query_one(RunHeads).show_for(runs, self._sort)
        kept, whole = len(runs.rows), len(self._found)
        title = describe_run_count(whole, self._more)
        if kept != whole and not self._more:
            title = _n("{n:,} of {all:,} run", "{n:,} of {all:,} runs", whole, n=kept, all=whole)
        title += f" · {_(SORT_WORDS[self._sort])}"
        if runs.marked:
            count = len(runs.marked)
            title += " · " + _n("{count} marked", "{count} marked", count, count=count)
        # A border title repaints its panel even if it is set to the same text.
        if title != self._title:
            self._title = title
            self.query_one("#runs").border_title = Content.assemble(title, ("  o", "$accent"))

    @on(RunList.Divided)
    def _draw_divided(self) -> None:
        self._draw_heads()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_details)

    @on(Input.Submitted, "#search")
    def _leave_search(self) -> None:
        self.set_focus(self._run_list)

    @on(LongList.Highlighted, "#list")
    def _show_details(self) -> None:
        row, wide = self._find_row(), self.has_class("-wide")
        before, self._shown = self._shown, (row, wide)
        # Updating the text makes Textual lay out and draw the whole screen, and every two seconds that shows.
        if self._shown == before:
            return
        self.refresh_bindings()
        self.query_one("#details Static", Static).update(
            describe_run_details(row, wide) if row else Content("")
        )

    def _find_row(self) -> RunRow | None:
        return self._run_list.chosen_row

    @on(LongList.Selected, "#list")
    def _open_run(self) -> None:
        row = self._find_row()
        if row:
            self.tuner_app.open_run(row.folder)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "resume":
            # Textual asks for bindings before the widgets exist.
            row = self._find_row() if self.is_mounted else None
            return bool(row and can_resume_run(row.state, row.step, row.exit_code))
        return True

    def action_back(self) -> None:
        # Escape undoes one thing at a time: typing, then the search, then the screen.
        search = self.query_one("#search", Input)
        if self.focused is search:
            self.set_focus(self._run_list)
        elif search.value:
            search.value = ""
        else:
            super().action_back()

    def action_search(self) -> None:
        self.set_focus(self.query_one("#search"))

    def action_filter(self) -> None:
        """Choose a state, a task or a tag to filter the list by."""
        from tui_tuner.ui.screens.dialogs import ChoiceDialog

        answers = [("", _("all runs"), ""), *list_run_filters(self._found)]

        def apply_filter(answer: str | None) -> None:
            if answer is not None:
                self.query_one("#search", Input).value = answer

        self.app.push_screen(
            ChoiceDialog(_("Filter"), Content(_("Which runs are shown?")), answers), apply_filter
        )

    def action_sort(self) -> None:
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self._show_matching()

    def action_mark(self) -> None:
        self._run_list.toggle_mark()
        self._draw_heads()

    def action_overlay(self) -> None:
        """Compare the marked runs; with fewer than two marks, the run under the cursor is added."""
        from tui_tuner.ui.screens.past.overlay_screen import MOST_RUNS, OverlayScreen

        row, paths = self._find_row(), list(self._run_list.marked)
        if row is not None and len(paths) < 2 and row.folder.path not in paths:
            paths.append(row.folder.path)
        if len(paths) < 2:
            self.tuner_app.show_notice(_("Mark two or more runs with the space bar first."))
            return
        if len(paths) > MOST_RUNS:
            self.tuner_app.show_notice(_("Only the first {most} marked runs are compared.", most=MOST_RUNS))
        self.app.push_screen(OverlayScreen([RunFolder(path) for path in paths]))

    def action_results(self) -> None:
        row = self._find_row()
        if row:
            self.tuner_app.open_results(row.folder)

    def action_chat(self) -> None:
        """Chat with the model of the run under the cursor."""
        from tui_tuner.ui.screens.chat.open_chat import open_chat_screen

        row = self._find_row()
        if row:
            open_chat_screen(self.app, row.folder)

    def action_resume(self) -> None:
        row = self._find_row()
        if row:
            self.tuner_app.launch_run(row.folder, resume=True)
            self.tuner_app.open_run(row.folder)

    def action_settings(self) -> None:
        """Open a copy of this run's settings, to change and start again."""
        row = self._find_row()
        if row is None:
            return
        try:
            values = read_run_values(row.folder)
        except TunerError as error:
            self.tuner_app.show_notice(format_error_words(error), "error")
            return
        self.tuner_app.drafts.begin_draft(values, row.folder.name)
        self.tuner_app.open_settings(row.folder.name)

    def action_tags(self) -> None:
        row = self._find_row()
        if row:
            self._run_keeper.edit_tags(row.folder)

    def action_note(self) -> None:
        row = self._find_row()
        if row:
            self._run_keeper.edit_note(row.folder)

    def action_delete(self) -> None:
        """Move the marked runs, or else the one under the cursor, to the trash."""
        row, marked = self._find_row(), [RunFolder(path) for path in self._run_list.marked]
        folders = marked or ([row.folder] if row else [])
        if folders:
            self._run_keeper.delete_runs(folders)

    def action_restore(self) -> None:
        self._run_keeper.restore_run()


def sort_run_rows(rows: list[RunRow], sort: str) -> list[RunRow]:
    """Return the rows sorted by a key of `SORTS`; rows without a value for it come last."""
    if sort == "name":
        return sorted(rows, key=lambda row: row.folder.name.casefold())
    if sort == "state":
        # In the order of the table of states, not of the alphabet.
        order = list(STATES)
        return sorted(rows, key=lambda row: order.index(row.state) if row.state in order else len(order))
    if sort == "loss":
        return sorted(rows, key=lambda row: _sort_missing_last(row.loss))
    if sort == "best":
        return sorted(
            rows,
            key=lambda row: _sort_missing_last(row.validation if not row.metric else _lower_is_better(row)),
        )
    return rows


def _lower_is_better(row: RunRow) -> float | None:
    """Return the best value of a metric, negated if higher is better, so that smaller sorts first."""
    return None if row.best is None else -row.best if is_deciding_higher_better(row.metric) else row.best


def _sort_missing_last(value: float | None) -> tuple[bool, float]:
    # NaN compares false with everything and would leave a list half sorted.
    known = value is not None and value == value
    return not known, value if known and value is not None else 0.0


def list_run_filters(rows: list[RunRow]) -> list[tuple[str, str, str]]:
    """Return the filters as (search words, label with count, empty), most frequent first."""
    states = Counter((row.state, row.verdict if row.state == "completed" else "") for row in rows)
    tasks = Counter(row.task for row in rows if row.task)
    tags = Counter(tag for row in rows for tag in row.tags)
    found = [
        (
            describe_run_state(state, verdict, short=True)[1],
            render_run_state(state, verdict=verdict).plain,
            count,
        )
        for (state, verdict), count in states.most_common()
    ]
    found += [(task, make_safe_line(task, 40).plain, count) for task, count in tasks.most_common()]
    found += [(f"#{tag}", make_safe_line(f"#{tag}", 40).plain, count) for tag, count in tags.most_common(40)]
    return [(words, f"{label}  {count:,}", "") for words, label, count in found]


def describe_run_details(row: RunRow, wide: bool) -> Content:
    """Return the details of a run: state, figures, tags, note and, if wide, the changed settings."""
    figures = _(
        "loss {loss}   held out {v}",
        loss=format_screen_number(row.loss),
        v=format_screen_number(row.validation),
    )
    if row.metric:
        name, best = name_shown_metric(row.metric), format_screen_metric(row.metric, row.best)
        figures += "   " + _("best {metric} {value}", metric=name, value=best)
    about = (
        Content("   ")
        .join(make_safe_line(part, 60) for part in (row.task, row.model) if part)
        .stylize("$dim")
    )
    state = render_run_state(row.state, verdict=row.verdict)
    lines = [state, Content(figures)] if wide else [Content.assemble(state, "   ", figures)]
    lines += [part for part in (about, render_run_notes(row.tags, row.note)) if part.plain]
    if row.message:
        lines.append(make_safe_block(row.message))
    if wide:
        try:
            config = dump_config(row.folder.load_config(), changed_only=True)
        except TunerError as error:
            config = format_error_words(error)
        lines += [Content(""), make_safe_block(config).stylize("$dim")]
    return Content("\n").join(lines)
