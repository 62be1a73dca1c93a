"""The list of sections, with how much in each is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui_tuner.locales import _
from tui_tuner.ui import form


class Sections(VerticalScroll):
    """One of them is current; what stands in the list is redrawn only where it has changed."""

    DEFAULT_CSS = """
    Sections { width: 17; border-top: solid $line; border-title-color: $dim; }
    Sections #nav { height: 1fr; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__(id="nav-box", can_focus=False)
        self.list = OptionList(
            *(Option(Content(label), key) for key, label in form.SECTIONS.items()), id="nav"
        )
        self._marked: list[Content] = [Content(label) for label in form.SECTIONS.values()]

    def on_mount(self) -> None:
        self.border_title = Content(_("Sections"))

    def compose(self) -> ComposeResult:
        yield self.list

    @property
    def current(self) -> str:
        return list(form.SECTIONS)[self.list.highlighted or 0]

    @current.setter
    def current(self, section: str) -> None:
        self.list.highlighted = list(form.SECTIONS).index(section)

    def neighbour(self, by: int) -> str:
        """The section so many places below the current one; empty where there is none."""
        names = list(form.SECTIONS)
        index = names.index(self.current) + by
        return names[index] if 0 <= index < len(names) else ""

    def mark(self, problems: Iterable[str]) -> None:
        """Show how many of these fields lie in each section."""
        counts = Counter(form.section_of(path) for path in filter(None, problems))
        for index, (key, label) in enumerate(form.SECTIONS.items()):
            words = Content.assemble(label, (f" ✗{counts[key]}", "$error") if counts[key] else "")
            if words != self._marked[index]:
                self._marked[index] = words
                self.list.replace_option_prompt_at_index(index, words)
