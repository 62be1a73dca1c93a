"""The pages of the settings form, one per section, created when first shown.

A page is never rebuilt: its fields are added, shown, hidden and changed in place, so that neither the focus
nor the scrolling moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import AwaitMount
from textual.widgets import ContentSwitcher

from tui_tuner.config.options import Option
from tui_tuner.locales import _
from tui_tuner.ui import form_values
from tui_tuner.ui.editing.draft_files import Draft
from tui_tuner.ui.widgets.form.field import Field
from tui_tuner.ui.widgets.form.section_list import Sections


class Page(VerticalScroll, inherit_bindings=False):
    """The fields of a section; the arrow keys move between fields instead of scrolling."""

    def __init__(self, section: str) -> None:
        super().__init__(id=f"page-{section.replace('.', '-')}", can_focus=False)
        self.section = section

    @property
    def fields(self) -> list[Field]:
        """The fields created so far, in order."""
        return [child for child in self.children if isinstance(child, Field)]


class FormPages(ContentSwitcher):
    """Shows a section of a draft. Advanced fields are hidden unless they are set or were requested."""

    DEFAULT_CSS = """
    FormPages { width: 1fr; height: 1fr; border-top: solid $line; border-title-color: $dim; }
    FormPages > Page { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__(id="fields")
        self.advanced = False
        self._wanted: set[str] = set()  # advanced fields that are shown anyway

    @property
    def visible_fields(self) -> list[Field]:
        """The visible fields, in order."""
        page = self._current_page
        return [field for field in page.fields if field.display] if page is not None else []

    @property
    def focused_field(self) -> Field | None:
        """The field with the focus, if any."""
        return next((field for field in self.visible_fields if field.has_focus_within), None)

    @property
    def _made_pages(self) -> list[Page]:
        return [child for child in self.children if isinstance(child, Page)]

    @property
    def _current_page(self) -> Page | None:
        return self.query_one(f"#{self.current}", Page) if self.current else None

    async def show_section(self, section: str, draft: Draft) -> None:
        page = next((one for one in self._made_pages if one.section == section), None)
        if page is None:
            page = Page(section)
            await self.mount(page)
        self.current = page.id
        # Awaited, so that the caller finds the fields mounted and can focus one.
        for made in self.show_applicable(draft):
            await made
        self.border_title = Content(_(form_values.describe_form_section(section)))

    async def show_field(self, path: str, draft: Draft) -> Field | None:
        """Show the section of a field and the field itself, even if it is advanced."""
        if form_values.is_field_effective(draft.values, path):
            self._wanted.add(path)
        await self.show_section(form_values.find_form_section(path), draft)
        return next((field for field in self.visible_fields if field.option.path == path), None)

    def toggle_advanced(self, draft: Draft) -> None:
        """Show or hide the advanced fields; the focused one stays visible."""
        self.advanced = not self.advanced
        here = self.focused_field
        # Folding also hides fields that were requested before, but never the focused one.
        self._wanted = {here.option.path} if here is not None else set()
        self.show_applicable(draft)

    def take_draft(self, draft: Draft) -> None:
        """Show the values of another draft in the existing fields."""
        for page in self._made_pages:
            for field in page.fields:
                field.take_value(_find_shown(draft, field.option))
        self.show_applicable(draft)

    def mark_fields(self, draft: Draft, problems: Mapping[str, str]) -> None:
        """Show applicable fields; mark those that are set or have a problem."""
        self.show_applicable(draft)
        for page in self._made_pages:
            for field in page.fields:
                sentence = form_values.find_field_problem(field.option.path, problems)
                field.mark_field(form_values.is_field_set(draft.values, field.option), sentence)

    def show_applicable(self, draft: Draft) -> list[AwaitMount]:
        """Show fields that apply and hide the others, which keep their text."""
        made = [await_mount for page in self._made_pages for await_mount in self._complete_page(page, draft)]
        page = self._current_page
        folded = 0
        if page is not None:
            there = (option for option in form_values.list_section_options(page.section) if option.advanced)
            folded = sum(
                form_values.is_field_effective(draft.values, option.path)
                and not self._is_in_view(option, draft)
                for option in there
            )
        self.border_subtitle = Content(_("F2: {n} more", n=folded) if folded else "")
        return made

    def _complete_page(self, page: Page, draft: Draft) -> list[AwaitMount]:
        """Show the fields of a page that apply, and create missing ones."""
        there = {field.option.path: field for field in page.fields}
        before: Field | None = None
        new: list[Field] = []
        made: list[AwaitMount] = []
        for option in form_values.list_section_options(page.section):
            shown = form_values.is_field_effective(draft.values, option.path) and self._is_in_view(
                option, draft
            )
            field = there.get(option.path)
            if field is not None:
                made += _mount_fields(page, new, before)
                new, before = [], field
                # Textual would focus a neighbour, which would then get keys meant for this field.
                if not shown and field.has_focus_within:
                    self.screen.set_focus(self.screen.query_one(Sections).list)
                field.display = shown
                field.offer_words(form_values.list_select_words(option, draft.values))
            elif shown:
                words = form_values.list_select_words(option, draft.values)
                new.append(Field(option, _find_shown(draft, option), words))
        return made + _mount_fields(page, new, before)

    def _is_in_view(self, option: Option, draft: Draft) -> bool:
        """Return whether an applicable field is visible. A set advanced one stays until they are hidden."""
        path = option.path
        if option.advanced and (path in draft.texts or form_values.is_field_set(draft.values, option)):
            self._wanted.add(path)
        return self.advanced or not option.advanced or path in self._wanted


def _mount_fields(page: Page, fields: list[Field], before: Field | None) -> list[AwaitMount]:
    """Mount fields below another one, or at the top of the page."""
    if not fields:
        return []
    if before is not None:
        return [page.mount(*fields, after=before)]
    return [page.mount(*fields, before=0) if page.children else page.mount(*fields)]


def _find_shown(draft: Draft, option: Option) -> Any:
    """Return what a field shows: its invalid text, or its value."""
    return draft.texts.get(option.path, form_values.get_option_value(draft.values, option))
