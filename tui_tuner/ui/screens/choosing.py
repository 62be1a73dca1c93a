"""Choosing a file: a dialog with a path field and what is there; and what is chosen for a field on a key."""

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
from tui_tuner.ui.form import at
from tui_tuner.ui.recent import note_recent
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.paths.listing import DATA_SUFFIXES
from tui_tuner.ui.widgets.paths.picker import PathPicker
from tui_tuner.ui.words import mark, marked


class ChooseFile(ModalScreen[str | None]):
    """Gives the absolute path of a file that is there; None if none was chosen.

    Args:
        start: What stands in the field first: a folder to begin in (with a slash behind it), or a file.
        suffixes: Of files that are looked for, such as `.yaml`; others are dimmed, and may be taken.
        recent: The kind of files this is: those of this kind that were chosen before stand at the top, and
            what is chosen is noted among them.
        folders: A folder may be chosen, too.
        unseen: Whether a text may be taken that is no path here, such as a data set of a hub.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss_none", _("Cancel"))]
    HELP_TEXT = _(
        "Type a path: Tab completes it, → takes what is suggested, Enter opens it.\n"
        "↓ goes to the list. There Enter opens a folder or takes a file, ← goes up one folder.\n"
        "↺ are files that were chosen before. Hidden files are shown once a dot is typed."
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
                "{tab} completes  {down} list  {left} up  {enter} takes  {esc} leaves",
                tab=mark("Tab"),
                down=mark("↓"),
                left=mark("←"),
                enter=mark("Enter"),
                esc=mark("Esc"),
            )
            yield Static(marked(words, "$dim"), id="keys")

    def on_mount(self) -> None:
        picker = self.query_one(PathPicker)
        picker.opened(True)
        picker.field.focus()

    @on(PathPicker.Taken)
    def _taken(self, message: PathPicker.Taken) -> None:
        path = os.path.abspath(os.path.expanduser(message.path))
        if self._unseen is not None and not os.path.exists(path):
            self.dismiss(message.path)
            return
        threading.Thread(target=note_recent, args=(self._kind, path), daemon=True).start()
        self.dismiss(path)

    def action_dismiss_none(self) -> None:
        self.dismiss(None)


# Fields of the settings that hold a path or a model

MODEL = "model.name"
Taken = Callable[[Mapping[str, Any]], Awaitable[None]]  # values, by the dotted names of their fields


class Files(NamedTuple):
    """What is looked for: a title, the ends of names, the kind that recent ones are kept by."""

    title: str
    suffixes: tuple[str, ...]
    recent: str
    folders: bool = False


FILES: dict[str, Files] = {
    "data.path": Files(N_("Data"), DATA_SUFFIXES, "data", True),
    "data.validation": Files(N_("Held-out rows"), DATA_SUFFIXES, "data"),
    "data.cleaning.phrases": Files(N_("Phrases of refusals"), (".yaml", ".yml"), "phrases"),
    "model.tokenizer": Files(N_("Folder of a tokenizer"), (), "tokenizer", True),
    "model.chat_template": Files(N_("Chat template"), (".jinja", ".jinja2", ".j2"), "template"),
    "output.folder": Files(N_("Folder for runs"), (), "output", True),
}


def choosable(path: str) -> bool:
    """Whether there is something to choose from for a field."""
    return path == MODEL or path in FILES


def choose_for(screen: TunerScreen, path: str, values: Mapping[str, Any], taken: Taken) -> None:
    """Let one choose above a screen.

    Args:
        path: The field.
        values: The draft.
        taken: Told what was chosen.
    """
    if path == MODEL:
        from tui_tuner.ui.screens.models.asking import ask_model

        ask_model(screen, taken)
        return

    async def answered(chosen: str | None) -> None:
        if chosen is not None:
            await taken({path: chosen})

    files, now = FILES[path], at(values, path)
    start = now if isinstance(now, str) and "/" in now else ""
    dialog = ChooseFile(_(files.title), start, files.suffixes, files.recent, folders=files.folders)
    screen.app.push_screen(dialog, answered)
