"""A path field with completion by Tab as in a shell. Folders are read in threads, so none blocks."""

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
from tui_tuner.ui.widgets.paths.folder_listing import (
    FolderEntry,
    FolderNames,
    find_real_folder,
    read_folder,
    split_typed_path,
)


class _PathHighlighter(Highlighter):
    """Shows any path safely, one character for each of its characters, as the cursor counts them."""

    def __call__(self, text: str | Text) -> Text:
        plain = text if isinstance(text, str) else text.plain
        shown = one_line(plain)
        if len(shown) != len(plain):
            marks = (one_line(character) for character in plain)
            shown = "".join(mark if len(mark) == 1 else "\ufffd" for mark in marks)
        return Text(shown, no_wrap=True, overflow="ignore", end="")

    def highlight(self, text: Text) -> None:
        """Do nothing: `__call__` builds the text."""


class _PathSuggester(Suggester):
    def __init__(self, field: PathInput) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._field = field

    async def get_suggestion(self, value: str) -> str | None:
        return self._field.suggestion_for(value)


class PathInput(Input):
    """Completes paths and reports the content of the typed folder (`Listed`, `Reading`)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", show=False),
        Binding("end,ctrl+e", "end_or_accept", show=False),
    ]

    class Listed(Message):
        """The folder was read, or could not be read because of `problem`."""

        def __init__(self, folder: str, names: FolderNames, problem: str = "") -> None:
            super().__init__()
            self.folder, self.names, self.problem = folder, names, problem

    class Reading(Message):
        """The number of names found in a folder so far."""

        def __init__(self, folder: str, count: int) -> None:
            super().__init__()
            self.folder, self.count = folder, count

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, PathInput.Reading)

    class Completed(Message):
        """Tab was pressed; `stuck`: nothing was completed."""

        def __init__(self, stuck: bool) -> None:
            super().__init__()
            self.stuck = stuck

    def __init__(self, value: str = "", placeholder: str = "", id: str | None = None) -> None:
        super().__init__(
            value,
            placeholder,
            highlighter=_PathHighlighter(),
            suggester=_PathSuggester(self),
            id=id,
            compact=True,
            select_on_focus=False,
        )
        self.folder = ""  # absolute path of the folder that was or is being read
        self.names: FolderNames | None = None  # None until it was read
        self.problem = ""  # why the folder could not be read
        self._complete_at: str | None = None  # the text for which Tab waits until its folder is read
        self._submit_at: str | None = None  # the text for which Enter waits, after Tab
        self._given_up = threading.Event()

    def on_mount(self) -> None:
        self.read_typed_folder()

    def on_unmount(self) -> None:
        self._given_up.set()

    # The folder

    def read_typed_folder(self, again: bool = False) -> None:
        """Read the typed folder, unless it was read already."""
        try:
            folder = find_real_folder(split_typed_path(self.value)[0])
        except (OSError, ValueError):
            return
        if folder == self.folder and not again:
            return
        self._given_up.set()
        self.folder, self.names, self._given_up = folder, None, threading.Event()
        # Not a worker: one that hangs on an unreachable file system would keep the app from closing.
        work = threading.Thread(target=self._read_in_thread, args=(folder, self._given_up), daemon=True)
        work.start()

    def _read_in_thread(self, folder: str, given_up: threading.Event) -> None:
        entries: list[FolderEntry] = []
        problem = ""

        def report_count(count: int) -> None:
            self._post_unless_given_up(given_up, PathInput.Reading(folder, count))

        try:
            entries = read_folder(folder, report_count, given_up.is_set)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", "") or str(error)
        self._post_unless_given_up(given_up, PathInput.Listed(folder, FolderNames(entries), problem))

    def _post_unless_given_up(self, given_up: threading.Event, message: Message) -> None:
        if not given_up.is_set():
            self.post_message(message)

    def on_path_input_listed(self, message: Listed) -> None:
        # A slow folder may answer after the user has typed another one.
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
        self.read_typed_folder()

    # Completing

    def suggestion_for(self, value: str) -> str | None:
        """Return the first entry that starts with the typed text, if it can be shown unchanged."""
        folder, name = split_typed_path(value)
        if not name or self.names is None or find_real_folder(folder) != self.folder:
            return None
        entry = self.names.find_first(name)
        found = folder + entry.written_name if entry is not None else value
        return found if sanitize(found) == found and found != value else None

    def put_path(self, value: str) -> None:
        """Put a path into the field, with the cursor at its end."""
        self.value = value
        self.cursor_position = len(value)

    def action_complete(self) -> None:
        """Complete the typed text as far as possible."""
        if not self.cursor_at_end:
            self.cursor_position = len(self.value)
        self.read_typed_folder()
        if self.names is None:
            # Tab waits for the folder and completes then, unless the text has changed until then.
            self._complete_at = self.value
            return
        folder, name = split_typed_path(self.value)
        whole = folder + self.names.complete_name(name)
        stuck = whole == self.value
        if not stuck:
            self.put_path(whole)
        self.post_message(PathInput.Completed(stuck))

    async def action_submit(self) -> None:
        """Submit the text; if Tab waits for its folder, after the completion."""
        if self._complete_at is not None and self._complete_at == self.value:
            self._submit_at = self.value
        else:
            await super().action_submit()

    def action_end_or_accept(self) -> None:
        """Move to the end; from there, accept the suggestion."""
        if self.cursor_at_end:
            self.action_cursor_right()
        else:
            self.action_end()

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Treat every printable character as text, never as a key of the screen."""
        return character is not None and character.isprintable()
