"""The keys of the form that change a draft as a whole: undo, redo, begin from something, edit as YAML, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textual.widgets import Input

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import form
from tui_tuner.ui.editing.undo import Step, words_of_step
from tui_tuner.ui.screens.offers import MendingScreen
from tui_tuner.ui.widgets.form.field import Field


class EditingForm(MendingScreen):
    """A form over the draft. Subclasses show it anew (`show_draft`) once it has changed elsewhere."""

    changing = False  # the draft is changed from elsewhere: what fields say meanwhile is of before

    async def show_draft(self, fields: Sequence[str]) -> None:
        """Show the draft as it is now, and go to the first of the fields that have changed."""
        raise NotImplementedError

    # Undo

    async def action_undo(self) -> None:
        """Take the last change back, and go to the field that it was made in."""
        await self._step(back=True)

    async def action_redo(self) -> None:
        """Do again what was taken back."""
        await self._step(back=False)

    async def _step(self, back: bool) -> None:
        self.take_typed()
        drafts = self.tuner.drafts
        step = drafts.undo() if back else drafts.redo()
        if step is not None:
            await self._show(step.fields)
        self._say_step(step, back)

    async def _show(self, fields: Sequence[str]) -> None:
        self.changing = True
        try:
            await self.show_draft(fields)
        finally:
            self.changing = False

    def _say_step(self, step: Step | None, back: bool) -> None:
        if step is not None:
            self.tuner.say(words_of_step(step, back), timeout=4)
        elif back:
            self.tuner.say(_("There is nothing to undo."), timeout=3)
        else:
            self.tuner.say(_("There is nothing to do again."), timeout=3)

    def take_typed(self) -> None:
        """Take what stands in the field under the cursor: its message may still be on its way."""
        focused = self.focused
        place = next((node for node in focused.ancestors if isinstance(node, Field)), None) if focused else None
        if not isinstance(focused, Input) or place is None:
            return
        path, text = place.option.path, focused.value
        drafts = self.tuner.drafts
        stands = drafts.draft.texts.get(path, form.show(form.value_of(self.tuner.draft, place.option)))
        if text not in (stands, one_line(stands)):
            self.take_text(path, text)

    def take_text(self, path: str, text: str) -> None:
        """Put a text that was typed into the draft: as a value of its field, or as what is none."""
        draft = self.tuner.drafts.draft
        try:
            form.put(draft.values, path, form.parse(form.options()[path], text))
            draft.texts.pop(path, None)
        except ValueError:
            draft.texts[path] = text
        self.tuner.drafts.touch(typed=path)
