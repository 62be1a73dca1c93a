"""The list of a folder's content: recent paths at the top, sizes and ages next to the names."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Key
from textual.message import Message

from tui_tuner.locales import _
from tui_tuner.text import format_bytes
from tui_tuner.ui.screen_words import fit_screen_column, format_age
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.widgets.paths.folder_listing import (
    BROKEN,
    FILE,
    FOLDER,
    OTHER,
    FileDetails,
    FolderEntry,
    is_entry_suited,
    read_path_details,
)

_SIZE, _AGE = 11, 14  # cells
_REST = 0.25  # seconds between two redraws for details


@dataclass(frozen=True)
class PathItem:
    """A line of the list. `path`: as typed; `place`: absolute, for its details."""

    shown: str
    path: str
    kind: str
    place: str = ""
    suited: bool = True
    note: str = ""


class PathList(LongList):
    """Letters typed here continue in the path field; Left and Backspace go up one folder."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,backspace", "up", show=False),
        Binding("right", "into", show=False),
        Binding("tab", "leave", show=False),
    ]

    class Up(Message):
        """The user wants the parent folder."""

    class _Known(Message):
        """Details of some items have become known."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, PathList._Known)

    def __init__(
        self, leave: Callable[[str], None], suffixes: tuple[str, ...] = (), id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.leave = leave  # called with the character that was typed here
        self.suffixes = suffixes
        self.leading: list[PathItem] = []
        self.entries: list[FolderEntry] = []
        self._folder, self._typed = "", ""  # the folder of the entries: absolute, and as typed
        self.details: dict[str, FileDetails | None] = {}
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._looking = self._again = False  # looking for details; and again when done

    def on_unmount(self) -> None:
        self._given_up.set()

    def show_paths(
        self, leading: list[PathItem], entries: list[FolderEntry], folder: str, typed: str, cursor: int | None
    ) -> None:
        """Show some lines, then a folder's entries, and look up their sizes and ages."""
        self.leading, self.entries, self._folder, self._typed = leading, entries, folder, typed
        self.show_items(len(leading) + len(entries), cursor, Content(""))
        self._start_details()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._start_details()

    def on_resize(self) -> None:  # after that of `LongList`
        self._start_details()

    def _start_details(self) -> None:
        """Look up sizes and ages of the visible lines."""
        with self._lock:
            # One thread at a time: on a slow drive, each scroll would start another.
            self._again = self._looking
            if self._looking or not self.is_mounted:
                return
            self._looking = True
        # Not a worker, for the same reason as in the path field
        threading.Thread(target=self._find_details, daemon=True).start()

    def get_item(self, index: int) -> PathItem:
        if index < len(self.leading):
            return self.leading[index]
        entry = self.entries[index - len(self.leading)]
        place = f"{self._folder.rstrip('/')}/{entry.name}"
        suited = is_entry_suited(entry, self.suffixes)
        return PathItem(entry.written_name, self._typed + entry.written_name, entry.kind, place, suited)

    def forget_details(self) -> None:
        """Forget details, as files may have changed."""
        self.details = {}

    def _find_details(self) -> None:
        last, new = time.monotonic(), False
        while not self._given_up.is_set():
            place = self._unknown_on_view()
            if not place:
                with self._lock:  # other lines may have become visible meanwhile
                    self._looking, self._again = self._again, False
                    if self._looking:
                        continue
                break
            self.details[place], new = read_path_details(place), True
            if time.monotonic() - last > _REST:
                last, new = time.monotonic(), False
                self.post_message(PathList._Known())
        if new:
            self.post_message(PathList._Known())

    def _unknown_on_view(self) -> str:
        for index in self.on_view:
            with contextlib.suppress(IndexError):  # the list changed meanwhile
                place = self.get_item(index).place
                if place and place not in self.details:
                    return place
        return ""

    def on_path_list__known(self) -> None:
        self.refresh()
        self._start_details()

    def draw_item(self, index: int, width: int) -> list[Content]:
        item = self.get_item(index)
        size, when = "", ""
        details = self.details.get(item.place)
        if details is not None and item.kind in (FILE, FOLDER):
            size = format_bytes(details.size) if item.kind == FILE else ""
            when = format_age(details.changed)
        note = item.note or _NOTES.get(item.kind, "")
        right = f"{note or size:>{_SIZE}}  {when:>{_AGE}}"
        cells = max(12, width - len(right) - 1)
        colour = "$dim" if not item.suited else "$primary" if item.kind == FOLDER else ""
        return [Content.assemble((fit_screen_column(item.shown, cells), colour), " ", (right, "$dim"))]

    # Keys

    def on_key(self, event: Key) -> None:
        if event.is_printable and event.character:
            event.stop()
            event.prevent_default()
            self.leave(event.character)  # not by a message: the next key may arrive before it

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Treat every printable character as part of a name, never as a key of the screen."""
        return character is not None and character.isprintable()

    def action_move(self, step: int) -> None:
        if step == -1 and not self.cursor and not self.awaits:
            self.leave("")
        else:
            super().action_move(step)

    def action_up(self) -> None:
        """Go to the parent folder."""
        self.post_message(PathList.Up())

    def action_into(self) -> None:
        """Open the folder under the cursor."""
        if self.cursor is not None and self.get_item(self.cursor).kind == FOLDER:
            self.action_select()

    def action_leave(self) -> None:
        """Return to the path field."""
        self.leave("")


_NOTES = {BROKEN: _("broken link"), OTHER: _("not a file")}
