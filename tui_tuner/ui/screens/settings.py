"""The settings form, generated from `RunConfig` and checked while the user types.

Typed values are saved as a draft, so leaving the form loses nothing. The title says "ready" only after the
check that precedes a start has passed for the current values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget

from tui_tuner.config.options import find_known_field
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.ui import form_values
from tui_tuner.ui.screen_words import make_safe_line
from tui_tuner.ui.screens.editing.sections import SectionsForm
from tui_tuner.ui.screens.editing.start_from import create_draft_run
from tui_tuner.ui.screens.file_dialog import choose_field_value, is_value_choosable
from tui_tuner.ui.screens.fixing import put_fix_values
from tui_tuner.ui.start_checking import Refusal, convert_error_to_refusal
from tui_tuner.ui.widgets.form.about import About
from tui_tuner.ui.widgets.form.field import FieldChanged
from tui_tuner.ui.widgets.form.form_pages import FormPages
from tui_tuner.ui.widgets.form.method_costs import MethodCosts
from tui_tuner.ui.widgets.form.method_size import MethodSize
from tui_tuner.ui.widgets.form.plan_line import PlanLine, PlanShown
from tui_tuner.ui.widgets.form.section_list import Sections
from tui_tuner.ui.widgets.form.start_check import StartCheck, StartChecked
from tui_tuner.ui.widgets.topbar import TopBar


class SettingsScreen(SectionsForm):
    """Sections on the left, their fields in the middle, help for the focused field at the side or below."""

    HELP_TEXT = _(
        "• marks a value that differs from its default, ✗ an invalid one; the line below says why.\n"
        "↓ at the end of a section goes to the next one. Esc goes to the list of sections, then back.\n"
        "An empty field is `null`. Lists and mappings are written as in YAML: [a, b], {a: b}."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("ctrl+r", "start", _("Start"), key_display="^r"),
        Binding("ctrl+s", "save", _("Save"), key_display="^s"),
        Binding("ctrl+o", "begin_from", _("Open"), key_display="^o", show=False),
        Binding("ctrl+e", "edit_yaml", _("YAML"), key_display="^e", show=False, priority=True),
        Binding("ctrl+z", "undo", _("Undo"), key_display="^z", show=False),
        Binding("ctrl+y", "redo", _("Redo"), key_display="^y", show=False),
        Binding("f2", "advanced", _("Advanced")),
        Binding("f3", "plan", _("Plan")),
        Binding("f4", "mend", _("Fix")),
        Binding("f4", "columns", _("Columns"), show=False),
        Binding("f5", "other_task", _("Task")),
        Binding("f6", "choose", _("Choose")),
        Binding("f7", "methods", _("Methods")),
        Binding("f7", "all_methods", _("Methods"), show=False),
        Binding("f8", "read_on", _("Read the help on"), show=False),
        Binding("down", "step(1)", _("Next field"), show=False),
        Binding("up", "step(-1)", _("Previous field"), show=False),
    ]
    DEFAULT_CSS = """
    SettingsScreen #area { height: 1fr; }
    SettingsScreen #help { dock: bottom; height: 7; }
    SettingsScreen.-wide #help { dock: right; width: 40; height: 1fr; }
    SettingsScreen.-wide #parts { display: block; }
    """

    def __init__(self, preset: str = "", told: Refusal | None = None, mend: bool = False) -> None:
        """Show the draft.

        Args:
            preset: The preset or run that the values come from; shown in the top line.
            told: Why a run with these values failed; shown at its field until a value changes.
            mend: Offer the fixes for that at once.
        """
        super().__init__(told)
        self._preset = preset
        self._mend = mend
        self._started_at: Widget | None = None  # the focused widget when the start was requested

    def build_crumb(self) -> Content:
        name = (
            Content.assemble("  ", (make_safe_line(self._preset).plain, "$dim"))
            if self._preset
            else Content("")
        )
        return Content.assemble(_("New run"), name)

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="area"):
            yield About(id="help", classes="panel", can_focus=False)
            yield Sections()
            yield FormPages()
        yield PlanLine()
        yield StartCheck()
        yield MethodCosts()
        yield MethodSize()

    async def on_mount(self) -> None:
        draft, sections = self.tuner_app.drafts.draft, self._section_list
        self._standing.untyped = form_values.take_draft_texts(draft.values, draft.texts)
        sections.current = draft.section if draft.section in form_values.SECTIONS else "model"
        await self._show_section(sections.current)
        self.set_focus(sections.list)
        self._check_draft(changed=False)
        told = self._standing.told
        await self._go_to_field(told.field if told else draft.at)
        if draft.unread:
            self.tuner_app.show_notice(_("There is an unfinished YAML edit. Press ^e to open it."), timeout=8)
        if self._mend:
            self.action_mend()

    def _show_draft_again(self) -> None:
        """Show the draft again after its values were changed outside of the form."""
        draft = self.tuner_app.drafts.draft
        self._standing.untyped = form_values.take_draft_texts(draft.values, draft.texts)
        self.tuner_app.drafts.note_change()
        self._form_pages.take_draft(draft)
        self._check_draft()

    # Fields

    @on(FieldChanged)
    def _take_field(self, message: FieldChanged) -> None:
        # While the whole draft is replaced (undo, YAML), the fields still post the values of before.
        if self.changing:
            return
        path, texts = message.option.path, self.tuner_app.drafts.draft.texts
        self._standing.note_typed(path, message.sentence)
        # A text that does not parse is no value of the config, but it must survive leaving the form: it is
        # kept as text.
        texts.pop(path, None)
        if message.sentence:
            texts[path] = str(message.value)
        else:
            form_values.set_draft_value(self.draft_values, path, message.value)
        # Undo joins keystrokes in one field into one step; other changes are a step each.
        self.tuner_app.drafts.note_change(
            typed=path if form_values.choose_field_editor(message.option) == "input" else ""
        )
        self._check_draft()
        self._explain_field(path)

    def _check_draft(self, changed: bool = True) -> None:
        """Validate the draft and mark its problems; if it is valid, start the slower checks."""
        if changed:
            self._standing.told = None
        sound = self._standing.begin_check(self.draft_values)
        check, line = self.query_one(StartCheck), self.query_one(PlanLine)
        # The start check looks at a copy of the values, so its verdict would be about older ones.
        if check.starting:
            self.tuner_app.show_notice(_("The settings changed, so the run was not started."), "warning")
        if sound:
            check.ask_check(self.draft_values, at_once=not changed)
            line.ask_plan(self.draft_values)
        else:
            check.cancel_check()
            line.clear_plan()
        self._ask_size()
        self._draw_problems()

    def _draw_problems(self) -> None:
        """Mark the problems at their fields, in the list of sections, and in the title."""
        standing, sections = self._standing, self._section_list
        self._form_pages.mark_fields(self.tuner_app.drafts.draft, standing.problems)
        sections.mark_sections(standing.problems)
        self.query_one(TopBar).set_right_words(
            standing.describe_standing(self.query_one(StartCheck).starting)
        )
        self.refresh_bindings()
        if self.focused is sections.list:
            self._explain_section()

    @on(StartChecked)
    async def _take_check(self, message: StartChecked) -> None:
        self._standing.take_answer(self.draft_values, message)
        self._draw_problems()
        here = self._form_pages.focused_field
        if here is not None:
            self._explain_field(here.option.path)
        if not message.start:
            return
        if message.refusal is not None:
            await self._lead_to_refusal(message.refusal)
        # Starting switches the screen, which would close a dialog or screen that was opened during the check.
        elif self.app.screen is self:
            self._begin_run(form_values.build_draft_config(message.values))
        else:
            self.tuner_app.show_notice(
                _("The run can be started. Close this and press {key}.", key="^r"), timeout=8
            )

    async def _lead_to_refusal(self, refusal: Refusal) -> None:
        """Show why the run was not started: at its field if the focus is unchanged, else as a notice."""
        # The check can take seconds. A user who has gone elsewhere meanwhile must not lose the cursor.
        here = self.focused is self._started_at and self.app.screen is self
        if here and refusal.field in form_values.list_options():
            await self._go_to_field(refusal.field)
        else:
            self.tuner_app.show_notice(_("The run was not started: {why}", why=refusal.sentence), "error", 10)

    @on(PlanShown)
    def _show_look(self, message: PlanShown) -> None:
        self.query_one(About).show_memory(message.look.estimate if message.look else None)
        self._ask_costs()

    # Keys

    def action_plan(self) -> None:
        """Open the plan: memory, learning rate and time before the run."""
        from tui_tuner.ui.screens.plan_screen import PlanScreen

        if self._read_config() is not None:
            self.app.push_screen(PlanScreen(), self._renew_after_plan)

    def action_methods(self) -> None:
        """Compare all methods for this model and GPU, and put one of them into the settings."""
        from tui_tuner.ui.screens.method_table import MethodTableScreen

        if self._read_config() is not None:
            screen = MethodTableScreen(self.draft_values, self.tuner_app.card)
            self.app.push_screen(screen, self._take_method)

    action_all_methods = action_methods

    async def _take_method(self, values: Mapping[str, Any] | None) -> None:
        if values is not None:
            await self.take_values(values)
            wrong = (path for path in self._standing.problems if path.startswith("method."))
            await self._go_to_field(next(wrong, "method.kind"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """F4 fixes the problem if there is a fix to offer; otherwise it opens the columns dialog."""
        # Two bindings share F4; exactly one of them is active at a time.
        if action in ("mend", "columns"):
            offered = self.fixable_refusal is not None and self.fixable_refusal.is_fixable
            return offered == (action == "mend")
        # In the footer the table of methods is offered where the method is chosen; the key works anywhere.
        if action in ("methods", "all_methods"):
            return (self.is_mounted and self._section_list.current == "method") == (action == "methods")
        if action == "other_task":
            return self.other_task_values is not None
        if action == "choose":
            return is_value_choosable(self._focused_path)
        return True

    def action_choose(self) -> None:
        """Choose a path or a model for the focused field from a dialog."""
        choose_field_value(self, self._focused_path, self.draft_values, self.take_values)

    def action_read_on(self) -> None:
        """Scroll the panel of help."""
        self.query_one(About).read_on()

    def action_mend(self) -> None:
        """List the fixes for the problem."""
        if self.fixable_refusal is not None:
            self.offer_fixes(self.fixable_refusal, self.draft_values)

    def action_columns(self) -> None:
        """Open the dialog that assigns columns to roles."""
        self.ask_columns(self.draft_values)

    async def take_values(self, values: Mapping[str, Any]) -> None:
        put_fix_values(self.tuner_app, values)
        self._show_draft_again()

    async def show_draft(self, fields: Sequence[str]) -> None:
        self._preset = self.tuner_app.drafts.draft.name
        self.query_one(TopBar).set_crumb(self.build_crumb())
        self._show_draft_again()
        await self._go_to_field(
            next((path for path in fields if form_values.is_field_effective(self.draft_values, path)), "")
        )

    def _renew_after_plan(self, _nothing: None) -> None:
        self._show_draft_again()

    def is_valid(self) -> bool:
        return self._read_config() is not None

    def _read_config(self) -> RunConfig | None:
        """Return the config if all values are valid; otherwise show the first problem and go to its field."""
        found = form_values.find_draft_problems(self.draft_values, self._standing.untyped)
        if not found:
            return form_values.build_draft_config(self.draft_values)
        path, sentence = next(iter(found.items()))
        # No field of the form shows an unknown setting, so there is nowhere to lead to: it can only be
        # removed.
        strange = [path for path in form_values.list_unknown_keys(self.draft_values) if path in found]
        if strange:
            self.ask_to_remove(strange, self._check_draft)
            return None
        self.tuner_app.show_notice(sentence, "error", 8)
        self.run_worker(self._go_to_field(find_known_field(path) or path), exclusive=True)
        return None

    def action_start(self) -> None:
        """Check whether the run can start, and start it if it can."""
        if self._read_config() is None or self.query_one(StartCheck).starting:
            return
        self._started_at = self.focused
        self.query_one(StartCheck).ask_check(self.draft_values, start=True)
        self.query_one(TopBar).set_right_words(self._standing.describe_standing(True))

    def _begin_run(self, config: RunConfig) -> None:
        """Create the run's folder, start it and switch to its live pane."""
        try:
            folder = create_draft_run(self.tuner_app, self.draft_values, config)
        except (TunerError, OSError) as error:
            refusal = convert_error_to_refusal(error)
            self._standing.refuse_start(refusal)
            self._standing.check_values(self.draft_values)
            self._draw_problems()
            self.run_worker(self._lead_to_refusal(refusal), exclusive=True)
            return
        from tui_tuner.ui.screens.run import RunScreen

        # The values are kept in the run's folder now; as a draft they would be listed at home as never
        # started.
        self.tuner_app.drafts.note_run_started()
        self.tuner_app.launch_run(folder)
        self.app.switch_screen(RunScreen(folder))
