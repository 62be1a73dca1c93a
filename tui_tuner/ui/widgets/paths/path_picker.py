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

from tui_tuner.config.paths import list_path_readings
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line
from tui_tuner.ui import recent_paths
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.widgets.paths.folder_listing import (
    BROKEN,
    FILE,
    FOLDER,
    MISSING,
    OTHER,
    FolderEntry,
    FolderNames,
    find_path_kind,
    fold_home,
    is_entry_suited,
    split_typed_path,
)
from tui_tuner.ui.widgets.paths.path_input import PathInput
from tui_tuner.ui.widgets.paths.path_list import PathItem, PathList

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
        def __init__(self, items: list[PathItem]) -> None:
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
        self._recent: list[PathItem] = []

    def compose(self) -> ComposeResult:
        with Horizontal():
            if self._label:
                yield Static(Content(self._label + "  "))
            yield PathInput(self._start, self._placeholder, id="path")
        yield Static(id="where")
        yield PathList(self._leave_list, self._suffixes, id="paths")

    def on_mount(self) -> None:
        self.path_list.await_items(Content(""))
        threading.Thread(target=self._read_recent, daemon=True).start()

    @property
    def path_field(self) -> PathInput:
        return self.query_one(PathInput)

    @property
    def path_list(self) -> PathList:
        return self.query_one(PathList)

    def show_words(self, words: Content) -> None:
        """Show a line above the list."""
        self.query_one("#where", Static).update(words)

    def say_problem(self, words: str) -> None:
        """Show a problem of the path above the list."""
        self.show_words(Content.assemble(("✗ ", "$error"), (one_line(words), "$error")))

    def put_path(self, path: str) -> None:
        """Put a path into the field and list its folder."""
        with self.prevent(Input.Changed):
            self.path_field.put_path(path)
        self.path_field.read_typed_folder()
        self._show_typed(path)

    def show_beside(self, path: str) -> None:
        """List the folder that contains a path, with the cursor on it; without a path, the working folder."""
        folder, name = os.path.split(os.path.abspath(path)) if path else (os.getcwd(), "")
        self._came_from = name
        self.put_path(fold_home(folder).rstrip("/") + "/")

    def set_open(self, yes: bool) -> None:
        """Show or hide the list."""
        self.set_class(yes, "-open")

    # The list

    def _read_recent(self) -> None:
        items = []
        for path in recent_paths.list_recent_paths(self._kind):
            try:
                kind = find_path_kind(path)
            except (OSError, ValueError):
                continue
            entry = FolderEntry(os.path.basename(path), kind)
            short = fold_home(path)
            suited = is_entry_suited(entry, self._suffixes)
            items.append(PathItem(f"↺ {short}", short, kind, path, suited))
        self.post_message(PathPicker._Recent(items))

    def on_path_picker__recent(self, message: _Recent) -> None:
        self._recent = message.items
        if self.path_field.names is not None and not self.path_list.has_focus:
            self._fill_list()

    @on(PathInput.Reading)
    def _show_reading(self, message: PathInput.Reading) -> None:
        if message.folder == self.path_field.folder:
            words = _(
                "Reading {folder}: {n:,} names so far…",
                folder=_shorten_folder(message.folder),
                n=message.count,
            )
            self.show_words(Content(words).stylize("$dim"))

    @on(PathInput.Listed)
    def _show_listed(self, message: PathInput.Listed) -> None:
        self.path_list.forget_details()
        self._fill_list()

    @on(Input.Changed)
    def _take_typed(self, event: Input.Changed) -> None:
        self._show_typed(event.value)

    def _show_typed(self, typed: str) -> None:
        self._typed = typed
        field = self.path_field
        if field.names is None:
            if not self.path_list.awaits:
                self.path_list.await_items(Content(""))
                words = _("Reading {folder}…", folder=_shorten_folder(field.folder))
                self.show_words(Content(words).stylize("$dim"))
        else:
            self._fill_list()

    def _make_leading(self) -> list[PathItem]:
        """Return the lines above those of the folder."""
        folder, name = split_typed_path(self._typed)
        items = []
        if self._typed in (self._start, "") or not folder:
            wanted = "" if self._typed == self._start else name.casefold()
            fit = (one for one in self._recent if wanted in os.path.basename(one.place).casefold())
            items += list(islice(fit, _MOST_RECENT))
        here = self.path_field.folder
        if not name:
            if self._folders:
                items.append(PathItem(_("./  (choose this folder)"), here, "here"))
            if here != os.path.dirname(here):
                items.append(PathItem("../", fold_home(os.path.dirname(here)) + "/", "up"))
        return items

    def _fill_list(self) -> None:
        """List what matches the typed text, with the cursor on the first match."""
        field = self.path_field
        leading = self._make_leading()
        if field.problem:
            why = one_line(field.problem)
            self.path_list.show_paths(leading, [], field.folder, "", None)
            self.say_problem(
                _("{folder} cannot be read: {why}.", folder=_shorten_folder(field.folder), why=why)
            )
            return
        folder, name = split_typed_path(self._typed)
        fit = field.names.list_fitting(name) if field.names is not None else []
        # A recent path at the top gets the cursor; `../` and `./` do not, or Enter would leave the folder.
        at = len(leading) if not any(one.kind in (FILE, FOLDER) for one in leading) else 0
        for place, entry in enumerate(fit if self._came_from else ()):
            if entry.name == self._came_from:
                at = len(leading) + place
        self._came_from = ""
        self.path_list.show_paths(leading, fit, field.folder, folder, at)
        self._say_where(len(fit))

    def _say_where(self, fit: int) -> None:
        names = self.path_field.names or FolderNames([])
        folder = _shorten_folder(self.path_field.folder)
        if not names.all:
            words = _("{folder} is empty.", folder=folder)
        elif not names.shown and not fit:
            words = _("{folder} has only hidden names: type a dot to see them.", folder=folder)
        elif not fit:
            words = _("Nothing in {folder} matches.", folder=folder)
        else:
            of = len(names.all if split_typed_path(self._typed)[1].startswith(".") else names.shown)
            if fit == of:
                words = _n(
                    "{count:,} name in {folder}", "{count:,} names in {folder}", fit, folder=folder, count=fit
                )
            else:
                words = _("{fit:,} of {count:,} names in {folder} match", folder=folder, fit=fit, count=of)
        self.show_words(Content(words).stylize("$dim"))

    # Keys of the field

    @on(PathInput.Completed)
    def _enter_list(self, message: PathInput.Completed) -> None:
        if message.stuck and self.path_list.count and self.has_class("-open"):
            message.stop()
            self.path_list.focus()

    def key_down(self) -> None:
        if self.path_field.has_focus and self.has_class("-open"):
            self.path_list.focus()

    @on(Input.Submitted)
    def _take_entered(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value
        if not text.strip():
            if self.path_list.count and self.has_class("-open"):
                self.path_list.focus()
            return
        # A name that the list shows as a file exists; anything else is looked up in a thread.
        name, names = split_typed_path(text)[1], self.path_field.names
        if name and names is not None and any(one.name == name and one.kind == FILE for one in names.all):
            self.post_message(PathPicker.Taken(text))
            return
        self.show_words(Content(_("Looking for {path}…", path=one_line(text, 60))).stylize("$dim"))
        threading.Thread(target=self._find_typed, args=(text,), daemon=True).start()

    def _find_typed(self, text: str) -> None:
        """Find the path of a typed text, which may be quoted or escaped from where it was copied."""
        path, kind, problem = text, MISSING, ""
        stripped = text.strip()
        # As typed first: a name may really begin with a quote or end with a space.
        for meant in dict.fromkeys((text, stripped, *list_path_readings(stripped))):
            try:
                kind = find_path_kind(os.path.expanduser(meant))
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
        if message.text != self.path_field.value:
            return  # the text has changed since
        if message.kind == MISSING:
            self._say_missing(message.text.strip(), message.problem)
        elif message.kind == _UNSEEN:
            self.post_message(PathPicker.Taken(message.path))
        elif message.kind == FOLDER:
            self.set_open(True)
            path = message.path.rstrip("/") + "/"
            self.put_path(path)
            self.path_list.focus()
        else:
            self._take_item(PathItem("", message.path, message.kind))

    def _say_missing(self, text: str, problem: str) -> None:
        self.set_open(True)
        if problem:
            self.say_problem(
                _("{path} cannot be read: {why}.", path=one_line(text, 60), why=one_line(problem))
            )
            return
        folder, name = split_typed_path(text)
        known = self.path_field.names.all if self.path_field.names is not None else []
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
    def _show_highlighted(self, event: LongList.Highlighted) -> None:
        """Show the line under the cursor in the field, while the list has the focus."""
        event.stop()
        paths = self.path_list
        if paths.has_focus and event.index < paths.count:
            self._show_in_field(paths.get_item(event.index).path)

    def on_descendant_focus(self) -> None:
        paths = self.path_list
        if paths.has_focus and paths.cursor is not None:
            self._show_in_field(paths.get_item(paths.cursor).path)

    def _show_in_field(self, path: str) -> None:
        # Without a Changed event, which would take the shown path for typed text and filter the list by it.
        with self.prevent(Input.Changed):
            self.path_field.put_path(path)

    @on(LongList.Selected, "#paths")
    def _take_selected(self, event: LongList.Selected) -> None:
        event.stop()
        if event.index < self.path_list.count:
            self._take_item(self.path_list.get_item(event.index))

    def _take_item(self, item: PathItem) -> None:
        if item.kind == "up":
            self._go_up()
        elif item.kind == FOLDER:
            self.put_path(item.path.rstrip("/") + "/")
        elif item.kind == BROKEN:
            self.say_problem(_("{path} is a broken link.", path=one_line(item.path, 60)))
        elif item.kind == OTHER:
            self.say_problem(_("{path} is a pipe or a device, not a file.", path=one_line(item.path, 60)))
        else:
            self.post_message(PathPicker.Taken(item.path))

    @on(PathList.Up)
    def _go_up(self) -> None:
        """Go to the parent folder, with the cursor on the folder that was left."""
        here = self.path_field.folder
        if here == os.path.dirname(here):
            return
        self._came_from = os.path.basename(here)
        self.put_path(fold_home(os.path.dirname(here)).rstrip("/") + "/")

    def _leave_list(self, typed: str) -> None:
        """Return to the field with its typed text, followed by what was typed in the list."""
        self.screen.set_focus(self.path_field)
        if typed:
            self.put_path(self._typed + typed)
        else:
            with self.prevent(Input.Changed):
                self.path_field.put_path(self._typed)


def _shorten_folder(folder: str) -> str:
    """Shorten a folder for a sentence; of a long path the end is kept, which distinguishes it."""
    shown = one_line(fold_home(folder))
    return shown if len(shown) <= _NAMED else "…" + shown[1 - _NAMED :]
