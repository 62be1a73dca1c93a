"""Tags, notes and the trash of runs, from a screen that lists them."""

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

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.locales import _, _n
from tui_tuner.runs import trash
from tui_tuner.runs.notes import MOST_NOTE, change_run_tags, read_notes, set_run_note
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import format_age, make_safe_block, make_safe_line
from tui_tuner.ui.screens.dialogs import ChoiceDialog, ConfirmDialog

if TYPE_CHECKING:
    from collections.abc import Callable

    from tui_tuner.runs.store import RunFolder
    from tui_tuner.ui.hosting import Tuner

_MOST_DELETED = 100  # the list of the trash shows no more runs


class TextDialog(ModalScreen["str | None"]):
    """Gives a line of text, which may be empty; None after Escape, which changes nothing."""

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
    def _dismiss_with_text(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_dismiss_none(self) -> None:
        self.dismiss(None)


class RunKeeper:
    """Asks about a change of runs, makes it and reports it; calls `after` once something has changed."""

    def __init__(self, tuner: Tuner, push: Callable[..., object], after: Callable[[], object]) -> None:
        self._tuner, self._push, self._after = tuner, push, after

    def _do_and_report(self, act: Callable[[], str]) -> None:
        """Make a change and show the sentence that it returns, or the reason for its failure."""
        try:
            said = act()
        except TunerError as error:
            self._tuner.show_notice(format_error_words(error), "error", 10)
        else:
            self._tuner.show_notice(said, timeout=6)
        # Also after a failure: of several runs, some may have been moved before it.
        self._after()

    def edit_tags(self, folder: RunFolder) -> None:
        """Edit all tags of a run in one line."""
        before = read_notes(folder).tags
        question = _("Tags of {run}, separated by spaces:", run=one_line(folder.name, 60))

        def change_line(line: str | None) -> None:
            if line is None:
                return
            wanted = dict.fromkeys(word.removeprefix("#") for word in line.replace(",", " ").split())
            # As differences, so that a tag that another terminal adds meanwhile is not lost.
            changes = [f"-{tag}" for tag in before if tag not in wanted]
            changes += [f"+{tag}" for tag in wanted if tag not in before]
            self._do_and_report(lambda: _describe_tags(change_run_tags(folder, changes)))

        self._push(TextDialog(_("Tags"), Content(question), " ".join(before)), change_line)

    def edit_note(self, folder: RunFolder) -> None:
        """Edit the note of a run; an empty one removes it."""
        question = _("Note about {run}; leave it empty to remove it:", run=one_line(folder.name, 60))

        def change_note(line: str | None) -> None:
            if line is None:
                return

            def write_note() -> str:
                set_run_note(folder, line)
                return _("The note was saved.") if line else _("The note was removed.")

            self._do_and_report(write_note)

        self._push(TextDialog(_("Note"), Content(question), one_line(read_notes(folder).note)), change_note)

    def delete_runs(self, folders: list[RunFolder]) -> None:
        """Move runs to the trash after a question."""
        count = len(folders)
        question = _n(
            "Move {run} to the trash? u brings it back.",
            "Move {count} runs to the trash? u brings them back.",
            count,
            run=one_line(folders[0].name, 60),
            count=count,
        )

        def delete_if_confirmed(yes: bool | None) -> None:
            if yes:
                self._do_and_report(lambda: self._move_to_trash(folders))

        self._push(ConfirmDialog(_("Delete"), question, _("To the trash"), _("Keep")), delete_if_confirmed)

    def _move_to_trash(self, folders: list[RunFolder]) -> str:
        for folder in folders:
            trash.delete_run(self._tuner.store, folder)
        count = len(folders)
        return _n("{count} run is in the trash.", "{count} runs are in the trash.", count, count=count)

    def restore_run(self) -> None:
        """Choose a run in the trash and restore it."""
        found = trash.list_deleted_runs(self._tuner.store)[:_MOST_DELETED]
        if not found:
            self._tuner.show_notice(_("The trash is empty."))
            return
        shown = [
            (
                str(place),
                one_line(item.name, 60),
                _("deleted {when}", when=format_age(item.time, time.time())),
            )
            for place, item in enumerate(found)
        ]

        def restore_choice(answer: str | None) -> None:
            if answer is None:
                return

            def restore_found() -> str:
                name = trash.restore_run(self._tuner.store, found[int(answer)].name).name
                return _("{run} was restored.", run=one_line(name, 60))

            self._do_and_report(restore_found)

        self._push(
            ChoiceDialog(_("Trash"), Content(_("Which run should be restored?")), shown), restore_choice
        )


def _describe_tags(tags: tuple[str, ...]) -> str:
    return _("Tags: {tags}", tags=" ".join(f"#{one_line(tag)}" for tag in tags)) if tags else _("No tags.")


def render_run_notes(tags: tuple[str, ...], note: str) -> Content:
    """Return the tags and the note of a run; empty if it has neither."""
    parts: list[Content] = []
    if tags:
        parts.append(make_safe_line(" ".join(f"#{tag}" for tag in tags)).stylize("$accent"))
    if note:
        parts.append(make_safe_block(note))
    return Content("\n").join(parts)
