"""A path field with a list of the folder below: the file picker of screens and dialogs."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Callable
from itertools import islice

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from tui_tuner.config.paths import plainer
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line
from tui_tuner.ui import recent
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.widgets.paths.listing import (
    BROKEN,
    FILE,
    FOLDER,
    MISSING,
    OTHER,
    Entry,
    Names,
    is_suited,
    kind_of,
    short_path,
    split_path,
)
from tui_tuner.ui.widgets.paths.path_input import PathInput
from tui_tuner.ui.widgets.paths.path_list import Item, PathList

_UNSEEN = "unseen"  # not a path on this machine, but may be chosen
_NAMED = 40  # characters of a folder in a sentence
_MOST_RECENT = 5  # lines above a folder


class PathPicker(Vertical):
    """Reports the chosen path (`Taken`); the list is visible while the class `-open` is set.

    Args:
        suffixes: Suffixes of suitable files in lower case; others are dimmed. Empty: all are suitable.
        kind: The kind of recent paths that are shown at the top.
        unseen: Returns whether a text that is not a path here may be chosen, such as a name on the hub.
        folders: A folder may be chosen, too.
    """

    DEFAULT_CSS = """
    PathPicker { height: 1; }
    PathPicker.-open { height: 1fr; }
    PathPicker > Horizontal { height: 1; }
    PathPicker > Horizontal > Static { width: auto; color: $dim; }
    PathPicker > Horizontal > Input { width: 1fr; }
    PathPicker > #where { height: auto; max-height: 3; display: none; }
    PathPicker > PathList { display: none; }
    PathPicker.-open > #where, PathPicker.-open > PathList { display: block; }
    """

    class Taken(Message):
        """A path was chosen, or a text that `unseen` accepts."""

        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

    class _Recent(Message):
        def __init__(self, items: list[Item]) -> None:
            super().__init__()
            self.items = items

    class _Found(Message):
        def __init__(self, text: str, path: str, kind: str, problem: str) -> None:
            super().__init__()
            self.text, self.path, self.kind, self.problem = text, path, kind, problem

    def __init__(
        self,
        start: str = "",
        suffixes: tuple[str, ...] = (),
        kind: str = "data",
        *,
        label: str = "",
        placeholder: str = "",
        unseen: Callable[[str], bool] | None = None,
        folders: bool = False,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._start, self._suffixes, self._kind, self._label = start, suffixes, kind, label
        self._placeholder, self._unseen, self._folders = placeholder, unseen, folders
        self._typed = start  # kept here, as the field shows the line under the cursor
        self._came_from = ""  # the name of the folder from which the user went up
        self._recent: list[Item] = []

    def compose(self) -> ComposeResult:
        with Horizontal():
            if self._label:
                yield Static(Content(self._label + "  "))
            yield PathInput(self._start, self._placeholder, id="path")
        yield Static(id="where")
        yield PathList(self._leave_list, self._suffixes, id="paths")

    def on_mount(self) -> None:
        self.paths.await_items(Content(""))
        threading.Thread(target=self._read_recent, daemon=True).start()

    @property
    def field(self) -> PathInput:
        return self.query_one(PathInput)

    @property
    def paths(self) -> PathList:
        return self.query_one(PathList)

    def say(self, words: Content) -> None:
        """Show a line above the list."""
        self.query_one("#where", Static).update(words)

    def say_problem(self, words: str) -> None:
        """Show a problem of the path above the list."""
        self.say(Content.assemble(("✗ ", "$error"), (one_line(words), "$error")))

    def put(self, path: str) -> None:
        """Put a path into the field and list its folder."""
        with self.prevent(Input.Changed):
            self.field.put(path)
        self.field.look()
        self._show_typed(path)

    def show_beside(self, path: str) -> None:
        """List the folder that contains a path, with the cursor on it; without a path, the working folder."""
        folder, name = os.path.split(os.path.abspath(path)) if path else (os.getcwd(), "")
        self._came_from = name
        self.put(short_path(folder).rstrip("/") + "/")

    def opened(self, yes: bool) -> None:
        """Show or hide the list."""
        self.set_class(yes, "-open")

    # The list

    def _read_recent(self) -> None:
        items = []
        for path in recent.recent(self._kind):
            try:
                kind = kind_of(path)
            except (OSError, ValueError):
                continue
            entry = Entry(os.path.basename(path), kind)
            short = short_path(path)
            suited = is_suited(entry, self._suffixes)
            items.append(Item(f"↺ {short}", short, kind, path, suited))
        self.post_message(PathPicker._Recent(items))

    def on_path_picker__recent(self, message: _Recent) -> None:
        self._recent = message.items
        if self.field.names is not None and not self.paths.has_focus:
            self._fill()

    @on(PathInput.Reading)
    def _reading(self, message: PathInput.Reading) -> None:
        if message.folder == self.field.folder:
            words = _("Reading {folder}: {n:,} names so far…", folder=_named(message.folder), n=message.count)
            self.say(Content(words).stylize("$dim"))

    @on(PathInput.Listed)
    def _listed(self, message: PathInput.Listed) -> None:
        self.paths.forget()
        self._fill()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._show_typed(event.value)

    def _show_typed(self, typed: str) -> None:
        self._typed = typed
        field = self.field
        if field.names is None:
            if not self.paths.awaits:
                self.paths.await_items(Content(""))
                words = _("Reading {folder}…", folder=_named(field.folder))
                self.say(Content(words).stylize("$dim"))
        else:
            self._fill()

    def _leading(self) -> list[Item]:
        """Return the lines above those of the folder."""
        folder, name = split_path(self._typed)
        items = []
        if self._typed in (self._start, "") or not folder:
            wanted = "" if self._typed == self._start else name.casefold()
            fit = (one for one in self._recent if wanted in os.path.basename(one.place).casefold())
            items += list(islice(fit, _MOST_RECENT))
        here = self.field.folder
        if not name:
            if self._folders:
                items.append(Item(_("./  (choose this folder)"), here, "here"))
            if here != os.path.dirname(here):
                items.append(Item("../", short_path(os.path.dirname(here)) + "/", "up"))
        return items

    def _fill(self) -> None:
        """List what matches the typed text, with the cursor on the first match."""
        field = self.field
        leading = self._leading()
        if field.problem:
            why = one_line(field.problem)
            self.paths.show_paths(leading, [], field.folder, "", None)
            self.say_problem(_("{folder} cannot be read: {why}.", folder=_named(field.folder), why=why))
            return
        folder, name = split_path(self._typed)
        fit = field.names.fitting(name) if field.names is not None else []
        # A recent path at the top gets the cursor; `../` and `./` do not, or Enter would leave the folder.
        at = len(leading) if not any(one.kind in (FILE, FOLDER) for one in leading) else 0
        for place, entry in enumerate(fit if self._came_from else ()):
            if entry.name == self._came_from:
                at = len(leading) + place
        self._came_from = ""
        self.paths.show_paths(leading, fit, field.folder, folder, at)
        self._say_where(len(fit))

    def _say_where(self, fit: int) -> None:
        names = self.field.names or Names([])
        folder = _named(self.field.folder)
        if not names.all:
            words = _("{folder} is empty.", folder=folder)
        elif not names.shown and not fit:
            words = _("{folder} has only hidden names: type a dot to see them.", folder=folder)
        elif not fit:
            words = _("Nothing in {folder} matches.", folder=folder)
        else:
            of = len(names.all if split_path(self._typed)[1].startswith(".") else names.shown)
            if fit == of:
                words = _n(
                    "{count:,} name in {folder}", "{count:,} names in {folder}", fit, folder=folder, count=fit
                )
            else:
                words = _("{fit:,} of {count:,} names in {folder} match", folder=folder, fit=fit, count=of)
        self.say(Content(words).stylize("$dim"))

    # Keys of the field

    @on(PathInput.Completed)
    def _completed(self, message: PathInput.Completed) -> None:
        if message.stuck and self.paths.count and self.has_class("-open"):
            message.stop()
            self.paths.focus()

    def key_down(self) -> None:
        if self.field.has_focus and self.has_class("-open"):
            self.paths.focus()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value
        if not text.strip():
            if self.paths.count and self.has_class("-open"):
                self.paths.focus()
            return
        # A name that the list shows as a file exists; anything else is looked up in a thread.
        name, names = split_path(text)[1], self.field.names
        if name and names is not None and any(one.name == name and one.kind == FILE for one in names.all):
            self.post_message(PathPicker.Taken(text))
            return
        self.say(Content(_("Looking for {path}…", path=one_line(text, 60))).stylize("$dim"))
        threading.Thread(target=self._find, args=(text,), daemon=True).start()

    def _find(self, text: str) -> None:
        """Find the path of a typed text, which may be quoted or escaped from where it was copied."""
        path, kind, problem = text, MISSING, ""
        stripped = text.strip()
        # As typed first: a name may really begin with a quote or end with a space.
        for meant in dict.fromkeys((text, stripped, *plainer(stripped))):
            try:
                kind = kind_of(os.path.expanduser(meant))
            except (OSError, ValueError) as error:
                problem = getattr(error, "strerror", "") or str(error)
                continue
            if kind != MISSING:
                path = meant
                break
        if kind == MISSING and self._unseen is not None and self._unseen(stripped):
            path, kind = stripped, _UNSEEN
        self.post_message(PathPicker._Found(text, path, kind, problem))

    def on_path_picker__found(self, message: _Found) -> None:
        if message.text != self.field.value:
            return  # the text has changed since
        if message.kind == MISSING:
            self._say_missing(message.text.strip(), message.problem)
        elif message.kind == _UNSEEN:
            self.post_message(PathPicker.Taken(message.path))
        elif message.kind == FOLDER:
            self.opened(True)
            path = message.path.rstrip("/") + "/"
            self.put(path)
            self.paths.focus()
        else:
            self._take(Item("", message.path, message.kind))

    def _say_missing(self, text: str, problem: str) -> None:
        self.opened(True)
        if problem:
            self.say_problem(
                _("{path} cannot be read: {why}.", path=one_line(text, 60), why=one_line(problem))
            )
            return
        folder, name = split_path(text)
        known = self.field.names.all if self.field.names is not None else []
        # difflib compares with every name, which in a huge folder would block the screen.
        names = [entry.name for entry in islice(known, 5000)]
        close = difflib.get_close_matches(name, names, n=1)
        if close:
            near = one_line(folder + close[0], 60)
            words = _("There is no {path}. Did you mean {near}?", path=one_line(text, 60), near=near)
        else:
            words = _("There is no {path}.", path=one_line(text, 60))
        self.say_problem(words)

    # Keys of the list

    @on(LongList.Highlighted, "#paths")
    def _highlighted(self, event: LongList.Highlighted) -> None:
        """Show the line under the cursor in the field, while the list has the focus."""
        event.stop()
        paths = self.paths
        if paths.has_focus and event.index < paths.count:
            self._follow(paths.item(event.index).path)

    def on_descendant_focus(self) -> None:
        paths = self.paths
        if paths.has_focus and paths.cursor is not None:
            self._follow(paths.item(paths.cursor).path)

    def _follow(self, path: str) -> None:
        # Without a Changed event, which would take the shown path for typed text and filter the list by it.
        with self.prevent(Input.Changed):
            self.field.put(path)

    @on(LongList.Selected, "#paths")
    def _selected(self, event: LongList.Selected) -> None:
        event.stop()
        if event.index < self.paths.count:
            self._take(self.paths.item(event.index))

    def _take(self, item: Item) -> None:
        if item.kind == "up":
            self._up()
        elif item.kind == FOLDER:
            self.put(item.path.rstrip("/") + "/")
        elif item.kind == BROKEN:
            self.say_problem(_("{path} is a broken link.", path=one_line(item.path, 60)))
        elif item.kind == OTHER:
            self.say_problem(_("{path} is a pipe or a device, not a file.", path=one_line(item.path, 60)))
        else:
            self.post_message(PathPicker.Taken(item.path))

    @on(PathList.Up)
    def _up(self) -> None:
        """Go to the parent folder, with the cursor on the folder that was left."""
        here = self.field.folder
        if here == os.path.dirname(here):
            return
        self._came_from = os.path.basename(here)
        self.put(short_path(os.path.dirname(here)).rstrip("/") + "/")

    def _leave_list(self, typed: str) -> None:
        """Return to the field with its typed text, followed by what was typed in the list."""
        self.screen.set_focus(self.field)
        if typed:
            self.put(self._typed + typed)
        else:
            with self.prevent(Input.Changed):
                self.field.put(self._typed)


def _named(folder: str) -> str:
    """Shorten a folder for a sentence; of a long path the end is kept, which distinguishes it."""
    shown = one_line(short_path(folder))
    return shown if len(shown) <= _NAMED else "…" + shown[1 - _NAMED :]
