"""The list of sections, with the number of problems in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui_tuner.locales import _
from tui_tuner.ui import form_values


class Sections(VerticalScroll):
    """The sections, one of them current; only changed entries are redrawn."""

    DEFAULT_CSS = """
    Sections { width: 17; border-top: solid $line; border-title-color: $dim; }
    Sections #nav { height: 1fr; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__(id="nav-box", can_focus=False)
        self.list = OptionList(
            *(Option(Content(label), key) for key, label in form_values.SECTIONS.items()), id="nav"
        )
        self._marked: list[Content] = [Content(label) for label in form_values.SECTIONS.values()]

    def on_mount(self) -> None:
        self.border_title = Content(_("Sections"))

    def compose(self) -> ComposeResult:
        yield self.list

    @property
    def current(self) -> str:
        return list(form_values.SECTIONS)[self.list.highlighted or 0]

    @current.setter
    def current(self, section: str) -> None:
        self.list.highlighted = list(form_values.SECTIONS).index(section)

    def find_neighbour(self, by: int) -> str:
        """Return the section `by` places below the current one; empty if there is none."""
        names = list(form_values.SECTIONS)
        index = names.index(self.current) + by
        return names[index] if 0 <= index < len(names) else ""

    def mark_sections(self, problems: Iterable[str]) -> None:
        """Show how many of these fields are in each section."""
        counts = Counter(form_values.find_form_section(path) for path in filter(None, problems))
        for index, (key, label) in enumerate(form_values.SECTIONS.items()):
            words = Content.assemble(label, (f" ✗{counts[key]}", "$error") if counts[key] else "")
            # Replacing a prompt draws the whole list again, which over a slow line is seen.
            if words != self._marked[index]:
                self._marked[index] = words
                self.list.replace_option_prompt_at_index(index, words)
