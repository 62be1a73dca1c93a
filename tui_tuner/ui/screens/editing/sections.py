"""The form as sections and fields: which is on view, which has the focus, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual import on
from textual.events import DescendantFocus
from textual.widgets import OptionList

from tui_tuner.ui import form
from tui_tuner.ui.checking import Refusal, tiny_start
from tui_tuner.ui.screens.choosing import MODEL
from tui_tuner.ui.screens.editing.form import EditingForm
from tui_tuner.ui.widgets.form.about import About
from tui_tuner.ui.widgets.form.costs import Costed, MethodCosts
from tui_tuner.ui.widgets.form.field import Field
from tui_tuner.ui.widgets.form.pages import FormPages
from tui_tuner.ui.widgets.form.sections import Sections
from tui_tuner.ui.widgets.form.standing import Standing


class SectionsForm(EditingForm):
    """Moves between the fields of the draft, and tells about the one in focus.

    Args:
        told: Why a run with these values has failed; it stands at its field until a value changes.
    """

    def __init__(self, told: Refusal | None = None) -> None:
        super().__init__()
        self._standing = Standing(told)
        self._costs: dict[str, str] = {}  # of each method, with the draft as it is

    @property
    def values(self) -> dict[str, Any]:
        """The draft that is edited; it outlives the screen and the program."""
        return self.tuner.draft

    @property
    def _pages(self) -> FormPages:
        return self.query_one(FormPages)

    @property
    def _sections(self) -> Sections:
        return self.query_one(Sections)

    @property
    def _at(self) -> str:
        """The name of the field in focus; empty where none is."""
        here = self._pages.here
        return here.option.path if here is not None else ""

    @property
    def said(self) -> Refusal | None:
        return self._standing.said

    @property
    def offered(self) -> Refusal | None:
        """What there is to be mended: why it cannot be started, or what the field in focus could do with."""
        return self._standing.why or _could_do(self._at, self.values)

    # Sections

    @on(OptionList.OptionHighlighted, "#nav")
    async def _section_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option.id:
            self.tuner.drafts.draft.section = event.option.id
            await self._show_section(event.option.id)
            if event.option_list.has_focus:
                self._explain_section()

    @on(OptionList.OptionSelected, "#nav")
    def _section_chosen(self) -> None:
        if self._pages.fields:
            self._focus_field(self._pages.fields[0])

    async def _show_section(self, section: str) -> None:
        draft = self.tuner.drafts.draft
        await self._pages.show(section, draft)
        self._pages.mark(draft, self._standing.problems)
        self._ask_costs()

    async def _go_to(self, path: str) -> None:
        """Put the focus into a field; nothing where there is none of that name."""
        if path not in form.options():
            return
        draft = self.tuner.drafts.draft
        self._sections.current = form.section_of(path)
        field = await self._pages.show_field(path, draft)
        self._pages.mark(draft, self._standing.problems)
        if field is not None:
            self._focus_field(field)
        self._explain(path)

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        for node in event.widget.ancestors:
            if isinstance(node, Field):
                draft = self.tuner.drafts.draft
                draft.section, draft.at = self._sections.current, node.option.path
                self.tuner.drafts.history.enter(node.option.path)
                if draft.id:
                    self.tuner.drafts.touch()
                self._explain(node.option.path)
                self.refresh_bindings()
                return
        self._explain_section()

    def _explain_section(self) -> None:
        """What is wrong in the section under the cursor, or how the form is used."""
        wrong = self._standing.of_section(self._sections.current)
        self.query_one(About).show_section(wrong, self.said if self.other_task else None)

    def _explain(self, path: str) -> None:
        option, refusal = form.options()[path], self._standing.why or _could_do(path, self.values)
        told = path in ("task", "data.path") and bool(self.other_task)
        self.query_one(About).show_field(
            option,
            form.problem_of(path, self._standing.problems),
            form.value_of(self.values, option),
            refusal if refusal is not None and refusal.field == path else None,
            self.said if told else None,
            self._costs.get(str(form.at(self.values, path)), "") if path == "method.kind" else "",
        )

    # What methods cost

    def _ask_costs(self) -> None:
        """Where methods are to be chosen from: what each would cost."""
        if self._sections.current == "method" and not self._standing.problems:
            self.query_one(MethodCosts).ask(form.applied(self.values))

    @on(Costed)
    def _costed(self, message: Costed) -> None:
        self._costs = message.costs
        for field in self._pages.fields:
            if field.option.path == "method.kind":
                field.tell(message.costs)
        here = self._pages.here
        if here is not None and here.option.path == "method.kind":
            self._explain("method.kind")

    # Keys

    async def action_step(self, by: int) -> None:
        """To the next field, or the one before; at the end of a section, to its neighbour."""
        fields, here = self._pages.fields, self._pages.here
        if here is None:
            return
        index = fields.index(here) + by
        if 0 <= index < len(fields):
            self._focus_field(fields[index])
            return
        section = self._sections.neighbour(by)
        if section:
            await self._show_section(section)
            self._sections.current = section
            fields = self._pages.fields
            self._focus_field(fields[0] if by > 0 else fields[-1])

    def _focus_field(self, field: Field) -> None:
        editors = [widget for widget in field.query("Input, FieldSelect, Switch") if widget.focusable]
        if editors:
            self.set_focus(editors[0])
            field.scroll_visible(animate=False)

    def action_back(self) -> None:
        sections = self._sections.list
        if self.focused is sections or self.focused is None:
            super().action_back()
        else:
            self.tuner.drafts.draft.at = ""
            self.set_focus(sections)

    def action_advanced(self) -> None:
        """Show or fold the advanced fields."""
        self._pages.fold(self.tuner.drafts.draft)
        self._pages.mark(self.tuner.drafts.draft, self._standing.problems)


def _could_do(path: str, values: Mapping[str, Any]) -> Refusal | None:
    """What a field of the draft could do with, though a run can be started."""
    return tiny_start(values) if path == MODEL else None
