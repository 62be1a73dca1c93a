"""What can be done about a refusal, as a list to choose from: nothing of it has to be typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.app import App
from textual.content import Content

from tui_tuner.config.advice import written
from tui_tuner.config.kinds import RECORD_FORMATS
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.checking import Refusal
from tui_tuner.ui.form import at, put
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.words import block

COLUMNS, FORMAT, DATA, FIELD = "columns", "format", "data", "field"


class Offers(Choose):
    """The ways out of a refusal. Gives the number of a fix, or one of the words above; None for none."""

    def __init__(self, refusal: Refusal, values: Mapping[str, Any], *, on_data: bool = False) -> None:
        answers = [(str(number), fix_words(fix, values), "") for number, fix in enumerate(refusal.fixes)]
        if refusal.of_data:
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


class Formats(Choose):
    """A record format by name, each with what it expects."""

    def __init__(self, now: str) -> None:
        answers = [(name, name, _(words)) for name, words in RECORD_FORMATS.items()]
        super().__init__(_("Record format"), Content(_("How are the rows laid out?")), answers)
        self._now = now

    def on_mount(self) -> None:
        self.choose(self._now)


def fix_words(fix: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """A fix as a list shows it: what it changes."""
    changed = {path: value for path, value in fix.items() if at(values, path) != value} or fix
    what = ", ".join(f"{path} = {one_line(written(value), 80)}" for path, value in changed.items())
    return _("Set {what}", what=what)


def apply_fix(app: App[Any], fix: Mapping[str, Any]) -> None:
    """Put values into the draft, and keep it."""
    from tui_tuner.ui.hosting import tuner_of

    tuner = tuner_of(app)
    for path, value in fix.items():
        put(tuner.draft, path, value)
        tuner.drafts.draft.texts.pop(path, None)
    tuner.drafts.touch()
