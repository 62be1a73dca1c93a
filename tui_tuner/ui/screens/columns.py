"""A dialog that assigns columns: roles on the left, the file's columns on the right, a row below.

The file is read in a worker thread. The draft does not change until the user confirms.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from tui_tuner.config.kinds.formats import RECORD_FORMATS, ROLES
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import datalook
from tui_tuner.ui.guard.sturdy import WorkerOwner
from tui_tuner.ui.screen_words import fit_screen_column, make_safe_line
from tui_tuner.ui.screens.dialogs import ChoiceDialog
from tui_tuner.ui.start_checking import Refusal, convert_error_to_refusal

MOST_ROWS = 100  # the furthest row that `n` goes to
_FORMAT, _USE, _NONE = "format", "use", "none"


class ColumnsRead(Message):
    """The columns of the file, or the refusal if they could not be read."""

    def __init__(self, table: datalook.ColumnTable | None, refusal: Refusal | None) -> None:
        super().__init__()
        self.table, self.refusal = table, refusal


class RowTried(Message):
    """A row as it reads with the roles that are assigned now."""

    def __init__(self, turn: int, reading: datalook.RowReading) -> None:
        super().__init__()
        self.turn, self.reading = turn, reading


class FormatDialog(ChoiceDialog):
    """Gives the name of a record format; the list explains what each expects."""

    def __init__(self, now: str) -> None:
        answers = [(name, name, _(words)) for name, words in RECORD_FORMATS.items()]
        super().__init__(_("Record format"), Content(_("How are the rows laid out?")), answers)
        self._now = now

    def on_mount(self) -> None:
        self.highlight_answer(self._now)


class ColumnsDialog(ModalScreen["dict[str, Any] | None"], WorkerOwner):
    """Gives values for `data.format` and `data.columns`, or None.

    Args:
        draft: Values of the form.
        path: The data.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Cancel")),
        Binding("left", "go('roles')", _("Roles"), show=False),
        Binding("right", "go('columns')", _("Columns"), show=False),
        Binding("delete,backspace", "clear", _("No column"), show=False),
        Binding("tab", "app.focus_next", _("Next part"), show=False),
        Binding("n", "row(1)", _("Next row"), show=False),
        Binding("p", "row(-1)", _("Previous row"), show=False),
    ]
    DEFAULT_CSS = """
    ColumnsDialog #lists { height: 1fr; }
    ColumnsDialog #roles { width: 55%; height: 1fr; margin: 0; padding-right: 1; }
    ColumnsDialog #columns { width: 1fr; height: 1fr; margin: 0; border-left: solid $line; padding-left: 1; }
    ColumnsDialog #columns:focus { border-left: solid $primary; }
    ColumnsDialog OptionList { text-wrap: nowrap; text-overflow: ellipsis; }
    ColumnsDialog #meaning { height: 1; color: $dim; }
    ColumnsDialog #first { height: 7; text-wrap: nowrap; text-overflow: ellipsis; border-top: solid $line;
                           border-title-color: $dim; border-title-align: left; }
    """

    def __init__(self, draft: dict[str, Any], path: str) -> None:
        super().__init__()
        # The thread below reads the draft while the form behind this dialog may still change it.
        self._draft, self._path = copy.deepcopy(draft), path
        self.table: datalook.ColumnTable | None = None
        self.format = ""
        self.roles: dict[str, str] = {}  # the column of each role that has one
        self._needed: tuple[str, ...] = ()
        self._more: tuple[str, ...] = ()
        self._turn = 0
        self._role = ""  # the role that a column is being chosen for
        self._place = 0  # number of the row that is shown, from 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = Content(_("Assign the columns"))
            box.border_subtitle = Content(_("Enter picks · Del removes · n next row · Esc back"))
            with Horizontal(id="lists"):
                yield OptionList(id="roles")
                yield OptionList(id="columns")
            yield Static(id="meaning")
            yield Static(id="first")

    def on_mount(self) -> None:
        self._title_row()
        self.query_one("#meaning", Static).update(Content(_("Reading the columns…")))
        self._read_columns()

    @work(thread=True, group="columns")
    def _read_columns(self) -> None:
        table, refusal = None, None
        try:
            table = datalook.read_raw_table(self._draft, self._path)
        except (TunerError, OSError) as error:
            refusal = convert_error_to_refusal(error)
        if not get_current_worker().is_cancelled:
            self.post_message(ColumnsRead(table, refusal))

    @on(ColumnsRead)
    def _show_columns(self, message: ColumnsRead) -> None:
        if message.refusal is not None or message.table is None:
            words = message.refusal.sentence if message.refusal else ""
            self.query_one("#meaning", Static).update(
                Content.assemble(("✗ ", "$error"), make_safe_line(words))
            )
            return
        self.table = message.table
        self.roles = dict(message.table.roles)
        none = Option(Content(_("no column")).stylize("$dim"), _NONE)
        seen = [
            Option(self._column_line(found), str(place)) for place, found in enumerate(message.table.columns)
        ]
        self.query_one("#columns", OptionList).add_options([none, *seen])
        self._take_format(message.table.format)
        roles = self.query_one("#roles", OptionList)
        roles.highlighted = roles.get_option_index(self._find_next_role())
        self.set_focus(roles)

    def _take_format(self, format: str) -> None:
        """List the roles of a format; columns keep those roles that it has, too."""
        self.format = format
        self._needed, self._more = datalook.list_format_roles(format)
        self.roles = {role: name for role, name in self.roles.items() if role in self._listed_roles}
        self._draw_roles()

    # The lists

    def _draw_roles(self) -> None:
        roles = self.query_one("#roles", OptionList)
        now = roles.highlighted_option.id if roles.highlighted_option else None
        first = Content.assemble((fit_screen_column(_("format"), 13), "bold"), (self.format, "$primary"))
        use = Content(_("Use these columns")).stylize("bold $success" if self._is_complete else "$dim")
        options = [
            Option(first, _FORMAT),
            *(Option(self._role_line(role), role) for role in self._listed_roles),
        ]
        # Another format has other roles, so the list is made again; without `now` the cursor would jump to
        # its start.
        roles.clear_options()
        roles.add_options([*options, Option(use, _USE)])
        ids = [option.id for option in roles.options]
        roles.highlighted = ids.index(now) if now in ids else 0
        self._try_roles()

    @property
    def _listed_roles(self) -> tuple[str, ...]:
        return (*self._needed, *self._more)

    @property
    def _is_complete(self) -> bool:
        """Return whether every role that the format needs has a column."""
        return bool(self.roles) and all(role in self.roles for role in self._needed)

    def _find_next_role(self) -> str:
        """Return the first needed role without a column, or the last line of the list."""
        return next((role for role in self._needed if role not in self.roles), _USE)

    def _role_line(self, role: str) -> Content:
        name = self.roles.get(role)
        if name is not None:
            return Content.assemble(
                (fit_screen_column(role, 13), "bold"), "← ", (one_line(name, 40), "$success")
            )
        missing = (_("needed"), "$warning") if role in self._needed else (_("optional"), "$dim")
        return Content.assemble(
            (fit_screen_column(role, 13), "bold" if role in self._needed else ""), missing
        )

    def _column_line(self, seen: datalook.ColumnSeen) -> Content:
        return Content.assemble((one_line(seen.name, 30), "bold"), "  ", (seen.example, "$dim"))

    @on(OptionList.OptionHighlighted, "#roles")
    def _explain_role(self, event: OptionList.OptionHighlighted) -> None:
        role = event.option.id or ""
        if role == _FORMAT:
            words = _(
                "The layout of the rows: {words}. Enter chooses another.",
                words=_(RECORD_FORMATS.get(self.format, "")),
            )
        elif role == _USE:
            words = _("Put the columns into the settings and read the data again.")
        else:
            words = _("{role}: {meaning}", role=role, meaning=_(ROLES.get(role, "")))
        self.query_one("#meaning", Static).update(Content(words))

    @on(OptionList.OptionSelected, "#roles")
    def _role_chosen(self, event: OptionList.OptionSelected) -> None:
        role = event.option.id or ""
        if role == _FORMAT:
            self.app.push_screen(FormatDialog(self.format), self._format_chosen)
        elif role == _USE:
            self._use_columns()
        else:
            self.action_go("columns")

    def _format_chosen(self, format: str | None) -> None:
        if format == "auto":
            # With `auto` the rows decide which columns they need, so there is nothing to assign.
            self.dismiss({"data.format": "auto", "data.columns": None})
        elif format:
            self._take_format(format)

    @on(OptionList.OptionSelected, "#columns")
    def _column_chosen(self, event: OptionList.OptionSelected) -> None:
        if self.table is None or not self._role:
            return
        if event.option.id == _NONE:
            self.roles.pop(self._role, None)
        else:
            self.roles[self._role] = self.table.columns[int(event.option.id or 0)].name
        self._draw_roles()
        roles = self.query_one("#roles", OptionList)
        roles.highlighted = roles.get_option_index(self._find_next_role())
        self.set_focus(roles)

    def _use_columns(self) -> None:
        if self._is_complete:
            self.dismiss({"data.format": self.format, "data.columns": dict(self.roles)})
            return
        roles = self.query_one("#roles", OptionList)
        roles.highlighted = roles.get_option_index(self._find_next_role() if self._needed else _FORMAT)

    # The first row

    def _try_roles(self) -> None:
        self._turn += 1
        if not self._is_complete:
            words = Content(_("Assign a column to every needed role to see a row here.")).stylize("$dim")
            self.query_one("#first", Static).update(words)
            return
        self._read_row(self._turn, self.format, dict(self.roles), self._place)

    def _title_row(self) -> None:
        title = _("Row {row} as it would be read", row=self._place + 1)
        self.query_one("#first").border_title = Content(title)

    def action_row(self, by: int) -> None:
        """Show the next or the previous row as it would be read."""
        if self._is_complete:
            self._place = min(max(0, self._place + by), MOST_ROWS - 1)
            self._title_row()
            self._try_roles()

    @work(thread=True, group="try-columns", exclusive=True)
    def _read_row(self, turn: int, format: str, roles: dict[str, str], place: int) -> None:
        reading = datalook.read_row_as_format(self._draft, self._path, format, roles, place)
        if not get_current_worker().is_cancelled:
            self.post_message(RowTried(turn, reading))

    @on(RowTried)
    def _show_row(self, message: RowTried) -> None:
        # The roles were changed while this row was read: its reading is out of date.
        if message.turn != self._turn:
            return
        # A key goes forward without knowing how many rows there are; the reader stops at the last one.
        self._place = message.reading.place
        self._title_row()
        lines = [make_safe_line(line.strip(), 300) for line in message.reading.lines[:4]]
        if message.reading.refusal is not None:
            lines.insert(
                0, Content.assemble(("✗ ", "$error"), make_safe_line(message.reading.refusal.sentence))
            )
        self.query_one("#first", Static).update(Content("\n").join(lines))

    def work_failed(self, group: str, words: str) -> None:
        if group == "columns":
            self.post_message(ColumnsRead(None, Refusal("", words)))
        else:
            self.post_message(
                RowTried(self._turn, datalook.RowReading(self.format, (), Refusal("", words), self._place))
            )

    # Keys

    def action_go(self, name: str) -> None:
        """Go to the roles, or to the columns to choose one for the role under the cursor."""
        roles, columns = self.query_one("#roles", OptionList), self.query_one("#columns", OptionList)
        if name == "roles":
            self.set_focus(roles)
            return
        role = roles.highlighted_option.id if roles.highlighted_option else None
        if self.table is None or role in (None, _FORMAT, _USE):
            return
        self._role = str(role)
        names = [found.name for found in self.table.columns]
        now = self.roles.get(self._role)
        # The list begins with "no column", hence the 1.
        columns.highlighted = names.index(now) + 1 if now in names else min(1, len(names))
        self.set_focus(columns)

    def action_clear(self) -> None:
        """Remove the column of the role under the cursor."""
        roles = self.query_one("#roles", OptionList)
        role = roles.highlighted_option.id if roles.highlighted_option else None
        if role is not None and self.roles.pop(role, None) is not None:
            self._draw_roles()

    def action_back(self) -> None:
        if self.focused is self.query_one("#columns"):
            self.action_go("roles")
        else:
            self.dismiss(None)
