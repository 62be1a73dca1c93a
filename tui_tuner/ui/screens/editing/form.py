"""The keys of the form that change a draft as a whole: undo, redo, open something, edit as YAML, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual.app import App
from textual.widgets import Input

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import form
from tui_tuner.ui.editing.undo import Step, words_of_step
from tui_tuner.ui.screens.offers import MendingScreen
from tui_tuner.ui.widgets.form.field import Field

if TYPE_CHECKING:
    from tui_tuner.ui.editing.check import Reading
    from tui_tuner.ui.editing.opening import Opened
    from tui_tuner.ui.hosting import Tuner


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
            self.tuner.say(_("There is nothing to redo."), timeout=3)

    def take_typed(self) -> None:
        """Take what stands in the field under the cursor: its message may still be on its way."""
        focused = None if self.changing else self.focused
        place = (
            next((node for node in focused.ancestors if isinstance(node, Field)), None) if focused else None
        )
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

    # As YAML

    def action_edit_yaml(self) -> None:
        """Edit the draft as YAML, in the user's editor or in ours; what comes back is checked."""
        if not any(worker.group == "yaml" and worker.is_running for worker in self.workers):
            self.run_worker(self._edit_yaml(), group="yaml")

    async def _edit_yaml(self) -> None:
        from tui_tuner.ui.editing import text

        self.take_typed()
        draft = self.tuner.drafts.draft
        given = draft.unread or text.for_editor(draft)
        after = await self._edited(given)
        if after is None:
            return
        if after == given and not draft.unread:
            said = _(
                "Nothing was changed. An editor with a window of its own needs its option that waits, "
                "such as code --wait."
            )
            self.tuner.say(said, timeout=8)
            return
        await self.settle(after, draft.values)

    async def _edited(self, given: str, line: int = 0) -> str | None:
        from tui_tuner.ui.screens.editing.session import edited

        return await edited(self.app, given, line, self.tuner.say, self.tuner.drafts)

    async def settle(self, text: str, before: Mapping[str, Any], opened: Opened | None = None) -> None:
        """Take a text into the draft; where it has mistakes, as one says.

        Args:
            before: The values that stay where those of the text are wrong.
            opened: The file that the text is from, which the draft then begins again from.
        """
        from tui_tuner.ui.editing.check import read_text
        from tui_tuner.ui.screens.editing import mistakes

        file = opened.file if opened is not None else self.tuner.drafts.draft.file
        folder = Path(file).parent if file else None
        while True:
            reading = read_text(text, folder)
            if not reading.wrong:
                await self._take_text(text, reading, reading.values, opened)
                return
            title = opened.name if opened is not None else _("Settings as YAML")
            dialog = mistakes.Mistakes(one_line(title, 60), reading, opened is not None)
            answer = await self.app.push_screen_wait(dialog)
            if answer == mistakes.AGAIN:
                after = await self._edited(text, reading.wrong[0].line)
                text = text if after is None else after
            elif answer in (mistakes.RIGHT, mistakes.FORM):
                values = reading.values if answer == mistakes.FORM else reading.right(before)
                await self._take_text(text, reading, values, opened)
                return
            else:
                self._leave_text(text, answer == mistakes.AWAY, opened)
                return

    def _leave_text(self, text: str, away: bool, opened: Opened | None) -> None:
        if opened is not None and not away:
            self.tuner.say(_("{name} was not opened.", name=one_line(opened.name, 80)))
        elif opened is None:
            self.tuner.drafts.keep_text("" if away else text)
            if not away:
                self.tuner.say(_("The text is kept as it was typed: ^e opens it again."), timeout=8)

    async def _take_text(
        self, text: str, reading: Reading, values: dict[str, Any], opened: Opened | None
    ) -> None:
        from tui_tuner.config.writing.flat import flat
        from tui_tuner.config.writing.patched import patched
        from tui_tuner.ui.editing.text import from_editor

        own = from_editor(text) if reading.whole else ""
        if own and values != reading.values:
            own = patched(own, flat(values)) or ""
        drafts = self.tuner.drafts
        if opened is not None:
            await self.begin_again(values, opened.name, **opened.of_file(own))
        else:
            draft, before = drafts.draft, drafts.history.now
            draft.values, draft.texts, draft.yaml, draft.unread = values, {}, own, ""
            drafts.touch(_("edit as YAML"))
            if drafts.history.now is before:
                self.tuner.say(_("Nothing was changed."))
            else:
                await self._show(drafts.history.done[-1].fields)
        for note in reading.notes:
            self.tuner.say(note, timeout=8)

    # Beginning from something else

    def action_begin_from(self) -> None:
        """Begin again from a file, a preset, an earlier run, or the defaults."""
        from tui_tuner.ui.screens.editing.beginning import ask_where_to_begin

        async def ask() -> None:
            opened = await ask_where_to_begin(self)
            if opened is not None:
                await self.open_this(opened)

        self.take_typed()
        self.run_worker(ask(), group="begin", exclusive=True)

    async def open_this(self, opened: Opened) -> None:
        """Begin again from what was opened; its mistakes are told first, each with its line."""
        if opened.reading.wrong and opened.text:
            await self.settle(opened.text, {}, opened)
        else:
            await self.begin_again(opened.values, opened.name, **opened.of_file())
            for note in opened.reading.notes:
                self.tuner.say(note, timeout=8)

    async def begin_again(self, values: Mapping[str, Any], name: str, **more: Any) -> None:
        """Begin from other values, as one step that can be undone."""
        drafts = self.tuner.drafts
        if drafts.changed:
            said = _("What was set before is kept: ^z brings it back, and it is on the home screen.")
            self.tuner.say(said, timeout=8)
        drafts.begin_again(values, name, name or _("defaults"), **more)
        if more.get("file"):
            drafts.opened()
        await self._show([])

    # Saving

    def action_save(self) -> None:
        """Keep the settings as YAML."""
        from tui_tuner.ui.screens.editing.save import ask_where_to_save

        self.take_typed()
        if self.whole():
            ask_where_to_save(self)

    def whole(self) -> bool:
        """Whether all values are right; else says what is wrong, and goes there."""
        raise NotImplementedError


def open_config_at_once(app: Tuner, opened: Opened) -> None:
    """Show the form with a config that the command line names; its mistakes first."""
    wrong = bool(opened.reading.wrong and opened.text)
    if not wrong:
        app.drafts.begin(opened.values, opened.name, **opened.of_file())
        app.drafts.opened()
    app.open_settings(opened.name)

    async def tell() -> None:
        screen = cast(App[Any], app).screen
        if isinstance(screen, EditingForm):
            if wrong:
                screen.run_worker(screen.open_this(opened), group="begin")
            for note in opened.reading.notes:
                app.say(note, timeout=8)

    cast(App[Any], app).call_after_refresh(tell)
