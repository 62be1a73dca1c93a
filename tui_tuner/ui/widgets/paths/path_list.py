"""What is in a folder, as a list: paths chosen before at its top, sizes and ages beside the names."""

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
from tui_tuner.text import human_bytes
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.widgets.paths.listing import (
    BROKEN,
    FILE,
    FOLDER,
    OTHER,
    Details,
    Entry,
    details_of,
    is_suited,
)
from tui_tuner.ui.words import age, column

_SIZE, _AGE = 11, 14  # cells
_REST = 0.25  # seconds between two redraws for details


@dataclass(frozen=True)
class Item:
    """A line of the list. `path`: as it may be typed; `place`: absolute, for its details."""

    shown: str
    path: str
    kind: str
    place: str = ""
    suited: bool = True
    note: str = ""


class PathList(LongList):
    """Letters typed here go on in the path field; Left and Backspace go up one folder."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,backspace", "up", show=False),
        Binding("right", "into", show=False),
        Binding("tab", "leave", show=False),
    ]

    class Up(Message):
        """The folder above is wanted."""

    class _Known(Message):
        """Details of some items are known now."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, PathList._Known)

    def __init__(
        self, leave: Callable[[str], None], suffixes: tuple[str, ...] = (), id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.leave = leave  # for the path field, with what was typed here
        self.suffixes = suffixes
        self.leading: list[Item] = []
        self.entries: list[Entry] = []
        self._folder, self._typed = "", ""  # of the entries: absolute, and as it was typed
        self.details: dict[str, Details | None] = {}
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._looking = self._again = False  # for details; and once more when that is done

    def on_unmount(self) -> None:
        self._given_up.set()

    def show_paths(
        self, leading: list[Item], entries: list[Entry], folder: str, typed: str, cursor: int | None
    ) -> None:
        """Show some lines, then a folder's entries, and find out how large and how old those are."""
        self.leading, self.entries, self._folder, self._typed = leading, entries, folder, typed
        self.show_items(len(leading) + len(entries), cursor, Content(""))
        self._look()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._look()

    def on_resize(self) -> None:  # after that of `LongList`
        self._look()

    def _look(self) -> None:
        """Find out how large and how old what is on view is."""
        with self._lock:
            self._again = self._looking
            if self._looking or not self.is_mounted:
                return
            self._looking = True
        # Not a worker, as in the path field
        threading.Thread(target=self._find_details, daemon=True).start()

    def item(self, index: int) -> Item:
        """A line of the list."""
        if index < len(self.leading):
            return self.leading[index]
        entry = self.entries[index - len(self.leading)]
        place = f"{self._folder.rstrip('/')}/{entry.name}"
        suited = is_suited(entry, self.suffixes)
        return Item(entry.written, self._typed + entry.written, entry.kind, place, suited)

    def forget(self) -> None:
        """What was known of files may have changed."""
        self.details = {}

    def _find_details(self) -> None:
        last, new = time.monotonic(), False
        while not self._given_up.is_set():
            place = self._unknown_on_view()
            if not place:
                with self._lock:  # something else may have come on view meanwhile
                    self._looking, self._again = self._again, False
                    if self._looking:
                        continue
                break
            self.details[place], new = details_of(place), True
            if time.monotonic() - last > _REST:
                last, new = time.monotonic(), False
                self.post_message(PathList._Known())
        if new:
            self.post_message(PathList._Known())

    def _unknown_on_view(self) -> str:
        for index in self.on_view:
            with contextlib.suppress(IndexError):  # the lines are others meanwhile
                place = self.item(index).place
                if place and place not in self.details:
                    return place
        return ""

    def on_path_list__known(self) -> None:
        self.refresh()
        self._look()

    def draw_item(self, index: int, width: int) -> list[Content]:
        item = self.item(index)
        size, when = "", ""
        details = self.details.get(item.place)
        if details is not None and item.kind in (FILE, FOLDER):
            size = human_bytes(details.size) if item.kind == FILE else ""
            when = age(details.changed)
        note = item.note or _NOTES.get(item.kind, "")
        right = f"{note or size:>{_SIZE}}  {when:>{_AGE}}"
        cells = max(12, width - len(right) - 1)
        colour = "$dim" if not item.suited else "$primary" if item.kind == FOLDER else ""
        return [Content.assemble((column(item.shown, cells), colour), " ", (right, "$dim"))]

    # Keys

    def on_key(self, event: Key) -> None:
        if event.is_printable and event.character:
            event.stop()
            event.prevent_default()
            self.leave(event.character)  # at once: the next key may be on its way already

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """What is typed here is a name, and no command."""
        return character is not None and character.isprintable()

    def action_move(self, step: int) -> None:
        if step == -1 and not self.cursor and not self.awaits:
            self.leave("")
        else:
            super().action_move(step)

    def action_up(self) -> None:
        """To the folder above."""
        self.post_message(PathList.Up())

    def action_into(self) -> None:
        """Into the folder under the cursor."""
        if self.cursor is not None and self.item(self.cursor).kind == FOLDER:
            self.action_select()

    def action_leave(self) -> None:
        """Back to the path field."""
        self.leave("")


_NOTES = {BROKEN: _("leads nowhere"), OTHER: _("not a file")}
