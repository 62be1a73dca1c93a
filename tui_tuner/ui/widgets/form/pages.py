"""The pages of the settings form, one a section, made as they are first shown.

A page is never made anew: fields come into it, are shown and hidden, and take other values where they stand,
so that neither the focus nor what one looks at moves.
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
from tui_tuner.ui import form
from tui_tuner.ui.editing.kept import Draft
from tui_tuner.ui.widgets.form.field import Field
from tui_tuner.ui.widgets.form.sections import Sections


class Page(VerticalScroll, inherit_bindings=False):
    """The fields of a section; the arrow keys go from field to field instead of scrolling."""

    def __init__(self, section: str) -> None:
        super().__init__(id=f"page-{section.replace('.', '-')}", can_focus=False)
        self.section = section

    @property
    def fields(self) -> list[Field]:
        """Those that were made, in their order."""
        return [child for child in self.children if isinstance(child, Field)]


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
        """The fields on view, in their order."""
        page = self._page
        return [field for field in page.fields if field.display] if page is not None else []

    @property
    def here(self) -> Field | None:
        """The field that has the focus."""
        return next((field for field in self.fields if field.has_focus_within), None)

    @property
    def _pages(self) -> list[Page]:
        return [child for child in self.children if isinstance(child, Page)]

    @property
    def _page(self) -> Page | None:
        return self.query_one(f"#{self.current}", Page) if self.current else None

    async def show(self, section: str, draft: Draft) -> None:
        """Show a section."""
        page = next((one for one in self._pages if one.section == section), None)
        if page is None:
            page = Page(section)
            await self.mount(page)
        self.current = page.id
        for made in self.follow(draft):
            await made
        self.border_title = Content(_(form.section_words(section)))

    async def show_field(self, path: str, draft: Draft) -> Field | None:
        """Show the section of a field, and the field in it, be it an advanced one."""
        if form.applies(draft.values, path):
            self._wanted.add(path)
        await self.show(form.section_of(path), draft)
        return next((field for field in self.fields if field.option.path == path), None)

    def fold(self, draft: Draft) -> None:
        """Show the advanced fields, or fold them again; the one in focus stays."""
        self.advanced = not self.advanced
        here = self.here
        self._wanted = {here.option.path} if here is not None else set()
        self.follow(draft)

    def take(self, draft: Draft) -> None:
        """Show other values in the fields, where they stand."""
        for page in self._pages:
            for field in page.fields:
                field.take(_held(draft, field.option))
        self.follow(draft)

    def mark(self, draft: Draft, problems: Mapping[str, str]) -> None:
        """Show what applies; mark what differs from its default, and what is wrong."""
        self.follow(draft)
        for page in self._pages:
            for field in page.fields:
                sentence = form.problem_of(field.option.path, problems)
                field.mark(form.is_set(draft.values, field.option), sentence)

    def follow(self, draft: Draft) -> list[AwaitMount]:
        """Bring what applies into sight; what does not leaves it, and keeps what was typed into it."""
        made = [await_mount for page in self._pages for await_mount in self._complete(page, draft)]
        page = self._page
        folded = 0
        if page is not None:
            there = (option for option in form.section_options(page.section) if option.advanced)
            folded = sum(
                form.applies(draft.values, option.path) and not self._shows(option, draft) for option in there
            )
        self.border_subtitle = Content(_("F2: {n} more", n=folded) if folded else "")
        return made

    def _complete(self, page: Page, draft: Draft) -> list[AwaitMount]:
        """Show the fields of a page that apply, and make those that are not there yet."""
        there = {field.option.path: field for field in page.fields}
        before: Field | None = None
        new: list[Field] = []
        made: list[AwaitMount] = []
        for option in form.section_options(page.section):
            shown = form.applies(draft.values, option.path) and self._shows(option, draft)
            field = there.get(option.path)
            if field is not None:
                made += _put(page, new, before)
                new, before = [], field
                if not shown and field.has_focus_within:  # no other field takes its keys
                    self.screen.set_focus(self.screen.query_one(Sections).list)
                field.display = shown
                field.offer(form.select_words(option, draft.values))
            elif shown:
                words = form.select_words(option, draft.values)
                new.append(Field(option, _held(draft, option), words))
        return made + _put(page, new, before)

    def _shows(self, option: Option, draft: Draft) -> bool:
        """Whether a field that applies is on view. An advanced one that was set stays until one folds."""
        path = option.path
        if option.advanced and (path in draft.texts or form.is_set(draft.values, option)):
            self._wanted.add(path)
        return self.advanced or not option.advanced or path in self._wanted


def _put(page: Page, fields: list[Field], before: Field | None) -> list[AwaitMount]:
    """Fields into a page, below another one or at its top."""
    if not fields:
        return []
    if before is not None:
        return [page.mount(*fields, after=before)]
    return [page.mount(*fields, before=0) if page.children else page.mount(*fields)]


def _held(draft: Draft, option: Option) -> Any:
    """What a field shows: the text that is no value, or the value."""
    return draft.texts.get(option.path, form.value_of(draft.values, option))
