"""The pages of the settings form, one a section, made as they are first shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import ContentSwitcher

from tui_tuner.config.options import Option
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import form
from tui_tuner.ui.checking import Refusal
from tui_tuner.ui.drafts import Draft
from tui_tuner.ui.widgets.field import Field
from tui_tuner.ui.words import mark, marked, safe


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
                Field(
                    option,
                    draft.texts.get(option.path, form.value_of(draft.values, option)),
                    form.select_words(option, draft.values),
                )
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


def form_words() -> Content:
    """How the form is used."""
    start = _("Every value has a default, so a run can start at once: {key}.", key=mark("^r"))
    keys = _(
        "{enter} goes into a section, {escape} comes back. {advanced} shows the advanced settings too.",
        enter=mark("Enter"),
        escape=mark("Esc"),
        advanced=mark("F2"),
    )
    auto = Content(_("`auto` is worked out when the run starts; the run shows what it became and why."))
    return Content("\n").join((marked(start), marked(keys), auto.stylize("$dim")))


def task_words(said: Refusal) -> Content:
    """That the data are for another task, and the key that takes it."""
    task = mark(one_line((said.task_fix or {}).get("task", ""), 40), "bold")
    key = marked(_("{key} makes it task {task}.", key=mark("F5"), task=task))
    return Content.assemble(("? ", "$warning"), safe(said.sentence), " ", key)


def section_marks(problems: Mapping[str, str]) -> list[Content]:
    """The name of each section, with how much in it is wrong."""
    counts = Counter(form.section_of(path) for path in filter(None, problems))
    return [
        Content.assemble(label, (f" ✗{counts[key]}", "$error") if counts[key] else "")
        for key, label in form.SECTIONS.items()
    ]
