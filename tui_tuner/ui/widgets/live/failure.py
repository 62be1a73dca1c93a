"""Shows why a run failed before its first step and what to do, in place of a curve."""

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
    """The whole sentence, the advice, and the keys for next steps."""

    DEFAULT_CSS = """
    Failure { height: 1fr; padding: 1 2; border-top: solid $error; border-title-color: $error;
              border-title-align: left; }
    Failure > Static { height: auto; max-width: 100; }
    """

    def compose(self) -> ComposeResult:
        yield Static()

    def on_mount(self) -> None:
        self.border_title = Content(_("The run did not start"))

    def show(self, refusal: Refusal, resumable: bool) -> None:
        """Show the reason and what can be done."""
        lines = [Content(sanitize(refusal.sentence).strip()).stylize("bold")]
        if refusal.advice:
            lines += [Content(""), Content(sanitize(refusal.advice))]
        back = _("{key} returns to the settings with its values.", key=mark("Enter"))
        if refusal.field:
            back = _(
                "{key} returns to the settings with its values, at {field}.",
                key=mark("Enter"),
                field=mark(refusal.field, "bold"),
            )
        lines += [Content(""), marked(back)]
        if refusal.mendable:
            lines.append(marked(_("{key} shows the options.", key=mark("F4"))))
        if resumable:
            lines.append(marked(_("{key} tries again.", key=mark("r"))))
        lines.append(marked(_("{key} shows the log, with the output of the libraries.", key=mark("l"))))
        self.query_one(Static).update(Content("\n").join(lines))
