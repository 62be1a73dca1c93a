"""Why a run failed before its first step: one sentence and what to do, in place of a curve."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.text import sanitize
from tui_tuner.ui.checking import Refusal
from tui_tuner.ui.words import mark, marked


class Failure(VerticalScroll):
    """The whole sentence, the hint, and the keys that lead on."""

    DEFAULT_CSS = """
    Failure { height: 1fr; padding: 1 2; border-top: solid $error; border-title-color: $error;
              border-title-align: left; }
    Failure > Static { height: auto; max-width: 100; }
    """

    def compose(self) -> ComposeResult:
        yield Static()

    def on_mount(self) -> None:
        self.border_title = Content(_("The run did not begin"))

    def show(self, refusal: Refusal, resumable: bool) -> None:
        """Say why, and what can be done."""
        lines = [Content(sanitize(refusal.sentence).strip()).stylize("bold")]
        if refusal.advice:
            lines += [Content(""), Content(sanitize(refusal.advice))]
        back = _("{key} goes back to the settings with its values.", key=mark("Enter"))
        if refusal.field:
            back = _(
                "{key} goes back to the settings with its values, to {field}.",
                key=mark("Enter"),
                field=mark(refusal.field, "bold"),
            )
        lines += [Content(""), marked(back)]
        if refusal.mendable:
            lines.append(marked(_("{key} offers what can be done.", key=mark("F4"))))
        if resumable:
            lines.append(marked(_("{key} tries again.", key=mark("r"))))
        lines.append(marked(_("{key} shows the log, with what the libraries said.", key=mark("l"))))
        self.query_one(Static).update(Content("\n").join(lines))
