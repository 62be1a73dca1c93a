"""A path field: Tab completes as a shell does. Folders are read in threads: a slow one holds nothing up."""

from __future__ import annotations

import threading
from typing import ClassVar

from rich.highlighter import Highlighter
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.suggester import Suggester, SuggestionReady
from textual.widgets import Input

from tui_tuner.text import one_line, sanitize
from tui_tuner.ui.widgets.paths.listing import (
    Entry,
    Names,
    read_folder,
    real_folder,
    split_path,
)


class _Shown(Highlighter):
    """Shows any path, safely, a character for a character: the field holds it as it is."""

    def __call__(self, text: str | Text) -> Text:
        plain = text if isinstance(text, str) else text.plain
        shown = one_line(plain)
        if len(shown) != len(plain):
            marks = (one_line(character) for character in plain)
            shown = "".join(mark if len(mark) == 1 else "\ufffd" for mark in marks)
        return Text(shown, no_wrap=True, overflow="ignore", end="")

    def highlight(self, text: Text) -> None:
        """Nothing: the text is made anew."""


class _Suggested(Suggester):
    def __init__(self, field: PathInput) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._field = field

    async def get_suggestion(self, value: str) -> str | None:
        return self._field.suggestion_for(value)


class PathInput(Input):
    """Completes paths, and tells what is in the folder that is typed (`Listed`, `Reading`)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", show=False),
        Binding("end,ctrl+e", "end_or_accept", show=False),
    ]

    class Listed(Message):
        """The folder was read; `problem` says why not."""

        def __init__(self, folder: str, names: Names, problem: str = "") -> None:
            super().__init__()
            self.folder, self.names, self.problem = folder, names, problem

    class Reading(Message):
        """So many names were found in a folder so far."""

        def __init__(self, folder: str, count: int) -> None:
            super().__init__()
            self.folder, self.count = folder, count

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, PathInput.Reading)

    class Completed(Message):
        """Tab was pressed; `stuck`: there was nothing more to complete."""

        def __init__(self, stuck: bool) -> None:
            super().__init__()
            self.stuck = stuck

    def __init__(self, value: str = "", placeholder: str = "", id: str | None = None) -> None:
        super().__init__(
            value,
            placeholder,
            highlighter=_Shown(),
            suggester=_Suggested(self),
            id=id,
            compact=True,
            select_on_focus=False,
        )
        self.folder = ""  # absolute, that was read or is being read
        self.names: Names | None = None  # None until it was read
        self.problem = ""  # why the folder could not be read
        self._complete_at: str | None = None  # the text at which Tab was pressed while its folder was read
        self._submit_at: str | None = None  # the same of Enter after it
        self._given_up = threading.Event()

    def on_mount(self) -> None:
        self.look()

    def on_unmount(self) -> None:
        self._given_up.set()

    # The folder

    def look(self, again: bool = False) -> None:
        """Read the folder that is typed, unless that was done."""
        try:
            folder = real_folder(split_path(self.value)[0])
        except (OSError, ValueError):
            return
        if folder == self.folder and not again:
            return
        self._given_up.set()
        self.folder, self.names, self._given_up = folder, None, threading.Event()
        # Not a worker: one that hangs on a file system that is away would hold up the way out of the app.
        work = threading.Thread(target=self._read, args=(folder, self._given_up), daemon=True)
        work.start()

    def _read(self, folder: str, given_up: threading.Event) -> None:
        entries: list[Entry] = []
        problem = ""

        def said(count: int) -> None:
            self._tell(given_up, PathInput.Reading(folder, count))

        try:
            entries = read_folder(folder, said, given_up.is_set)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", "") or str(error)
        self._tell(given_up, PathInput.Listed(folder, Names(entries), problem))

    def _tell(self, given_up: threading.Event, message: Message) -> None:
        if not given_up.is_set():
            self.post_message(message)

    def on_path_input_listed(self, message: Listed) -> None:
        if message.folder != self.folder:
            message.stop()
            return
        self.names, self.problem = message.names, message.problem
        asked, self._complete_at = self._complete_at, None
        if asked is not None and asked == self.value:
            self.action_complete()
            if self._submit_at == asked:
                self.post_message(self.Submitted(self, self.value, None))
        self._submit_at = None
        suggestion = self.suggestion_for(self.value)
        if suggestion:
            self.post_message(SuggestionReady(self.value, suggestion))

    def on_input_changed(self) -> None:
        self.look()

    # Completing

    def suggestion_for(self, value: str) -> str | None:
        """The first entry that begins with what is typed, if it can be shown as it is."""
        folder, name = split_path(value)
        if not name or self.names is None or real_folder(folder) != self.folder:
            return None
        entry = self.names.first(name)
        found = folder + entry.written if entry is not None else value
        return found if sanitize(found) == found and found != value else None

    def put(self, value: str) -> None:
        """Put a path into the field, the cursor behind it."""
        self.value = value
        self.cursor_position = len(value)

    def action_complete(self) -> None:
        """Complete what is typed, as far as it can be told."""
        if not self.cursor_at_end:
            self.cursor_position = len(self.value)
        self.look()
        if self.names is None:
            self._complete_at = self.value
            return
        folder, name = split_path(self.value)
        whole = folder + self.names.completed(name)
        stuck = whole == self.value
        if not stuck:
            self.put(whole)
        self.post_message(PathInput.Completed(stuck))

    async def action_submit(self) -> None:
        """Take what is typed, once it is completed where Tab asked for that."""
        if self._complete_at is not None and self._complete_at == self.value:
            self._submit_at = self.value
        else:
            await super().action_submit()

    def action_end_or_accept(self) -> None:
        """To the end; from there, take the suggestion."""
        if self.cursor_at_end:
            self.action_cursor_right()
        else:
            self.action_end()

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Whatever can be printed is typed, and is never a command."""
        return character is not None and character.isprintable()
