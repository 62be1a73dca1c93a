"""The data screen: choose a file, see how it is read, and see the tokens of each row."""

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
from tui_tuner.ui.form_values import find_draft_value, find_given
from tui_tuner.ui.recent_paths import note_recent_path
from tui_tuner.ui.screen_words import mark_placeholder_value, render_marked_sentence
from tui_tuner.ui.screens.fixing import FixingScreen, put_fix_values
from tui_tuner.ui.start_checking import Refusal, convert_error_to_refusal
from tui_tuner.ui.widgets.data.how_read import HowRead, format_ledger_counts
from tui_tuner.ui.widgets.data.row_list import RowList
from tui_tuner.ui.widgets.data.token_pane import TokenPane
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.widgets.paths.folder_listing import DATA_SUFFIXES, fold_home, is_no_local_path, name_source
from tui_tuner.ui.widgets.paths.path_picker import PathPicker
from tui_tuner.ui.widgets.topbar import TopBar


class RowsLooked(Message):
    """The first rows of the data, or the refusal if they could not be read."""

    def __init__(self, turn: int, look: datalook.DataPreview | None, refusal: Refusal | None) -> None:
        super().__init__()
        self.turn, self.look, self.refusal = turn, look, refusal


class RowsChecked(Message):
    """The check of the rows against the task: a refusal, or a task that fits better."""

    def __init__(self, turn: int, refusal: Refusal | None, better: Refusal | None = None) -> None:
        super().__init__()
        self.turn, self.refusal, self.better = turn, refusal, better


class RowsCounted(Message):
    """The counts of all rows, final or so far."""

    def __init__(self, turn: int, census: datalook.RowCensus, spool: Any) -> None:
        super().__init__()
        self.turn, self.census, self.spool = turn, census, spool

    def can_replace(self, message: Message) -> bool:
        # Counts arrive many times a second; one that still waits is out of date.
        return isinstance(message, RowsCounted)


class DataScreen(FixingScreen):
    """A path field with a file list; then the rows, and the tokens of the row under the cursor."""

    HELP_TEXT = _(
        "Type a path (a file, a folder, a hub data set, or demo): Tab completes it. Or choose from the list: "
        "Enter opens a folder or a file, ← goes up one folder.\n"
        "u uses the data in a run if its task can read them; otherwise it offers fixes.\n"
        "k switches to the task that fits these rows, if that is another one.\n"
        "c assigns the columns, f chooses the record format.\n"
        "Enter opens a row in full. / finds words in rows, n the next row with them, N the previous one; g "
        "goes to a row by its number, b lists only broken rows. v shows the held-out rows, if they have a "
        "file.\n"
        "Between ▸ and ◂ are the tokens that the model learns to produce: answers with their stop token. "
        "The others are input only. Special tokens are shown as they are. Shift+↑ and Shift+↓ scroll.\n"
        "l shows the lengths of the rows in tokens, and the row among those it could be trained with.\n"
        "The tokens are those of the model in the settings; m chooses another model."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back"), show=False),
        Binding("o", "pick", _("File")),
        Binding("u", "use", _("Use in a run")),
        Binding("u,f4", "mend", _("Fix"), key_display="u"),
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
        self.look: datalook.DataPreview | None = None
        self.refusal: Refusal | None = None  # why these data cannot be used
        self.better: Refusal | None = None  # that another task fits them better
        self.judged = False  # the check against the task has finished
        self._path: datalook.DataPath = ""
        self._held_out = False  # the file on view is the one of held-out rows
        self._turn = 0  # number of the current reading; results of earlier ones are dropped
        self._spool: Any = None
        self._early, self._passed_on = True, list[Key]()  # keys typed before the screen was visible
        self._use_at = -1  # the turn in which u was pressed before the check had finished

    def build_crumb(self) -> Content:
        return Content(_("Data"))

    def compose_body(self) -> ComposeResult:
        yield PathPicker(
            suffixes=DATA_SUFFIXES,
            label=_("Data"),
            placeholder=_("a file, a folder, a hub data set, or demo"),
            unseen=is_no_local_path,
            folders=True,
            id="picker",
        )
        with Vertical(id="look"):
            yield HowRead(id="how")
            yield RowList(id="rows")
            yield TokenPane(id="mask")

    @property
    def _path_picker(self) -> PathPicker:
        return self.query_one(PathPicker)

    @property
    def _row_list(self) -> RowList:
        return self.query_one(RowList)

    def on_mount(self) -> None:
        # Keys that were typed while the screen was opening still arrive without a focus; see `on_key`.
        self.call_after_refresh(setattr, self, "_early", False)
        self._show_model()
        path = find_given(self.tuner_app.draft, "data.path")
        if isinstance(path, str | list) and path:
            self._open_path(path)
        else:
            self._show_picker(True)
            self.set_focus(self._path_picker.path_field)

    def on_unmount(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def _show_model(self) -> None:
        name = find_draft_value(self.tuner_app.draft, "model.name")
        words = _("tokens of {model}", model=mark_placeholder_value(one_line(name, 40), ""))
        self.query_one(TopBar).set_right_words(render_marked_sentence(words, "$dim"))

    # Reading

    @on(PathPicker.Taken)
    def _take_path(self, message: PathPicker.Taken) -> None:
        path = message.path
        threading.Thread(target=note_recent_path, args=("data", path), daemon=True).start()
        self._open_path(path)

    def _show_picker(self, yes: bool) -> None:
        """Show the file list, or the rows of the chosen file."""
        self.set_class(yes, "-choosing")
        self._path_picker.set_open(yes)

    def _show_path(self) -> None:
        """Put the path into its field; several paths are listed in its placeholder instead."""
        several = isinstance(self._path, list)
        shown = "" if several else fold_home(str(self._path))
        words = _("a file, a folder, a hub data set, or demo")
        if several:
            names = ", ".join(name_source(item) for item in self._path)
            words = one_line(_("{n} data sets: {names}", n=len(self._path), names=names), 200)
        self._path_picker.path_field.placeholder = words
        self._path_picker.put_path(shown)

    def _open_path(self, path: datalook.DataPath, held_out: bool = False) -> None:
        """Start reading other data, and move the focus to the rows."""
        self._path, self._held_out = path, held_out
        self._turn += 1
        self.look, self.refusal, self.better, self.judged = None, None, None, False
        self._show_picker(False)
        # The focus moves now: once the rows are read, it would be taken away from someone who is typing.
        self.set_focus(self._row_list)
        self._show_path()
        words = Content(_("Reading the first rows…")).stylize("$dim")
        self._row_list.begin_data(words, Content(_("Held-out rows") if held_out else _("Rows")))
        self.query_one("#how", Static).update(words)
        self.query_one(TokenPane).clear_tokens()
        self.refresh_bindings()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self._read_data(self._turn, self._draft_on_view(), path)

    def _draft_on_view(self) -> dict[str, Any]:
        """Return the draft with the path of the file on view."""
        if self._held_out:
            return datalook.make_held_out_draft(self.tuner_app.draft, self._path)
        return datalook.make_path_draft(self.tuner_app.draft, self._path)

    @work(thread=True, group="look", exclusive=True)
    def _read_data(self, turn: int, draft: dict[str, Any], path: datalook.DataPath) -> None:
        look, refusal = None, None
        try:
            look = datalook.read_draft_rows(draft, path)
        except (TunerError, OSError) as problem:
            refusal = convert_error_to_refusal(problem)
        worker = get_current_worker()
        if not worker.is_cancelled:
            self.post_message(RowsLooked(turn, look, refusal))
        if look is None or worker.is_cancelled:
            return
        # The first rows are shown before this check, which may take longer than reading them.
        refusal = datalook.find_draft_refusal(draft, path)
        better = datalook.find_better_draft_task(draft, path) if refusal is None else None
        self.post_message(RowsChecked(turn, refusal, better))
        with contextlib.suppress(TunerError, OSError):  # what is wrong with the data was said above
            spool = datalook.open_row_spool()

            def post_counts(census: datalook.RowCensus) -> None:
                self.post_message(RowsCounted(turn, census, spool))

            datalook.count_draft_rows(draft, path, post_counts, lambda: worker.is_cancelled, spool)

    @on(RowsLooked)
    def _show_look(self, message: RowsLooked) -> None:
        if message.turn != self._turn:
            return
        self.look, self.refusal, self.judged = message.look, message.refusal, message.look is None
        self.refresh_bindings()
        self._draw_how()
        if message.look is None:
            words = _(
                "No rows were read. Press {o} to choose another file, {u} to see how to fix it.",
                o=mark_placeholder_value("o"),
                u=mark_placeholder_value("u"),
            )
            self._row_list.show_items(0, empty=render_marked_sentence(words, "$dim"))
            return
        rows = message.look.rows
        self._row_list.set_title(Content(_("First {n} rows, counting the rest…", n=len(rows))))
        self._row_list.show_first(rows)

    @on(RowsChecked)
    def _take_task_check(self, message: RowsChecked) -> None:
        if message.turn == self._turn:
            self.refusal, self.better, self.judged = message.refusal, message.better, True
            self.refresh_bindings()
            self._draw_how()
            if self._use_at == self._turn and self.refusal is None:
                self.action_use()

    def _draw_how(self) -> None:
        self.query_one(HowRead).show_reading(
            self.look, self.refusal, self.better, str(find_draft_value(self.tuner_app.draft, "task"))
        )

    @on(RowsCounted)
    def _show_counts(self, message: RowsCounted) -> None:
        if message.turn != self._turn:
            # A spool holds rows on disk. One that came too late has no owner, so it is closed here.
            message.spool.close()
            return
        self._spool = message.spool
        self._row_list.take_rows(message.spool)
        self._row_list.set_title(format_ledger_counts(message.census, self._held_out))
        found = message.census.refusal
        # The first check sees only the first rows; the count may find the first bad one a million rows
        # further down.
        if found is not None and self.refusal is None:  # further down than the first rows
            self.refusal = found
            self.refresh_bindings()
            self._draw_how()

    @on(LongList.Highlighted, "#rows")
    def _show_tokens(self, event: LongList.Highlighted) -> None:
        row = self._row_list.current_row
        if row is not None and self.look is not None:
            self.query_one(TokenPane).look_at(self._draft_on_view(), self._path, row, self._row_list)

    @on(LongList.Selected, "#rows")
    def _open_row(self, event: LongList.Selected) -> None:
        from tui_tuner.ui.screens.one_row import RowScreen

        self.app.push_screen(RowScreen(self._row_list))

    @on(RowList.Asked)
    def _ask_for_text(self, message: RowList.Asked) -> None:
        from tui_tuner.ui.screens.dialogs import PathDialog

        self.app.push_screen(PathDialog(message.title, message.question, message.value), message.answered)

    def work_failed(self, group: str, words: str) -> None:
        if group == "look":
            self.post_message(RowsLooked(self._turn, None, Refusal("", words)))

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.has_class("-choosing") and action not in ("back", "pick", "model"):
            return action.startswith("app.")
        if action in ("borders", "lengths"):
            return bool(self._path)
        if action == "held_out":
            return isinstance(find_given(self.tuner_app.draft, "data.validation"), str)
        # The held-out file is read with the settings of the training rows, so nothing can be changed from
        # here.
        if self._held_out and action in ("use", "mend", "other_task", "columns", "format"):
            return False
        if action == "use":
            return self.refusal is None and bool(self._path)
        if action == "mend":
            return self.refusal is not None
        if action == "other_task":
            return self.other_task_values is not None
        return bool(self._path) if action in ("columns", "format") else True

    def on_key(self, event: Key) -> None:
        self._use_at = -1  # another key: it is not waited for any more
        if self._early and event not in self._passed_on and self.focused is not None:
            # Typed before there was a focus, so it is for the widget that has it now
            event.stop()
            again = Key(event.key, event.character)
            again._sender = event._sender  # of this screen, it would not bubble to the bindings
            again._set_forwarded()
            self._passed_on.append(again)
            self.focused.post_message(again)

    def action_back(self) -> None:
        """Leave one thing at a time: a search, the file list, the held-out rows, then the screen."""
        rows, field = self._row_list, self._path_picker.path_field
        if rows.is_searching:
            rows.stop_search()
        elif self._path and (self.has_class("-choosing") or field.has_focus):
            self._show_picker(False)
            self._show_path()
            self.set_focus(rows)
        elif self._held_out:
            self.action_held_out()
        else:
            super().action_back()

    def action_pick(self) -> None:
        """List the files next to this one."""
        self._show_picker(True)
        here = os.path.expanduser(self._path) if isinstance(self._path, str) else ""
        self._path_picker.show_beside(here if os.path.isdir(os.path.dirname(here) or ".") else "")
        self.set_focus(self._path_picker.path_list)

    def action_use(self) -> None:
        """Use this data in the settings of a run, once the check against its task has passed."""
        if not self.judged:
            self._use_at = self._turn
            self.tuner_app.show_notice(
                _("Checking whether the task can use this data; it is taken after that.")
            )
            return
        self._keep_data({})
        self.tuner_app.open_settings(instead=True)

    def _keep_data(self, values: Mapping[str, Any]) -> None:
        """Put this data and its settings into the draft."""
        self.tuner_app.drafts.draft.values = self._draft_on_view()
        put_fix_values(self.tuner_app, {"data.path": self._path, **values})

    def action_held_out(self) -> None:
        """Switch between the held-out rows and the training rows."""
        if self._held_out:
            self._open_path(find_given(self.tuner_app.draft, "data.path") or "demo")
        else:
            self._open_path(str(find_given(self.tuner_app.draft, "data.validation")), held_out=True)

    def action_scroll_tokens(self, step: int) -> None:
        """Scroll the tokens while the focus stays in the rows."""
        self.query_one(TokenPane).scroll_relative(y=step, animate=False)

    @property
    def shown_refusal(self) -> Refusal | None:
        return self.refusal or self.better

    def action_mend(self) -> None:
        """List the fixes for data that cannot be used as they are."""
        if self.refusal is not None:
            self.offer_fixes(self.refusal, self._draft_on_view(), on_data=True)

    def choose_other_data(self) -> None:
        self.action_pick()

    def show_field(self, field: str) -> None:
        self._keep_data({})
        self.tuner_app.open_settings(told=self.refusal, instead=True)

    def action_columns(self) -> None:
        """Open the dialog that assigns columns to roles."""
        self.ask_columns(self._draft_on_view())

    def action_format(self) -> None:
        """Open the list of record formats."""
        self.ask_format(
            self.look.format if self.look else str(find_draft_value(self._draft_on_view(), "data.format"))
        )

    async def take_values(self, values: Mapping[str, Any]) -> None:
        """Put settings of the data into the draft, and read the rows again."""
        self._keep_data(values)
        self._open_path(self._path)

    def action_model(self) -> None:
        """Choose the model whose tokens are shown."""
        from tui_tuner.ui.screens.models.open_models import ask_for_base_model

        ask_for_base_model(self, self._model_chosen)

    def _model_chosen(self, values: Mapping[str, Any]) -> None:
        """Put a model into the draft, with the data on view if the draft has none yet."""
        # Without the rows, the draft would name the user's model and the demo's data when they go back.
        if (
            self._path
            and not self._held_out
            and find_given(self.tuner_app.draft, "data.path") in (None, "demo")
        ):
            self._keep_data(values)
        else:
            put_fix_values(self.tuner_app, values)
        self._show_model()
        self.query_one(TokenPane).show_again(self._draft_on_view())

    def action_lengths(self) -> None:
        """Switch between the lengths of the rows and the tokens of one row."""
        self.query_one(TokenPane).toggle_lengths()

    def action_borders(self) -> None:
        """Show or hide the borders between tokens."""
        self.query_one(TokenPane).toggle_borders()
