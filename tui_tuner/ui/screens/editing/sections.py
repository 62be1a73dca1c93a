"""Sections and fields of the form: which are visible, which one has the focus, and the help for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual import on
from textual.events import DescendantFocus
from textual.widgets import OptionList

from tui_tuner.ui import form_values
from tui_tuner.ui.screens.editing.editing_form import EditingForm
from tui_tuner.ui.screens.file_dialog import MODEL
from tui_tuner.ui.start_checking import Refusal, suggest_tiny_start
from tui_tuner.ui.widgets.form.about import About, method_words
from tui_tuner.ui.widgets.form.draft_standing import DraftStanding
from tui_tuner.ui.widgets.form.field import Field
from tui_tuner.ui.widgets.form.form_pages import FormPages
from tui_tuner.ui.widgets.form.method_costs import MethodCosts, MethodsCosted
from tui_tuner.ui.widgets.form.method_size import MethodMeasured, MethodSize
from tui_tuner.ui.widgets.form.section_list import Sections

METHOD_SECTION = "method"


class SectionsForm(EditingForm):
    """Moves between the fields of the draft, and explains the one in focus.

    Args:
        told: Why a run with these values failed; shown at its field until a value changes.
    """

    def __init__(self, told: Refusal | None = None) -> None:
        super().__init__()
        self._standing = DraftStanding(told)
        self._costs: dict[str, str] = {}  # of each method, with the draft as it is
        self._counts_told = ""  # what the draft's method trains and saves

    @property
    def draft_values(self) -> dict[str, Any]:
        """The values of the draft; they are saved, and outlive the screen and the program."""
        return self.tuner_app.draft

    @property
    def _form_pages(self) -> FormPages:
        return self.query_one(FormPages)

    @property
    def _section_list(self) -> Sections:
        return self.query_one(Sections)

    @property
    def _focused_path(self) -> str:
        """Return the dotted name of the field in focus; empty if there is none."""
        here = self._form_pages.focused_field
        return here.option.path if here is not None else ""

    @property
    def shown_refusal(self) -> Refusal | None:
        return self._standing.data_remark

    @property
    def fixable_refusal(self) -> Refusal | None:
        """Return what F4 can fix: the reason why no run can start, or a suggestion for the focused field."""
        return self._standing.start_refusal or _suggest_for(self._focused_path, self.draft_values)

    # Sections

    @on(OptionList.OptionHighlighted, "#nav")
    async def _follow_section(self, event: OptionList.OptionHighlighted) -> None:
        if event.option.id:
            self.tuner_app.drafts.draft.section = event.option.id
            await self._show_section(event.option.id)
            # The list is also moved by code, while a field has the focus whose help must stay.
            if event.option_list.has_focus:
                self._explain_section()

    @on(OptionList.OptionSelected, "#nav")
    def _enter_section(self) -> None:
        if self._form_pages.visible_fields:
            self._focus_field(self._form_pages.visible_fields[0])

    async def _show_section(self, section: str) -> None:
        draft = self.tuner_app.drafts.draft
        await self._form_pages.show_section(section, draft)
        self._form_pages.mark_fields(draft, self._standing.problems)
        self._ask_costs()
        self._ask_size()
        self.refresh_bindings()

    async def _go_to_field(self, path: str) -> None:
        """Focus a field by its dotted name; ignore unknown names."""
        if path not in form_values.list_options():
            return
        draft = self.tuner_app.drafts.draft
        self._section_list.current = form_values.find_form_section(path)
        field = await self._form_pages.show_field(path, draft)
        self._form_pages.mark_fields(draft, self._standing.problems)
        if field is not None:
            self._focus_field(field)
        self._explain_field(path)

    @on(DescendantFocus)
    def _explain_focused(self, event: DescendantFocus) -> None:
        for node in event.widget.ancestors:
            if isinstance(node, Field):
                draft = self.tuner_app.drafts.draft
                draft.section, draft.at = self._section_list.current, node.option.path
                # Entering a field begins a new step to undo, even if the last change was in the same field.
                self.tuner_app.drafts.history.enter_field(node.option.path)
                # Only a draft that is saved already: looking at fields must not save a draft of pure
                # defaults.
                if draft.id:
                    self.tuner_app.drafts.note_change()
                self._explain_field(node.option.path)
                self.refresh_bindings()
                return
        self._explain_section()

    def _explain_section(self) -> None:
        """Show the problems of the section under the cursor, or how the form is used."""
        wrong = self._standing.of_section(self._section_list.current)
        told = None
        if self._section_list.current == METHOD_SECTION:
            told = method_words(
                str(form_values.find_draft_value(self.draft_values, "method.kind")), self._counts_told
            )
        other = self.shown_refusal if self.other_task_values else None
        self.query_one(About).show_section(wrong, other, told)

    def _explain_field(self, path: str) -> None:
        option, refusal = (
            form_values.list_options()[path],
            self._standing.start_refusal or _suggest_for(path, self.draft_values),
        )
        told = path in ("task", "data.path") and bool(self.other_task_values)
        self.query_one(About).show_field(
            option,
            form_values.find_field_problem(path, self._standing.problems),
            form_values.get_option_value(self.draft_values, option),
            refusal if refusal is not None and refusal.field == path else None,
            self.shown_refusal if told else None,
            self._costs.get(str(form_values.find_draft_value(self.draft_values, path)), "")
            if path == "method.kind"
            else "",
            self._counts_told if form_values.find_form_section(path) == METHOD_SECTION else "",
        )

    # What methods cost

    def _ask_costs(self) -> None:
        """Estimate the cost of each method while the section of methods is visible."""
        # An estimate takes seconds and needs a valid draft, so it is made only where costs are shown.
        if self._section_list.current == METHOD_SECTION and not self._standing.problems:
            self.query_one(MethodCosts).ask_costs(self.draft_values)

    @on(MethodsCosted)
    def _show_costs(self, message: MethodsCosted) -> None:
        self._costs = message.costs
        for field in self._form_pages.visible_fields:
            if field.option.path == "method.kind":
                field.show_costs(message.costs)
        here = self._form_pages.focused_field
        if here is not None and here.option.path == "method.kind":
            self._explain_field("method.kind")

    # What the method trains and saves

    def _ask_size(self) -> None:
        """Count again while the section of methods is visible; an invalid draft has no counts."""
        if self._section_list.current != METHOD_SECTION:
            return
        if self._standing.problems:
            self.query_one(MethodSize).forget_size()
            self._counts_told = ""
        else:
            self.query_one(MethodSize).ask_size(self.draft_values)

    @on(MethodMeasured)
    def _show_size(self, message: MethodMeasured) -> None:
        self._counts_told = message.words
        if form_values.find_form_section(self._focused_path) == METHOD_SECTION and self._focused_path:
            self._explain_field(self._focused_path)
        elif self.focused is self._section_list.list:
            self._explain_section()

    # Keys

    async def action_step(self, by: int) -> None:
        """Go to the next or the previous field; at the end of a section, to the neighbouring section."""
        fields, here = self._form_pages.visible_fields, self._form_pages.focused_field
        if here is None:
            return
        index = fields.index(here) + by
        if 0 <= index < len(fields):
            self._focus_field(fields[index])
            return
        section = self._section_list.find_neighbour(by)
        if section:
            await self._show_section(section)
            self._section_list.current = section
            # Another section has other widgets, so they are asked for again.
            fields = self._form_pages.visible_fields
            self._focus_field(fields[0] if by > 0 else fields[-1])

    def _focus_field(self, field: Field) -> None:
        editors = [widget for widget in field.query("Input, FieldSelect, Switch") if widget.focusable]
        if editors:
            self.set_focus(editors[0])
            field.scroll_visible(animate=False)

    def action_back(self) -> None:
        sections = self._section_list.list
        if self.focused is sections or self.focused is None:
            super().action_back()
        else:
            # The form opens again where it was left: in the list, not in the field.
            self.tuner_app.drafts.draft.at = ""
            self.set_focus(sections)

    def action_advanced(self) -> None:
        """Show or hide the advanced fields."""
        self._form_pages.toggle_advanced(self.tuner_app.drafts.draft)
        self._form_pages.mark_fields(self.tuner_app.drafts.draft, self._standing.problems)


def _suggest_for(path: str, values: Mapping[str, Any]) -> Refusal | None:
    """Return a suggestion for a field of a draft that is valid already."""
    return suggest_tiny_start(values) if path == MODEL else None
