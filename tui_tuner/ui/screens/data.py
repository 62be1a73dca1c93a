"""Data: pick a file, see how it is read, and what each row becomes in tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import ContentSwitcher, DirectoryTree, Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import datalook
from tui_tuner.ui.checking import Refusal, refusal_of
from tui_tuner.ui.form import at, given
from tui_tuner.ui.screens.offers import MendingScreen, put_values
from tui_tuner.ui.widgets.data.file_tree import FileTree
from tui_tuner.ui.widgets.data.how_read import HowRead, counts
from tui_tuner.ui.widgets.data.mask_view import MaskView
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import block, mark, marked

_MASK_DELAY = 0.15  # seconds the cursor must rest on a row before its tokens are worked out


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

    def __init__(self, turn: int, census: datalook.Census) -> None:
        super().__init__()
        self.turn, self.census = turn, census

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Counted)


class Masked(Message):
    """A row was tokenised, or not."""

    def __init__(self, path: str, row: int, mask: datalook.Mask | None, error: str) -> None:
        super().__init__()
        self.path, self.row, self.mask, self.error = path, row, mask, error


class Surrounded(Message):
    """The rows around a row were tokenised, or not."""

    def __init__(self, path: str, row: int, found: Any, error: str) -> None:
        super().__init__()
        self.path, self.row, self.found, self.error = path, row, found, error


class DataScreen(MendingScreen):
    """A path and a tree; then the rows above, and the tokens of the row under the cursor below."""

    HELP_TEXT = _(
        "Type a path (a file, a folder, a hub data set, or demo), or choose a file in the tree.\n"
        "u takes the data into a run, once its task can use them; else it offers what can be done.\n"
        "k takes the task that these rows are for, where that is another one.\n"
        "c says which column is what, f which record format it is.\n"
        "Between ▸ and ◂ are the tokens the model learns to produce: answers with their stop token.\n"
        "Everything else is read only. Special tokens are shown as they are.\n"
        "l shows how long rows are in tokens, and the row among those it could be trained beside.\n"
        "The tokens are those of the model in the settings; m chooses another."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("o", "pick", _("File")),
        Binding("u", "use", _("Use in a run")),
        Binding("u,f4", "mend", _("Mend"), key_display="u"),
        Binding("k", "other_task", _("Change task")),
        Binding("c", "columns", _("Columns")),
        Binding("f", "format", _("Format")),
        Binding("m", "model", _("Model")),
        Binding("t", "borders", _("Token borders"), show=False),
        Binding("l", "lengths", _("Lengths")),
        Binding("tab", "app.focus_next", _("Next part"), show=False),
    ]
    DEFAULT_CSS = """
    DataScreen #top { height: 1; margin: 1 1 0 1; }
    DataScreen #top > Static { width: auto; color: $dim; }
    DataScreen #top > Input { width: 1fr; }
    DataScreen #main { height: 1fr; margin-top: 1; }
    DataScreen #look { height: 1fr; }
    DataScreen #rows { height: 35%; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.look: datalook.Look | None = None
        self.refusal: Refusal | None = None  # why these data cannot be used
        self.better: Refusal | None = None  # that another task fits them better
        self.judged = False  # whether they can is known
        self._path = ""
        self._turn = 0  # of reading: what an earlier one finds out is passed over

    def crumb(self) -> Content:
        return Content(_("Data"))

    def body(self) -> ComposeResult:
        with Horizontal(id="top"):
            yield Static(Content(_("Data") + "  "))
            yield Input(placeholder=_("a file, a folder, a hub data set, or demo"), id="path", compact=True)
        with ContentSwitcher(initial="tree-box", id="main"):
            with Vertical(id="tree-box", classes="panel") as box:
                box.border_title = Content(_("Choose a file"))
                yield FileTree(Path.cwd(), id="tree")
            with Vertical(id="look"):
                yield HowRead(id="how")
                yield OptionList(id="rows", classes="panel")
                yield MaskView(id="mask")

    def on_mount(self) -> None:
        self._show_model()
        path = given(self.tuner.draft, "data.path")
        if isinstance(path, str) and path:
            self._open(path)
        else:
            self.set_focus(self.query_one("#path"))

    def _show_model(self) -> None:
        name = at(self.tuner.draft, "model.name")
        words = _("tokens of {model}", model=mark(one_line(name, 40), ""))
        self.query_one(TopBar).say(marked(words, "$dim"))

    # Reading

    @on(Input.Submitted, "#path")
    def _entered(self, event: Input.Submitted) -> None:
        path = event.value.strip()
        if path and Path(path).expanduser().is_dir():
            self.query_one("#tree", FileTree).path = Path(path).expanduser()
            self.action_pick()
        elif path:
            self._open(path)

    @on(DirectoryTree.FileSelected)
    def _selected(self, event: DirectoryTree.FileSelected) -> None:
        self._open(str(event.path))

    def _open(self, path: str) -> None:
        """Read from the beginning; the focus goes to the rows now, for later it would leave a typing hand."""
        self._path = path
        self._turn += 1
        self.look, self.refusal, self.better, self.judged = None, None, None, False
        self.set_focus(self.query_one("#rows"))
        with self.prevent(Input.Changed):
            self.query_one("#path", Input).value = one_line(path)
        self.query_one("#main", ContentSwitcher).current = "look"
        self.query_one("#rows", OptionList).clear_options()
        self.query_one("#rows").border_title = Content(_("Rows"))
        self.query_one("#how", Static).update(Content(_("Reading the first rows…")).stylize("$dim"))
        self.query_one(MaskView).say(Content(""))
        self._read(self._turn, self._draft(), path)

    def _draft(self) -> dict[str, Any]:
        """The draft for the file on view."""
        return datalook.draft_for(self.tuner.draft, self._path)

    @work(thread=True, group="look", exclusive=True)
    def _read(self, turn: int, draft: dict[str, Any], path: str) -> None:
        look, refusal = None, None
        try:
            look = datalook.look(draft, path)
        except (TunerError, OSError) as problem:
            refusal = refusal_of(problem)
        worker = get_current_worker()
        if not worker.is_cancelled:
            self.post_message(Looked(turn, look, refusal))
        if look is None:
            return
        refusal = datalook.refusal(draft, path)
        better = datalook.better(draft, path) if refusal is None else None
        self.post_message(Judged(turn, refusal, better))
        with contextlib.suppress(TunerError, OSError):  # what is wrong with the data was said above

            def said(census: datalook.Census) -> None:
                self.post_message(Counted(turn, census))

            datalook.census(draft, path, said, lambda: worker.is_cancelled)

    @on(Looked)
    def _looked(self, message: Looked) -> None:
        if message.turn != self._turn:
            return
        self.look, self.refusal, self.judged = message.look, message.refusal, message.look is None
        self.refresh_bindings()
        self._draw_how()
        if message.look is None:
            return
        rows = self.query_one("#rows", OptionList)
        options = [
            Option(
                Content.assemble(
                    (f"{index + 1:>3}  ", "$dim"),
                    ("✗ " + row.problem if row.problem else "", "$error"),
                    row.text,
                )
            )
            for index, row in enumerate(message.look.rows)
        ]
        rows.add_options(options)
        rows.border_title = Content(_("First {n} rows, counting the others…", n=len(options)))
        if options:
            rows.highlighted = 0

    @on(Judged)
    def _judged(self, message: Judged) -> None:
        if message.turn == self._turn:
            self.refusal, self.better, self.judged = message.refusal, message.better, True
            self.refresh_bindings()
            self._draw_how()

    def _draw_how(self) -> None:
        self.query_one(HowRead).show(self.look, self.refusal, self.better)

    @on(Counted)
    def _counted(self, message: Counted) -> None:
        if message.turn != self._turn:
            return
        self.query_one("#rows").border_title = counts(message.census)
        found = message.census.refusal
        if found is not None and self.refusal is None:  # further down than the first rows
            self.refusal = found
            self.refresh_bindings()
            self._draw_how()

    @on(OptionList.OptionHighlighted, "#rows")
    def _row(self, event: OptionList.OptionHighlighted) -> None:
        index, path = event.option_index, self._path
        self.set_timer(_MASK_DELAY, lambda: self._tokens(path, index))

    def _tokens(self, path: str, index: int) -> None:
        if path != self._path or self.query_one("#rows", OptionList).highlighted != index:
            return
        view = self.query_one(MaskView)
        if view.mask is None:
            view.say(Content(_("Loading the tokenizer…")).stylize("$dim"))
        if view.lengths:
            self._around(self._draft(), path, index)
            return
        self._mask(self._draft(), path, index)

    @work(thread=True, group="mask", exclusive=True)
    def _mask(self, draft: dict[str, Any], path: str, row: int) -> None:
        mask, error = None, ""
        try:
            mask = datalook.mask(draft, path, row)
        except (TunerError, OSError, ImportError) as problem:
            error = words_of(problem)
        if not get_current_worker().is_cancelled:
            self.post_message(Masked(path, row, mask, error))

    @on(Masked)
    def _masked(self, message: Masked) -> None:
        if message.path != self._path or self.query_one("#rows", OptionList).highlighted != message.row:
            return
        view = self.query_one(MaskView)
        if view.lengths:
            return
        if message.mask is None:
            view.say(Content.assemble(("✗ ", "$error"), block(message.error)))
        else:
            view.show(message.mask, message.row)

    @work(thread=True, group="around", exclusive=True)
    def _around(self, draft: dict[str, Any], path: str, row: int) -> None:
        found, error = None, ""
        try:
            found = datalook.around(draft, path, row)
        except (TunerError, OSError, ImportError) as problem:
            error = words_of(problem)
        if not get_current_worker().is_cancelled:
            self.post_message(Surrounded(path, row, found, error))

    @on(Surrounded)
    def _surrounded(self, message: Surrounded) -> None:
        view = self.query_one(MaskView)
        if (
            not view.lengths
            or message.path != self._path
            or self.query_one("#rows", OptionList).highlighted != message.row
        ):
            return
        if message.found is None:
            view.say(Content.assemble(("✗ ", "$error"), block(message.error)))
        else:
            around, laid = message.found
            view.show_around(around, laid, message.row)

    def work_failed(self, group: str, words: str) -> None:
        failed = Content.assemble(("✗ ", "$error"), words)
        if group == "look":
            self.post_message(Looked(self._turn, None, Refusal("", words)))
        else:
            self.query_one(MaskView).say(failed)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("borders", "lengths"):
            return self.look is not None
        if action == "use":
            return self.judged and self.refusal is None
        if action == "mend":
            return self.refusal is not None
        if action == "other_task":
            return self.other_task is not None
        return bool(self._path) if action in ("columns", "format") else True

    def action_back(self) -> None:
        if self.query_one("#main", ContentSwitcher).current == "look" and self.focused is self.query_one(
            "#path"
        ):
            self.action_pick()
        else:
            super().action_back()

    def action_pick(self) -> None:
        """Back to the tree."""
        self.query_one("#main", ContentSwitcher).current = "tree-box"
        self.set_focus(self.query_one("#tree"))

    def action_use(self) -> None:
        """Take this data into the settings of a run."""
        self._keep({})
        self.tuner.open_settings(instead=True)

    def _keep(self, values: Mapping[str, Any]) -> None:
        """Put this data, and what is said of it, into the draft."""
        self.tuner.drafts.draft.values = self._draft()
        put_values(self.tuner, {"data.path": self._path, **values})

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
        put_values(self.tuner, values)
        self._show_model()
        index = self.query_one("#rows", OptionList).highlighted
        if index is not None:
            self.query_one(MaskView).say(Content(""))
            self._tokens(self._path, index)

    def action_lengths(self) -> None:
        """Lengths of the rows and the row among its neighbours, or the tokens of the row again."""
        view = self.query_one(MaskView)
        view.lengths = not view.lengths
        index = self.query_one("#rows", OptionList).highlighted
        if index is not None:
            view.say(Content(_("Tokenising the first rows…") if view.lengths else "").stylize("$dim"))
            self._tokens(self._path, index)

    def action_borders(self) -> None:
        """Show or hide the borders between tokens."""
        view = self.query_one(MaskView)
        view.borders = not view.borders
        if view.mask is not None:
            view.show(view.mask, self.query_one("#rows", OptionList).highlighted or 0)
