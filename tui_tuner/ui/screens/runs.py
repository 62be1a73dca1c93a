"""All runs: a list to search, sort, mark and keep in order, and what the one under the cursor was about."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from tui_tuner.config.advice import words_of
from tui_tuner.config.deciding import is_better_higher, metric_name
from tui_tuner.config.load import dump_config
from tui_tuner.errors import TunerError
from tui_tuner.locales import _, _n
from tui_tuner.runs.store import RunFolder
from tui_tuner.ui.overview import RunRow, can_resume, run_values
from tui_tuner.ui.screens.past.keeping import Keeper, notes_content
from tui_tuner.ui.screens.rows import RowsRead, RowsScreen, count_words
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.widgets.run_list import SORT_WORDS, SORTS, RunHeads, RunList
from tui_tuner.ui.words import STATES, block, figure, measured, safe, state_content, state_words


class RunsScreen(RowsScreen):
    """List, search, details."""

    HELP_TEXT = _(
        "Type / to search: words of name, state, task, model and note; #word is a tag.\n"
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
        Binding("a", "chat", _("Talk to it, or ask it"), show=False),
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
        self._more = True  # of them are still to be read
        self._title = ""
        self._sort = ""
        self._shown: tuple[RunRow | None, bool] | None = None  # what `_details` showed, and to a wide screen

    def crumb(self) -> Content:
        return Content(_("Runs"))

    def body(self) -> ComposeResult:
        yield Input(placeholder=_("search: words, #tag"), id="search", compact=True)
        with Container(id="area"):
            with Vertical(id="runs", classes="panel"):
                yield RunHeads()
                yield RunList(id="list", marks=True)
            with VerticalScroll(id="details", classes="panel", can_focus=False) as details:
                details.border_title = Content(_("About it"))
                yield Static()

    def on_mount(self) -> None:
        self.set_focus(self._list)

    @property
    def _list(self) -> RunList:
        return self.query_one("#list", RunList)

    @property
    def _keeper(self) -> Keeper:
        return Keeper(self.tuner, self.app.push_screen, self._read)

    @on(RowsRead)
    def _rows_read(self, message: RowsRead) -> None:
        self._found, self._more = message.found, message.more
        known = {row.folder.path for row in self._found}
        if not message.more:
            for path in [path for path in self._list.marked if path not in known]:
                del self._list.marked[path]
        self._filter()

    @on(Input.Changed, "#search")
    def _filter(self) -> None:
        words = self.query_one("#search", Input).value.split()
        kept = sorted_rows([row for row in self._found if row.matches(words)], self._sort)
        self._list.show(kept)
        self._heads()
        self._details()

    def _heads(self) -> None:
        """The title with its counts, and the names of the columns."""
        runs = self._list
        self.query_one(RunHeads).show_for(runs, self._sort)
        kept, whole = len(runs.rows), len(self._found)
        title = count_words(whole, self._more)
        if kept != whole and not self._more:
            title = _n("{n:,} of {all:,} run", "{n:,} of {all:,} runs", whole, n=kept, all=whole)
        title += f" · {_(SORT_WORDS[self._sort])}"
        if runs.marked:
            count = len(runs.marked)
            title += " · " + _n("{count} marked", "{count} marked", count, count=count)
        if title != self._title:
            self._title = title
            self.query_one("#runs").border_title = Content.assemble(title, ("  o", "$accent"))

    @on(RunList.Divided)
    def _divided(self) -> None:
        self._heads()

    def on_resize(self) -> None:
        self.call_after_refresh(self._details)

    @on(Input.Submitted, "#search")
    def _searched(self) -> None:
        self.set_focus(self._list)

    @on(LongList.Highlighted, "#list")
    def _details(self) -> None:
        row, wide = self._row(), self.has_class("-wide")
        before, self._shown = self._shown, (row, wide)
        if self._shown == before:  # an update lays the whole screen out, and so draws all of it
            return
        self.refresh_bindings()
        self.query_one("#details Static", Static).update(about_run(row, wide) if row else Content(""))

    def _row(self) -> RunRow | None:
        return self._list.chosen

    @on(LongList.Selected, "#list")
    def _open(self) -> None:
        row = self._row()
        if row:
            self.tuner.open_run(row.folder)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "resume":
            row = self._row() if self.is_mounted else None
            return bool(row and can_resume(row.state, row.step, row.exit_code))
        return True

    def action_back(self) -> None:
        search = self.query_one("#search", Input)
        if self.focused is search:
            self.set_focus(self._list)
        elif search.value:
            search.value = ""
        else:
            super().action_back()

    def action_search(self) -> None:
        self.set_focus(self.query_one("#search"))

    def action_filter(self) -> None:
        """Choose a state, a task or a tag: only runs of it are shown."""
        from tui_tuner.ui.screens.dialogs import Choose

        answers = [("", _("all runs"), ""), *filters(self._found)]

        def chosen(answer: str | None) -> None:
            if answer is not None:
                self.query_one("#search", Input).value = answer

        self.app.push_screen(Choose(_("Filter"), Content(_("Which runs are shown?")), answers), chosen)

    def action_sort(self) -> None:
        """The next order."""
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self._filter()

    def action_mark(self) -> None:
        self._list.toggle_mark()
        self._heads()

    def action_overlay(self) -> None:
        """Lay the marked runs over one another; with one of them, the one under the cursor as well."""
        from tui_tuner.ui.screens.past.overlaying import MOST_RUNS, OverlayScreen

        row, paths = self._row(), list(self._list.marked)
        if row is not None and len(paths) < 2 and row.folder.path not in paths:
            paths.append(row.folder.path)
        if len(paths) < 2:
            self.tuner.say(_("Mark runs with the space bar first, two or more."))
            return
        if len(paths) > MOST_RUNS:
            self.tuner.say(_("The first {most} of the marked runs are compared.", most=MOST_RUNS))
        self.app.push_screen(OverlayScreen([RunFolder(path) for path in paths]))

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

    def action_tags(self) -> None:
        row = self._row()
        if row:
            self._keeper.edit_tags(row.folder)

    def action_note(self) -> None:
        row = self._row()
        if row:
            self._keeper.edit_note(row.folder)

    def action_delete(self) -> None:
        """The marked runs, or else the one under the cursor, into the trash."""
        row, marked = self._row(), [RunFolder(path) for path in self._list.marked]
        folders = marked or ([row.folder] if row else [])
        if folders:
            self._keeper.delete(folders)

    def action_restore(self) -> None:
        self._keeper.restore()


def sorted_rows(rows: list[RunRow], sort: str) -> list[RunRow]:
    """Rows in an order; those that have nothing to be sorted by stand last."""
    if sort == "name":
        return sorted(rows, key=lambda row: row.folder.name.casefold())
    if sort == "state":
        order = list(STATES)
        return sorted(rows, key=lambda row: order.index(row.state) if row.state in order else len(order))
    if sort == "loss":
        return sorted(rows, key=lambda row: _last(row.loss))
    if sort == "best":
        return sorted(rows, key=lambda row: _last(row.validation if not row.metric else _fallen(row)))
    return rows


def _fallen(row: RunRow) -> float | None:
    """The best value of a metric, so that a smaller number is better."""
    return None if row.best is None else -row.best if is_better_higher(row.metric) else row.best


def _last(value: float | None) -> tuple[bool, float]:
    known = value is not None and value == value
    return not known, value if known and value is not None else 0.0


def filters(rows: list[RunRow]) -> list[tuple[str, str, str]]:
    """What one can choose to see: (words of the search, what that is, no more), the commonest first."""
    states = Counter((row.state, row.verdict if row.state == "completed" else "") for row in rows)
    tasks = Counter(row.task for row in rows if row.task)
    tags = Counter(tag for row in rows for tag in row.tags)
    found = [
        (state_words(state, verdict, short=True)[1], state_content(state, verdict=verdict).plain, count)
        for (state, verdict), count in states.most_common()
    ]
    found += [(task, safe(task, 40).plain, count) for task, count in tasks.most_common()]
    found += [(f"#{tag}", safe(f"#{tag}", 40).plain, count) for tag, count in tags.most_common(40)]
    return [(words, f"{label}  {count:,}", "") for words, label, count in found]


def about_run(row: RunRow, wide: bool) -> Content:
    """State, figures, what the user wrote, and the settings that differ from the defaults."""
    figures = _("loss {loss}   held out {v}", loss=figure(row.loss), v=figure(row.validation))
    if row.metric:
        name, best = metric_name(row.metric), measured(row.metric, row.best)
        figures += "   " + _("best {metric} {value}", metric=name, value=best)
    about = Content("   ").join(safe(part, 60) for part in (row.task, row.model) if part).stylize("$dim")
    state = state_content(row.state, verdict=row.verdict)
    lines = [state, Content(figures)] if wide else [Content.assemble(state, "   ", figures)]
    lines += [part for part in (about, notes_content(row.tags, row.note)) if part.plain]
    if row.message:
        lines.append(block(row.message))
    if wide:
        try:
            config = dump_config(row.folder.config(), changed_only=True)
        except TunerError as error:
            config = words_of(error)
        lines += [Content(""), block(config).stylize("$dim")]
    return Content("\n").join(lines)
