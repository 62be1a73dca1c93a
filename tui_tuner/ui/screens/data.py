"""Data: pick a file, see how it is read, and what each row becomes in tokens."""

from __future__ import annotations

import contextlib
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

from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import datalook
from tui_tuner.ui.form import put
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.file_tree import FileTree
from tui_tuner.ui.widgets.mask_view import MaskView
from tui_tuner.ui.widgets.topbar import TopBar
from tui_tuner.ui.words import block, mark, marked, safe

_MASK_DELAY = 0.15  # seconds the cursor must rest on a row before its tokens are worked out


class Looked(Message):
    """The first rows were read, or not."""

    def __init__(self, path: str, look: datalook.Look | None, error: str) -> None:
        super().__init__()
        self.path, self.look, self.error = path, look, error


class Counted(Message):
    """The rows were counted, so far or to the end."""

    def __init__(self, path: str, census: datalook.Census) -> None:
        super().__init__()
        self.path, self.census = path, census

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


class DataScreen(TunerScreen):
    """A path and a tree; then the rows above, and the tokens of the row under the cursor below."""

    HELP_TEXT = _(
        "Type a path (a file, a folder, a hub data set, or demo), or choose a file in the tree.\n"
        "Between ▸ and ◂ are the tokens the model learns to produce: answers with their stop token.\n"
        "Everything else is read only. Special tokens are shown as they are.\n"
        "l shows how long rows are in tokens, and the row among those it could be trained beside.\n"
        "The tokens are those of the model in the settings; m chooses another."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("o", "pick", _("Other file")),
        Binding("u", "use", _("Use in a run")),
        Binding("m", "model", _("Model")),
        Binding("t", "borders", _("Token borders")),
        Binding("l", "lengths", _("Lengths")),
        Binding("tab", "app.focus_next", _("Next part"), show=False),
    ]
    DEFAULT_CSS = """
    DataScreen #top { height: 1; margin: 1 1 0 1; }
    DataScreen #top > Static { width: auto; color: $dim; }
    DataScreen #top > Input { width: 1fr; }
    DataScreen #main { height: 1fr; margin-top: 1; }
    DataScreen #look { height: 1fr; }
    DataScreen #how { height: auto; max-height: 4; padding: 0 1; }
    DataScreen #rows { height: 35%; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.look: datalook.Look | None = None
        self._path = ""

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
                yield Static(id="how")
                yield OptionList(id="rows", classes="panel")
                yield MaskView(id="mask")

    def on_mount(self) -> None:
        self._show_model()
        path = (self.tuner.draft.get("data") or {}).get("path")
        if isinstance(path, str) and path:
            self._open(path)
        self.set_focus(self.query_one("#path"))

    def _show_model(self) -> None:
        name = (self.tuner.draft.get("model") or {}).get("name", "demo")
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
        self._path = path
        self.look = None
        with self.prevent(Input.Changed):
            self.query_one("#path", Input).value = one_line(path)
        self.query_one("#main", ContentSwitcher).current = "look"
        self.query_one("#rows", OptionList).clear_options()
        self.query_one("#rows").border_title = Content(_("Rows"))
        self.query_one("#how", Static).update(Content(_("Reading the first rows…")).stylize("$dim"))
        self.query_one(MaskView).say(Content(""))
        self._read(dict(self.tuner.draft), path)

    @work(thread=True, group="look", exclusive=True)
    def _read(self, draft: dict[str, Any], path: str) -> None:
        look, error = None, ""
        try:
            look = datalook.look(draft, path)
        except (TunerError, OSError) as problem:
            error = str(problem)
        worker = get_current_worker()
        if not worker.is_cancelled:
            self.post_message(Looked(path, look, error))
        if look is None:
            return
        with contextlib.suppress(TunerError, OSError):  # what is wrong with the data was said above

            def said(census: datalook.Census) -> None:
                self.post_message(Counted(path, census))

            datalook.census(draft, path, said, lambda: worker.is_cancelled)

    @on(Looked)
    def _looked(self, message: Looked) -> None:
        if message.path != self._path:
            return
        self.look = message.look
        self.refresh_bindings()
        how = self.query_one("#how", Static)
        if message.look is None:
            how.update(Content.assemble(("✗ ", "$error"), block(message.error)))
            return
        how.update(_how(message.look))
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
            self.set_focus(rows)

    @on(Counted)
    def _counted(self, message: Counted) -> None:
        if message.path == self._path:
            self.query_one("#rows").border_title = _counts(message.census)

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
            self._around(dict(self.tuner.draft), path, index)
            return
        self._mask(dict(self.tuner.draft), path, index)

    @work(thread=True, group="mask", exclusive=True)
    def _mask(self, draft: dict[str, Any], path: str, row: int) -> None:
        mask, error = None, ""
        try:
            mask = datalook.mask(draft, path, row)
        except (TunerError, OSError, ImportError) as problem:
            error = str(problem)
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
            error = str(problem)
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
            self.query_one("#how", Static).update(failed)
        else:
            self.query_one(MaskView).say(failed)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.look is not None if action in ("use", "borders", "lengths") else True

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
        from tui_tuner.ui.screens.settings import SettingsScreen

        put(self.tuner.draft, "data.path", self._path)
        self.app.switch_screen(SettingsScreen())

    def action_model(self) -> None:
        from tui_tuner.ui.screens.dialogs import AskPath

        now = str((self.tuner.draft.get("model") or {}).get("name", "demo"))
        question = _("Whose tokenizer? A hub id, a local folder, or demo.")
        self.app.push_screen(AskPath(_("Model"), question, one_line(now)), self._model_chosen)

    def _model_chosen(self, name: str | None) -> None:
        if not name:
            return
        put(self.tuner.draft, "model.name", name)
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


def _how(look: datalook.Look) -> Content:
    """The format, how sure it is, why, and which column is what."""
    sure = _("as you said") if look.sure is None else _("{p:.0%} sure", p=look.sure)
    parts: list[Content | str | tuple[str, str]] = [(one_line(look.format), "bold $primary"), f"  {sure}"]
    if look.why:
        parts.append((f"  {one_line(look.why)}", "$dim"))
    if look.columns:
        pairs = ", ".join(f"{one_line(role)} ← {one_line(name)}" for role, name in look.columns.items())
        parts.append(("\n" + pairs, "$foreground"))
    parts += [Content.assemble(("\n! ", "$warning"), safe(note)) for note in look.notes]
    return Content.assemble(*parts)


def _counts(census: datalook.Census) -> Content:
    """The row ledger in one line."""
    counts = ", ".join(f"{count:,} {_(name)}" for name, count in census.outcomes.items() if count)
    if census.done:
        words = _("{n:,} rows: {counts}", n=census.read, counts=counts)
    else:
        words = _("{n:,} rows so far: {counts}", n=census.read, counts=counts)
    parts: list[str | tuple[str, str]] = [words]
    if census.done and census.longest:
        lengths = _(
            "{mean:,.0f} characters on average, at most {longest:,}", mean=census.mean, longest=census.longest
        )
        parts.append((f"  {lengths}", "$dim"))
    if census.reasons:
        parts.append(("  " + "; ".join(one_line(reason) for reason in census.reasons), "$warning"))
    return Content.assemble(*parts)
