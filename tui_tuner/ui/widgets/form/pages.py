"""The pages of the settings form, one a section, made as they are first shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import ContentSwitcher

from tui_tuner.config.options import Option
from tui_tuner.locales import _
from tui_tuner.ui import form
from tui_tuner.ui.drafts import Draft
from tui_tuner.ui.widgets.form.field import Field


class Page(VerticalScroll, inherit_bindings=False):
    """The fields of a section; the arrow keys go from field to field instead of scrolling."""


class FormPages(ContentSwitcher):
    """Shows a section of a draft. Advanced fields are folded, but for those that are set or asked for."""

    DEFAULT_CSS = """
    FormPages { width: 1fr; height: 1fr; border-top: solid $line; border-title-color: $dim; }
    FormPages > Page { height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__(id="fields")
        self.advanced = False
        self._wanted: set[str] = set()  # advanced fields that are shown all the same

    @property
    def fields(self) -> list[Field]:
        """The fields on view."""
        found = self.query_one(f"#{self.current}", Page).query(Field) if self.current else ()
        return [field for field in found if field.display]

    @property
    def here(self) -> Field | None:
        """The field that has the focus."""
        return next((field for field in self.fields if field.has_focus_within), None)

    async def show(self, section: str, draft: Draft) -> None:
        """Show a section."""
        page = f"page-{section.replace('.', '-')}"
        if not self.query(f"#{page}"):
            fields = [
                _field(option, draft)
                for option in form.section_options(section)
                if self._shows(option, draft)
            ]
            await self.mount(Page(*fields, id=page, can_focus=False))
        self.current = page
        self._follow(draft.values)
        self.border_title = Content(_(form.section_words(section)))
        hidden = sum(
            option.advanced and form.applies(draft.values, option.path)
            for option in form.section_options(section)
        )
        note = _("F2: {n} more", n=hidden) if hidden and not self.advanced else ""
        self.border_subtitle = Content(note)

    async def show_field(self, path: str, draft: Draft) -> Field | None:
        """Show the section of a field, and the field in it, be it an advanced one."""
        self._wanted.add(path)
        for _attempt in range(2):
            await self.show(form.section_of(path), draft)
            for field in self.fields:
                if field.option.path == path:
                    return field
            if not form.applies(draft.values, path):
                return None
            await self.query_one(f"#{self.current}", Page).remove()  # made anew, with the field
        return None

    async def rebuild(self, section: str, draft: Draft) -> None:
        """Make all pages anew from a draft."""
        await self.remove_children()
        await self.show(section, draft)

    async def renew(self, paths: Sequence[str], draft: Draft) -> None:
        """Show the values of these fields as they are by now, and leave all else as it is."""
        for page in self.query(Page):
            shown = {field.option.path: field for field in page.query(Field)}
            for path in paths:
                option, field = form.options().get(path), shown.get(path)
                if option is not None and field is not None:
                    if field.show_value(_shown(option, draft)):
                        continue
                    await page.mount(_field(option, draft), before=field)
                    await field.remove()
                elif option is not None and form.section_of(path) == _section_of(page):
                    await page.remove()  # an advanced field that is set by now: made anew as it is shown
                    break

    def mark(self, values: Mapping[str, Any], problems: Mapping[str, str]) -> None:
        """Show what applies to the task; mark what differs from its default, and what is wrong."""
        self._follow(values)
        for field in self.query(Field):
            sentence = form.problem_of(field.option.path, problems)
            field.mark(form.is_set(values, field.option), sentence)

    def _follow(self, values: Mapping[str, Any]) -> None:
        """Fields that the task does not read are out of sight, and keep what was typed into them."""
        for field in self.query(Field):
            field.display = form.applies(values, field.option.path)
            field.offer(form.select_words(field.option, values))

    def _shows(self, option: Option, draft: Draft) -> bool:
        told = option.path in self._wanted or option.path in draft.texts
        return self.advanced or not option.advanced or told or form.is_set(draft.values, option)


def _field(option: Option, draft: Draft) -> Field:
    return Field(option, _shown(option, draft), form.select_words(option, draft.values))


def _shown(option: Option, draft: Draft) -> Any:
    return draft.texts.get(option.path, form.value_of(draft.values, option))


def _section_of(page: Page) -> str:
    return next(key for key in form.SECTIONS if page.id == f"page-{key.replace('.', '-')}")


def section_marks(problems: Mapping[str, str]) -> list[Content]:
    """The name of each section, with how much in it is wrong."""
    counts = Counter(form.section_of(path) for path in filter(None, problems))
    return [
        Content.assemble(label, (f" ✗{counts[key]}", "$error") if counts[key] else "")
        for key, label in form.SECTIONS.items()
    ]
