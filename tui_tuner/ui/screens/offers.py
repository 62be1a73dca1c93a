"""What can be done about a refusal, as a list to choose from: nothing of it has to be typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from textual.content import Content

from tui_tuner.config.advice import written
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.checking import Refusal
from tui_tuner.ui.form import at, put, without
from tui_tuner.ui.hosting import Tuner
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import Choose, Confirm
from tui_tuner.ui.words import block

COLUMNS, FORMAT, DATA, FIELD = "columns", "format", "data", "field"


class Offers(Choose):
    """The ways out of a refusal. Gives the number of a fix, or one of the words above; None for none."""

    def __init__(self, refusal: Refusal, values: Mapping[str, Any], *, on_data: bool = False) -> None:
        answers = [(str(number), fix_words(fix, values), "") for number, fix in enumerate(refusal.fixes)]
        if refusal.of_rows:
            words = _("Pick from two lists; the first row is shown as it would be read.")
            answers.append((COLUMNS, _("Say which column is what"), words))
            words = _("Each with what it expects.")
            answers.append((FORMAT, _("Choose the record format"), words))
        if on_data:
            answers.append((DATA, _("Choose another file"), ""))
        elif refusal.field.startswith("data."):
            answers.append((DATA, _("Look at the data"), ""))
        if refusal.field and (on_data or not answers):
            answers.append((FIELD, _("Change {field} in the settings", field=refusal.field), ""))
        question = Content("\n").join([block(refusal.sentence), block(refusal.advice).stylize("$dim")])
        super().__init__(_("What to do"), question, answers)


def fix_words(fix: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """A fix as a list shows it: what it changes."""
    changed = {path: value for path, value in fix.items() if at(values, path) != value} or fix
    what = ", ".join(f"{path} = {one_line(written(value), 80)}" for path, value in changed.items())
    return _("Set {what}", what=what)


def put_values(tuner: Tuner, values: Mapping[str, Any]) -> None:
    """Put values, by the dotted names of their fields, into the draft, and keep it."""
    for path, value in values.items():
        put(tuner.draft, path, value)
        tuner.drafts.draft.texts.pop(path, None)
    tuner.drafts.touch()


class MendingScreen(TunerScreen):
    """A screen on which a refusal can be mended: by values that are offered, by columns, by a format."""

    @property
    def said(self) -> Refusal | None:
        """What is wrong with the data, or could be better."""
        return None

    @property
    def other_task(self) -> Mapping[str, Any] | None:
        """The values that make it the task which the data are for; None where it is that, or nobody knows."""
        return self.said.task_fix if self.said is not None else None

    async def action_other_task(self) -> None:
        """Take the task that the data are for."""
        if self.other_task is not None:
            await self.take(self.other_task)

    async def take(self, values: Mapping[str, Any]) -> None:
        """Put values, by the dotted names of their fields, into the draft, and show what comes of it."""
        raise NotImplementedError

    def other_data(self) -> None:
        """Look at the data, or choose others."""
        self.tuner.open_data(instead=True)

    def show_field(self, field: str) -> None:
        """Go to a field of the settings."""

    def offer(self, refusal: Refusal, values: Mapping[str, Any], *, on_data: bool = False) -> None:
        """Say what can be done about a refusal of these values, and do what is chosen."""

        async def answered(answer: str | None) -> None:
            if answer == COLUMNS:
                self.ask_columns(values)
            elif answer == FORMAT:
                self.ask_format(str(at(values, "data.format")))
            elif answer == DATA:
                self.other_data()
            elif answer == FIELD:
                self.show_field(refusal.field)
            elif answer is not None:
                await self.take(refusal.fixes[int(answer)])

        self.app.push_screen(Offers(refusal, values, on_data=on_data), answered)

    def ask_columns(self, values: Mapping[str, Any]) -> None:
        """Say which column is what, from two lists."""
        from tui_tuner.ui.screens.columns import ColumnsDialog

        async def answered(columns: dict[str, Any] | None) -> None:
            if columns is not None:
                await self.take(columns)

        self.app.push_screen(ColumnsDialog(dict(values), at(values, "data.path")), answered)

    def ask_format(self, now: str) -> None:
        """Choose a record format from a list; which column is what is then asked anew."""

        async def answered(format: str | None) -> None:
            if format is not None:
                await self.take({"data.format": format, "data.columns": None})

        from tui_tuner.ui.screens.columns import Formats

        self.app.push_screen(Formats(now), answered)

    def ask_to_leave_out(self, strange: Sequence[str], then: Callable[[], None]) -> None:
        """A draft of another version, or an edited file, may hold what no field of the form shows."""
        names = ", ".join(one_line(path, 60) for path in strange)
        question = _("This version has no settings with these names: {names}. Leave them out?", names=names)

        def answered(yes: bool | None) -> None:
            if yes:
                self.tuner.draft = without(self.tuner.draft, strange)
                then()

        dialog = Confirm(_("Unknown settings"), question, _("Leave them out"), _("Keep them"))
        self.app.push_screen(dialog, answered)
