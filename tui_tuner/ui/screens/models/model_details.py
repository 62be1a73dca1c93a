"""The details of a model, with its list of files."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.base_models.model_description import ModelSummary
from tui_tuner.ui.base_models.model_rows import ModelRow
from tui_tuner.ui.widgets.models.model_details import format_file_lines


class ModelDetails(ModalScreen[None]):
    """A dialog with the full details of a model, which the panel next to the list cuts off."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,i,left,q", "dismiss", _("Back"))]

    def __init__(self, row: ModelRow, lines: list[Content], told: ModelSummary | None) -> None:
        super().__init__()
        self._row, self._lines, self._told = row, lines, told

    def compose(self) -> ComposeResult:
        lines = [*self._lines]
        if self._row.missing:
            lines.append(Content(_("Missing: {what}", what=one_line(self._row.missing, 200))))
        if self._row.folder is not None:
            lines.append(Content(_("In {folder}", folder=one_line(self._row.folder))).stylize("$dim"))
        if self._told is not None:
            if self._told.page:
                lines.append(Content(_("Its page: {page}", page=one_line(self._told.page))))
            if self._told.commit:
                lines.append(
                    Content(_("Revision {commit}", commit=one_line(self._told.commit))).stylize("$dim")
                )
            lines += [Content(""), *format_file_lines(self._told)]
        with VerticalScroll(classes="dialog wide") as box:
            box.border_title = Content(_("A model"))
            yield Static(Content("\n").join(lines))

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    # Textual's own `action_dismiss` is a coroutine with a result. A key binding needs neither.
    def action_dismiss(self) -> None:  # type: ignore[override]
        self.dismiss(None)
