"""Keeping runs in order from a screen that lists them: tags, notes, the trash."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.locales import _, _n
from tui_tuner.runs import trash
from tui_tuner.runs.notes import MOST_NOTE, change_tags, read_notes, set_note
from tui_tuner.text import one_line
from tui_tuner.ui.screens.dialogs import Choose, Confirm
from tui_tuner.ui.words import age, block, safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tui_tuner.runs.store import RunFolder
    from tui_tuner.ui.hosting import Tuner

_MOST_DELETED = 100  # runs of the trash in a list


class AskText(ModalScreen["str | None"]):
    """Words in one line, which may be none; Escape leaves what was there."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss_none", _("Cancel"))]

    def __init__(self, title: str, question: Content, value: str) -> None:
        super().__init__()
        self._title, self._question, self._value = title, question, value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)
            yield Static(self._question)
            yield Input(self._value, max_length=MOST_NOTE)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_dismiss_none(self) -> None:
        self.dismiss(None)


class Keeper:
    """Asks, does it, and says so; `after` is called once something was changed."""

    def __init__(self, tuner: Tuner, push: Callable[..., object], after: Callable[[], object]) -> None:
        self._tuner, self._push, self._after = tuner, push, after

    def _do(self, act: Callable[[], str]) -> None:
        """Something that may be refused; what it returns is said."""
        try:
            said = act()
        except TunerError as error:
            self._tuner.say(words_of(error), "error", 10)
        else:
            self._tuner.say(said, timeout=6)
        self._after()

    def edit_tags(self, folder: RunFolder) -> None:
        """All tags of a run in one line, to be changed."""
        before = read_notes(folder).tags
        question = _("Tags of {run}, separated by spaces:", run=one_line(folder.name, 60))

        def entered(line: str | None) -> None:
            if line is None:
                return
            wanted = dict.fromkeys(word.removeprefix("#") for word in line.replace(",", " ").split())
            changes = [f"-{tag}" for tag in before if tag not in wanted]
            changes += [f"+{tag}" for tag in wanted if tag not in before]
            self._do(lambda: _told(change_tags(folder, changes)))

        self._push(AskText(_("Tags"), Content(question), " ".join(before)), entered)

    def edit_note(self, folder: RunFolder) -> None:
        """The note of a run, to be changed; an empty one removes it."""
        question = _("A note about {run}; empty removes it:", run=one_line(folder.name, 60))

        def entered(line: str | None) -> None:
            if line is None:
                return

            def act() -> str:
                set_note(folder, line)
                return _("The note is written.") if line else _("The note is removed.")

            self._do(act)

        self._push(AskText(_("Note"), Content(question), one_line(read_notes(folder).note)), entered)

    def delete(self, folders: list[RunFolder]) -> None:
        """Move runs into the trash, after a question."""
        count = len(folders)
        question = _n(
            "Move {run} to the trash? u brings it back.",
            "Move {count} runs to the trash? u brings them back.",
            count,
            run=one_line(folders[0].name, 60),
            count=count,
        )

        def answered(yes: bool | None) -> None:
            if yes:
                self._do(lambda: self._delete(folders))

        self._push(Confirm(_("Delete"), question, _("To the trash"), _("Keep")), answered)

    def _delete(self, folders: list[RunFolder]) -> str:
        for folder in folders:
            trash.delete(self._tuner.store, folder)
        count = len(folders)
        return _n("{count} run is in the trash.", "{count} runs are in the trash.", count, count=count)

    def restore(self) -> None:
        """Choose a run of the trash, to be brought back."""
        found = trash.deleted(self._tuner.store)[:_MOST_DELETED]
        if not found:
            self._tuner.say(_("The trash is empty."))
            return
        shown = [
            (str(place), one_line(item.name, 60), _("deleted {when}", when=age(item.time, time.time())))
            for place, item in enumerate(found)
        ]

        def chosen(answer: str | None) -> None:
            if answer is None:
                return

            def act() -> str:
                name = trash.restore(self._tuner.store, found[int(answer)].name).name
                return _("{run} is back.", run=one_line(name, 60))

            self._do(act)

        self._push(Choose(_("Trash"), Content(_("Which run should be restored?")), shown), chosen)


def _told(tags: tuple[str, ...]) -> str:
    return _("Tags: {tags}", tags=" ".join(f"#{one_line(tag)}" for tag in tags)) if tags else _("No tags.")


def notes_content(tags: tuple[str, ...], note: str) -> Content:
    """Tags and note of a run; nothing where there are none."""
    parts: list[Content] = []
    if tags:
        parts.append(safe(" ".join(f"#{tag}" for tag in tags)).stylize("$accent"))
    if note:
        parts.append(block(note))
    return Content("\n").join(parts)
