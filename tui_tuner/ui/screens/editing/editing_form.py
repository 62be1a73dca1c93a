"""The keys of the form that change the whole draft: undo, redo, open, edit as YAML, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual.app import App
from textual.widgets import Input

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import form_values
from tui_tuner.ui.editing.undo import UndoStep, describe_undo_step
from tui_tuner.ui.screens.fixing import FixingScreen
from tui_tuner.ui.widgets.form.field import Field

if TYPE_CHECKING:
    from tui_tuner.ui.editing.config_opening import OpenedConfig
    from tui_tuner.ui.editing.text_check import CheckedText
    from tui_tuner.ui.hosting import Tuner


class EditingForm(FixingScreen):
    """A form over the draft. Subclasses implement `show_draft`, which redraws it after such a change."""

    changing = False  # the draft is being replaced: messages of fields are about older values

    async def show_draft(self, fields: Sequence[str]) -> None:
        """Show the current draft, and go to the first of the changed fields."""
        raise NotImplementedError

    # Undo

    async def action_undo(self) -> None:
        """Undo the last change, and go to its field."""
        await self._step_history(back=True)

    async def action_redo(self) -> None:
        """Redo the change that was undone last."""
        await self._step_history(back=False)

    async def _step_history(self, back: bool) -> None:
        self.take_typed()
        drafts = self.tuner_app.drafts
        step = drafts.undo() if back else drafts.redo()
        if step is not None:
            await self._show_fields(step.fields)
        self._report_step(step, back)

    async def _show_fields(self, fields: Sequence[str]) -> None:
        self.changing = True
        try:
            # Filled fields post changes like typed ones; until this is over, they are not the user's.
            await self.show_draft(fields)
        finally:
            self.changing = False

    def _report_step(self, step: UndoStep | None, back: bool) -> None:
        if step is not None:
            self.tuner_app.show_notice(describe_undo_step(step, back), timeout=4)
        elif back:
            self.tuner_app.show_notice(_("There is nothing to undo."), timeout=3)
        else:
            self.tuner_app.show_notice(_("There is nothing to redo."), timeout=3)

    def take_typed(self) -> None:
        """Put the text of the focused field into the draft."""
        # The message of the last keystroke may still be in the queue, and the next step would work on the
        # text before it.
        focused = None if self.changing else self.focused
        place = (
            next((node for node in focused.ancestors if isinstance(node, Field)), None) if focused else None
        )
        if not isinstance(focused, Input) or place is None:
            return
        path, text = place.option.path, focused.value
        drafts = self.tuner_app.drafts
        # Compared also as one line, because the field shows it like that: looking at a value must not change
        # it.
        stands = drafts.draft.texts.get(
            path,
            form_values.format_field_value(form_values.get_option_value(self.tuner_app.draft, place.option)),
        )
        if text not in (stands, one_line(stands)):
            self.take_text(path, text)

    def take_text(self, path: str, text: str) -> None:
        """Put a typed text into the draft: as a value, or as text if it does not parse."""
        draft = self.tuner_app.drafts.draft
        try:
            form_values.set_draft_value(
                draft.values, path, form_values.parse_field_text(form_values.list_options()[path], text)
            )
            draft.texts.pop(path, None)
        except ValueError:
            draft.texts[path] = text
        self.tuner_app.drafts.note_change(typed=path)

    # As YAML

    def action_edit_yaml(self) -> None:
        """Edit the draft as YAML, in the user's editor or in the built-in one."""
        # A second editor would take the terminal away from the first one.
        if not any(worker.group == "yaml" and worker.is_running for worker in self.workers):
            self.run_worker(self._edit_yaml(), group="yaml")

    async def _edit_yaml(self) -> None:
        from tui_tuner.ui.editing import draft_text

        self.take_typed()
        draft = self.tuner_app.drafts.draft
        # An edit with mistakes was kept as text: editing continues there, not at the draft that it did not
        # reach.
        given = draft.unread or draft_text.write_draft_for_editor(draft)
        after = await self._open_editor(given)
        if after is None:
            return
        # An editor that opens a window and returns at once gives the text back unchanged.
        if after == given and not draft.unread:
            said = _(
                "Nothing was changed. An editor with its own window needs an option that makes it wait, such "
                "as code --wait."
            )
            self.tuner_app.show_notice(said, timeout=8)
            return
        await self.settle_text(after, draft.values)

    async def _open_editor(self, given: str, line: int = 0) -> str | None:
        from tui_tuner.ui.screens.editing.editor_session import edit_draft_text

        return await edit_draft_text(self.app, given, line, self.tuner_app.show_notice, self.tuner_app.drafts)

    async def settle_text(
        self, text: str, before: Mapping[str, Any], opened: OpenedConfig | None = None
    ) -> None:
        """Put a YAML text into the draft; if it has mistakes, ask how.

        Args:
            before: The values to keep where those of the text are wrong.
            opened: The file that the text comes from; the draft then starts again from it.
        """
        from tui_tuner.ui.editing.text_check import check_edited_text
        from tui_tuner.ui.screens.editing import mistakes

        file = opened.file if opened is not None else self.tuner_app.drafts.draft.file
        # Relative paths in a file are relative to its folder.
        folder = Path(file).parent if file else None
        while True:
            reading = check_edited_text(text, folder)
            # Each round ends with a text without mistakes, or with an answer that says what to do about them.
            if not reading.wrong:
                await self._take_text(text, reading, reading.values, opened)
                return
            title = opened.name if opened is not None else _("Settings as YAML")
            dialog = mistakes.MistakesDialog(one_line(title, 60), reading, opened is not None)
            answer = await self.app.push_screen_wait(dialog)
            if answer == mistakes.AGAIN:
                after = await self._open_editor(text, reading.wrong[0].line)
                text = text if after is None else after
            elif answer in (mistakes.RIGHT, mistakes.FORM):
                values = reading.values if answer == mistakes.FORM else reading.keep_valid_values(before)
                await self._take_text(text, reading, values, opened)
                return
            else:
                self._leave_text(text, answer == mistakes.AWAY, opened)
                return

    def _leave_text(self, text: str, away: bool, opened: OpenedConfig | None) -> None:
        if opened is not None and not away:
            self.tuner_app.show_notice(_("{name} was not opened.", name=one_line(opened.name, 80)))
        elif opened is None:
            self.tuner_app.drafts.keep_text("" if away else text)
            if not away:
                self.tuner_app.show_notice(
                    _("The text is kept as you typed it. Press ^e to open it again."), timeout=8
                )

    async def _take_text(
        self, text: str, reading: CheckedText, values: dict[str, Any], opened: OpenedConfig | None
    ) -> None:
        from tui_tuner.config.writing.flat import flatten_config
        from tui_tuner.config.writing.patched import patch_config_text
        from tui_tuner.ui.editing.draft_text import read_draft_from_editor

        # The user's own comments and order are kept with the draft. Where the values differ from the text, it
        # is patched.
        own = read_draft_from_editor(text) if reading.whole else ""
        if own and values != reading.values:
            own = patch_config_text(own, flatten_config(values)) or ""
        drafts = self.tuner_app.drafts
        if opened is not None:
            await self.begin_again(values, opened.name, **opened.make_draft_fields(own))
        else:
            draft, before = drafts.draft, drafts.history.now
            draft.values, draft.texts, draft.yaml, draft.unread = values, {}, own, ""
            drafts.note_change(_("edit as YAML"))
            # The history holds no step if the values are the same, although the text differs.
            if drafts.history.now is before:
                self.tuner_app.show_notice(_("Nothing was changed."))
            else:
                await self._show_fields(drafts.history.done[-1].fields)
        for note in reading.notes:
            self.tuner_app.show_notice(note, timeout=8)

    # Beginning from something else

    def action_begin_from(self) -> None:
        """Start again from a file, a preset, an earlier run, or the defaults."""
        from tui_tuner.ui.screens.editing.start_from import ask_where_to_begin

        async def ask_and_open() -> None:
            opened = await ask_where_to_begin(self)
            if opened is not None:
                await self.open_this(opened)

        self.take_typed()
        self.run_worker(ask_and_open(), group="begin", exclusive=True)

    async def open_this(self, opened: OpenedConfig) -> None:
        """Start again from an opened config; show its mistakes first."""
        if opened.reading.wrong and opened.text:
            await self.settle_text(opened.text, {}, opened)
        else:
            await self.begin_again(opened.values, opened.name, **opened.make_draft_fields())
            for note in opened.reading.notes:
                self.tuner_app.show_notice(note, timeout=8)

    async def begin_again(self, values: Mapping[str, Any], name: str, **more: Any) -> None:
        """Start again from other values, as one step that can be undone."""
        drafts = self.tuner_app.drafts
        if drafts.is_changed:
            said = _("Your previous settings are kept: press ^z to go back, or find them on the home screen.")
            self.tuner_app.show_notice(said, timeout=8)
        drafts.begin_again(values, name, name or _("defaults"), **more)
        # A draft of a file is kept even if nothing was changed, so that home offers to continue it.
        if more.get("file"):
            drafts.keep_opened()
        await self._show_fields([])

    # Saving

    def action_save(self) -> None:
        """Save the settings as YAML."""
        from tui_tuner.ui.screens.editing.saving_yaml import ask_where_to_save

        self.take_typed()
        if self.is_valid():
            ask_where_to_save(self)

    def is_valid(self) -> bool:
        """Return whether all values are valid; if not, show the first problem and go to its field."""
        raise NotImplementedError


def open_config_at_once(app: Tuner, opened: OpenedConfig) -> None:
    """Show the form with the config that the command line names; show its mistakes first."""
    wrong = bool(opened.reading.wrong and opened.text)
    if not wrong:
        app.drafts.begin_draft(opened.values, opened.name, **opened.make_draft_fields())
        app.drafts.keep_opened()
    app.open_settings(opened.name)

    async def show_notes() -> None:
        screen = cast(App[Any], app).screen
        if isinstance(screen, EditingForm):
            if wrong:
                screen.run_worker(screen.open_this(opened), group="begin")
            for note in opened.reading.notes:
                app.show_notice(note, timeout=8)

    # The form exists only after the refresh; a notice before that would belong to no screen.
    cast(App[Any], app).call_after_refresh(show_notes)
