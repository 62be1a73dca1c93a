"""Fixes for a refusal, as a list to choose from, so that none of them has to be typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from textual.content import Content

from tui_tuner.config.advice import write_shell_value
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.form_values import drop_draft_keys, find_draft_value, set_draft_value
from tui_tuner.ui.hosting import Tuner
from tui_tuner.ui.screen_words import make_safe_block
from tui_tuner.ui.screens.dialogs import ChoiceDialog, ConfirmDialog
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.start_checking import Refusal

COLUMNS, FORMAT, DATA, FIELD = "columns", "format", "data", "field"


class FixesDialog(ChoiceDialog):
    """A dialog with the fixes for a refusal.

    Gives the number of a fix, or COLUMNS, FORMAT, DATA or FIELD; None if nothing was chosen.
    """

    def __init__(self, refusal: Refusal, values: Mapping[str, Any], *, on_data: bool = False) -> None:
        answers = [(str(number), describe_fix(fix, values), "") for number, fix in enumerate(refusal.fixes)]
        if refusal.of_rows:
            words = _("Pick from two lists; the first row is shown as it would be read.")
            answers.append((COLUMNS, _("Assign the columns"), words))
            words = _("The list shows what each format expects.")
            answers.append((FORMAT, _("Choose the record format"), words))
        if on_data:
            answers.append((DATA, _("Choose another file"), ""))
        # On the data screen itself, "look at the data" would lead to where the user is.
        elif refusal.field.startswith("data."):
            answers.append((DATA, _("Look at the data"), ""))
        if refusal.field and (on_data or not answers):
            answers.append((FIELD, _("Change {field} in the settings", field=refusal.field), ""))
        question = Content("\n").join(
            [make_safe_block(refusal.sentence), make_safe_block(refusal.advice).stylize("$dim")]
        )
        super().__init__(_("What to do"), question, answers)


def describe_fix(fix: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return the label of a fix: the fields that it changes and their new values."""
    # A fix may name values that are set already. If it changes nothing at all, its full text is still
    # clearer.
    changed = {path: value for path, value in fix.items() if find_draft_value(values, path) != value} or fix
    what = ", ".join(f"{path} = {one_line(write_shell_value(value), 80)}" for path, value in changed.items())
    return _("Set {what}", what=what)


def put_fix_values(tuner: Tuner, values: Mapping[str, Any]) -> None:
    """Put values into the draft, keyed by dotted field names, and save it."""
    for path, value in values.items():
        set_draft_value(tuner.draft, path, value)
        # A text that did not parse would otherwise come back and hide the new value.
        tuner.drafts.draft.texts.pop(path, None)
    tuner.drafts.note_change()


class FixingScreen(TunerScreen):
    """A screen that can fix a refusal: by suggested values, by assigning columns, by a record format."""

    @property
    def shown_refusal(self) -> Refusal | None:
        """Return the refusal, or the suggestion, that the screen shows now."""
        return None

    @property
    def other_task_values(self) -> Mapping[str, Any] | None:
        """Return the values that set the task which fits the data; None if it is set, or unknown."""
        return self.shown_refusal.task_fix if self.shown_refusal is not None else None

    async def action_other_task(self) -> None:
        """Switch to the task that fits the data."""
        if self.other_task_values is not None:
            await self.take_values(self.other_task_values)

    async def take_values(self, values: Mapping[str, Any]) -> None:
        """Put values into the draft, keyed by dotted field names, and check it again."""
        raise NotImplementedError

    def choose_other_data(self) -> None:
        """Open the data screen, or choose another file there."""
        self.tuner_app.open_data(instead=True)

    def show_field(self, field: str) -> None:
        """Go to a field of the settings; a screen without a form ignores it."""

    def offer_fixes(self, refusal: Refusal, values: Mapping[str, Any], *, on_data: bool = False) -> None:
        """List the fixes for a refusal of these values, and apply the chosen one."""

        async def apply_answer(answer: str | None) -> None:
            if answer == COLUMNS:
                self.ask_columns(values)
            elif answer == FORMAT:
                self.ask_format(str(find_draft_value(values, "data.format")))
            elif answer == DATA:
                self.choose_other_data()
            elif answer == FIELD:
                self.show_field(refusal.field)
            elif answer is not None:
                await self.take_values(refusal.fixes[int(answer)])

        self.app.push_screen(FixesDialog(refusal, values, on_data=on_data), apply_answer)

    def ask_columns(self, values: Mapping[str, Any]) -> None:
        """Open the dialog that assigns columns to roles."""
        from tui_tuner.ui.screens.columns import ColumnsDialog

        async def take_columns(columns: dict[str, Any] | None) -> None:
            if columns is not None:
                await self.take_values(columns)

        self.app.push_screen(ColumnsDialog(dict(values), find_draft_value(values, "data.path")), take_columns)

    def ask_format(self, now: str) -> None:
        """Open the list of record formats."""

        async def take_format(format: str | None) -> None:
            if format is not None:
                # Columns belong to a format: those of the old one would be refused with the new one.
                await self.take_values({"data.format": format, "data.columns": None})

        from tui_tuner.ui.screens.columns import FormatDialog

        self.app.push_screen(FormatDialog(now), take_format)

    def ask_to_remove(self, strange: Sequence[str], then: Callable[[], None]) -> None:
        """Offer to remove settings that this version does not know; call `then` after that."""
        # Such names come from a draft of another version or from an edited file. No field shows them, so they
        # cannot be changed in the form.
        names = ", ".join(one_line(path, 60) for path in strange)
        question = _("This version has no settings with these names: {names}. Leave them out?", names=names)

        def remove_unknown(yes: bool | None) -> None:
            if yes:
                self.tuner_app.draft = drop_draft_keys(self.tuner_app.draft, strange)
                then()

        dialog = ConfirmDialog(_("Unknown settings"), question, _("Leave them out"), _("Keep them"))
        self.app.push_screen(dialog, remove_unknown)
