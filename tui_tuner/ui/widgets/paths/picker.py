"""A path field, and below it what is there: every part of choosing a file, for a screen or a dialog."""

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

_UNSEEN = "unseen"  # no path here, and may be taken
_NAMED = 40  # characters of a folder in a sentence
_MOST_RECENT = 5  # lines above a folder


class PathPicker(Vertical):
    """Tells what was chosen (`Taken`); the list is on view while `open` is set.

    Args:
        suffixes: Of files that are looked for, in small letters; others are dimmed. None: any.
        kind: Of the paths chosen before that are shown at the top.
        unseen: Whether a text may be taken that is no path here, such as a name on the hub.
        folders: A folder may be taken, too.
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
        """A path, or a text that is none here, was chosen."""

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
        self._typed = start  # while the cursor is in the list, the field shows its line
        self._came_from = ""  # the name of the folder that was left upwards
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
        """One line above the list."""
        self.query_one("#where", Static).update(words)

    def say_problem(self, words: str) -> None:
        """What is wrong with the path."""
        self.say(Content.assemble(("✗ ", "$error"), (one_line(words), "$error")))

    def put(self, path: str) -> None:
        """Have a path in the field, and show what is in its folder."""
        with self.prevent(Input.Changed):
            self.field.put(path)
        self.field.look()
        self._show_typed(path)

    def show_beside(self, path: str) -> None:
        """Show what is beside a path, the cursor on it; without one, what is in the working folder."""
        folder, name = os.path.split(os.path.abspath(path)) if path else (os.getcwd(), "")
        self._came_from = name
        self.put(short_path(folder).rstrip("/") + "/")

    def opened(self, yes: bool) -> None:
        """Show the list, or only the field."""
        self.set_class(yes, "-open")

    # What is there

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
        """The lines above those of the folder."""
        folder, name = split_path(self._typed)
        items = []
        if self._typed in (self._start, "") or not folder:
            wanted = "" if self._typed == self._start else name.casefold()
            fit = (one for one in self._recent if wanted in os.path.basename(one.place).casefold())
            items += list(islice(fit, _MOST_RECENT))
        here = self.field.folder
        if not name:
            if self._folders:
                items.append(Item(_("./  (take this folder)"), here, "here"))
            if here != os.path.dirname(here):
                items.append(Item("../", short_path(os.path.dirname(here)) + "/", "up"))
        return items

    def _fill(self) -> None:
        """Show what fits the typed text, the cursor on the first that does."""
        field = self.field
        leading = self._leading()
        if field.problem:
            why = one_line(field.problem)
            self.paths.show_paths(leading, [], field.folder, "", None)
            self.say_problem(_("{folder} cannot be read: {why}.", folder=_named(field.folder), why=why))
            return
        folder, name = split_path(self._typed)
        fit = field.names.fitting(name) if field.names is not None else []
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
            words = _("{folder} holds only hidden names: type a dot to see them.", folder=folder)
        elif not fit:
            words = _("Nothing in {folder} fits.", folder=folder)
        else:
            of = len(names.all if split_path(self._typed)[1].startswith(".") else names.shown)
            if fit == of:
                words = _n(
                    "{count:,} name in {folder}", "{count:,} names in {folder}", fit, folder=folder, count=fit
                )
            else:
                words = _("{fit:,} of {count:,} names in {folder} fit", folder=folder, fit=fit, count=of)
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
        name, names = split_path(text)[1], self.field.names
        if name and names is not None and any(one.name == name and one.kind == FILE for one in names.all):
            self.post_message(PathPicker.Taken(text))
            return
        self.say(Content(_("Looking for {path}…", path=one_line(text, 60))).stylize("$dim"))
        threading.Thread(target=self._find, args=(text,), daemon=True).start()

    def _find(self, text: str) -> None:
        """What a typed text leads to; it may be quoted or escaped, as it is where it was copied from."""
        path, kind, problem = text, MISSING, ""
        stripped = text.strip()
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
            return  # it was typed on
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
        """The field shows the line under the cursor, while the cursor is in the list."""
        event.stop()
        paths = self.paths
        if paths.has_focus and event.index < paths.count:
            self._follow(paths.item(event.index).path)

    def on_descendant_focus(self) -> None:
        paths = self.paths
        if paths.has_focus and paths.cursor is not None:
            self._follow(paths.item(paths.cursor).path)

    def _follow(self, path: str) -> None:
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
            self.say_problem(_("{path} is a link that leads nowhere.", path=one_line(item.path, 60)))
        elif item.kind == OTHER:
            self.say_problem(_("{path} is a pipe or a device, and no file.", path=one_line(item.path, 60)))
        else:
            self.post_message(PathPicker.Taken(item.path))

    @on(PathList.Up)
    def _up(self) -> None:
        """To the folder above, the cursor on the one that was left."""
        here = self.field.folder
        if here == os.path.dirname(here):
            return
        self._came_from = os.path.basename(here)
        self.put(short_path(os.path.dirname(here)).rstrip("/") + "/")

    def _leave_list(self, typed: str) -> None:
        """Back to the field, which has again what was typed, and this behind it."""
        self.screen.set_focus(self.field)
        if typed:
            self.put(self._typed + typed)
        else:
            with self.prevent(Input.Changed):
                self.field.put(self._typed)


def _named(folder: str) -> str:
    """A folder in a sentence; of a long path the end, which tells it from others."""
    shown = one_line(short_path(folder))
    return shown if len(shown) <= _NAMED else "…" + shown[1 - _NAMED :]
