"""A dialog to choose a file, and the files or models that can be chosen for a field of the settings."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui_tuner.locales import N_, _
from tui_tuner.ui.form_values import find_draft_value
from tui_tuner.ui.recent_paths import note_recent_path
from tui_tuner.ui.screen_words import mark_placeholder_value, render_marked_sentence
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.paths.folder_listing import DATA_SUFFIXES
from tui_tuner.ui.widgets.paths.path_picker import PathPicker


class FileDialog(ModalScreen[str | None]):
    """Gives the absolute path of an existing file; None if none was chosen.

    Args:
        start: The first content of the field: a folder to start in (with a slash at the end), or a file.
        suffixes: File name endings to look for, such as `.yaml`; other files are dimmed but can be chosen.
        recent: The kind of files: recently chosen files of this kind are listed first, and the choice is
            added to them.
        folders: Whether a folder can be chosen, too.
        unseen: Returns whether a text that is not a path here is valid, such as a data set of a hub.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss_none", _("Cancel"))]
    HELP_TEXT = _(
        "Type a path: Tab completes it, → accepts the suggestion, Enter opens it.\n"
        "↓ goes to the list. There Enter opens a folder or chooses a file, ← goes up one folder.\n"
        "↺ marks recently chosen files. Type a dot to see hidden files."
    )

    def __init__(
        self,
        title: str,
        start: str = "",
        suffixes: tuple[str, ...] | list[str] = (),
        recent: str = "data",
        *,
        folders: bool = False,
        unseen: Callable[[str], bool] | None = None,
    ) -> None:
        super().__init__()
        self._unseen = unseen
        self._title, self._start, self._kind, self._folders = title, start, recent, folders
        self._suffixes = tuple(suffix.lower() for suffix in suffixes)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = Content(self._title)
            yield PathPicker(
                self._start, self._suffixes, self._kind, folders=self._folders, unseen=self._unseen
            )
            words = _(
                "{tab} complete  {down} list  {left} up  {enter} choose  {esc} cancel",
                tab=mark_placeholder_value("Tab"),
                down=mark_placeholder_value("↓"),
                left=mark_placeholder_value("←"),
                enter=mark_placeholder_value("Enter"),
                esc=mark_placeholder_value("Esc"),
            )
            yield Static(render_marked_sentence(words, "$dim"), id="keys")

    def on_mount(self) -> None:
        picker = self.query_one(PathPicker)
        picker.set_open(True)
        picker.path_field.focus()

    @on(PathPicker.Taken)
    def _dismiss_with_file(self, message: PathPicker.Taken) -> None:
        path = os.path.abspath(os.path.expanduser(message.path))
        # A hub name such as `org/name` would otherwise become a path in this folder.
        if self._unseen is not None and not os.path.exists(path):
            self.dismiss(message.path)
            return
        # In a thread: noting it writes to disk, and the dialog closes at once.
        threading.Thread(target=note_recent_path, args=(self._kind, path), daemon=True).start()
        self.dismiss(path)

    def action_dismiss_none(self) -> None:
        self.dismiss(None)


# Fields of the settings that hold a path or a model

MODEL = "model.name"
Taken = Callable[[Mapping[str, Any]], Awaitable[None]]  # values, by the dotted names of their fields


class FileChoice(NamedTuple):
    """The files that fit a field: a dialog title, file name endings, and the kind in the recent list."""

    title: str
    suffixes: tuple[str, ...]
    recent: str
    folders: bool = False


FILES: dict[str, FileChoice] = {
    "data.path": FileChoice(N_("Data"), DATA_SUFFIXES, "data", True),
    "data.validation": FileChoice(N_("Held-out rows"), DATA_SUFFIXES, "data"),
    "data.cleaning.phrases": FileChoice(N_("Phrases of refusals"), (".yaml", ".yml"), "phrases"),
    "model.tokenizer": FileChoice(N_("Folder of a tokenizer"), (), "tokenizer", True),
    "model.chat_template": FileChoice(N_("Chat template"), (".jinja", ".jinja2", ".j2"), "template"),
    "output.folder": FileChoice(N_("Folder for runs"), (), "output", True),
}


def is_value_choosable(path: str) -> bool:
    """Return whether the values of a field can be chosen in a dialog."""
    return path == MODEL or path in FILES


def choose_field_value(screen: TunerScreen, path: str, values: Mapping[str, Any], taken: Taken) -> None:
    """Open the dialog that fits a field, on top of a screen.

    Args:
        path: The field.
        values: The draft.
        taken: Called with the choice.
    """
    if path == MODEL:
        from tui_tuner.ui.screens.models.open_models import ask_for_base_model

        ask_for_base_model(screen, taken)
        return

    async def take_path(chosen: str | None) -> None:
        if chosen is not None:
            await taken({path: chosen})

    files, now = FILES[path], find_draft_value(values, path)
    # A bare word is a name (`demo`, a template, an id), not a place to start looking.
    start = now if isinstance(now, str) and "/" in now else ""
    dialog = FileDialog(_(files.title), start, files.suffixes, files.recent, folders=files.folders)
    screen.app.push_screen(dialog, take_path)
