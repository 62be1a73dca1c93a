"""Data: pick a file, see how it is read, and what each row becomes in tokens."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import datalook
from tui_tuner.ui.checking import Refusal, refusal_of
from tui_tuner.ui.form import at, given
from tui_tuner.ui.recent import note_recent
from tui_tuner.ui.screens.offers import MendingScreen, put_values
from tui_tuner.ui.widgets.data.how_read import HowRead, counts
from tui_tuner.ui.widgets.data.row_list import RowList
from tui_tuner.ui.widgets.data.token_pane import TokenPane
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.widgets.paths.listing import DATA_SUFFIXES, short_path
from tui_tuner.ui.widgets.paths.picker import PathPicker
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import mark, marked


class Looked(Message):
    """The first rows were read, or not."""

    def __init__(self, turn: int, look: datalook.Look | None, refusal: Refusal | None) -> None:
        super().__init__()
        self.turn, self.look, self.refusal = turn, look, refusal


class Judged(Message):
    """Whether the task can use the rows."""

    def __init__(self, turn: int, refusal: Refusal | None, better: Refusal | None = None) -> None:
        super().__init__()
        self.turn, self.refusal, self.better = turn, refusal, better


class Counted(Message):
    """The rows were counted, so far or to the end."""

    def __init__(self, turn: int, census: datalook.Census, spool: Any) -> None:
        super().__init__()
        self.turn, self.census, self.spool = turn, census, spool

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Counted)


class DataScreen(MendingScreen):
    """A path and what is there; then the rows above, and the tokens of the row under the cursor below."""

    HELP_TEXT = _(
        "Type a path (a file, a folder, a hub data set, or demo): Tab completes it. Or choose from the list: "
        "Enter opens a folder or a file, ← goes up one folder.\n"
        "u takes the data into a run, once its task can use them; else it offers what can be done.\n"
        "k takes the task that these rows are for, where that is another one.\n"
        "c says which column is what, f which record format it is.\n"
        "Enter opens a row whole. / finds words in rows, n the next row with them, N the one before; g goes "
        "to a row by its number, b lists only broken rows. v shows the held-out rows, if they have a file.\n"
        "Between ▸ and ◂ are the tokens the model learns to produce: answers with their stop token. "
        "Everything else is read only. Special tokens are shown as they are. Shift+↑ and ↓ scroll them.\n"
        "l shows how long rows are in tokens, and the row among those it could be trained beside.\n"
        "The tokens are those of the model in the settings; m chooses another."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back"), show=False),
        Binding("o", "pick", _("File")),
        Binding("u", "use", _("Use in a run")),
        Binding("u,f4", "mend", _("Mend"), key_display="u"),
        Binding("k,f5", "other_task", _("Change task"), key_display="k"),
        Binding("c", "columns", _("Columns"), show=False),
        Binding("f", "format", _("Format"), show=False),
        Binding("m", "model", _("Model"), show=False),
        Binding("t", "borders", _("Token borders"), show=False),
        Binding("l", "lengths", _("Lengths")),
        Binding("v", "held_out", _("Held-out rows"), show=False),
        Binding("shift+up", "scroll_tokens(-1)", _("Scroll the tokens"), show=False),
        Binding("shift+down", "scroll_tokens(1)", _("Scroll the tokens"), show=False),
        Binding("tab", "app.focus_next", _("Next part"), show=False),
    ]
    DEFAULT_CSS = """
    DataScreen #picker { margin: 1 1 0 1; }
    DataScreen #look { height: 1fr; margin-top: 1; }
    DataScreen.-choosing #look { display: none; }
    DataScreen #rows { height: 45%; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.look: datalook.Look | None = None
        self.refusal: Refusal | None = None  # why these data cannot be used
        self.better: Refusal | None = None  # that another task fits them better
        self.judged = False  # whether they can is known
        self._path: datalook.DataPath = ""
        self._held_out = False  # it is the file of held-out rows
        self._turn = 0  # of reading: what an earlier one finds out is passed over
        self._spool: Any = None
        self._early, self._passed_on = True, list[Key]()  # keys that were typed before this was on view
        self._use_at = -1  # the turn in which u was pressed before that was known

    def crumb(self) -> Content:
        return Content(_("Data"))

    def body(self) -> ComposeResult:
        yield PathPicker(
            suffixes=DATA_SUFFIXES,
            label=_("Data"),
            placeholder=_("a file, a folder, a hub data set, or demo"),
            unseen=_is_no_path,
            folders=True,
            id="picker",
        )
        with Vertical(id="look"):
            yield HowRead(id="how")
            yield RowList(id="rows")
            yield TokenPane(id="mask")

    @property
    def _picker(self) -> PathPicker:
        return self.query_one(PathPicker)

    @property
    def _rows(self) -> RowList:
        return self.query_one(RowList)

    def on_mount(self) -> None:
        self.call_after_refresh(setattr, self, "_early", False)
        self._show_model()
        path = given(self.tuner.draft, "data.path")
        if isinstance(path, str | list) and path:
            self._open(path)
        else:
            self._choose(True)
            self.set_focus(self._picker.field)

    def on_unmount(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def _show_model(self) -> None:
        name = at(self.tuner.draft, "model.name")
        words = _("tokens of {model}", model=mark(one_line(name, 40), ""))
        self.query_one(TopBar).say(marked(words, "$dim"))

    # Reading

    @on(PathPicker.Taken)
    def _taken(self, message: PathPicker.Taken) -> None:
        path = message.path
        threading.Thread(target=note_recent, args=("data", path), daemon=True).start()
        self._open(path)

    def _choose(self, yes: bool) -> None:
        """Show what files there are, or what is in one."""
        self.set_class(yes, "-choosing")
        self._picker.opened(yes)

    def _show_path(self) -> None:
        """Have the path in its field; of several, say that they stay until another is typed."""
        several = isinstance(self._path, list)
        shown = "" if several else short_path(str(self._path))
        words = _("a file, a folder, a hub data set, or demo")
        if several:
            names = ", ".join(_name_of(item) for item in self._path)
            words = one_line(_("{n} data sets: {names}", n=len(self._path), names=names), 200)
        self._picker.field.placeholder = words
        self._picker.put(shown)

    def _open(self, path: datalook.DataPath, held_out: bool = False) -> None:
        """Read from the beginning; the focus goes to the rows now, for later it would leave a typing hand."""
        self._path, self._held_out = path, held_out
        self._turn += 1
        self.look, self.refusal, self.better, self.judged = None, None, None, False
        self._choose(False)
        self.set_focus(self._rows)
        self._show_path()
        words = Content(_("Reading the first rows…")).stylize("$dim")
        self._rows.begin(words, Content(_("Held-out rows") if held_out else _("Rows")))
        self.query_one("#how", Static).update(words)
        self.query_one(TokenPane).forget()
        self.refresh_bindings()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self._read(self._turn, self._draft(), path)

    def _draft(self) -> dict[str, Any]:
        """The draft for the file on view."""
        if self._held_out:
            return datalook.held_out_draft(self.tuner.draft, self._path)
        return datalook.draft_for(self.tuner.draft, self._path)

    @work(thread=True, group="look", exclusive=True)
    def _read(self, turn: int, draft: dict[str, Any], path: datalook.DataPath) -> None:
        look, refusal = None, None
        try:
            look = datalook.look(draft, path)
        except (TunerError, OSError) as problem:
            refusal = refusal_of(problem)
        worker = get_current_worker()
        if not worker.is_cancelled:
            self.post_message(Looked(turn, look, refusal))
        if look is None or worker.is_cancelled:
            return
        refusal = datalook.refusal(draft, path)
        better = datalook.better(draft, path) if refusal is None else None
        self.post_message(Judged(turn, refusal, better))
        with contextlib.suppress(TunerError, OSError):  # what is wrong with the data was said above
            spool = datalook.spool()

            def said(census: datalook.Census) -> None:
                self.post_message(Counted(turn, census, spool))

            datalook.census(draft, path, said, lambda: worker.is_cancelled, spool)

    @on(Looked)
    def _looked(self, message: Looked) -> None:
        if message.turn != self._turn:
            return
        self.look, self.refusal, self.judged = message.look, message.refusal, message.look is None
        self.refresh_bindings()
        self._draw_how()
        if message.look is None:
            words = _(
                "No rows were read. {o} chooses another file, {u} offers what can be done.",
                o=mark("o"),
                u=mark("u"),
            )
            self._rows.show_items(0, empty=marked(words, "$dim"))
            return
        rows = message.look.rows
        self._rows.entitle(Content(_("First {n} rows, counting the rest…", n=len(rows))))
        self._rows.show_first(rows)

    @on(Judged)
    def _judged(self, message: Judged) -> None:
        if message.turn == self._turn:
            self.refusal, self.better, self.judged = message.refusal, message.better, True
            self.refresh_bindings()
            self._draw_how()
            if self._use_at == self._turn and self.refusal is None:
                self.action_use()

    def _draw_how(self) -> None:
        self.query_one(HowRead).show(self.look, self.refusal, self.better, str(at(self.tuner.draft, "task")))

    @on(Counted)
    def _counted(self, message: Counted) -> None:
        if message.turn != self._turn:
            message.spool.close()
            return
        self._spool = message.spool
        self._rows.take(message.spool)
        self._rows.entitle(counts(message.census, self._held_out))
        found = message.census.refusal
        if found is not None and self.refusal is None:  # further down than the first rows
            self.refusal = found
            self.refresh_bindings()
            self._draw_how()

    @on(LongList.Highlighted, "#rows")
    def _row(self, event: LongList.Highlighted) -> None:
        row = self._rows.row
        if row is not None and self.look is not None:
            self.query_one(TokenPane).look_at(self._draft(), self._path, row, self._rows)

    @on(LongList.Selected, "#rows")
    def _opened(self, event: LongList.Selected) -> None:
        from tui_tuner.ui.screens.one_row import RowScreen

        self.app.push_screen(RowScreen(self._rows))

    @on(RowList.Asked)
    def _asked(self, message: RowList.Asked) -> None:
        from tui_tuner.ui.screens.dialogs import AskPath

        self.app.push_screen(AskPath(message.title, message.question, message.value), message.answered)

    def work_failed(self, group: str, words: str) -> None:
        if group == "look":
            self.post_message(Looked(self._turn, None, Refusal("", words)))

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.has_class("-choosing") and action not in ("back", "pick", "model"):
            return action.startswith("app.")
        if action in ("borders", "lengths"):
            return bool(self._path)
        if action == "held_out":
            return isinstance(given(self.tuner.draft, "data.validation"), str)
        if self._held_out and action in ("use", "mend", "other_task", "columns", "format"):
            return False
        if action == "use":
            return self.refusal is None and bool(self._path)
        if action == "mend":
            return self.refusal is not None
        if action == "other_task":
            return self.other_task is not None
        return bool(self._path) if action in ("columns", "format") else True

    def on_key(self, event: Key) -> None:
        self._use_at = -1  # another key: it is not waited for any more
        if self._early and event not in self._passed_on and self.focused is not None:
            # Typed before there was a focus: it is for what has it now
            event.stop()
            again = Key(event.key, event.character)
            again._sender = event._sender  # of this screen, it would not bubble to the bindings
            again._set_forwarded()
            self._passed_on.append(again)
            self.focused.post_message(again)

    def action_back(self) -> None:
        """Out of what is under way: a search, another path, and then the screen."""
        rows, field = self._rows, self._picker.field
        if rows.busy:
            rows.stop()
        elif self._path and (self.has_class("-choosing") or field.has_focus):
            self._choose(False)
            self._show_path()
            self.set_focus(rows)
        elif self._held_out:
            self.action_held_out()
        else:
            super().action_back()

    def action_pick(self) -> None:
        """The files beside this one."""
        self._choose(True)
        here = os.path.expanduser(self._path) if isinstance(self._path, str) else ""
        self._picker.show_beside(here if os.path.isdir(os.path.dirname(here) or ".") else "")
        self.set_focus(self._picker.paths)

    def action_use(self) -> None:
        """Take this data into the settings of a run, once its task is known to be able to use it."""
        if not self.judged:
            self._use_at = self._turn
            self.tuner.say(_("It is taken once it is known that the task can use it."))
            return
        self._keep({})
        self.tuner.open_settings(instead=True)

    def _keep(self, values: Mapping[str, Any]) -> None:
        """Put this data, and what is said of it, into the draft."""
        self.tuner.drafts.draft.values = self._draft()
        put_values(self.tuner, {"data.path": self._path, **values})

    def action_held_out(self) -> None:
        """The held-out rows, or those that are trained again."""
        if self._held_out:
            self._open(given(self.tuner.draft, "data.path") or "demo")
        else:
            self._open(str(given(self.tuner.draft, "data.validation")), held_out=True)

    def action_scroll_tokens(self, step: int) -> None:
        """Scroll the tokens, the cursor staying in the rows."""
        self.query_one(TokenPane).scroll_relative(y=step, animate=False)

    @property
    def said(self) -> Refusal | None:
        return self.refusal or self.better

    def action_mend(self) -> None:
        """What can be done with data that cannot be used as they are."""
        if self.refusal is not None:
            self.offer(self.refusal, self._draft(), on_data=True)

    def other_data(self) -> None:
        self.action_pick()

    def show_field(self, field: str) -> None:
        self._keep({})
        self.tuner.open_settings(told=self.refusal, instead=True)

    def action_columns(self) -> None:
        """Say which column is what, from two lists."""
        self.ask_columns(self._draft())

    def action_format(self) -> None:
        """Choose the record format from a list."""
        self.ask_format(self.look.format if self.look else str(at(self._draft(), "data.format")))

    async def take(self, values: Mapping[str, Any]) -> None:
        """Take what was said of the rows into the draft, and read them anew."""
        self._keep(values)
        self._open(self._path)

    def action_model(self) -> None:
        """Choose another model, whose tokens are shown."""
        from tui_tuner.ui.screens.models.asking import ask_model

        ask_model(self, self._model_chosen)

    def _model_chosen(self, values: Mapping[str, Any]) -> None:
        """Take a model into the draft; where that has no data yet, with the rows that it was chosen for.

        Else a draft of one's own model and of the demo's rows would be left behind by whoever goes back.
        """
        if self._path and not self._held_out and given(self.tuner.draft, "data.path") in (None, "demo"):
            self._keep(values)
        else:
            put_values(self.tuner, values)
        self._show_model()
        self.query_one(TokenPane).again(self._draft())

    def action_lengths(self) -> None:
        """Lengths of the rows and the row among its neighbours, or the tokens of the row again."""
        self.query_one(TokenPane).toggle_lengths()

    def action_borders(self) -> None:
        """Show or hide the borders between tokens."""
        self.query_one(TokenPane).toggle_borders()


def _is_no_path(text: str) -> bool:
    """Whether a text names data that are no file here: the demo, a hub data set, files by a pattern."""
    from tui_tuner.data.sources.files import names_no_file

    return names_no_file(text)


def _name_of(item: Any) -> str:
    """One of several data sets, as it is told in a line."""
    path = str(item.get("path", "") if isinstance(item, Mapping) else item)
    return os.path.basename(path.rstrip("/")) or path
