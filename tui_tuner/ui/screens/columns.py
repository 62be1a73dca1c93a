"""Which column is what: roles on the left, the columns of the file on the right, the first row below.

It is read in a worker thread; nothing is changed before one says so.
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

from tui_tuner.config.kinds import RECORD_FORMATS, ROLES
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import datalook
from tui_tuner.ui.checking import Refusal, refusal_of
from tui_tuner.ui.guard.sturdy import Works
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.words import column, safe

MOST_ROWS = 100  # that are looked at one by one
_FORMAT, _USE, _NONE = "format", "use", "none"


class Opened(Message):
    """The columns of the file were read, or not."""

    def __init__(self, table: datalook.Table | None, refusal: Refusal | None) -> None:
        super().__init__()
        self.table, self.refusal = table, refusal


class Tried(Message):
    """The first row was read with the roles as they are."""

    def __init__(self, turn: int, reading: datalook.Reading) -> None:
        super().__init__()
        self.turn, self.reading = turn, reading


class Formats(Choose):
    """A record format by name, each with what it expects."""

    def __init__(self, now: str) -> None:
        answers = [(name, name, _(words)) for name, words in RECORD_FORMATS.items()]
        super().__init__(_("Record format"), Content(_("How are the rows laid out?")), answers)
        self._now = now

    def on_mount(self) -> None:
        self.choose(self._now)


class ColumnsDialog(ModalScreen["dict[str, Any] | None"], Works):
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
        self._draft, self._path = copy.deepcopy(draft), path
        self.table: datalook.Table | None = None
        self.format = ""
        self.roles: dict[str, str] = {}  # the column of each role that has one
        self._needed: tuple[str, ...] = ()
        self._more: tuple[str, ...] = ()
        self._turn = 0
        self._role = ""  # which a column is picked for
        self._place = 0  # the row that is shown

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = Content(_("Which column is what?"))
            box.border_subtitle = Content(_("Enter picks · Del removes · n next row · Esc back"))
            with Horizontal(id="lists"):
                yield OptionList(id="roles")
                yield OptionList(id="columns")
            yield Static(id="meaning")
            yield Static(id="first")

    def on_mount(self) -> None:
        self._title_row()
        self.query_one("#meaning", Static).update(Content(_("Reading the columns…")))
        self._open()

    @work(thread=True, group="columns")
    def _open(self) -> None:
        table, refusal = None, None
        try:
            table = datalook.table(self._draft, self._path)
        except (TunerError, OSError) as error:
            refusal = refusal_of(error)
        if not get_current_worker().is_cancelled:
            self.post_message(Opened(table, refusal))

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        if message.refusal is not None or message.table is None:
            words = message.refusal.sentence if message.refusal else ""
            self.query_one("#meaning", Static).update(Content.assemble(("✗ ", "$error"), safe(words)))
            return
        self.table = message.table
        self.roles = dict(message.table.roles)
        none = Option(Content(_("no column")).stylize("$dim"), _NONE)
        seen = [Option(self._column(found), str(place)) for place, found in enumerate(message.table.columns)]
        self.query_one("#columns", OptionList).add_options([none, *seen])
        self._take_format(message.table.format)
        roles = self.query_one("#roles", OptionList)
        roles.highlighted = roles.get_option_index(self._next())
        self.set_focus(roles)

    def _take_format(self, format: str) -> None:
        """Ask for the roles of a format; columns stay with the roles that it has too."""
        self.format = format
        self._needed, self._more = datalook.roles_of(format)
        self.roles = {role: name for role, name in self.roles.items() if role in self._asked}
        self._draw()

    # The lists

    def _draw(self) -> None:
        roles = self.query_one("#roles", OptionList)
        now = roles.highlighted_option.id if roles.highlighted_option else None
        first = Content.assemble((column(_("format"), 13), "bold"), (self.format, "$primary"))
        use = Content(_("Use these columns")).stylize("bold $success" if self._whole else "$dim")
        options = [Option(first, _FORMAT), *(Option(self._line(role), role) for role in self._asked)]
        roles.clear_options()
        roles.add_options([*options, Option(use, _USE)])
        ids = [option.id for option in roles.options]
        roles.highlighted = ids.index(now) if now in ids else 0
        self._try()

    @property
    def _asked(self) -> tuple[str, ...]:
        return (*self._needed, *self._more)

    @property
    def _whole(self) -> bool:
        """Whether every role that the format needs has a column."""
        return bool(self.roles) and all(role in self.roles for role in self._needed)

    def _next(self) -> str:
        """The first role that lacks a column, or the end."""
        return next((role for role in self._needed if role not in self.roles), _USE)

    def _line(self, role: str) -> Content:
        name = self.roles.get(role)
        if name is not None:
            return Content.assemble((column(role, 13), "bold"), "← ", (one_line(name, 40), "$success"))
        missing = (_("needed"), "$warning") if role in self._needed else (_("optional"), "$dim")
        return Content.assemble((column(role, 13), "bold" if role in self._needed else ""), missing)

    def _column(self, seen: datalook.ColumnSeen) -> Content:
        return Content.assemble((one_line(seen.name, 30), "bold"), "  ", (seen.example, "$dim"))

    @on(OptionList.OptionHighlighted, "#roles")
    def _explain(self, event: OptionList.OptionHighlighted) -> None:
        role = event.option.id or ""
        if role == _FORMAT:
            words = _(
                "The layout of the rows: {words}. Enter chooses another.",
                words=_(RECORD_FORMATS.get(self.format, "")),
            )
        elif role == _USE:
            words = _("Puts it into the settings; the data is read again.")
        else:
            words = _("{role}: {meaning}", role=role, meaning=_(ROLES.get(role, "")))
        self.query_one("#meaning", Static).update(Content(words))

    @on(OptionList.OptionSelected, "#roles")
    def _role_chosen(self, event: OptionList.OptionSelected) -> None:
        role = event.option.id or ""
        if role == _FORMAT:
            self.app.push_screen(Formats(self.format), self._format_chosen)
        elif role == _USE:
            self._use()
        else:
            self.action_go("columns")

    def _format_chosen(self, format: str | None) -> None:
        if format == "auto":  # as the rows themselves say
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
        self._draw()
        roles = self.query_one("#roles", OptionList)
        roles.highlighted = roles.get_option_index(self._next())
        self.set_focus(roles)

    def _use(self) -> None:
        if self._whole:
            self.dismiss({"data.format": self.format, "data.columns": dict(self.roles)})
            return
        roles = self.query_one("#roles", OptionList)
        roles.highlighted = roles.get_option_index(self._next() if self._needed else _FORMAT)

    # The first row

    def _try(self) -> None:
        self._turn += 1
        if not self._whole:
            words = Content(_("Shown once every role that is needed has a column.")).stylize("$dim")
            self.query_one("#first", Static).update(words)
            return
        self._read(self._turn, self.format, dict(self.roles), self._place)

    def _title_row(self) -> None:
        title = _("Row {row} as it would be read", row=self._place + 1)
        self.query_one("#first").border_title = Content(title)

    def action_row(self, by: int) -> None:
        """Show another row as it would be read."""
        if self._whole:
            self._place = min(max(0, self._place + by), MOST_ROWS - 1)
            self._title_row()
            self._try()

    @work(thread=True, group="try-columns", exclusive=True)
    def _read(self, turn: int, format: str, roles: dict[str, str], place: int) -> None:
        reading = datalook.read_as(self._draft, self._path, format, roles, place)
        if not get_current_worker().is_cancelled:
            self.post_message(Tried(turn, reading))

    @on(Tried)
    def _tried(self, message: Tried) -> None:
        if message.turn != self._turn:
            return
        self._place = message.reading.place  # there may be fewer rows than keys
        self._title_row()
        lines = [safe(line.strip(), 300) for line in message.reading.lines[:4]]
        if message.reading.refusal is not None:
            lines.insert(0, Content.assemble(("✗ ", "$error"), safe(message.reading.refusal.sentence)))
        self.query_one("#first", Static).update(Content("\n").join(lines))

    def work_failed(self, group: str, words: str) -> None:
        if group == "columns":
            self.post_message(Opened(None, Refusal("", words)))
        else:
            self.post_message(
                Tried(self._turn, datalook.Reading(self.format, (), Refusal("", words), self._place))
            )

    # Keys

    def action_go(self, name: str) -> None:
        """To the other list; from the roles, to pick a column for the one under the cursor."""
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
        columns.highlighted = names.index(now) + 1 if now in names else min(1, len(names))
        self.set_focus(columns)

    def action_clear(self) -> None:
        """Take the column of the role under the cursor away."""
        roles = self.query_one("#roles", OptionList)
        role = roles.highlighted_option.id if roles.highlighted_option else None
        if role is not None and self.roles.pop(role, None) is not None:
            self._draw()

    def action_back(self) -> None:
        if self.focused is self.query_one("#columns"):
            self.action_go("roles")
        else:
            self.dismiss(None)
